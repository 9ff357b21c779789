"""Products of device arrays by the kernels of convolution, in the emulation: what captured graphs hold for cuBLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from capture_checks import MLP, batches
from planting import planted
from tinygrad_zoo import backend
from tinygrad_zoo.kernels import cuda, gemm
from tinygrad_zoo.kernels.gemm import gpu
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

NEAR = {"float32": 2e-7, "float64": 1e-15}  # of the largest entry, for each root of the number of terms
LAYOUTS = ("rows", "columns", "strided")
SHAPES = {
    "square": ((5, 7), (7, 6)),
    "tiles": ((33, 70), (70, 65)),
    "few rows": ((2, 40), (40, 9)),
    "a long sum": ((6, 1100), (1100, 5)),
    "a vector on the left": ((7,), (7, 3)),
    "a vector on the right": ((5, 7), (7,)),
    "two vectors": ((7,), (7,)),
    "a batch by a matrix": ((2, 3, 5, 7), (7, 6)),
    "a matrix by a batch": ((5, 7), (3, 7, 6)),
    "a batch": ((3, 5, 7), (3, 7, 6)),
    "batches that are broadcast": ((2, 1, 5, 7), (3, 7, 6)),
    "one matrix for a batch": ((4, 5, 7), (1, 7, 6)),
    "a sum of nothing": ((3, 0), (0, 4)),
    "no rows": ((0, 4), (4, 3)),
    "no matrices": ((0, 5, 7), (1, 7, 4)),
}


def drawn(seed: int, shape: tuple[int, ...], layout: str, dtype: str) -> tuple[Any, Any]:
    """Numbers on the host, and the same on the device in that layout."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if layout == "rows" or x.ndim < 2:
        return x, cupysim.asarray(x)
    if layout == "columns":
        return x, cupysim.asarray(np.ascontiguousarray(np.swapaxes(x, -1, -2))).mT
    return x, cupysim.asarray(np.repeat(x, 2, axis=-1))[..., ::2]


def agree(shapes: Any, layouts: Any, dtype: str) -> None:
    (x, on_x), (y, on_y) = (drawn(i, shapes[i], layouts[i], dtype) for i in range(2))
    expected = x.astype(np.float64) @ y.astype(np.float64)
    made = []
    for seed in (0, 1, 5):
        with cuda.recorded(), forbid_sync(), schedule(seed):
            out = gemm.matmul(on_x, on_y)
        assert type(out) is cupysim.ndarray and out.dtype == dtype and out.shape == expected.shape
        made.append(out.get())
    scale = np.abs(expected).max(initial=0) * max(x.shape[-1], 1) ** 0.5
    np.testing.assert_allclose(made[0], expected, rtol=0, atol=NEAR[dtype] * scale)
    assert all(np.array_equal(made[0], other) for other in made)


@pytest.mark.parametrize("name", SHAPES)
def test_products(name: str) -> None:
    for k, x in enumerate(LAYOUTS):
        for y in LAYOUTS if name in ("square", "a batch") else LAYOUTS[k : k + 1]:
            for dtype in ("float32", "float64"):
                agree(SHAPES[name], (x, y), dtype)


@pytest.mark.parametrize("sums", [False, True])
def test_the_gradient_of_a_weight(sums: bool) -> None:
    (g, on_g), (x, on_x) = (drawn(i, (9, n), "rows", "float64") for i, n in enumerate((5, 7)))
    with cuda.recorded():
        gw, gb = gemm.weight_gradient(on_g, on_x, sums)
    np.testing.assert_allclose(gw.get(), g.T @ x, rtol=1e-14)
    assert (gb is None) != sums and (gb is None or np.allclose(gb.get(), g.sum(axis=0), rtol=1e-14))


def test_a_bias_and_numbers_that_are_none() -> None:
    x = np.array([[np.nan, 1.0], [np.inf, 2.0], [3.0, 4.0]])
    y, bias = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 2.0])
    with cuda.recorded():
        out = gemm.matmul(*map(cupysim.asarray, (x, y, bias)))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out.get(), x @ y + bias)


def test_shapes_that_do_not_fit() -> None:
    with cuda.recorded():
        for x, y in (((2, 3), (2, 3)), ((2, 3), ()), ((2, 2, 3), (3, 3, 2))):
            with pytest.raises(ValueError, match=r"matmul|broadcast"):
                gemm.matmul(cupysim.ones(x), cupysim.ones(y))


def test_eager_products_are_those_of_the_arrays_module(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = cupysim.ones((2, 3)), cupysim.ones((3, 2))
    monkeypatch.setattr(gpu, "matmul", None)
    assert gemm.matmul(x, y).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    with cuda.recorded():  # halves go there always
        assert gemm.matmul(x.astype(np.float16), y.astype(np.float16)).dtype == np.float16
        with pytest.raises(TypeError):
            gemm.matmul(x, y)


def test_a_captured_step_is_one_graph() -> None:
    with backend.using("cupysim"):
        model = MLP(np.random.default_rng(0))

        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            attended = tz.scaled_dot_product_attention(x[None], x[None], x[None])[0]
            loss = tz.cross_entropy(model(attended), y) + tz.einsum("ij,kj->ik", x, x).mean()
            loss.backward()
            return loss

        captured, eager = tz.capture(step), []
        for x, y in batches(4):
            found = captured(x, y).item()
            eager.append(abs(found - step(x, y).item()) / abs(found))
        report = captured.report()
    assert report["python"] == {} and report["graphs"] == 1
    assert max(eager) < 1e-6


# ---- faults
def batched() -> None:
    for layouts in (("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("columns", "columns")):
        agree(SHAPES["a batch"], layouts, "float64")


# function, the text in it, what it becomes, what notices
FAULTS: dict[str, tuple[str, str, str, Callable[[], None]]] = {
    "columns taken for rows, on the right": ("_batched", "b.swapaxes(-1, -2).reshape(", "b.reshape(", batched),
    "columns taken for rows, on the left": ("_batched", "a.swapaxes(-1, -2).reshape(", "a.reshape(", batched),
    "one group for a batch": ("_batched", '"groups": count}', '"groups": 1}', batched),
    "vectors that stay matrices": (
        "matmul", "out[..., 0] if y.ndim == 1", "out[..., 0] if y.ndim == 0",
        lambda: agree(SHAPES["a vector on the right"], ("rows", "rows"), "float64"),
    ),
    "the first matrix for all": (
        "_stacked", "math.prod(z.shape[:-2]) == 1", "z.ndim > 2",
        lambda: agree(SHAPES["batches that are broadcast"], ("rows", "rows"), "float64"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, old, new, check = FAULTS[fault]
    monkeypatch.setattr(*planted(gpu, "", function, old, new))
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        check()
