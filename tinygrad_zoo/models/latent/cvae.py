"""A conditional variational auto-encoder: digits of a class that is asked for (arXiv 1312.6114; arXiv 1406.5298).

All three networks of a VAE know the class y. The prior is N(μ_y, I) with a mean learnt for each class, so that

    KL(q(z | x, y) ‖ p(z | y)) = ½ Σ ((μ - μ_y)² + σ² - log σ² - 1),

and the decoder draws by z and y. What the class says need not be said by z, which is left with the hand: how
slanted, how wide. So the same z draws one style in ten classes, and an image costs less, by at most the log 10 nats
that a label is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...algorithms.chow_liu import chow_liu_tree
from ...creation import ones
from ...data import Split, digits
from ...distributions import Distribution, Independent, Normal
from ...errors import UsageError
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, as_tensor, tensor
from .recognition import recognised
from .vae import VAE, BernoulliLikelihood, measured

CLASSES, SIDE = 10, 8


class CVAE(VAE):
    """A VAE whose distributions depend on classes y (N,): `encoder` and `decoder` find y one-hot behind x and behind z.

    >>> rng = np.random.default_rng(0)
    >>> model = CVAE(nn.mlp(64 + 10, 32, 16, rng=rng), nn.mlp(8 + 10, 32, 64, rng=rng), 8, BernoulliLikelihood(), 10)
    >>> x, y = tz.zeros(5, 64), tz.arange(5)
    >>> model.elbo(x, y, rng=rng).shape, model.sample(3, y, rng=rng).shape
    ((5,), (3, 5, 64))
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, likelihood: nn.Module, classes: int
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, likelihood)
        self.classes, self.means = classes, nn.Parameter(np.zeros((classes, latent_dim), np.float32))

    def prior(self, *given: Any) -> Independent:
        """p(z | y) = N(μ_y, I)"""
        y = self._classes(given)
        mean = ops.embedding(y, self.means)  # (N, d)
        return Independent(Normal(mean, ones(1, dtype=mean.dtype, device=mean.device)), 1)

    def posterior(self, x: Any, *given: Any) -> Independent:
        """q(z | x, y)"""
        return super().posterior(self._with_class(x, *given))

    def decode(self, z: Any, *given: Any) -> Distribution:
        """p(x | z, y), for z (…, N, d) and y (N,)."""
        return super().decode(self._with_class(z, *given))

    def _classes(self, given: tuple[Any, ...]) -> Tensor:
        if len(given) != 1:
            raise UsageError(
                f"CVAE: its distributions depend on one array of classes y (N,), got {len(given)}: write "
                "elbo(x, y, rng=rng), reconstruct(x, y) and sample(n, y, rng=rng)"
            )
        return as_tensor(given[0])

    def _with_class(self, x: Any, *given: Any) -> Any:
        known = ops.one_hot(self._classes(given), num_classes=self.classes).astype(dtype=x.dtype)
        return ops.cat([x, known.broadcast_to((*x.shape[:-1], self.classes))], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 3000
    batch_size: int = 64
    lr: float = 1e-3
    hidden: int = 256
    latent: int = 8


def data(config: Settings, rng: np.random.Generator) -> Split:
    return digits(pixels="binary", flat=True)  # bits (N, 64), labels (N,)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[CVAE]:
    pixels = data.train[0].shape[1]
    encoder = nn.mlp(pixels + CLASSES, config.hidden, config.hidden, 2 * config.latent, rng=rng)
    decoder = nn.mlp(config.latent + CLASSES, config.hidden, config.hidden, pixels, rng=rng)
    model = CVAE(encoder, decoder, config.latent, BernoulliLikelihood(), CLASSES)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, CVAE], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 64), (N,)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    reconstruction, kl = (term.mean() for term in state.model.terms(x, y, rng=state.rng))
    (kl - reconstruction).backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"neg_elbo": kl - reconstruction, "kl": kl}


def drawn(state: State[Settings, CVAE], n: int) -> tuple[Any, Any]:
    """n digits of each class, and their classes: (n, 10, 64) and (n, 10)."""
    y = np.arange(CLASSES)
    x = state.model.sample(n, tensor(y, device=state.device), rng=state.rng)
    return x.numpy(), np.broadcast_to(y, (n, CLASSES))


def evaluate(state: State[Settings, CVAE]) -> dict[str, float]:
    """The bounds of test digits given their classes, and how many of 1,000 new digits are read as what they are."""
    x, y = drawn(state, 100)
    read = recognised(state.data.train, x.reshape(1000, -1), y.reshape(-1))
    return {**measured(state.model, state.data.test, state.device, state.rng), "recognised": read}


def baseline(data: Split) -> Mapping[str, float]:
    """Exact: for each class the pixels one by one, and the best tree of them; 1/2 is added to each count."""
    (train, labels), (test, classes) = data.train, data.test
    each, trees = np.zeros((2, len(test)))
    for label in range(CLASSES):
        own, asked = train[labels == label], test[classes == label]
        on = (own.sum(axis=0) + 0.5) / (len(own) + 1)
        each[classes == label] = np.log(np.where(asked > 0, on, 1 - on)).sum(axis=1)
        trees[classes == label] = chow_liu_tree(own.astype(int), n_values=2).log_prob(asked.astype(int))
    return {"independent pixels a class": -float(each.mean()), "Chow–Liu tree a class": -float(trees.mean())}


def figure(state: State[Settings, CVAE], path: Path) -> None:
    """Curves; new digits, a row a class; the hand of test digits in all classes; what one number of z does to each."""
    model, (test, labels), classes = state.model, state.data.test, np.arange(CLASSES)
    device = state.device
    fig, (curves, new, styles, walk) = plotting.figure(4, size=4.2)
    neg_elbo = -float(model.elbo(*(tensor(x, device=device) for x in (test, labels)), rng=state.rng).mean())
    title = f"nats an image, −ELBO of test digits {neg_elbo:.2f}"
    plotting.curve_panel(curves, state.history, "neg_elbo", "kl", title=title)

    def tiles(z: Any) -> Any:
        """Means of p(x | z, y) for z (n, 10, d), a row of n for each class."""
        mean = model.decode(tensor(z, device=device), tensor(classes, device=device)).mean  # (n, 10, 64)
        return mean.numpy().swapaxes(0, 1).reshape(-1, SIDE, SIDE)

    images, y = drawn(state, 9)
    share = 100 * recognised(state.data.train, images.reshape(9 * CLASSES, -1), y.reshape(-1))
    rows = images.swapaxes(0, 1).reshape(-1, SIDE, SIDE)
    plotting.images_panel(new, rows, 9, title=f"new digits: {share:.0f} % read as meant")
    centre = model.means.numpy()  # (10, d)
    some = np.arange(9) * (len(test) // 9)
    q = model.posterior(tensor(test[some], device=device), tensor(labels[some], device=device))
    offset = q.mean.numpy() - centre[labels[some]]  # (9, d): what is the hand's and not the class's
    in_all = np.concatenate([test[some].reshape(-1, SIDE, SIDE), tiles(centre + offset[:, None])])
    plotting.images_panel(styles, in_all, 9, title="test digits (top) and their hand in every class")
    told = (offset**2).mean(axis=0).argmax()
    moved = np.tile(centre, (9, 1, 1))  # (9, 10, d)
    moved[:, :, told] += np.linspace(-3, 3, 9, dtype=np.float32)[:, None]
    plotting.images_panel(walk, tiles(moved), 9, title="one number of z, from −3 to 3")
    plotting.save(fig, path)


def samples(state: State[Settings, CVAE]) -> dict[str, Any]:
    x, y = drawn(state, 20)
    return {"x": x, "y": y}


RECIPE = Recipe(
    name="cvae",
    row="G5",
    family="latent",
    title="Conditional variational auto-encoder of digits",
    paper="arXiv 1406.5298",
    config=Settings(),
    metric="neg_elbo",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_nll", at_most=14.8, seeds=3),
    figure=figure,
    samples=samples,
)
