"""The earth mover's distance from both sides: potentials by gradient ascent (Genevay et al. 2016, arXiv 1605.08527).

A plan that moves one set of points onto another costs at least W₁, and potentials f, g with f(x) + g(y) <= |x − y| are
worth at most W₁ (Kantorovich duality), so each bounds the other. Here f is a number at each source, and g its
c-transform, min over x of |x − y| − f(x), softened by ε: then mean f + mean g is smooth and concave in f, its gradient
is what each source still lacks, and its soft plan follows from the potentials. ε falls as training goes on. Bounds are
honest ones: the hard c-transform below, a plan with the right sums above. `emd` gives the number between, exactly.
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
from ...data import Split, eight_gaussians
from ...grad_mode import each_step, no_grad
from ...optimal_transport import c_transform, emd, optimality
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_000
    batch_size: int = 200
    lr: float = 0.1
    epsilon: float = 0.5
    last_epsilon: float = 0.005


class Potential(nn.Module):
    """f, a number at each source, in training; everything else follows from it.

    >>> Potential(np.zeros((3, 2), np.float32)).distances(tz.ones(5, 2)).shape
    (3, 5)
    """

    def __init__(self, sources: Array) -> None:
        self.sources = nn.Buffer(sources)  # (n, 2)
        self.f = nn.Parameter(np.zeros(len(sources), sources.dtype))

    def distances(self, y: Any) -> Any:
        """|x − y| in the plane, (n, 2), (m, 2) → (n, m): what `cdist` gives, at a tenth of its time."""
        across, up = (self.sources[:, k, None] - y[:, k] for k in range(2))
        return ops.sqrt(across * across + up * up)


def soft_transform(f: Any, D: Any, epsilon: float) -> tuple[Any, Any]:
    """g = −ε log mean exp((f − D) / ε), (n,), (n, m) → (m,), and the plan (n, m) that f and g make.

    >>> g, plan = soft_transform(np.zeros(1), np.array([[5.0, 7.0]]), epsilon=0.1)
    >>> g.tolist(), plan.tolist()
    ([5.0, 7.0], [[0.5, 0.5]])
    """
    reach = (f[:, None] - D) / epsilon
    with no_grad():
        peak = ops.amax(reach, axis=0)  # logsumexp by hand: the plan is made of the same exponentials
    shares = ops.exp(reach - peak)
    total = shares.sum(axis=0)  # (m,)
    return epsilon * (math.log(len(D)) - peak - ops.log(total)), shares / (D.shape[1] * total)


def bounds(f: Any, plan: Any, D: Any) -> tuple[Any, Any]:
    """What f is worth with its hard c-transform, and what the plan costs once its sums are right: W₁ is in between.

    Rows that send too much are scaled down; what then lacks is sent in proportion (Altschuler et al. 2017, arXiv
    1705.09634). The column sums of the plan are right already.
    """
    n, m = D.shape
    worth = f.mean() + ops.amin(D - f[:, None], axis=0).mean()
    sent = plan.sum(axis=1)
    share = ops.minimum(1 / (n * sent), 1.0)  # of each row that is kept
    row_lacks, column_lacks = 1 / n - share * sent, 1 / m - share @ plan
    rest = (row_lacks * (D @ column_lacks)).sum() / ops.maximum(row_lacks.sum(), 1e-30)
    return worth, (share * (plan * D).sum(axis=1)).sum() + rest


def epsilon_at(config: Settings, step: int) -> float:
    """From `epsilon` to `last_epsilon`, the same factor a step."""
    return float(config.epsilon * (config.last_epsilon / config.epsilon) ** (step / config.steps))


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Sources and targets, 200 of each; there is nothing else to test on."""
    sources = (0.5 * rng.standard_normal((200, 2))).astype(np.float32)
    points = (sources, eight_gaussians(200, rng, radius=2.0, noise=0.1)[0])
    return Split(train=points, test=points)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Potential]:
    model = Potential(data.train[0])
    adam = optim.Adam(model.parameters(), lr=config.lr, betas=(0.5, 0.9))
    schedule = optim.CosineAnnealingLR(adam, config.steps)
    return Parts(model=model, optimizers={"adam": adam}, schedules={"cosine": schedule})


def step(state: State[Settings, Potential], batch: Batch) -> dict[str, Tensor]:
    _, y = batch  # (M, 2), targets in some order
    model, optimizer = state.model, state.optimizers["adam"]
    D = model.distances(y)  # (n, M)
    optimizer.zero_grad()
    g, plan = soft_transform(model.f, D, each_step(lambda: epsilon_at(state.config, state.step)))
    (-(model.f.mean() + g.mean())).backward()
    with no_grad():
        below, above = bounds(model.f, plan, D)
    optimizer.step()
    state.schedules["cosine"].step()
    return {"gap": above - below, "above": above, "below": below}


def problem(data: Split) -> tuple[Array, Array, Array]:
    """The masses and the distances in float64, for the exact solver."""
    x, y = (points.astype(np.float64) for points in data.test)
    return np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), np.linalg.norm(x[:, None] - y, axis=2)


def evaluate(state: State[Settings, Potential]) -> dict[str, float]:
    """The learnt bounds, how far they are apart as a share of W₁, and how far the exact solver's own bounds are."""
    p, q, D = problem(state.data)
    plan, exact, potentials = emd(p, q, D)
    f = state.model.f.numpy().astype(np.float64)
    below, above = (float(bound) for bound in bounds(f, soft_transform(f, D, state.config.last_epsilon)[1], D))
    certificate = optimality(p, q, D, plan, potentials)
    return {
        "gap": (above - below) / exact,
        "above": above,
        "below": below,
        "exact": exact,
        "exact_gap": abs(certificate.gap) + certificate.infeasibility + certificate.marginals,
    }


def baseline(data: Split) -> Mapping[str, float]:
    """What is known without training: of f = 0, and of the plan that sends everything everywhere."""
    p, q, D = problem(data)
    below, above = bounds(np.zeros(len(p)), np.outer(p, q), D)
    return {"f = 0 and the independent plan": float(above - below) / emd(p, q, D).value}


def figure(state: State[Settings, Potential], path: Path) -> None:
    """The exact plan over the learnt potential, both bounds closing in, the learnt plan, and both potentials."""
    p, q, D = problem(state.data)
    plan, exact, (best, _) = emd(p, q, D)
    f, (x, y) = state.model.f.numpy().astype(np.float64), state.data.test
    metrics = evaluate(state)
    title = f"W₁ = {exact:.4f}; learnt {metrics['below']:.4f} to {metrics['above']:.4f}"
    fig, (map_, curves, matrix, values) = plotting.figure(4, title=title)
    across = np.linspace(-2.8, 2.8, 100)
    places = np.stack(np.meshgrid(across, across), axis=-1)  # (100, 100, 2)
    g = c_transform(D.T, f)
    heights = c_transform(np.linalg.norm(places[:, :, None] - y, axis=3).reshape(-1, len(y)), g)
    map_.contour(across, across, heights.reshape(100, 100), levels=20, cmap="viridis", linewidths=0.6)
    for i, j in np.argwhere(plan > 0):
        map_.plot(*zip(x[i], y[j], strict=True), color=plotting.GREY, linewidth=0.6)
    for points, colour in ((x, plotting.BLUE), (y, plotting.ORANGE)):
        map_.scatter(*points.T, s=6, color=colour, zorder=3)
    map_.set(title="exact plan, learnt potential", aspect="equal", xticks=[], yticks=[])
    steps = [line["step"] for line in state.history]
    for key, colour in (("above", plotting.ORANGE), ("below", plotting.BLUE)):
        curves.plot(steps, [line[key] for line in state.history], color=colour, label=key)
    curves.axhline(exact, color="black", linewidth=0.7, label="exact")
    curves.set(title="a plan's cost, potentials' worth", xlabel="step", ylim=(0.9 * exact, 1.15 * exact))
    curves.legend(frameon=False)
    # Sources by the angle of their target, targets in the order of their sources: the exact plan is the diagonal.
    partner = plan.argmax(1)
    rows = np.argsort(np.arctan2(*y[partner].T[::-1]), kind="stable")
    learnt = soft_transform(f, D, state.config.last_epsilon)[1]
    matrix.imshow(np.sqrt(learnt[rows][:, partner[rows]]), cmap="Blues", interpolation="nearest")
    matrix.set(title="learnt plan (√); exact: the diagonal", xlabel="target", ylabel="source")
    values.scatter(best - best.mean(), f - f.mean(), s=5, color=plotting.BLUE)
    values.axline((0, 0), slope=1, color=plotting.GREY, linewidth=0.7)
    values.set(title="potentials of the sources", xlabel="exact f", ylabel="learnt f", aspect="equal")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="earth_mover",
    row="G9",
    family="optimal_transport",
    title="The earth mover's distance, bounded from both sides",
    paper="arXiv 1605.08527",
    config=Settings(),
    metric="gap",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="gap", at_most=0.01, seeds=3),
    figure=figure,
)
