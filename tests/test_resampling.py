"""Interpolation (row C2) and images at any points: torch's over drawn settings, the adjoint, layers, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from test_ops_oracle import same
from tinygrad_zoo import backend, nn
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.kernels import windows
from tinygrad_zoo.ops.sampling import Sample
from tinygrad_zoo.testing import seeds
from torch_ops import ours, theirs

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
    "area": (1, 2, 3),
}
ALIGNED = ("linear", "bilinear", "bicubic", "trilinear")
FACTORS = (1.5, 0.6, 2.7, 2, 3, 1.3, 1 / 3, 0.1 + 0.2, 4.0)


def drawn(draw: np.random.Generator, mode: str) -> Sample:
    """Images of a few pixels or of one, a size or a factor, with every setting that the mode has."""
    axes = int(draw.choice(MODES[mode]))
    size = draw.integers(1, (10, 8, 5)[axes - 1], axes)
    settings: dict[str, Any] = {"mode": mode, "size": None, "scale_factor": None, "recompute_scale_factor": None}
    settings["align_corners"] = (None, False, True)[draw.integers(3)] if mode in ALIGNED else None
    if draw.random() < 0.5:
        settings["size"] = tuple(int(n) for n in draw.integers(1, 15, axes))
    else:
        whole = mode == "nearest" and axes == 3  # where torch's own forward and backward read different entries
        factors = [float(f) for f in draw.choice((2, 3) if whole else FACTORS, axes)]
        size = np.maximum(size, np.ceil(1 / np.array(factors) - 1e-9).astype(int))
        settings["scale_factor"] = factors[0] if len({*factors}) == 1 else tuple(factors)
        settings["recompute_scale_factor"] = (None, False, True)[draw.integers(3)]
    return Sample((draw.standard_normal((int(draw.integers(1, 3)), int(draw.integers(1, 4)), *size)),), settings)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("mode", MODES)
@given(seed=seeds(), dtype=st.sampled_from(["float64", "float32"]))
def test_values_and_both_orders_of_gradients_are_those_of_torch(mode: str, seed: int, dtype: str) -> None:
    s = drawn(np.random.default_rng(seed), mode)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    shown = f"{s.inputs[0].shape}, {s.settings}"
    same(ours("interpolate", s, dtype), theirs("interpolate", s, dtype), tolerance, shown)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_nearest_entry_is_torchs_for_every_size(dtype: str) -> None:
    """It depends on rounding: of every size up to 40 to every other one, and by factors."""
    for size in range(1, 41):
        x = np.arange(size, dtype=dtype).reshape(1, 1, 1, size)
        for mode in ("nearest", "nearest-exact"):
            for places in range(1, 41):
                found = tz.interpolate(x, (1, places), mode=mode)
                assert np.array_equal(found, F.interpolate(torch.from_numpy(x), (1, places), mode=mode).numpy())
            for factor in (1.5, 2.7, 1.05, 0.99, 7 / 3):
                if size * factor >= 1:
                    found = tz.interpolate(x, None, (1.0, factor), mode)
                    theirs_ = F.interpolate(torch.from_numpy(x), None, (1.0, factor), mode).numpy()
                    assert np.array_equal(found, theirs_), (size, mode, factor)


@given(seeds(), st.sampled_from(list(MODES)))
def test_each_is_the_adjoint_of_the_other(seed: int, mode: str) -> None:
    """⟨Ux, y⟩ = ⟨x, Uᵀy⟩, and the gradient is Uᵀ to the bit."""
    draw = np.random.default_rng(seed)
    s = drawn(draw, mode)
    x = tz.tensor(s.inputs[0], requires_grad=True)
    made = tz.interpolate(x, **s.settings)
    y = draw.standard_normal(made.shape)
    settings = {name: s.settings[name] for name in ("scale_factor", "mode", "align_corners")}
    settings["scale_factor"] = None if s.settings["recompute_scale_factor"] else settings["scale_factor"]
    back = tz.interpolate_adjoint(y, size=x.shape[2:], **settings)
    assert (made.numpy() * y).sum() == pytest.approx((s.inputs[0] * back).sum(), abs=1e-11)
    made.backward(tz.tensor(y))
    assert np.array_equal(x.grad.numpy(), back)


@given(seeds(), st.integers(1, 30), st.integers(1, 30))
def test_weights_add_up_to_one_and_interpolate(seed: int, size: int, places: int) -> None:
    for table in (
        *(windows.linear(size, places, None, corners) for corners in (False, True)),
        *(windows.cubic(size, places, None, corners) for corners in (False, True)),
        windows.adaptive(size, places),
        windows.nearest(size, places, None, True),
    ):
        sums = np.add.reduceat(table.weight, table.offset[:-1])
        np.testing.assert_allclose(sums, 1, atol=1e-12)
        assert (table.first >= 0).all() and (table.first + table.counts <= size).all()
        assert table.transposed.transposed is table


def test_corners_stay_or_do_not() -> None:
    x = np.array([[[0.0, 3.0]]])
    assert tz.interpolate(x, 4, mode="linear", align_corners=True).tolist() == [[[0.0, 1.0, 2.0, 3.0]]]
    assert tz.interpolate(x, 4, mode="linear").tolist() == [[[0.0, 0.75, 2.25, 3.0]]]
    assert tz.interpolate(x, 1, mode="linear", align_corners=True).tolist() == [[[0.0]]]  # the first, not the middle


def test_the_factor_as_given_counts_unless_it_is_recomputed() -> None:
    x = np.arange(4.0).reshape(1, 1, 4)  # 4 · 0.7 rounds down to 2: a ratio of 2 instead of 1 / 0.7
    found = tz.interpolate(x, scale_factor=0.7, mode="linear")
    np.testing.assert_allclose(found, [[[0.5 / 0.7 - 0.5, 1.5 / 0.7 - 0.5]]], atol=1e-15)
    assert tz.interpolate(x, scale_factor=0.7, mode="linear", recompute_scale_factor=True).tolist() == [[[0.5, 2.5]]]
    assert tz.interpolate(x, scale_factor=0.7).tolist() == [[[0.0, 1.0]]]
    assert tz.interpolate(x, 2).tolist() == [[[0.0, 2.0]]]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16"])
def test_the_nearest_entry_has_any_dtype(dtype: str) -> None:
    x = np.arange(4).reshape(1, 1, 2, 2).astype(dtype)
    found = tz.interpolate(x, scale_factor=2)
    assert found.dtype == dtype and np.array_equal(found, x.repeat(2, 2).repeat(2, 3))


def test_a_size_that_stays_or_doubles_is_copied_whatever_the_factor() -> None:
    """As by torch in one and two axes; in three its forward goes by the factor, and its backward does not."""
    x = np.arange(10.0).reshape(1, 1, 10)
    assert np.array_equal(tz.interpolate(x, scale_factor=1.09), x)
    assert np.array_equal(tz.interpolate(x, scale_factor=2.09), x.repeat(2, 2))
    assert np.array_equal(tz.interpolate(x[..., None, None], scale_factor=(1.09, 2, 1))[..., 0, 0], x)
    assert np.array_equal(tz.interpolate(x, scale_factor=1.09, mode="linear"), x)
    assert not np.array_equal(tz.interpolate(x, scale_factor=1.09, mode="nearest-exact"), x)


# ---- layers
@pytest.mark.oracle("torch")
@pytest.mark.parametrize(
    "text",
    [
        "Upsample(scale_factor=2, mode='bilinear')",
        "Upsample((7, 3))",
        "Upsample(size=5, mode='bicubic', align_corners=True)",
        "Upsample(None, (2, 3.5), 'bilinear', None, True)",
        "UpsamplingNearest2d(scale_factor=2)",
        "UpsamplingNearest2d(5)",
        "UpsamplingBilinear2d(scale_factor=2.5)",
        "UpsamplingBilinear2d(size=(3, 9))",
    ],
)
def test_layers_are_torchs(text: str) -> None:
    layer, peer = (eval(f"nn.{text}", {"nn": library}) for library in (nn, torch.nn))
    assert repr(layer) == repr(peer)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(layer(x), peer(torch.from_numpy(x)).numpy(), atol=1e-12)


# ---- images at any points
PADDINGS = ("zeros", "border", "reflection")


def drawn_points(draw: np.random.Generator, axes: int, smooth: bool) -> tuple[Any, Any]:
    """An image and a grid, also far outside; where it is to be `smooth`, no point is near a kink."""
    size = tuple(int(n) for n in draw.integers(1, 6, axes))
    n, c = int(draw.integers(1, 3)), int(draw.choice([1, 3, 9]))
    grid = draw.uniform(-2.5, 2.5, (n, *draw.integers(1, 5, axes), axes))
    if not smooth and draw.random() < 0.4:
        grid = draw.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5], grid.shape)
    return draw.standard_normal((n, c, *size)), grid


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@given(seed=seeds(), padding=st.sampled_from(PADDINGS), corners=st.booleans(), dtype=st.sampled_from(["f4", "f8"]))
def test_samples_and_their_gradients_are_those_of_torch(
    mode: str, seed: int, padding: str, corners: bool, dtype: str
) -> None:
    draw = np.random.default_rng(seed)
    x, grid = (a.astype(dtype) for a in drawn_points(draw, 2 if mode == "bicubic" else int(draw.integers(2, 4)), False))
    given = [tz.tensor(a, requires_grad=True) for a in (x, grid)]
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, grid)]
    out, expected = tz.grid_sample(*given, mode, padding, corners), F.grid_sample(*leaves, mode, padding, corners)
    g = draw.standard_normal(out.shape).astype(dtype)
    out.backward(tz.tensor(g))
    expected.backward(torch.tensor(g))
    pairs = [(out, expected.detach()), *((a.grad, b.grad) for a, b in zip(given, leaves, strict=True))]
    for a, b in pairs:
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol={"f8": 1e-11, "f4": 1e-4}[dtype] * scale)


@pytest.mark.oracle("torch")
@given(seeds(), st.sampled_from(["bilinear", "nearest", "bicubic"]), st.sampled_from(PADDINGS), st.booleans())
def test_second_derivatives_are_those_of_a_dense_sum(seed: int, mode: str, padding: str, corners: bool) -> None:
    """In PyTorch, whose own samples have none."""
    draw = np.random.default_rng(seed)
    axes = 2 if mode == "bicubic" else int(draw.integers(2, 4))
    s = Sample(drawn_points(draw, axes, True), {"mode": mode, "padding_mode": padding, "align_corners": corners})
    same(ours("grid_sample", s), theirs("grid_sample", s), 1e-9, str(s.settings))


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_points_that_are_not_finite_or_far_away_are_torchs(mode: str, padding: str, value: float) -> None:
    """But for 1e30 mirrored, of which nobody knows where it is."""
    if (padding, value) == ("reflection", 1e30):
        return
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    for dtype in ("float32", "float64"):
        grid = np.array([[[[value, 0.3], [0.3, value]]]], dtype)
        for corners in (False, True):
            found = tz.grid_sample(x.astype(dtype), grid, mode, padding, corners)
            expected = F.grid_sample(torch.tensor(x.astype(dtype)), torch.tensor(grid), mode, padding, corners)
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_slopes_on_pixels_and_at_edges(create_graph: bool, device: str) -> None:
    """To the right of a pixel; none at an edge where the point is held, nor for the nearest pixel."""
    with backend.using(device):
        x = tz.tensor([[[[1.0, 3.0, 10.0]]]])
        slopes = {}
        for name, settings in {
            "zeros": {},
            "border": {"padding_mode": "border"},
            "reflection": {"padding_mode": "reflection"},
            "nearest": {"mode": "nearest"},
        }.items():
            grid = tz.tensor([[[[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]]], requires_grad=True)
            out = tz.grid_sample(x, grid, align_corners=True, **settings).sum()
            out.backward(create_graph=create_graph)
            slopes[name] = grid.grad[0, 0, :, 0].tolist()
    assert slopes == {"zeros": [2, 7, -10], "border": [0, 7, 0], "reflection": [0, 7, 0], "nearest": [0, 0, 0]}


def test_what_lies_outside_does_not_touch_what_is_inside() -> None:
    x = np.array([[[[np.nan, 2.0, 3.0]]]])
    assert tz.grid_sample(x, np.array([[[[1.0, 0.0]]]])).tolist() == [[[[1.5]]]]
    assert tz.grid_sample(x, np.array([[[[5.0, 0.0]]]])).tolist() == [[[[0.0]]]]


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_identity_gives_the_image_back(axes: int, corners: bool, device: str) -> None:
    with backend.using(device):
        x = tz.rand(2, 3, *(4, 5, 2)[:axes], rng=np.random.default_rng(0), dtype="float64")
        theta = tz.tensor(np.eye(axes + 1)[None, :axes].repeat(2, 0))
        grid = tz.affine_grid(theta, x.shape, corners)
        for mode in ("bilinear", "nearest"):
            np.testing.assert_allclose(
                tz.grid_sample(x, grid, mode, align_corners=corners).numpy(), x.numpy(), atol=1e-14
            )


@pytest.mark.oracle("torch")
@given(seeds(), st.integers(2, 3), st.booleans())
def test_affine_grids_are_torchs(seed: int, axes: int, corners: bool) -> None:
    draw = np.random.default_rng(seed)
    theta = draw.standard_normal((2, axes, axes + 1))
    size = (2, 3, *(int(n) for n in draw.integers(1, 6, axes)))
    s = Sample((theta,), {"size": size, "align_corners": corners})
    same(ours("affine_grid", s), theirs("affine_grid", s), 1e-12, str(size))


def test_a_spatial_transformer_learns_a_shift() -> None:
    """Gradients through the grid: gradient descent finds by how much a blob was moved."""
    at = np.linspace(-1, 1, 17)
    blob = np.exp(-8 * (at[:, None] ** 2 + at**2))[None, None]
    moved = tz.grid_sample(blob, tz.affine_grid(np.array([[[1.0, 0, 0.3], [0, 1.0, -0.2]]]), blob.shape))
    shift = tz.zeros(1, 2, 1, dtype="float64", requires_grad=True)
    turn = tz.tensor(np.eye(2)[None])
    for _ in range(200):
        shift.grad = None
        found = tz.grid_sample(tz.tensor(blob), tz.affine_grid(tz.concat([turn, shift], -1), blob.shape))
        loss = ((found - tz.tensor(moved)) ** 2).sum()
        loss.backward()
        shift.data = (shift - 0.005 * shift.grad).data
    np.testing.assert_allclose(shift.numpy().ravel(), [0.3, -0.2], atol=1e-3)


# ---- refusals
IMAGE = np.zeros((1, 2, 4, 4))
GRID = np.zeros((1, 3, 3, 2))
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mode": (
        lambda: tz.interpolate(IMAGE, 2, mode="cubic"),
        UsageError,
        "mode='cubic': expected one of nearest, neares",
    ),
    "axes": (
        lambda: tz.interpolate(IMAGE, 2, mode="linear"),
        ShapeError,
        "mode='linear' is for 1 spatial axes, x has 2: write mode='bilinear'",
    ),
    "corners": (
        lambda: tz.interpolate(IMAGE, 2, align_corners=False),
        UsageError,
        "align_corners=False with mode='near",
    ),
    "neither": (
        lambda: tz.interpolate(IMAGE),
        UsageError,
        "expected size or scale_factor, one of them, got None and None",
    ),
    "both": (lambda: tz.interpolate(IMAGE, 2, 2.0), UsageError, "one of them, got 2 and 2.0"),
    "recompute": (
        lambda: tz.interpolate(IMAGE, 2, recompute_scale_factor=True),
        UsageError,
        "=True with size=2: write",
    ),
    "size": (
        lambda: tz.interpolate(IMAGE, 0),
        UsageError,
        "interpolate: size=0: expected an integer >= 1, or 2 of them",
    ),
    "factor": (
        lambda: tz.interpolate(IMAGE, scale_factor=-1),
        UsageError,
        "scale_factor=-1: expected a number > 0, or 2",
    ),
    "factors": (lambda: tz.interpolate(IMAGE, scale_factor=(2,)), UsageError, r"scale_factor=\(2,\): expected"),
    "too small": (
        lambda: tz.interpolate(IMAGE, scale_factor=0.1),
        UsageError,
        r"makes \(0, 0\) of \(4, 4\): write a larg",
    ),
    "no pixels": (lambda: tz.interpolate(IMAGE[:, :, :0], 2), ShapeError, r"no size 0, got \(1, 2, 0, 4\)"),
    "one axis": (lambda: tz.interpolate(IMAGE[0, 0], 2), ShapeError, r"expected x of shape \(N, C, …\)"),
    "integers": (
        lambda: tz.interpolate(IMAGE.astype(int), 2, mode="bilinear"),
        UsageError,
        r"interpolate: x of int64: expected floating point: write x.astype",
    ),
    "adjoint": (
        lambda: tz.interpolate_adjoint(IMAGE, size=(2, 2), scale_factor=3),
        ShapeError,
        r"y has the spatial shape \(4, 4\), .* to \(6, 6\)",
    ),
    "layer": (lambda: nn.Upsample(), UsageError, "Upsample: expected size or scale_factor, one of them"),
    "grid": (lambda: tz.grid_sample(IMAGE, GRID[0]), ShapeError, r"a grid \(1, P, Q, 2\) for x \(1, 2, 4, 4\), got"),
    "batches": (lambda: tz.grid_sample(IMAGE, GRID.repeat(2, 0)), ShapeError, r"expected a grid \(1, P, Q, 2\)"),
    "sampled": (
        lambda: tz.grid_sample(IMAGE[0], GRID),
        ShapeError,
        r"x \(N, C, H, W\) or \(N, C, D, H, W\), no size 0",
    ),
    "sampling": (
        lambda: tz.grid_sample(IMAGE, GRID, "linear"),
        UsageError,
        "mode='linear', .* of nearest, bilinear, bic",
    ),
    "padding": (
        lambda: tz.grid_sample(IMAGE, GRID, padding_mode="wrap"),
        UsageError,
        "padding_mode='wrap': expected one",
    ),
    "cubic": (
        lambda: tz.grid_sample(IMAGE[..., None], np.zeros((1, 1, 1, 1, 3)), "bicubic"),
        UsageError,
        "mode='bicubic' is for two axes, x has three: write mode='bilinear'",
    ),
    "theta": (
        lambda: tz.affine_grid(np.zeros((1, 3, 3)), (1, 1, 2, 2)),
        ShapeError,
        r"expected theta \(N, 2, 3\) and size .* got \(1, 3, 3\) and size=\(1, 1, 2, 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_explained(case: str) -> None:
    call, kind, text = BAD[case]
    with pytest.raises(kind, match=text):
        call()
