"""Values, gradients and second derivatives of every op are PyTorch's; golden numbers stand in where it is missing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_zoo import backend
from tinygrad_zoo.ops.sampling import Sample
from torch_ops import ADAPTED, NOT_IN_TORCH, OPS, TORCH, flat, ours, sample_numbers, samples, theirs

GOLDENS = Path(__file__).parent / "goldens" / "torch_ops.npz"
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def same(a: Sequence[Sequence[Any]], b: Sequence[Sequence[Any]], tolerance: float, what: str) -> None:
    """Equal up to the tolerance, in units of the largest number of each array."""
    assert [len(group) for group in a] == [len(group) for group in b], what
    for group, (xs, ys) in zip(("values", "gradients", "second derivatives"), zip(a, b, strict=True), strict=False):
        for x, y in zip(xs, ys, strict=True):
            assert x.shape == y.shape, f"{what}, {group}: {x.shape}, PyTorch {y.shape}"
            assert (x.dtype == y.dtype) or x.dtype.kind != "f", f"{what}, {group}: {x.dtype}, PyTorch {y.dtype}"
            scale = max(1.0, float(np.abs(y.astype(np.float64)).max(initial=0)))
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale, err_msg=f"{what}, {group}")


def test_every_op_is_compared_or_says_why_not() -> None:
    assert set(ADAPTED) | set(NOT_IN_TORCH) <= set(OPS)
    assert not set(ADAPTED) & set(NOT_IN_TORCH)
    assert all(NOT_IN_TORCH.values())


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TORCH)
def test_an_op_is_that_of_torch(name: str, dtype: str) -> None:
    for seed in (0, 1):
        for k, s in enumerate(samples(name, seed)):
            same(ours(name, s, dtype), theirs(name, s, dtype), TOLERANCE[dtype], f"{name}, sample {k}")


# ---- losses over all their settings
def _cross_entropy_cases() -> list[tuple[Sample, str]]:
    rng = np.random.default_rng(0)
    cases = []
    for shape, soft, weighted, reduction, smoothing, ignored in itertools.product(
        [(4, 3), (3,), (2, 3, 2)], [False, True], [False, True], ["mean", "sum", "none"], [0.0, 0.2], [-100, 1]
    ):
        logits = rng.standard_normal(shape)
        axis = 0 if len(shape) == 1 else 1
        weight = rng.uniform(0.5, 2.0, 3) if weighted else None
        if soft:
            if ignored >= 0:  # PyTorch refuses it with probabilities
                continue
            target = rng.uniform(0.1, 1.0, shape)
            target /= target.sum(axis=axis, keepdims=True)
        else:
            rest = shape[:axis] + shape[axis + 1 :]
            target = np.asarray(rng.integers(0, 3, rest))
            if ignored >= 0 and not (target != ignored).any():
                target = np.zeros(rest, dtype=np.int64)
        settings = {"ignore_index": ignored, "reduction": reduction, "label_smoothing": smoothing}
        named = ", ".join([str(shape), "soft" if soft else "hard", "weight" if weighted else "", str(settings)])
        cases.append((Sample((logits, target, weight), settings), named))
    return cases


@pytest.mark.oracle("torch")
def test_cross_entropy_is_that_of_torch_over_all_settings() -> None:
    cases = _cross_entropy_cases()
    assert len(cases) == 108
    for s, named in cases:
        same(ours("cross_entropy", s), theirs("cross_entropy", s), 1e-9, named)


@pytest.mark.oracle("torch")
def test_binary_cross_entropy_is_that_of_torch_over_all_settings() -> None:
    rng = np.random.default_rng(0)
    name = "binary_cross_entropy_with_logits"
    for shape, weighted, positive, reduction in itertools.product(
        [(3,), (2, 3)], [False, True], [False, True], ["mean", "sum", "none"]
    ):
        weight, pos_weight = (rng.uniform(0.5, 2.0, 3) if given else None for given in (weighted, positive))
        inputs = (4 * rng.standard_normal(shape), rng.uniform(0, 1, shape), weight, pos_weight)
        s = Sample(inputs, {"reduction": reduction})
        same(ours(name, s), theirs(name, s), 1e-9, f"{shape}, {reduction}")


# ---- without the library
def test_the_golden_file_has_every_op() -> None:
    with np.load(GOLDENS) as goldens:
        assert set(goldens.files) == set(TORCH)


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
@pytest.mark.parametrize("name", TORCH)
def test_an_op_has_the_golden_numbers_of_torch(name: str, device: str) -> None:
    with np.load(GOLDENS) as goldens:
        golden = goldens[name]
    with backend.using(device):
        parts = [np.concatenate([sample_numbers(s), flat(ours(name, s))]) for s in samples(name)]
    found = np.concatenate(parts)
    assert found.shape == golden.shape, "the samples have changed: run tests/goldens/make_torch_ops.py"
    np.testing.assert_allclose(found, golden, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(golden).max(initial=0)))


def test_the_golden_file_is_of_these_samples() -> None:
    with np.load(GOLDENS) as goldens:
        for name in TORCH:
            first = sample_numbers(samples(name)[0])
            np.testing.assert_allclose(goldens[name][: first.size], first, rtol=1e-12, err_msg=name)


@pytest.mark.oracle("torch")
def test_the_golden_file_is_that_of_this_torch() -> None:
    with np.load(GOLDENS) as goldens:
        for name in ("mul", "cross_entropy", "layer_norm", "solve_triangular"):
            parts = [np.concatenate([sample_numbers(s), flat(theirs(name, s))]) for s in samples(name)]
            np.testing.assert_allclose(goldens[name], np.concatenate(parts), rtol=1e-10, atol=1e-10)
