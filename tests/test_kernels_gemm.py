"""kernels/gemm: exact sums for every size, layout and vector width, no access outside the arrays, and no BLAS."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_zoo as tz
from kernel_checks import check_batch, check_product, check_products, check_weight_gradient, equal, whole_numbers
from kernel_memory import MATRICES, Canaries
from tinygrad_zoo.errors import ShapeError
from tinygrad_zoo.kernels import gemm, jit, threads
from tinygrad_zoo.testing import seeds

if not jit.enabled():
    pytest.skip("kernels are turned off", allow_module_level=True)

from tinygrad_zoo.kernels.gemm import cpu

LANES = cpu.VECTOR // 4
CANARIES = Canaries()


@pytest.fixture(autouse=True, scope="module")
def _threads():
    threads.openmp()  # chosen before the first parallel loop


def near(*borders, most):
    """Small sizes, and those just below and above a border."""
    around = sorted({n for border in borders for n in (border - 1, border, border + 1)})
    return st.one_of(st.integers(0, 13), st.integers(0, most), st.sampled_from(around))


rows = near(cpu.ROWS, 2 * cpu.ROWS, most=40)
columns = near(LANES, cpu.WIDEST * LANES, 2 * cpu.WIDEST * LANES, most=2 * cpu.WIDEST * LANES + 1)
depths = near(LANES, cpu.DEPTH, most=600)
layouts = st.tuples(st.sampled_from(MATRICES), st.sampled_from(MATRICES))
dtypes = st.sampled_from(["float32", "float64"])
parts = st.integers(1, 3)


# ---- the kernels
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_every_tail_and_at_every_border_are_exact(dtype):
    check_products(cpu, CANARIES, dtype, crossed=True, parts=(1, 2, 3))


@given(seeds(), rows, columns, depths, dtypes, layouts, st.booleans(), parts)
def test_products_of_drawn_sizes_are_exact(seed, m, n, k, dtype, layouts, bias, parts):
    check_product(cpu, CANARIES, np.random.default_rng(seed), m, n, k, dtype, layouts, bias, parts)


@given(seeds(), st.integers(0, 5), rows, columns, st.integers(0, 40), dtypes, layouts, parts)
def test_batches_are_exact(seed, count, m, n, k, dtype, layouts, parts):
    check_batch(cpu, CANARIES, np.random.default_rng(seed), count, m, n, k, dtype, layouts, parts)


@given(seeds(), depths, rows, columns, dtypes, layouts, st.booleans(), parts)
def test_gradients_of_a_linear_layer_are_exact(seed, n, m, k, dtype, layouts, sums, parts):
    check_weight_gradient(cpu, CANARIES, np.random.default_rng(seed), n, m, k, dtype, layouts, sums, parts)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_stays_below_its_bound_and_is_the_same_in_any_number_of_parts(dtype):
    rng = np.random.default_rng(3)
    for m, n, k in ((97, 70, 600), (5, 1025, 257), (13, 33, 31)):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        bias, found = rng.standard_normal(n).astype(dtype), []
        for count in (1, 2, 3):
            out = np.empty((m, n), dtype)
            cpu.matmul[out.dtype](a, b, bias, out, cpu.product[out.dtype], cpu.panel[out.dtype], count)
            found.append(out)
        assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
        wide = np.longdouble if dtype == "float64" else np.float64
        exact = np.matmul(a.astype(wide), b.astype(wide)) + bias
        size = np.matmul(abs(a).astype(wide), abs(b).astype(wide)) + abs(bias)
        assert (abs(found[0] - exact) <= (k + 1) * np.finfo(dtype).eps / 2 * size).all()  # Higham (2002), section 3.1


@given(seeds(), st.integers(1, 9), st.integers(1, 2 * LANES + 3), st.integers(1, 30))
def test_nan_and_infinity_propagate_as_in_numpy(seed, m, n, k):
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        special = rng.choice(np.array([np.nan, np.inf, -np.inf, 0], np.float32), shape)
        return np.where(rng.random(shape) < 0.1, special, whole_numbers(rng, shape, np.float32))

    a, b, bias = drawn(m, k), drawn(k, n), drawn(n)
    with np.errstate(invalid="ignore"):
        expected, sums = np.matmul(a, b), a.sum(axis=1)
        assert np.array_equal(gemm.matmul(a, b), expected, equal_nan=True)
        assert np.array_equal(gemm.matmul(a, b, bias), expected + bias, equal_nan=True)
        gw, gb = gemm.weight_gradient(a.T, b, True)
    assert np.array_equal(gw, expected, equal_nan=True) and np.array_equal(gb, sums, equal_nan=True)


# ---- the functions
def exact(x, y):
    return np.matmul(x.astype(np.float64), y.astype(np.float64))


@st.composite
def operands(draw):
    """Shapes that `@` takes: vectors, matrices, and batches that broadcast."""
    m, n, k = draw(st.integers(0, 7)), draw(st.integers(0, 2 * LANES + 1)), draw(st.integers(0, 20))
    lead = draw(st.lists(st.integers(0, 3), max_size=3))
    leads = []
    for _ in range(2):
        own = [draw(st.sampled_from([n, 1])) for n in lead]
        leads.append(tuple(own[draw(st.integers(0, len(own))) :]))
    x = draw(st.sampled_from([(k,), (*leads[0], m, k)]))
    y = draw(st.sampled_from([(k,), (*leads[1], k, n)]))
    return x, y


@given(seeds(), operands(), st.tuples(*[st.sampled_from(["C", "F", "rows apart", "strided", "negative"])] * 2))
@example(0, ((0,), (0,)), ("C", "C"))
@example(0, ((3, 1, 2, 5), (4, 5, 1)), ("C", "F"))
def test_every_shape_of_operands(seed, shapes, layouts):
    rng = np.random.default_rng(seed)
    x, y = (CANARIES.laid(whole_numbers(rng, s, np.float32), layout) for s, layout in zip(shapes, layouts, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "np", CANARIES)
        out = gemm.matmul(x, y)
        bias = whole_numbers(rng, out.shape[-1:] if y.ndim > 1 else (), np.float32)
        added = gemm.matmul(x, y, bias)
    assert type(out) is np.ndarray and out.dtype == np.float32
    equal(out, exact(x, y), shapes, layouts)
    equal(added, exact(x, y) + bias, shapes, layouts)
    CANARIES.check()


sizes = st.integers(0, 2 * LANES + 1)


@given(seeds(), st.integers(0, 20), st.integers(0, 9), sizes, st.sampled_from(["C", "F", "strided"]))
def test_every_shape_of_gradients(seed, n, m, k, layout):
    rng = np.random.default_rng(seed)
    g, x = (CANARIES.laid(whole_numbers(rng, s, np.float32), layout) for s in ((n, m), (n, k)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "np", CANARIES)
        gw, gb = gemm.weight_gradient(g, x, True)
        assert gemm.weight_gradient(g, x, False)[1] is None
    equal(gw, exact(g.T, x))
    equal(gb, g.sum(axis=0))
    CANARIES.check()


def test_a_bias_broadcasts_as_in_numpy():
    x, y = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    for bias in (np.ones(1, np.float32), np.ones((2, 1), np.float32), np.float32(1), np.ones(4), np.arange(8)[::2]):
        equal(gemm.matmul(x, y, bias), x @ y + bias, np.shape(bias))
    equal(gemm.matmul(x, y, np.arange(8, dtype=np.float32)[::-2]), x @ y + [7, 5, 3, 1])
    with pytest.raises(ValueError, match="broadcast"):
        gemm.matmul(x, y, np.ones(3, np.float32))


def test_arrays_that_no_kernel_serves_are_multiplied_by_numpy(monkeypatch):
    x = np.arange(6.0).reshape(2, 3)
    subclass = x.astype(np.float32).view(type("Subclass", (np.ndarray,), {}))
    for a in (x, x.astype(int), x.astype(np.float16), x.astype(">f4"), x + 1j, subclass):
        assert gemm._served(a, a) is None
        equal(np.asarray(gemm.matmul(a, a.T)), np.asarray(a) @ np.asarray(a).T, a.dtype)
        gw, gb = gemm.weight_gradient(a, a, True)
        assert (gw == a.T @ a).all() and (gb == a.sum(axis=0)).all()
    single = x.astype(np.float32)
    unaligned = np.frombuffer(b" " + single.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3)
    equal(gemm.matmul(unaligned, single.T), x @ x.T)
    equal(gemm.matmul(single, x.T), x @ x.T)
    assert gemm.matmul(single, x.T).dtype == np.float64
    monkeypatch.setattr(gemm, "module", lambda package: None)
    equal(gemm.matmul(single, single.T, single[0, :2]), x @ x.T + x[0, :2])


UNFIT = [((2, 3), (2, 3)), ((3,), (4,)), ((2, 3), (4,)), ((3,), (2, 3)), ((2, 2, 3), (3, 3, 2)), ((2, 3), (2, 2, 2))]


@pytest.mark.parametrize("shapes", UNFIT)
def test_shapes_that_do_not_fit_are_refused(shapes):
    x, y = (np.ones(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=r"fit|broadcast"):
        gemm.matmul(x, y)
    with pytest.raises(ShapeError, match=r"matmul: .*the last axis of x"):
        tz.matmul(x, y)


def test_ops_refuse_what_does_not_fit_before_a_kernel_reads_it():
    with pytest.raises(ShapeError, match="expected a bias of shape"):
        tz.linear(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.ones(3, np.float32))
    with pytest.raises(ShapeError, match="linear: expected x of"):
        tz.linear(np.ones((2, 3), np.float32), np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="weight_gradient: shapes"):
        gemm.weight_gradient(np.ones((2, 3), np.float32), np.ones((3, 3), np.float32), True)


# ---- in processes of their own
def run(*arguments, **environment):
    script = str(Path(__file__).with_name("kernel_processes.py"))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", script, *arguments], capture_output=True, text=True, timeout=600,
        env=os.environ | {"TINYGRAD_ZOO_BACKEND": "numpy"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("width", [16, 32, 64])
def test_no_access_leaves_the_arrays_at_any_vector_width(width):
    """LLVM splits vectors that the processor lacks. On its own width the convolutions run too."""
    also = ["conv"] if width == cpu.VECTOR else []
    assert run("pages", *also, TINYGRAD_ZOO_VECTOR_BYTES=str(width))[-2:] == [str(width), "bytes"]


def test_a_width_that_there_is_not_is_refused():
    environment = os.environ | {"TINYGRAD_ZOO_VECTOR_BYTES": "24"}
    done = subprocess.run(
        [sys.executable, "-c", "import tinygrad_zoo.kernels.gemm.cpu"], env=environment, capture_output=True, text=True
    )
    assert done.returncode and "TINYGRAD_ZOO_VECTOR_BYTES='24': expected 16, 32 or 64" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_a_training_step_wakes_no_thread_of_a_blas():
    ours, numpys = map(int, run("blas", OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"))
    if not numpys:
        pytest.skip("NumPy's BLAS has no threads here")
    assert ours == 0


def test_source_of_the_kernels_names_no_product_of_numpy():
    """What the step above does not come by."""
    folder = Path(gemm.__file__).parents[1]
    for path in (*folder.glob("gemm/cpu.py"), *folder.glob("conv/*.py"), folder / "vector.py"):
        if path.name in ("formula.py", "__init__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not isinstance(node, ast.MatMult), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
                assert node.attr not in {"dot", "matmul", "einsum", "tensordot", "inner", "vdot", "linalg"}, path
