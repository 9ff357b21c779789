"""Noise-contrastive estimation of an unnormalised Gaussian, its constant included (Gutmann & Hyvärinen, AISTATS 2010).

log φ(x) = -λx²/2 + c is no density until c = -½ log(2π/λ), and maximum likelihood would push c to infinity. NCE asks of
each point whether it is one of the data or one of k draws from a known noise q: P(data | x) = φ / (φ + k q). At the
optimum φ is the density of the data, so c comes out right by itself: no integral is ever computed.

How one comes from the likelihood to InfoNCE: 1. The gradient of log p = s - log Z is ∇s less its mean over the model,
which is ∇log Z, the gradient of the partition function: a sum over all that there could be. 2. Draws from a known noise
stand in for it once the question is binary, data or noise? The gradient then is Σ k q / (p + k q) (p_data - p) ∇s, and
that of the likelihood as k → ∞. 3. The answer needs Z, which may be one more parameter (c here), one a context, or
just 1: a model of enough freedom learns to normalise itself. 4. Ask instead which one of N candidates is the data's,
by a softmax over them, and Z cancels, as does all that depends on the context alone: what is learnt is
log p(x | context) / p(x) but for that, which `mutual_information` is about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split
from ...distributions import Normal
from ...losses import nce_loss
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]
TRUE_LAMBDA = 4.0


class Unnormalised(nn.Module):
    """log φ(x) = -λ x² / 2 + c, with λ = e^log_lambda; it starts at the standard normal's λ and c = 0.

    >>> Unnormalised()(np.array([0.0, 2.0], np.float32)).tolist()
    [0.0, -2.0]
    """

    def __init__(self) -> None:
        self.log_lambda, self.c = nn.Parameter(np.zeros((), np.float32)), nn.Parameter(np.zeros((), np.float32))

    def forward(self, x: Any) -> Any:
        return self.c - 0.5 * ops.exp(self.log_lambda) * ops.square(x)


def log_partition(precision: float) -> float:
    """½ log(2π/λ), which c is the negative of."""
    return 0.5 * math.log(2 * math.pi / precision)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 500
    lr: float = 0.02
    k: int = 10  # draws of noise for each of the data
    noise: float = 1.0  # the standard deviation of q


def data(config: Settings, rng: np.random.Generator) -> Split:
    train, test = (rng.normal(0, TRUE_LAMBDA**-0.5, n).astype(np.float32) for n in (50_000, 10_000))
    return Split(train=(train,), test=(test,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Unnormalised]:
    model = Unnormalised()
    adam = optim.Adam(model.parameters(), lr=config.lr)
    return Parts(
        model=model, optimizers={"adam": adam}, schedules={"cosine": optim.CosineAnnealingLR(adam, config.steps)}
    )


def step(state: State[Settings, Unnormalised], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N,)
    k, q, model = state.config.k, Normal(0.0, state.config.noise), state.model
    noise = q.sample((len(x), k), rng=state.rng)  # (N, k)
    state.optimizers["adam"].zero_grad()
    loss: Tensor = nce_loss(model(x), model(noise), q.log_prob(x), q.log_prob(noise), k)
    loss.backward()
    state.optimizers["adam"].step()
    state.schedules["cosine"].step()
    return {"loss": loss, "lambda": ops.exp(model.log_lambda), "c": model.c}


def errors(precision: float, c: float) -> dict[str, float]:
    """λ relative to the true one, and c to the true constant: the larger of both is `worst`."""
    of_lambda, of_c = abs(precision / TRUE_LAMBDA - 1), abs(c + log_partition(TRUE_LAMBDA))
    return {"worst": max(of_lambda, of_c), "of_lambda": of_lambda, "of_c": of_c}


def evaluate(state: State[Settings, Unnormalised]) -> dict[str, float]:
    """The errors; `mass` is the integral of φ, 1 of a density; `test_nll` is of φ / mass."""
    precision, c = math.exp(float(state.model.log_lambda)), float(state.model.c)
    log_mass = c + log_partition(precision)
    (x,) = state.data.test
    nll = log_mass - float(state.model(tensor(x, device=state.device)).mean())
    return {**errors(precision, c), "lambda": precision, "c": c, "mass": math.exp(log_mass), "test_nll": nll}


def baseline(data: Split) -> Mapping[str, float]:
    """The errors of maximum likelihood, which must know the integral; and of the noise itself."""
    (x,) = data.train
    best = 1 / float(np.mean(np.square(x, dtype=np.float64)))
    return {
        "maximum likelihood, integral known": errors(best, -log_partition(best))["worst"],
        "the noise": errors(1.0, -log_partition(1.0))["worst"],
    }


# ---- exactly, on a small vocabulary
def softmax_of(scores: Array) -> Array:
    """e^s / Σ e^s, (V,) → (V,)."""
    e = np.exp(scores - scores.max())
    p: Array = e / e.sum()
    return p


def gradients(scores: Array, p: Array, q: Array, k: int) -> tuple[Array, Array]:
    """Descent directions in the scores s of a normalised model e^s, of data p: by NCE with noise q, and by likelihood.

    Σ_w [k q / (e^s + k q)] (p - e^s) 1_w: the bracket goes to 1 as k grows.

    >>> nce, ml = gradients(np.log([0.5, 0.5]), np.array([0.8, 0.2]), np.array([0.5, 0.5]), k=1)
    >>> nce.round(3).tolist(), ml.round(3).tolist()
    ([0.15, -0.15], [0.3, -0.3])
    """
    model = softmax_of(scores)
    return k * q / (model + k * q) * (p - model), p - model


def figure(state: State[Settings, Unnormalised], path: Path) -> None:
    """The data with φ and the noise, λ and c in training, and how NCE's gradient becomes the likelihood's."""
    (test,), found = state.data.test, evaluate(state)
    fig, (density, curves, ratio) = plotting.figure(3, size=3.6)
    x = np.linspace(-2.2, 2.2, 200, dtype=np.float32)
    density.hist(test, bins=60, density=True, color=plotting.GREY, label="data")
    phi = np.exp(state.model(tensor(x, device=state.device)).numpy())
    density.plot(x, phi, color=plotting.ORANGE, label=f"φ, of mass {found['mass']:.3f}")
    q = np.exp(-0.5 * (x / state.config.noise) ** 2) / (state.config.noise * math.sqrt(2 * math.pi))
    density.plot(x, q, color=plotting.BLUE, linestyle="--", label="noise q")
    density.set(title="φ = exp(-λx²/2 + c), not normalised", xlabel="x", ylim=(0, 1.25))
    density.legend(frameon=False, fontsize=7)
    plotting.curve_panel(curves, state.history, "lambda", "c", title=f"λ → {found['lambda']:.3f}, c → {found['c']:.3f}")
    for value in (TRUE_LAMBDA, -log_partition(TRUE_LAMBDA)):
        curves.axhline(value, color="black", linewidth=0.5, linestyle=":")
    ks, rng = 10 ** np.arange(0, 5), state.rng
    scores, p, noise = rng.standard_normal(20), rng.dirichlet(np.ones(20)), rng.dirichlet(np.ones(20))
    pairs = [gradients(scores, p, noise, int(k)) for k in ks]
    far = [np.linalg.norm(nce - ml) / np.linalg.norm(ml) for nce, ml in pairs]
    ratio.loglog(ks, far, color=plotting.BLUE, marker=".")
    ratio.set(title="NCE's gradient nears the likelihood's", xlabel="k, draws of noise", ylabel="relative distance")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="nce",
    row="L3",
    family="contrastive",
    title="A Gaussian and its constant by noise contrast",
    paper="Gutmann & Hyvärinen 2010, AISTATS",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="worst", at_most=0.03, seeds=3),
    figure=figure,
)
