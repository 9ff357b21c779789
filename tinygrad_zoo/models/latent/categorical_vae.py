"""An auto-encoder of digits through categories (Jang, Gu & Poole 2016, arXiv 1611.01144; Maddison et al., 1611.00712).

The code of an image is a row of choices, each of one out of K, so nothing can be differentiated through it: the samples
jump. Four ways to train its encoder all the same, by the setting `estimator`:

- gumbel: the choice argmax(log p + g) becomes softmax((log p + g) / τ), whose τ falls as training goes on;
- straight_through: forward the choice itself, backward the derivative of that softmax;
- reinforce: choices, and ∇ E f(z) = E[f(z) ∇ log q(z)] of the reconstruction error f, a black box to the encoder;
- reinforce_baseline: f less a running mean of it, which takes variance and adds no bias.

All are measured as what they are to be, a model with discrete codes: -ELBO = E_q[-log p(x | z)] + KL(q ‖ uniform).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split
from ...distributions import Bernoulli, Independent, OneHotCategorical, kl_divergence
from ...grad_mode import each_step, effect
from ...ops import draw_key
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from ..autoregressive import binary_digits
from ..autoregressive.binary_digits import SIDE

COLDEST = 0.5  # of the temperatures
SAMPLES = 50  # codes of an image, to measure by
MEMORY = 0.99  # of the running mean of f


class CategoricalVAE(nn.Module):
    """x (N, pixels) ↔ `latents` choices of one out of `categories`.

    >>> model = CategoricalVAE(64, 32, latents=4, categories=3, rng=np.random.default_rng(0))
    >>> q = model.posterior(tz.zeros(5, 64))
    >>> z = q.sample(rng=np.random.default_rng(0))
    >>> z.shape, model.likelihood(z).log_prob(np.zeros((5, 64), np.float32)).shape
    ((5, 4, 3), (5,))
    """

    def __init__(self, pixels: int, hidden: int, latents: int, categories: int, *, rng: np.random.Generator) -> None:
        self.encoder = nn.mlp(pixels, hidden, latents * categories, rng=rng)
        self.decoder = nn.mlp(latents * categories, hidden, pixels, rng=rng)
        self.prior = Independent(OneHotCategorical(logits=np.zeros((latents, categories), np.float32)), 1)
        self.mean_error = nn.Buffer(np.zeros((), np.float32))  # the running mean of f

    def posterior(self, x: Any) -> Independent:
        """q(z | x): independent choices."""
        return Independent(OneHotCategorical(logits=self.encoder(x).reshape(len(x), *self.prior.event_shape)), 1)

    def likelihood(self, z: Any) -> Independent:
        """p(x | z) of codes (…, latents, categories), one-hot or relaxed."""
        return Independent(Bernoulli(logits=self.decoder(z.reshape(*z.shape[:-2], math.prod(z.shape[-2:])))), 1)

    def negative_elbo(self, x: Any, n: int, *, rng: np.random.Generator) -> tuple[Any, Any]:
        """-log p(x | z), the mean over n discrete codes z ~ q, and KL(q ‖ prior): (N,) each."""
        q = self.posterior(x)
        return -self.likelihood(q.sample((n,), rng=rng)).log_prob(x).mean(axis=0), kl_divergence(q, self.prior)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1500
    batch_size: int = 100
    lr: float = 2e-3
    hidden: int = 256
    latents: int = 20
    categories: int = 8
    cooling: float = 1e-3  # the temperature is exp(-cooling · step), at least 0.5
    estimator: Literal["gumbel", "straight_through", "reinforce", "reinforce_baseline"] = "gumbel"


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[CategoricalVAE]:
    pixels = data.train[0].shape[1]
    model = CategoricalVAE(pixels, config.hidden, config.latents, config.categories, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def surrogate(state: State[Settings, CategoricalVAE], q: Independent, x: Any) -> tuple[Any, Any]:
    """What has the gradients of E_q[-log p(x | z)] by the estimator in use, and -log p(x | z) itself: (N,) each."""
    model, how = state.model, state.config.estimator
    if how in ("gumbel", "straight_through"):
        tau = each_step(lambda: max(COLDEST, math.exp(-state.config.cooling * state.step)))
        key = draw_key(state.rng, x.device)
        choices: Any = q.base
        z = ops.gumbel_softmax(choices.logits, key, tau=tau, hard=how == "straight_through")  # (N, latents, categories)
        error = -model.likelihood(z).log_prob(x)
        return error, error
    z = q.sample(rng=state.rng)
    error = -model.likelihood(z).log_prob(x)  # its own gradient is the decoder's
    b = model.mean_error if how == "reinforce_baseline" else 0.0
    loss = error + (error.detach() - b) * q.log_prob(z)
    follow(state, error.detach().mean())  # only now, so that the baseline of these samples knows nothing of them
    return loss, error


@effect
def follow(state: State[Settings, CategoricalVAE], mean: Tensor) -> None:
    """The running mean of f takes in that of a batch."""
    running = state.model.mean_error
    running.data[...] = (mean if state.step == 0 else MEMORY * running + (1 - MEMORY) * mean).data
    running.mark_written()


def step(state: State[Settings, CategoricalVAE], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, pixels)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    q = state.model.posterior(x)
    loss, error = surrogate(state, q, x)
    kl = kl_divergence(q, state.model.prior).mean()
    (loss.mean() + kl).backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"neg_elbo": error.mean() + kl, "kl": kl}


def evaluate(state: State[Settings, CategoricalVAE]) -> dict[str, float]:
    """In nats a test digit, with discrete codes."""
    x = tensor(state.data.test[0], device=state.device)
    error, kl = (float(part.mean()) for part in state.model.negative_elbo(x, SAMPLES, rng=state.rng))
    return {"test_neg_elbo": error + kl, "test_kl": kl}


def baseline(data: Split) -> Mapping[str, float]:
    (train,), (test,) = data.train, data.test
    return {"independent bits": -float(binary_digits.independent(train, test).sum(axis=1).mean())}


def figure(state: State[Settings, CategoricalVAE], path: Path) -> None:
    """Curves; digits above their reconstructions; new ones; one choice relaxed at falling temperatures."""
    model, (test,) = state.model, state.data.test
    x = tensor(test[:27], device=state.device)
    fig, (curves, again, new, relaxed) = plotting.figure(4, size=3.8)
    plotting.curve_panel(curves, state.history, "neg_elbo", "kl", title=f"nats an image, by {state.config.estimator}")
    q = model.posterior(x)
    drawn = model.likelihood(q.sample(rng=state.rng)).mean.numpy()
    rows = np.stack([test[:27], drawn]).reshape(2, 3, 9, SIDE, SIDE).swapaxes(0, 1)
    plotting.images_panel(again, rows.reshape(54, SIDE, SIDE), 9, title="test digits above their reconstructions")
    images = model.likelihood(model.prior.sample((54,), rng=state.rng)).mean.numpy().reshape(54, SIDE, SIDE)
    found = evaluate(state)["test_neg_elbo"]
    plotting.images_panel(new, images, 9, title=f"new digits; −ELBO of test digits {found:.2f}")
    logits = np.log([[0.4, 0.3, 0.2, 0.1]]).repeat(30, axis=0)  # 30 draws of one choice out of four
    key = draw_key(state.rng)
    panels = [ops.gumbel_softmax(logits, key, tau=tau) for tau in (0.1, COLDEST, 1.0, 10.0)]
    relaxed.imshow(
        np.concatenate([np.pad(p, ((0, 0), (0, 1)), constant_values=np.nan) for p in panels], axis=1), "Blues"
    )
    relaxed.set(title="30 draws of 0.4, 0.3, 0.2, 0.1", ylabel="draw", aspect="auto", yticks=[])
    relaxed.set_xticks([1.5 + 5 * k for k in range(4)], ["τ = 0.1", "0.5", "1", "10"])
    plotting.save(fig, path)


def samples(state: State[Settings, CategoricalVAE]) -> dict[str, Any]:
    z = state.model.prior.sample((256,), rng=state.rng)
    return {"codes": z.numpy().argmax(axis=-1), "x": state.model.likelihood(z).sample(rng=state.rng).numpy()}


RECIPE = Recipe(
    name="categorical_vae",
    row="G3",
    family="latent",
    title="Auto-encoder of binary digits through categories",
    paper="arXiv 1611.01144",
    config=Settings(),
    metric="neg_elbo",
    data=binary_digits.data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_neg_elbo", at_most=22.0, seeds=3),
    figure=figure,
    samples=samples,
)
