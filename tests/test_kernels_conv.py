"""kernels/conv: every setting against the formula, exactly; Winograd's algorithm within its error; no other access."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_checks import (
    all_three,
    check_convolution,
    check_convolutions,
    check_winograd,
    drawn_convolution,
    one_convolution,
    served,
    whole_numbers,
)
from kernel_emulation import EAGER
from kernel_memory import Canaries, Places
from tinygrad_zoo.kernels import conv, jit, threads
from tinygrad_zoo.kernels.conv import formula
from tinygrad_zoo.testing import seeds

if not jit.enabled():
    pytest.skip("kernels are turned off", allow_module_level=True)

from tinygrad_zoo.kernels.conv import cpu, winograd
from tinygrad_zoo.kernels.gemm.cpu import VECTOR

LANES = VECTOR // 4
CANARIES = Canaries()
MORE = settings(max_examples=3 * settings().max_examples)
LAYOUTS = ("C", "channels last", "F", "strided", "negative", "rows apart", "negative strided")
PLAIN = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}

dtypes = st.sampled_from(["float32", "float64"])
parts = st.sampled_from([1, 2])


@pytest.fixture(autouse=True, scope="module")
def _threads():
    threads.openmp()  # chosen before the first parallel loop


# ---- exact sums
@MORE
@given(seeds(), dtypes, st.sampled_from(LAYOUTS), st.booleans(), parts)
def test_drawn_settings_are_exact(seed, dtype, layout, bias, parts):
    """Small ones: of one to three axes, no examples, one pixel, any padding, groups, one channel a group."""
    rng = np.random.default_rng(seed)
    check_convolution(cpu, CANARIES, rng, drawn_convolution(rng), dtype, layout, bias, parts)


@pytest.mark.parametrize("parts", [1, 2])
def test_every_branch_is_exact(parts):
    check_convolutions(cpu, CANARIES, LANES, parts=(parts,))


LARGE = {
    "sums deeper than a pass": one_convolution(2, 1, 50, 35, 9, 3, padding=1),
    "several blocks of rows": one_convolution(2, 1, 40, 24, 90, 3, padding=1, stride=2),
    "a row longer than a block": one_convolution(1, 2, 17, 9, 3000, 5, padding=2, dilation=3),
    "more places than a panel of g": one_convolution(1, 1, 3, 5, 1000, 3),
    "one pixel": one_convolution(2, 70, 9, 33, 1, 1),
    "1 x 1": one_convolution(2, 3, 65, 66, 7, 1),
    "a kernel as large as the image in its padding": one_convolution(2, 2, 5, 7, 3, 9, padding=3),
    "a kernel larger than it": one_convolution(2, 2, 5, 7, 3, 9, padding=2),
    "a stride beyond the kernel": one_convolution(2, 2, 5, 7, 11, 2, stride=4, padding=1),
    "a dilation beyond the image": one_convolution(2, 1, 3, 4, 2, 3, dilation=5, padding=(4, 5)),
    "all cropped but one": one_convolution(2, 1, 3, 4, 9, 3, padding=(-4, -2)),
    "windows in the padding alone": one_convolution(2, 1, 3, 4, 1, 2, padding=6),
    "many channels, each alone": one_convolution(2, 2, 67, 67, 20, 3, padding=1, groups=67),
    "three axes": one_convolution(3, 2, 9, 17, 6, 3, padding=(1, 2), stride=2, groups=1),
    "groups": one_convolution(2, 2, 36, 48, 12, 3, padding=1, groups=4),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LARGE)
def test_sizes_beyond_a_portion_are_exact(name, dtype):
    rng = np.random.default_rng(0)
    for parts in (1, 2):
        check_convolution(cpu, CANARIES, rng, LARGE[name], dtype, "C", True, parts)


def test_entries_that_are_rounded():
    rng = np.random.default_rng(1)
    for _ in range(40):
        case = drawn_convolution(rng)
        arrays = [rng.standard_normal(shape) for shape in case.shapes.values()]
        exact = all_three(formula, *arrays, case.settings)
        for dtype, bound in (("float64", 1e-13), ("float32", 1e-5)):
            for name, found in all_three(conv, *(a.astype(dtype) for a in arrays), case.settings).items():
                assert found.dtype == dtype
                error = np.abs(found - exact[name]).max(initial=0)
                assert error <= bound * np.abs(exact[name]).max(initial=0), (name, case)


# ---- numbers that are not finite, nothing to sum, arrays of other kinds
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("groups", [1, 3])
def test_what_is_not_finite_shows_where_it_is_summed_and_nowhere_else(poison, groups, dtype):
    rng = np.random.default_rng(0)
    x, weight, bias = (whole_numbers(rng, s, dtype) for s in ((2, 3, 5, 6), (3, 3 // groups, 3, 3), 3))
    g = whole_numbers(rng, (2, 3, 5, 6), dtype)
    plain = PLAIN | {"groups": groups}
    for poisoned in (x, weight, bias, g):
        kept, poisoned.flat[0] = poisoned.flat[0], poison
        with np.errstate(invalid="ignore"), served(cpu, CANARIES, 1):
            ours, theirs = (all_three(module, x, weight, bias, g, plain) for module in (cpu, formula))
        for name in ours:
            if poisoned is weight and name == "x":  # the kernel's windows reach out of g: 0 · ∞ is NaN there
                assert (np.isfinite(ours[name]) <= np.isfinite(theirs[name])).all()
            else:
                assert np.array_equal(np.isfinite(ours[name]), np.isfinite(theirs[name])), name
            kept_finite = np.isfinite(ours[name])
            assert np.array_equal(ours[name][kept_finite], theirs[name][kept_finite]), name
        poisoned.flat[0] = kept


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_nothing(dtype):
    rng = np.random.default_rng(0)
    for n, c, k, size, kernel in ((1, 0, 8, 8, 3), (2, 0, 3, 3, 2), (1, 8, 0, 8, 3), (0, 8, 8, 8, 3), (2, 3, 0, 4, 1)):
        for bias in (False, True):
            check_convolution(
                cpu, CANARIES, rng, one_convolution(2, n, c, k, size, kernel, padding=1), dtype, "C", bias
            )
    empty = one_convolution(2, 2, 3, 4, 0, 3, padding=2)  # an image of zeros alone
    check_convolution(cpu, CANARIES, rng, empty, dtype)


def test_arrays_that_no_kernel_serves_take_the_formula(monkeypatch):
    rng = np.random.default_rng(0)
    x, weight, g = (whole_numbers(rng, s, np.float32) for s in ((1, 2, 4, 4), (3, 2, 3, 3), (1, 3, 4, 4)))
    for a, w in ((x.astype(int), weight), (x, weight.astype(np.float64)), (x.astype(np.float16), weight)):
        assert conv._kernels(a, w) is None
        assert np.array_equal(conv.convolve(a, w, **PLAIN), formula.convolve(a, w, None, **PLAIN))
    assert conv._kernels(x, weight, np.ones(3)) is None and conv._kernels(x, weight, None) is cpu
    four_axes = x[..., None, None]
    assert conv._kernels(four_axes, four_axes) is None
    unaligned = np.frombuffer(b" " + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert np.array_equal(conv.convolve(unaligned, weight, **PLAIN), formula.convolve(x, weight, None, **PLAIN))
    assert np.array_equal(
        conv.convolve_weight(g, unaligned, kernel=(3, 3), **PLAIN),
        formula.convolve_weight(g, x, kernel=(3, 3), **PLAIN),
    )
    one = np.broadcast_to(np.float32(2), g.shape)  # as the gradient of a sum is
    assert np.array_equal(
        conv.convolve_input(one, weight, size=(4, 4), **PLAIN),
        formula.convolve_input(one, weight, size=(4, 4), **PLAIN),
    )
    monkeypatch.setattr(conv, "module", lambda package: None)
    assert conv._kernels(x, weight) is None


# ---- Winograd's algorithm
def served_by_winograd(draw):
    """A convolution that Winograd's algorithm serves, each way."""
    size = draw(st.tuples(st.integers(4, 15), st.integers(4, 15)))
    before, after = (draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(2))
    c, k = (LANES * draw(st.integers(1, 4)) for _ in range(2))
    case = one_convolution(2, draw(st.integers(4, 7)), c, k, 0, 3)
    padding = [(b, max(a, 6 - n - b)) for n, b, a in zip(size, before, after, strict=True)]  # 4 places at least
    case.size, case.settings["padding"] = size, tuple(padding)
    return case


def counting(patch):
    """Which of winograd's kernels will have run."""
    names = []
    for name in ("correlate", "weight_gradient"):
        patch.setattr(winograd, name, Counted(name, getattr(winograd, name), names))
    return names


class Counted(dict):
    def __init__(self, name, kernel, names):
        self.name, self.kernel, self.names = name, kernel, names

    def __missing__(self, key):
        self.names.append(self.name)
        return self.kernel[key]


@pytest.fixture
def calls(monkeypatch):
    return counting(monkeypatch)


@given(st.data(), seeds(), st.sampled_from(["C", "channels last", "strided", "negative"]), st.booleans(), parts)
def test_winograd_over_drawn_sizes(data, seed, layout, bias, parts):
    case = served_by_winograd(data.draw)
    with pytest.MonkeyPatch.context() as patch:
        names = counting(patch)
        check_convolution(cpu, CANARIES, np.random.default_rng(seed), case, "float32", layout, bias, parts, 1e-4)
    assert names == ["correlate", "correlate", "weight_gradient"], case


def test_winograd_with_any_padding(calls):
    """Negative, and more than the kernel sees: whole tiles of the image or of the gradient lie in the padding."""
    assert check_winograd(cpu, CANARIES, LANES, parts=(1, 2)) <= 1e-5
    assert calls.count("correlate") > 18 and calls.count("weight_gradient") == 12


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_not_finite_spreads_over_the_tiles_that_see_it(poison, calls):
    rng = np.random.default_rng(0)
    image, kernel = (1, LANES, 16, 16), (LANES, LANES, 3, 3)
    x, weight, g = (whole_numbers(rng, shape, np.float32) for shape in (image, kernel, image))
    x[0, 0, 5, 5] = g[0, 0, 5, 5] = poison
    with np.errstate(invalid="ignore"):
        for ours, theirs in (
            (conv.convolve(x, weight, **PLAIN), formula.convolve(x, weight, None, **PLAIN)),
            (
                conv.convolve_input(g, weight, size=(16, 16), **PLAIN),
                formula.convolve_input(g, weight, size=(16, 16), **PLAIN),
            ),
        ):
            assert not np.isfinite(ours[~np.isfinite(theirs)]).any()
            assert np.isfinite(ours[:, :, 8:]).all() and np.isfinite(ours[..., 8:]).all()
        assert not np.isfinite(conv.convolve_weight(g, x, kernel=(3, 3), **PLAIN)[0, 0]).any()
    assert len(calls) == 3


def test_the_error_of_winograd_is_as_documented():
    """Less than nine times that of the direct sum, and than 10⁻⁵ of the largest entry for 64 channels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 64, 28, 28)).astype(np.float32)
    weight = (rng.standard_normal((64, 64, 3, 3)) / 24).astype(np.float32)
    exact = formula.convolve(x.astype(np.float64), weight.astype(np.float64), None, **PLAIN)
    error = np.abs(conv.convolve(x, weight, **PLAIN) - exact).max()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_by_winograd", lambda *arguments: False)
        direct = np.abs(conv.convolve(x, weight, **PLAIN) - exact).max()
    assert 2 * direct < error < 9 * direct and error < 1e-5 * np.abs(exact).max()


def test_the_switch_selects_the_direct_sum(monkeypatch, calls):
    case = one_convolution(2, 2, LANES, LANES, 9, 3, padding=1)
    try:
        for choice, count in ((" OFF", 0), ("on", 3), ("", 6)):
            monkeypatch.setenv("TINYGRAD_ZOO_WINOGRAD", choice)
            cpu.winograd_enabled.cache_clear()
            tolerance = 1e-4 if count else 0.0
            check_convolution(cpu, CANARIES, np.random.default_rng(0), case, tolerance=tolerance)
            assert len(calls) == count
        monkeypatch.setenv("TINYGRAD_ZOO_WINOGRAD", "fast")
        cpu.winograd_enabled.cache_clear()
        with pytest.raises(ValueError, match="TINYGRAD_ZOO_WINOGRAD='fast': expected 'on' or 'off'"):
            check_convolution(cpu, CANARIES, np.random.default_rng(0), case)
    finally:
        cpu.winograd_enabled.cache_clear()


@pytest.mark.parametrize("change", ["stride", "dilation", "groups", "kernel", "channels", "float64", "small"])
def test_what_winograd_does_not_serve_is_summed_directly(change, calls):
    plain = {"padding": 1}
    case = one_convolution(2, 4, 2 * LANES, 2 * LANES, 9, 3, **plain | ({change: 2} if change in PLAIN else {}))
    if change == "kernel":
        case = one_convolution(2, 4, LANES, LANES, 9, 2, **plain)
    elif change == "channels":
        case = one_convolution(2, 4, LANES + 1, LANES + 1, 9, 3, **plain)
    elif change == "small":
        case = one_convolution(2, 9, LANES, LANES, 3, 3, **plain)
    dtype = "float64" if change == "float64" else "float32"
    check_convolution(cpu, CANARIES, np.random.default_rng(0), case, dtype)
    assert not calls


@pytest.mark.parametrize("which", winograd.MATRICES)
def test_sums_that_rows_and_columns_share_make_the_product(which):
    """Of every unit vector, exactly but for sums like 1/6 + 1/6; so M X Mᵀ, which is made of such products."""
    matrix = winograd.MATRICES[which]
    vectors = SimpleNamespace(builder=EAGER, constant=float, fma=lambda x, y, z: x * y + z)
    found = winograd._times(vectors, matrix, list(np.eye(len(matrix[0]))))
    assert np.abs(np.array(found) - matrix).max() <= 2e-16


def test_the_five_matrices_make_the_convolution():
    """Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A: 4 × 4 outputs of a 6 × 6 square; and Gᵀ [(Bᵀ d B) ⊙ (A g Aᵀ)] G, the gradient."""
    rng = np.random.default_rng(0)
    d, w, g = (rng.standard_normal((n, n)) for n in (6, 3, 4))
    m = {name: np.array(matrix) for name, matrix in winograd.MATRICES.items()}

    def both(name, x):
        return m[name] @ x @ m[name].T

    y = both("output", both("kernel", w) * both("input", d))
    plain = PLAIN | {"padding": ((0, 0), (0, 0))}
    assert np.allclose(y, formula.convolve(d[None, None], w[None, None], None, **plain)[0, 0], rtol=0, atol=1e-13)
    gw = both("kernel gradient", both("input", d) * both("gradient", g))
    exact = formula.convolve_weight(g[None, None], d[None, None], kernel=(3, 3), **plain)
    assert np.allclose(gw, exact[0, 0], rtol=0, atol=1e-12)


def test_inputs_are_not_written():
    places = Places()
    for case in (one_convolution(2, 2, LANES, LANES, 9, 3, padding=1), one_convolution(2, 2, 3, 3, 6, 3, groups=3)):
        check_convolution(cpu, places, np.random.default_rng(0), case, "float32", "channels last", True, 1, 1e-4)
