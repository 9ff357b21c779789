"""Training on F1 itself, made smooth: 2 Σ p t / Σ (p + t) (sigmoidF1, arXiv 2108.10566).

One example in twenty is positive, and what tells is noisy: the probabilities that cross-entropy finds are right, and
nearly all below ½, so hardly anything is called positive. The second model is trained by cross-entropy for the first
half, until its answers depend on its input, and by the smooth F1 of large batches from then on. That finds the
threshold too: to be compared with cross-entropy whose threshold was tuned on the training data, which is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import metrics, nn, ops, optim, plotting
from ...data import Split
from ...errors import require
from ...losses import BCEWithLogitsLoss, SmoothF1Loss
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]
MODELS = ("cross_entropy", "smooth_f1")
THRESHOLDS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 600
    batch_size: int = 2_000  # all: the F1 of a batch needs positives in it
    lr: float = 0.05
    warmup: int = 300  # steps of cross-entropy before the smooth F1


def points(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """x (n, 10), of which three features tell of t (n,), one for one in twenty."""
    t = (rng.random(n) < 0.05).astype(np.int64)
    x = rng.standard_normal((n, 10))
    x[:, :3] += 0.9 * t[:, None]
    return x.astype(np.float32), t


def data(config: Settings, rng: np.random.Generator) -> Split:
    return Split(train=points(2_000, rng), test=points(2_000, rng))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    seed = int(rng.integers(2**32))  # one for both: they start equal
    models = {name: nn.Linear(data.train[0].shape[1], 1, rng=np.random.default_rng(seed)) for name in MODELS}
    optimizers = {name: optim.Adam(model.parameters(), lr=config.lr) for name, model in models.items()}
    return Parts(model=nn.ModuleDict(models), optimizers=optimizers)


def is_warm(state: State[Settings, nn.ModuleDict]) -> bool:
    """Whether the second model is trained on the smooth F1 by now."""
    return state.step >= state.config.warmup


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    x, t = batch  # (N, 10), (N,)
    second = SmoothF1Loss() if is_warm(state) else BCEWithLogitsLoss()
    losses: dict[str, Any] = {}
    for name, loss in zip(MODELS, (BCEWithLogitsLoss(), second), strict=True):
        state.optimizers[name].zero_grad()
        logits = state.model[name](x)[:, 0]
        loss(logits, t.to("float32")).backward()
        state.optimizers[name].step()
        losses[f"f1_{name}"] = ops.smooth_f1(ops.sigmoid(logits), t)
    return {"loss": 1 - losses["f1_smooth_f1"], **losses}


def probabilities(model: Any, x: Array, device: str) -> Array:
    """Of being positive, (N,)."""
    p: Array = ops.sigmoid(model(tensor(x, device=device))[:, 0]).numpy()
    return p


def tuned(p: Array, t: Array) -> float:
    """The threshold with the best F1."""
    return float(THRESHOLDS[np.argmax([metrics.f1(p > threshold, t) for threshold in THRESHOLDS])])


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """F1 on the test points, at ½ and at the threshold that is best in training; `gain` is over cross-entropy at ½."""
    (x, t), (x_train, t_train) = state.data.test, state.data.train
    found: dict[str, float] = {}
    for name in MODELS:
        p = probabilities(state.model[name], x, state.device)
        threshold = tuned(probabilities(state.model[name], x_train, state.device), t_train)
        found |= {name: metrics.f1(p > 0.5, t), f"{name}_tuned": metrics.f1(p > threshold, t)}
    return {"gain": found["smooth_f1"] - found["cross_entropy"], **found}


def baseline(data: Split) -> Mapping[str, float]:
    """The gain of scikit-learn's logistic regression, with the threshold tuned, over the same at ½."""
    require("sklearn", "zoo")
    from sklearn.linear_model import LogisticRegression

    (x, t), (x_train, t_train) = data.test, data.train
    model = LogisticRegression(C=np.inf).fit(x_train, t_train)
    p, threshold = model.predict_proba(x)[:, 1], tuned(model.predict_proba(x_train)[:, 1], t_train)
    return {"cross-entropy, tuned threshold": metrics.f1(p > threshold, t) - metrics.f1(p > 0.5, t)}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """F1 over the threshold, the probabilities of both kinds of examples, and the smooth F1 in training."""
    x, t = state.data.test
    fig, (over, spread, curves) = plotting.figure(3, size=3.6)
    for name, colour in zip(MODELS, (plotting.BLUE, plotting.ORANGE), strict=True):
        p = probabilities(state.model[name], x, state.device)
        scores = [metrics.f1(p > threshold, t) for threshold in THRESHOLDS]
        over.plot(THRESHOLDS, scores, color=colour, label=f"{name}: {metrics.f1(p > 0.5, t):.2f} at ½")
        for positive, style in ((1, "-"), (0, ":")):
            label = f"{name}, {'positive' if positive else 'negative'}"
            spread.plot(np.sort(p[t == positive]), np.linspace(0, 1, int((t == positive).sum())), style, color=colour)
            spread.plot([], [], style, color=colour, label=label)
    over.axvline(0.5, color="black", linewidth=0.5)
    over.set(title="F1 on test points", xlabel="threshold", ylabel="F1", ylim=(0, 0.55))
    over.legend(frameon=False)
    spread.set(title="p of test points, cumulated", xlabel="p", ylabel="share below")
    spread.legend(frameon=False, fontsize=7)
    plotting.curve_panel(curves, state.history, *(f"f1_{name}" for name in MODELS), title="smooth F1 in training")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="smooth_f1",
    row="M2",
    family="surrogates",
    title="Rare positives found by the smooth F1",
    paper="arXiv 2108.10566",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    phase=is_warm,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="gain", at_least=0.12, statistic="mean", seeds=5),
    figure=figure,
)
