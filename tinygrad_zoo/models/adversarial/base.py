"""The two networks of an adversarial system, whatever they are, and what each of them minimises."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from ... import nn
from ...errors import UsageError
from ...losses import gan_discriminator, gan_generator, wgan_critic, wgan_generator
from ...tensor import as_tensor

Loss: TypeAlias = Literal["ns", "minimax", "wasserstein"]


class GAN(nn.Module):
    """min over G, max over D of E log D(x) + E log(1 − D(G(z))), for any two networks (arXiv 1406.2661).

    `generator` takes noise to samples, and `discriminator` data or samples to a logit each. By `loss` G minimises
    −log D(G(z)), "ns" (non-saturating), or log(1 − D(G(z))), "minimax". With "wasserstein" D is a critic f, of which
    both losses are those of a WGAN (arXiv 1701.07875): what keeps f Lipschitz, its training must add. Each network has
    an optimizer of its own. Raises UsageError for another loss.

    >>> rng = np.random.default_rng(0)
    >>> model = GAN(nn.Linear(2, 3, rng=rng), nn.Linear(3, 1, rng=rng), loss="minimax")
    >>> fake = model(np.ones((5, 2), np.float32))
    >>> fake.shape, model.discriminator_loss(np.zeros((5, 3), np.float32), fake).shape, model.generator_loss(fake).shape
    ((5, 3), (), ())
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, loss: Loss = "ns") -> None:
        if loss not in get_args(Loss):
            raise UsageError(f"GAN: expected loss to be {' or '.join(map(repr, get_args(Loss)))}, got {loss!r}")
        self.generator, self.discriminator = generator, discriminator
        self.loss: Loss = loss

    def forward(self, z: Any) -> Any:
        """G(z)"""
        return self.generator(z)

    def discriminator_loss(self, real: Any, fake: Any) -> Any:
        """Of data and samples; these are constants here, whatever graph they come with."""
        scores = self.discriminator(real), self.discriminator(as_tensor(fake).detach())
        return wgan_critic(*scores) if self.loss == "wasserstein" else gan_discriminator(*scores)

    def generator_loss(self, fake: Any) -> Any:
        """Of samples with their graph; its gradients in D are to be thrown away, by `zero_grad` before D's update."""
        scores = self.discriminator(fake)
        return wgan_generator(scores) if self.loss == "wasserstein" else gan_generator(scores, loss=self.loss)

    def settings(self) -> str:
        return f"loss={self.loss!r}"
