"""Cross-entropy goes down while accuracy goes down too: a loss is not the metric (Goodfellow et al. 2016, ch. 8.1.2).

Most points lie near the boundary between two classes; a few with the wrong label lie far on the wrong side of it. The
accuracy counts each of them once, whatever its distance, so the best line for it leaves them wrong. The cross-entropy
grows with the distance: it pays to tilt and flatten the line for the few, and many near points are wrong then. A linear
model is trained on the smooth accuracy first and on cross-entropy from then on.
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
from ...grad_mode import effect
from ...losses import CrossEntropyLoss, SmoothAccuracyLoss
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]
PHASES = ("accuracy", "cross_entropy")


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 800
    batch_size: int = 500
    lr: float = 0.05
    switch: int = 400  # the step from which cross-entropy is trained on


class TwoPhases(nn.Module):
    """A linear classifier of two classes, `line`, and as it was when the loss changed, `before`."""

    def __init__(self, dim: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.line, self.before = nn.Linear(dim, 2, rng=rng), nn.Linear(dim, 2, rng=rng)

    @effect
    def keep(self) -> None:
        """`before` becomes what `line` is now."""
        for x, y in zip(self.before.parameters(), self.line.parameters(), strict=True):
            x.data = y.data.copy()

    def forward(self, x: Any) -> Any:
        return self.line(x)


def points(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """x (n, 2), y (n,): one in ten of class 1 lies at -3, far on the side of class 0."""
    y = rng.integers(2, size=n)
    x = rng.standard_normal((n, 2))
    x[:, 0] = (2 * y - 1) * rng.uniform(0.1, 1.2, n)
    far = rng.random(n) < 0.1
    x[far, 0], y[far] = -3 + 0.3 * rng.standard_normal(int(far.sum())), 1
    return x.astype(np.float32), y


def data(config: Settings, rng: np.random.Generator) -> Split:
    return Split(train=points(2_000, rng), test=points(2_000, rng))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[TwoPhases]:
    model = TwoPhases(data.train[0].shape[1], rng=rng)
    model.keep()
    return Parts(model=model, optimizers={"adam": optim.Adam(model.line.parameters(), lr=config.lr)})


def phase(state: State[Settings, TwoPhases]) -> str:
    """What is trained on."""
    return PHASES[state.step >= state.config.switch]


def step(state: State[Settings, TwoPhases], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 2), (N,)
    adam = state.optimizers["adam"]
    adam.zero_grad()
    logits = state.model(x)
    entropy: Tensor = CrossEntropyLoss()(logits, y)
    (entropy if phase(state) == "cross_entropy" else SmoothAccuracyLoss()(logits, y)).backward()
    adam.step()
    if phase(state) == "accuracy":
        state.model.keep()
    return {"cross_entropy": entropy, "accuracy": (ops.argmax(logits, axis=-1) == y).to("float32").mean()}


def evaluate(state: State[Settings, TwoPhases]) -> dict[str, float]:
    """On the test points, before and after the second phase; `lost` is the accuracy of the model of higher
    cross-entropy less that of the one of lower: above 0 where the two disagree.
    """
    x, y = (tensor(part, device=state.device) for part in state.data.test)
    found = {}
    for name, model in zip(PHASES, (state.model.before, state.model.line), strict=True):
        logits = model(x)
        found[f"accuracy_after_{name}"] = metrics.accuracy(ops.argmax(logits, axis=-1), y)
        found[f"entropy_after_{name}"] = float(ops.cross_entropy(logits, y))
    lost = found["accuracy_after_accuracy"] - found["accuracy_after_cross_entropy"]
    fell = found["entropy_after_cross_entropy"] < found["entropy_after_accuracy"]
    return {"lost": lost if fell else -lost, **found}


def baseline(data: Split) -> Mapping[str, float]:
    """Were the loss as good as the metric, nothing would be lost."""
    return {"if they agreed": 0.0}


def figure(state: State[Settings, TwoPhases], path: Path) -> None:
    """Both curves of the training, the points with both lines, and the accuracy over the threshold of p."""
    x, y = state.data.test
    fig, (curves, plane, over) = plotting.figure(3, size=3.6)
    plotting.curve_panel(curves, state.history, "cross_entropy", "accuracy", title="accuracy, then cross-entropy")
    curves.axvline(state.config.switch, color="black", linewidth=0.5)
    plane.scatter(x[:, 0], x[:, 1], c=np.where(y == 1, plotting.ORANGE, plotting.BLUE), s=2)
    side, thresholds = np.array([-3.5, 3.5]), np.linspace(0.01, 0.99, 99)
    models: Any = (state.model.before, state.model.line)
    for name, model, style in zip(PHASES, models, ("-", "--"), strict=True):
        (across, up), shift = np.diff(model.weight.numpy(), axis=0)[0], np.diff(model.bias.numpy())[0]
        plane.plot(-(shift + up * side) / across, side, style, color="black", label=f"after {name}")
        p = ops.softmax(model(tensor(x, device=state.device)), axis=-1).numpy()[:, 1]
        shares = [metrics.accuracy(p > threshold, y == 1) for threshold in thresholds]
        label = f"after {name}: {metrics.accuracy(p > 0.5, y == 1):.2f} at ½"
        over.plot(thresholds, shares, style, color="black", label=label)
    plane.set(title="test points, and where p = ½", xlim=(-4.5, 2.5), ylim=(-3.5, 3.5), xlabel="x₁", ylabel="x₂")
    plane.legend(frameon=False, loc="lower left", fontsize=7)
    over.set(title="accuracy on test points", xlabel="threshold of p", ylim=(0.3, 1))
    over.legend(frameon=False)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="accuracy_and_entropy",
    row="M3",
    family="surrogates",
    title="Cross-entropy and accuracy go down together",
    paper="Goodfellow et al. 2016, Deep Learning, ch. 8.1.2",
    config=Settings(),
    metric="cross_entropy",
    data=data,
    build=build,
    step=step,
    phase=phase,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="lost", at_least=0.1, seeds=3),
    figure=figure,
)
