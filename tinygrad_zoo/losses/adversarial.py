"""Losses of two networks that play against each other; all are to be minimised, by one of the two.

The other network is held fixed by the caller: give `discriminator` losses samples without their graph
(`generator(z).detach()`), and let each optimizer hold the parameters of its own network alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .. import ops
from ..draws import rand
from ..errors import ShapeError, UsageError
from ..nn import Module
from ..nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..ops.random import REQUIRED, generator
from ..tensor import as_tensor
from ..transforms import grad

GAN_LOSSES = ("ns", "minimax")


def gan_discriminator(real: Any, fake: Any) -> Any:
    """−E log D(x) − E log(1 − D(G(z))) from the logits of D = σ(logit), by softplus (arXiv 1406.2661).

    At its least, where D = p / (p + p_g), it is log 4 − 2 JS(p ‖ p_g).

    >>> bool(np.isclose(gan_discriminator(tz.zeros(5), tz.zeros(5)).item(), np.log(4)))
    True
    """
    return ops.softplus(-as_tensor(real)).mean() + ops.softplus(as_tensor(fake)).mean()


def gan_generator(fake: Any, *, loss: Literal["ns", "minimax"] = "ns") -> Any:
    """−E log D(G(z)), or for "minimax" E log(1 − D(G(z))), from the logits of the generator's samples.

    Both have one fixed point. Where the discriminator is sure of itself, D(G(z)) near 0, minimax's gradient in the
    logit, −D, vanishes, and that of "ns", the non-saturating one, D − 1, does not. Raises UsageError for another loss.

    >>> bool(np.isclose(gan_generator(tz.tensor([0.0]), loss="minimax").item(), -np.log(2)))
    True
    """
    if loss not in GAN_LOSSES:
        raise UsageError(f"gan_generator: expected loss to be {' or '.join(map(repr, GAN_LOSSES))}, got {loss!r}")
    logits = as_tensor(fake)
    return ops.softplus(-logits).mean() if loss == "ns" else -ops.softplus(logits).mean()


def wgan_critic(real: Any, fake: Any) -> Any:
    """E f(G(z)) − E f(x): minus the Kantorovich–Rubinstein gap, at most W for 1-Lipschitz f (arXiv 1701.07875).

    >>> wgan_critic(tz.tensor([3.0, 5.0]), tz.tensor([1.0])).item()
    -3.0
    """
    return as_tensor(fake).mean() - as_tensor(real).mean()


def wgan_generator(fake: Any) -> Any:
    """−E f(G(z))

    >>> wgan_generator(tz.tensor([1.0, 3.0])).item()
    -2.0
    """
    return -as_tensor(fake).mean()


def gradient_penalty(
    critic: Callable[[Any], Any],
    real: Any,
    fake: Any,
    *,
    rng: np.random.Generator = REQUIRED,
    epsilon: Any = None,
    one_sided: bool = False,
) -> Any:
    """E (‖∇f(x̂)‖ − 1)² at x̂ = ε x + (1 − ε) G(z), an ε ~ U(0, 1) for each sample (arXiv 1704.00028).

    The norm is that of one sample's gradient, over all its axes. `one_sided` penalises slopes above 1 alone:
    E max(0, ‖∇f‖ − 1)². `critic` takes (N, …) to a number a sample; its parameters get second-order gradients.
    `epsilon` (N,) may be given in place of `rng`. Multiply by the weight λ yourself.

    Raises ShapeError where `real` and `fake` are not alike, and for a critic with several numbers a sample, whose sum
    would be penalised; and UsageError for a Module with batch normalisation in training mode: a sample's f would depend
    on the others, so its gradient is not that of a function of a sample. A function that calls such a Module is not
    seen through: pass the Module itself where you can.

    >>> x = tz.tensor([[1.0, 2.0]])
    >>> gradient_penalty(lambda x: 3 * x[:, 0] + 4 * x[:, 1], x, 0 * x, epsilon=tz.tensor([0.5])).item()
    16.0
    """
    real, fake = as_tensor(real), as_tensor(fake)
    if real.shape != fake.shape or real.ndim < 2:
        raise ShapeError(f"gradient_penalty: expected real and fake (N, …) alike, got {real.shape} and {fake.shape}")
    if isinstance(critic, Module):
        for name, module in critic.named_modules():
            if isinstance(module, BatchNorm1d | BatchNorm2d | BatchNorm3d) and module.training:
                raise UsageError(
                    f"gradient_penalty: {name or 'the critic'} is batch normalisation, by which a sample's value "
                    "depends on the others: write LayerNorm"
                )
    n = len(real)
    if epsilon is None:
        epsilon = rand(n, rng=generator("gradient_penalty", rng), dtype=real.dtype, device=real.device)
    elif as_tensor(epsilon).shape != (n,):
        raise ShapeError(
            f"gradient_penalty: expected an epsilon for each of {n} samples, ({n},), got {as_tensor(epsilon).shape}"
        )

    def total(x: Any) -> Any:
        values = critic(x)
        if values.shape[:1] != (n,) or values.size != n:
            raise ShapeError(
                f"gradient_penalty: expected a critic of one number a sample, ({n},) or ({n}, 1), got {values.shape}: "
                "write lambda x: critic(x)[:, 0] for one of them, or their mean"
            )
        return values.sum()

    share = as_tensor(epsilon).reshape(n, *(1,) * (real.ndim - 1))  # (N, 1, …)
    between = share * real + (1 - share) * fake
    slopes = ops.norm(grad(total)(between).reshape(n, -1), axis=1)  # (N,)
    excess = ops.relu(slopes - 1) if one_sided else slopes - 1
    return (excess * excess).mean()
