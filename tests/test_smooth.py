"""Row M1: the smooth stand-ins are as near as their bounds say, overflow nowhere, and train what argmax cannot."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.models.surrogates.soft_argmax import LEARNERS, RECIPE, Scores, sharpness
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
BETAS = [10.0**k for k in range(5)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- bounds
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_the_smooth_maximum_is_above_by_at_most_log_n_over_beta(beta: float, scale: float) -> None:
    for n in (1, 2, 16):
        x = scale * rng(n).standard_normal((3_334, n))
        error = ops.smooth_max(x, beta=beta, axis=-1) - x.max(axis=-1)
        assert error.min() >= 0 and error.max() <= math.log(n) / beta + 1e-13 * scale
        below = x.min(axis=-1) - ops.smooth_max(x, beta=-beta, axis=-1)
        assert below.min() >= 0 and below.max() <= math.log(n) / beta + 1e-13 * scale
        assert (ops.smooth_max(-x, beta=beta, axis=-1) == -ops.smooth_max(x, beta=-beta, axis=-1)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(1e-2, 1e6), st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=60)
def test_bounds_of_all_of_them(seed: int, n: int, beta: float, scale: float) -> None:
    x = scale * rng(seed).standard_normal((3, n))
    one_hot = ops.smooth_onehot(x, beta=beta)
    np.testing.assert_allclose(one_hot.sum(axis=-1), 1, rtol=1e-12)
    assert (one_hot.argmax(axis=-1) == x.argmax(axis=-1)).all() and (one_hot.max(axis=-1) >= 1 / n).all()
    place = ops.smooth_argmax(x, beta=beta)
    assert ((place >= 0) & (place <= n - 1 + 1e-9)).all()
    gap = np.sort(x)[:, -1] - np.sort(x)[:, -2] if n > 1 else np.full(3, math.inf)
    assert (np.abs(place - x.argmax(axis=-1)) <= (n - 1) ** 2 * np.exp(-beta * gap) + 1e-9).all()
    above = ops.smooth_abs(x, beta=beta) - np.abs(x)
    assert (above >= -1e-15 * np.abs(x)).all() and (above <= math.log(2) / beta + 1e-12 * scale).all()
    sign = ops.smooth_sign(x, beta=beta)
    assert (np.abs(sign) <= 1).all() and (sign * x >= 0).all()
    for k in range(n + 1):
        chosen = ops.smooth_topk(x, k=k, beta=beta)
        np.testing.assert_allclose(chosen.sum(axis=-1), k, atol=1e-11)
        assert ((chosen >= 0) & (chosen <= 1)).all()
        assert (np.take_along_axis(chosen, x.argsort(axis=-1), -1)[:, 1:] >= np.sort(chosen, axis=-1)[:, :-1]).all()


@given(st.floats(-50, 50), st.floats(5, 1e4))
def test_stairs_are_right_away_from_their_steps(x: float, beta: float) -> None:
    far = abs(x - round(x))
    assert abs(float(ops.smooth_floor(np.array(x), beta=beta)) - math.floor(x)) <= 2 * math.exp(-beta * far) + 1e-12
    value = float(ops.smooth_round(np.array(x), beta=beta))
    assert abs(value - math.floor(x + 0.5)) <= 2 * math.exp(-beta * (0.5 - far)) + 1e-12


def test_stairs_have_no_seam() -> None:
    """All derivatives agree on both sides of a whole number, where the sum changes its terms."""
    for beta in (1.0, 3.0, 10.0):
        values = ops.smooth_floor(np.array([2.0 - 1e-12, 2.0, 2.0 + 1e-12]), beta=beta)
        np.testing.assert_allclose(values, 1.5, atol=1e-10)
        slopes = [tz.grad(lambda x, b=beta: ops.smooth_floor(x, beta=b))(tz.tensor(x, "float64")).item() for x in
                  (2.0 - 1e-12, 2.0 + 1e-12)]  # fmt: skip
        assert slopes[0] == pytest.approx(slopes[1], rel=1e-9)


def test_two_more_maxima_of_two_are_gelu_and_swish_of_their_difference() -> None:
    """As the doc of `smooth_max` says: with Dirac's function made smooth, ½ (a + b + (a - b) erf) and (a - b) σ + b."""
    from scipy.special import erf, expit

    a, b = rng(1).standard_normal((2, 200))
    larger = np.maximum(a, b)
    for beta in (1.0, 30.0):
        c = math.sqrt(2) * beta
        of_erf = 0.5 * (a + b + (a - b) * erf(beta * (a - b)))
        of_sigmoid = (a - b) * expit(beta * (a - b)) + b
        np.testing.assert_allclose(b + ops.gelu(c * (a - b)) / c, of_erf, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(b + ops.swish(a - b, beta), of_sigmoid, rtol=1e-12, atol=1e-14)
        for found in (of_erf, of_sigmoid):
            assert (found <= larger + 1e-14).all() and (larger - found).max() < 0.3 / beta


# ---- extremes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_overflows(dtype: str) -> None:
    x = tz.tensor(np.array([1e4, -1e4, 3.0, 9_999.0], dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for op, more in (
            (ops.smooth_max, {}),
            (ops.smooth_onehot, {}),
            (ops.smooth_argmax, {}),
            (ops.smooth_abs, {}),
            (ops.smooth_sign, {}),
            (ops.smooth_topk, {"k": 2}),
        ):
            for beta in (1e-3, 1.0, 1e6):
                made = op(x, beta=beta, **more)
                (slope,) = tz.vjp(lambda z, op=op, beta=beta, more=more: op(z, beta=beta, **more), x)[1](
                    tz.ones(*made.shape, dtype=dtype)
                )
                assert np.isfinite(made.numpy()).all() and np.isfinite(slope.numpy()).all(), (op, beta)
    assert ops.smooth_max(x, beta=1e6).item() == 1e4 and ops.smooth_argmax(x, beta=1e6).item() == 0
    assert ops.smooth_topk(x, k=2, beta=1e6).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_whose_product_with_beta_is_infinite(dtype: str) -> None:
    huge = float(np.finfo(dtype).max) / 8
    x = tz.tensor(np.array([huge, -huge, 1.0]), dtype, requires_grad=True)
    with np.errstate(over="ignore"):
        found = {op: op(x, beta=1e6) for op in (ops.smooth_max, ops.smooth_argmax, ops.smooth_onehot, ops.smooth_abs)}
        found[ops.smooth_topk] = ops.smooth_topk(x[np.array([0, 1, 0])], k=2, beta=1e6)
        sum(value.sum() for op, value in found.items() if op is not ops.smooth_abs).backward()
    assert found[ops.smooth_max].item() == x[0].item() and found[ops.smooth_argmax].item() == 0
    assert found[ops.smooth_onehot].tolist() == [1, 0, 0] and found[ops.smooth_topk].tolist() == [1, 0, 1]
    assert found[ops.smooth_abs][:2].tolist() == 2 * [x[0].item()]
    assert np.isfinite(x.grad.numpy()).all()


def test_infinite_scores_are_the_largest_or_none() -> None:
    masked = np.array([1.0, -math.inf, 2.0])
    assert ops.smooth_max(masked, beta=1e3) == 2 and ops.smooth_onehot(masked, beta=1e3).tolist() == [0, 0, 1]
    assert ops.smooth_max(np.array([-math.inf, -math.inf]), beta=2.0) == -math.inf
    for k, chosen in ((1, [0, 0, 1]), (2, [1, 0, 1])):
        np.testing.assert_allclose(ops.smooth_topk(masked, k=k, beta=1e3), chosen, atol=1e-12)
    assert ops.smooth_topk(np.array([math.inf, 1.0, 2.0]), k=1, beta=1.0).tolist() == [1, 0, 0]


def test_soft_argmax_of_two_peaks_is_the_middle_where_none_of_them_is() -> None:
    peaks = np.array([0.0, 5.0, 0.0, 0.0, 0.0, 5.0, 0.0])
    for beta in (5.0, 100.0, 1e6):
        assert ops.smooth_argmax(peaks, beta=beta) == pytest.approx(3.0, abs=1e-8)
    assert peaks[3] == 0 and "middle" in ops.smooth_argmax.__doc__
    assert ops.smooth_argmax(peaks + 0.1 * (np.arange(7) == 5), beta=100.0) == pytest.approx(5.0, abs=1e-3)


# ---- derivatives
def test_gradients_are_one_another() -> None:
    x = tz.tensor(rng(3).standard_normal(7))
    slope = tz.grad(lambda x: ops.smooth_max(x, beta=3.0))(x)
    np.testing.assert_allclose(slope.numpy(), ops.smooth_onehot(x, beta=3.0).numpy(), rtol=1e-12)
    slope = tz.grad(lambda x: ops.smooth_abs(x, beta=3.0).sum())(x)
    np.testing.assert_allclose(slope.numpy(), ops.smooth_sign(x, beta=3.0).numpy(), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(
        ops.smooth_max(tz.stack([x, -x]), beta=3.0, axis=0).numpy(), ops.smooth_abs(x, beta=3.0).numpy(), rtol=1e-12
    )
    assert ops.smooth_max(x, beta=1.0).item() == pytest.approx(ops.logsumexp(x).item(), rel=1e-14)


def test_top_k_moves_its_threshold_with_the_values() -> None:
    """The derivative of σ(βx - t), Σ = k: against differences of the whole solution, and rows of it sum to 0."""
    x = rng(4).standard_normal(6)
    table = tz.jacobian(lambda x: ops.smooth_topk(x, k=2, beta=3.0))(tz.tensor(x)).numpy()
    np.testing.assert_allclose(table.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(table, table.T, atol=1e-12)
    for j in range(6):
        step = 1e-5 * np.eye(6)[j]
        slope = (ops.smooth_topk(x + step, k=2, beta=3.0) - ops.smooth_topk(x - step, k=2, beta=3.0)) / 2e-5
        np.testing.assert_allclose(table[:, j], slope, atol=1e-9)


def test_top_1_of_two_is_a_softmax() -> None:
    """With two values the threshold is their mean."""
    x = rng(5).standard_normal((4, 2))
    np.testing.assert_allclose(ops.smooth_topk(x, k=1, beta=3.0), ops.smooth_onehot(x, beta=1.5), rtol=1e-12)


@pytest.mark.oracle("torch")
def test_top_k_has_the_derivatives_of_its_equation_by_torch() -> None:
    x = rng(6).standard_normal(5)
    chosen = ops.smooth_topk(x, k=2, beta=2.0)
    t = float(2.0 * x[0] - math.log(chosen[0] / (1 - chosen[0])))
    theirs = torch.tensor(x, requires_grad=True)
    threshold = torch.tensor(t, dtype=torch.float64)
    for _ in range(3):  # Newton's steps in the graph: three make three orders of derivatives right
        p = torch.sigmoid(2.0 * theirs - threshold)
        threshold = threshold + (p.sum() - 2) / (p * (1 - p)).sum()
    weight = torch.tensor(rng(7).standard_normal(5))
    (first,) = torch.autograd.grad((torch.sigmoid(2.0 * theirs - threshold) * weight).sum(), theirs, create_graph=True)
    (second,) = torch.autograd.grad((first * weight).sum(), theirs)
    ours = tz.tensor(x)

    def slope(x: Any) -> Any:
        return tz.grad(lambda x: (ops.smooth_topk(x, k=2, beta=2.0) * tz.tensor(weight.numpy())).sum())(x)

    np.testing.assert_allclose(slope(ours).numpy(), first.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        tz.grad(lambda x: (slope(x) * tz.tensor(weight.numpy())).sum())(ours).numpy(),
        second.numpy(),
        rtol=1e-8,
        atol=1e-11,
    )


# ---- errors
def test_errors() -> None:
    x = np.zeros((2, 3))
    for op in (ops.smooth_max, ops.smooth_onehot, ops.smooth_argmax):
        with pytest.raises(UsageError, match=f"{op}: expected a finite beta other than 0, got 0"):
            op(x, beta=0)
    for op in (ops.smooth_abs, ops.smooth_sign):
        with pytest.raises(UsageError, match=f"{op}: expected a finite beta > 0, got -1"):
            op(x, beta=-1)
    for op in (ops.smooth_floor, ops.smooth_round):
        with pytest.raises(UsageError, match=f"{op}: expected a finite beta >= 1"):
            op(x, beta=0.5)
    for beta in (math.inf, math.nan):
        with pytest.raises(UsageError, match="smooth_max: expected a finite beta"):
            ops.smooth_max(x, beta=beta)
    with pytest.raises(UsageError, match="expected k from 0 to the 3 values of axis 1, got 4"):
        ops.smooth_topk(x, k=4, beta=1.0)
    with pytest.raises(ShapeError, match=r"smooth_max: the shape \(2, 0\) has no values along axis=1"):
        ops.smooth_max(np.zeros((2, 0)), beta=1.0, axis=1)


# ---- the system
UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)


def test_a_target_is_reached_through_soft_argmax_and_not_through_argmax(tmp_path: Path) -> None:
    assert find("soft_argmax") is RECIPE
    parts = RECIPE.build(RECIPE.config, RECIPE.data(RECIPE.config, rng()), rng(1))
    start = parts.model["argmax"].table.numpy().copy()
    assert all(np.array_equal(parts.model[name].table.numpy(), start) for name in LEARNERS)
    run = fit(RECIPE, seed=0, out=tmp_path / "run", steps=40, overrides={"batch_size": 16}, progress=False)
    lines = [line.split('"soft_argmax": ')[1] for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert float(lines[-1].split(",")[0].rstrip("}")) < 0.5 * float(lines[0].split(",")[0].rstrip("}"))
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_no_gradient_passes_an_argmax() -> None:
    model = Scores(4, 6, 3.0, rng=rng())
    row, target = tz.tensor(np.arange(4)), tz.tensor(np.array([0, 5, 2, 2]))
    assert not model.distance("argmax", row, target, 1.0).requires_grad
    for learner in LEARNERS[1:]:
        model.zero_grad()
        model.distance(learner, row, target, 1.0).sum().backward()
        assert (np.abs(model.table.grad.numpy()).sum(axis=1) > 0).all()


def test_two_peaks_around_the_target_hold_the_mean_and_not_the_spread() -> None:
    model = Scores(1, 5, 0.0, rng=rng()).to("float64")
    model.table.data = np.array([[0.0, 9.0, 0.0, 9.0, 0.0]])
    row, target = tz.tensor([0]), tz.tensor([2])
    found = {}
    for learner in LEARNERS[1:]:
        model.zero_grad()
        model.distance(learner, row, target, 1.0).sum().backward()
        found[learner] = model.table.grad.numpy()[0]
    assert np.abs(found["soft_argmax"]).max() < 1e-12
    assert found["with_spread"][2] < -1e-5  # the score in the middle rises


def test_beta_grows_for_the_learner_with_spread_alone() -> None:
    config = RECIPE.config
    assert sharpness(config, "with_spread", config.steps) == pytest.approx(config.beta)
    assert sharpness(config, "with_spread", config.steps // 2) == sharpness(config, "soft_argmax", config.steps) == 1


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    found = sorted(run.metrics["farthest"] for run in runs)
    (baseline,) = runs[0].baseline.items()
    print(f"soft_argmax: max {found[-1]:.4f}, median {found[1]:.4f}, {baseline}, {[run.seconds for run in runs]} s")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.metrics["hits_with_spread"] == 1 and run.metrics["hits_argmax"] < 0.3
