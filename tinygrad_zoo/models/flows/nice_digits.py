"""NICE on digits, and their lower halves completed from the upper (Dinh, Krueger & Bengio 2014, arXiv 1410.8516).

Counts get uniform noise, without which the density of points on a grid could grow without bound; a PCA whitening, whose
determinant is counted, leaves to the couplings what is beyond second moments. A half image is completed by the other
half that makes the whole most likely: the gradient of log p(x) moves the missing pixels, the known ones stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split
from ...grad_mode import enable_grad
from ...recipe import Bar, Config, Parts, Recipe, State
from ...tensor import tensor
from . import digit_pixels
from .digit_pixels import DIM, LEVELS
from .nice import NICE
from .preprocessing import Whitening
from .transforms import Flow

KNOWN = DIM // 2  # the upper four rows of eight
SHOWN = 40  # digits of the figure


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 600
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-2
    hidden: int = 64
    n_coupling: int = 4
    prior: Literal["logistic", "gaussian"] = "logistic"


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[NICE]:
    whitening = Whitening.fit(digit_pixels.dequantized(data))
    model = NICE(DIM, config.hidden, config.n_coupling, config.prior, before=[whitening], rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def gaussian_completion(train: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """E[missing | known] = μ_m + Σ_mk Σ_kk⁻¹ (known - μ_k) of a Gaussian fitted to `train`: (N, k) → (N, dim - k)."""
    k = known.shape[1]
    mean, covariance = train.mean(axis=0, dtype=np.float64), np.cov(train, rowvar=False)
    weights = np.linalg.solve(covariance[:k, :k], covariance[:k, k:])
    return np.asarray(mean[k:] + (known - mean[:k]) @ weights, train.dtype)


def most_likely_completion(flow: Flow, known: Any, start: Any, *, steps: int = 80, lr: float = 0.01) -> Any:
    """The missing pixels (N, dim - k) that, beside the known (N, k), ascend log p(x) from `start`, by Adam."""
    missing = nn.Parameter(start)
    optimizer = optim.Adam([missing], lr=lr)
    with enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            (-ops.sum(flow.log_prob(ops.concat(known, missing, axis=1)))).backward()
            optimizer.step()
    for x in flow.parameters():
        x.grad = None
    return missing.detach()


def completions(state: State[Settings, NICE], count: int | None = None) -> dict[str, tuple[NDArray[Any], float]]:
    """By name, the lower halves (N, 32) of `count` test digits, in [0, 1], and their mean squared error."""
    test = state.data.test[0][:count]
    true = (np.floor(test[:, KNOWN:] * LEVELS) + 0.5) / LEVELS  # without the noise
    gaussian = gaussian_completion(digit_pixels.dequantized(state.data), test[:, :KNOWN])
    known, start = (tensor(x, device=state.device) for x in (test[:, :KNOWN], gaussian))
    flow = most_likely_completion(state.model, known, start).numpy()
    found = {"gaussian": gaussian.clip(0, 1), "nice": flow.clip(0, 1)}
    return {name: (lower, float(((lower - true) ** 2).mean())) for name, lower in found.items()}


def evaluate(state: State[Settings, NICE]) -> dict[str, float]:
    """The NLL in nats a pixel, and the errors of completions (row F1's inpainting: NICE's is to be the smaller)."""
    errors = {f"inpainting_{name}": error for name, (_, error) in completions(state).items()}
    return {"test_nll": digit_pixels.nll(state), **errors}


def samples(state: State[Settings, NICE]) -> Mapping[str, Any]:
    return {"digits": digit_pixels.images(state.model.sample(100, rng=state.rng))}


def figure(state: State[Settings, NICE], path: Path) -> None:
    """Digits, their lower halves completed by a Gaussian and by NICE, samples, the learnt scales, the training."""
    test, found = state.data.test[0][:SHOWN], completions(state, SHOWN)
    fig, (truth, *panels, drawn, scales, curve) = plotting.figure((2, 3), size=3.8)
    plotting.images_panel(truth, digit_pixels.images(test), 8, title="test digits: upper halves known")
    titles = {"gaussian": "Gaussian's lower halves", "nice": "NICE's lower halves"}
    for ax, (name, (lower, error)) in zip(panels, found.items(), strict=True):
        whole = np.concatenate([test[:, :KNOWN], lower], axis=1)
        plotting.images_panel(ax, digit_pixels.images(whole), 8, title=f"{titles[name]}: MSE {error:.4f}")
    cool = digit_pixels.images(state.model.sample(SHOWN, temperature=0.7, rng=state.rng))
    plotting.images_panel(drawn, cool, 8, title=f"samples, temperature 0.7; NLL {digit_pixels.nll(state):.3f}")
    scaling: Any = state.model.transforms[-1]
    spread = np.sort(np.exp(-scaling.log_scale.numpy()))[::-1]
    scales.plot(range(1, DIM + 1), spread, color=plotting.BLUE)
    scales.set(title="spread of the latent coordinates", xlabel="rank", ylabel="exp(-s)", ylim=(0, None))
    plotting.curve_panel(curve, state.history, "nll", title="training NLL, nats a pixel")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="nice_digits",
    row="F2",
    family="flows",
    title="NICE on digits, with inpainting",
    paper="arXiv 1410.8516",
    config=Settings(),
    metric="nll",
    data=digit_pixels.data,
    build=build,
    step=digit_pixels.step,
    evaluate=evaluate,
    baseline=digit_pixels.baseline,
    bar=Bar(metric="test_nll", at_most=-0.835, seeds=3, text="test_nll ≤ -0.835 (max of 3 seeds), Gaussian -0.785"),
    figure=figure,
    samples=samples,
)
