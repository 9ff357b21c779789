"""The tests of CUDA kernels notice what they are there for: faults are planted in the sources, and each is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import test_cuda_kernels as tests
from planted_cuda import outcome, planted, preload
from tinygrad_zoo.kernels import cuda
from tinygrad_zoo.testing.cupysim.raw_module import schedule

TESTS = Path(__file__).parent
# Whose tests list their faults.
FAMILIES = ("attention", "attention_halves", "conv", "deform", "pooling", "resample", "roi")
SHARE = 12  # of those faults one in so many is planted in every run, the others with `-m train`


class Fault(NamedTuple):
    """In `file`, `old`, which stands there once, becomes `new`; then `check` must fail."""

    file: str
    old: str
    new: str
    check: Callable[[], None]


def in_orders(test: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    """The test in several orders of threads."""

    def check() -> None:
        for seed in tests.SEEDS:
            with schedule(seed):
                test(*arguments)

    return check


def softmax() -> None:
    for seed in tests.SEEDS:
        with schedule(seed):
            tests.test_softmax((2, 700), 1, "float64", None)
            tests.test_softmax_of_large_numbers_and_of_none(None)


def cross_entropy() -> None:
    for reduction in ("mean", "none"):
        for weighted, smoothing in ((False, 0.0), (True, 0.1)):
            tests.test_cross_entropy(300, weighted, smoothing, reduction, "float64")
    tests.test_a_target_that_is_no_class_gives_nan()


def rows() -> None:
    for n, width in ((3, 7), (70, 33), (2, 1100)):
        for centred in (True, False):
            in_orders(tests.test_norms_of_rows, n, width, centred, True, "float64", None)()


def groups() -> None:
    for shape, count in (((2, 6, 5, 3), 3), ((3, 4), 2)):
        in_orders(tests.test_norms_of_groups, shape, count, "float64", None)()


def batch() -> None:
    for shape in ((7, 3), (4, 5, 3, 3), (2, 2, 300)):
        for fixed in (False, True):
            tests.test_norms_of_batches(shape, fixed, "float64")


def optimizers(*names: str) -> Callable[[], None]:
    def check() -> None:
        for name in names:
            tests.test_steps_of_optimizers_are_bitwise_the_cpus(name, "float32")

    return check


def functions(*names: str) -> Callable[[], None]:
    def check() -> None:
        for name in names:
            tests.test_functions_of_one_number(name, "float64")
            if name != "relu":
                tests.test_slopes_at_infinity(name, "float64")

    return check


words = in_orders(tests.test_random_words_are_the_cpus, 1027, None)
dropout = in_orders(tests.test_dropout_is_the_cpus, "float64", None)
scatter = in_orders(tests.test_rows_are_added_in_order, 5, "float64", None)

FAULTS = [
    # ---- what all share: reductions
    Fault("common.cuh", "other = WARP / 2; other; other", "other = WARP / 4; other; other", softmax),
    Fault(
        "common.cuh",
        "scratch[threadIdx.x / WARP] = value;\n  __syncthreads();",
        "scratch[threadIdx.x / WARP] = value;",
        softmax,
    ),
    Fault("common.cuh", "  __syncthreads();\n  return value;", "  return value;", softmax),
    Fault(
        "common.cuh",
        "if (threadIdx.x % WARP == 0) scratch",
        "if (threadIdx.x % WARP == 1) scratch[0] = value; else scratch",
        softmax,
    ),
    Fault("common.cuh", "warp = 1; warp < warps", "warp = 1; warp < warps - 1", softmax),
    Fault(
        "common.cuh",
        "  __syncthreads();\n  value = scratch[0];",
        "  if (threadIdx.x < 32) __syncthreads();\n  value = scratch[0];",
        softmax,
    ),
    # ---- softmax, cross-entropy
    Fault("softmax/softmax.cu", "total += exp(row[j] - top)", "total += exp(row[j])", softmax),
    Fault("softmax/softmax.cu", "T top = -INFINITY", "T top = 0", softmax),
    Fault(
        "softmax/softmax.cu",
        "out[start + j] * (g[start + j] - inner)",
        "out[start + j] * g[start + j] - inner",
        softmax,
    ),
    Fault(
        "softmax/softmax.cu",
        "if (threadIdx.x) return;",
        "if (threadIdx.x > 1) return;\n  target += threadIdx.x;",
        cross_entropy,
    ),
    Fault("softmax/softmax.cu", "bool known = t >= 0 && t < width", "bool known = t < width", cross_entropy),
    Fault("softmax/softmax.cu", "smoothing / width * spread", "smoothing * spread", cross_entropy),
    Fault("softmax/softmax.cu", "g[each ? blockIdx.x : 0]", "g[0]", cross_entropy),
    Fault("softmax/softmax.cu", "(own + even * total)", "(own + even)", cross_entropy),
    # ---- normalisation
    Fault("normalize/normalize.cu", "square += difference * difference", "square += difference", rows),
    Fault("normalize/normalize.cu", "affine & 2 ? bias[c]", "affine & 1 ? bias[0]", rows),
    Fault("normalize/normalize.cu", "row < rows; row += (i64)gridDim.y * 8", "row < rows; row += 8", rows),
    Fault("normalize/normalize.cu", "  __syncthreads();\n  if (down", "  if (down", rows),
    Fault("normalize/normalize.cu", "k = 1; k < 8", "k = 1; k < 7", rows),
    Fault("normalize/normalize.cu", "along += g[i] * ((x[i] - statistics[set]) *", "along += g[i] * (x[i] *", groups),
    Fault(
        "normalize/normalize.cu", "blockIdx.x % at.count * at.channels", "blockIdx.x / at.count * at.channels", groups
    ),
    Fault(
        "normalize/normalize.cu",
        "(j / at.spatial) * at.channels + blockIdx.x) * at.spatial",
        "(j / at.spatial) * at.channels + blockIdx.x)",
        batch,
    ),
    Fault(
        "normalize/normalize.cu",
        "2 * moved[gridDim.x + blockIdx.x] / rstd",
        "moved[gridDim.x + blockIdx.x] / rstd",
        batch,
    ),
    Fault(
        "normalize/normalize.cu",
        "sums[blockIdx.x] = along, sums[gridDim.x + blockIdx.x] = total",
        "sums[blockIdx.x] = total, sums[gridDim.x + blockIdx.x] = along",
        batch,
    ),
    # ---- functions of one number, optimizers
    Fault(
        "elementwise/elementwise.cu",
        "columns ? x[i] + bias[i % columns]",
        "columns ? x[i] + bias[i / columns % columns]",
        functions("gelu"),
    ),
    Fault("elementwise/elementwise.cu", "x > 0 || x != x ? x : T(0)", "x > 0 ? x : T(0)", functions("relu")),
    Fault(
        "elementwise/elementwise.cu",
        "T share = sigmoid(x = bounded(x, 700))",
        "T share = sigmoid(x)",
        functions("swish"),
    ),
    Fault("elementwise/elementwise.cu", "x < 0 ? T(2) : 2 * e * e", "T(2)", functions("mish")),
    Fault("optimizer/optimizer.cu", "decay * p[i] - step", "p[i] - step", optimizers("adamw")),
    Fault(
        "optimizer/optimizer.cu",
        "v_max[i] = square = v_max[i] >= square",
        "square = v_max[i] >= square",
        optimizers("amsgrad"),
    ),
    Fault("optimizer/optimizer.cu", "nesterov ? d + mu * b : b", "d + mu * b", optimizers("momentum")),
    Fault(
        "optimizer/optimizer.cu",
        'i += (i64)gridDim.x * blockDim.x)\n\nextern "C" __global__ void sgd',
        'i += 1)\n\nextern "C" __global__ void sgd',
        optimizers("adagrad"),
    ),
    # ---- random words, rows added
    Fault("random/random.cu", "(u32)(block >> 32)", "(u32)block", words),
    Fault("random/random.cu", "round < 10", "round < 9", words),
    Fault("random/random.cu", "w < 4 && 4 * block + w < size; w++) out", "w < 4; w++) out", words),
    Fault("random/random.cu", ">> 8 >= threshold", ">> 8 > threshold + 9999999", dropout),
    Fault("scatter/scatter.cu", "(k && index[k - 1] == place) || ", "", scatter),
    Fault("scatter/scatter.cu", "rows[entry[k] * width + c]", "rows[k * width + c]", scatter),
]


@pytest.fixture(autouse=True)
def anew() -> Any:
    """Kernels are compiled anew before and after."""
    caches = (cuda._library, cuda.kernel)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.old[:40]!r}")
def test_a_fault_is_noticed(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", planted(fault.file, fault.old, fault.new))
    with pytest.raises((AssertionError, RuntimeError)) as noticed:
        fault.check()
    assert "does not compile" not in str(noticed.value)


@pytest.mark.parametrize("check", dict.fromkeys(fault.check for fault in FAULTS), ids=lambda check: check.__qualname__)
def test_without_faults_nothing_is_noticed(check: Callable[[], None]) -> None:
    check()


def of_families() -> Iterator[Any]:
    """Each fault with the file and the test that must fail, in a process of its own."""
    for family in FAMILIES:
        module = f"test_cuda_{family}"
        for k, (file, old, new, test) in enumerate(importlib.import_module(module).CUDA_FAULTS):
            marks = [pytest.mark.train] if k % SHARE else []
            yield pytest.param(file, old, new, f"{module}.py::{test}", marks=marks, id=f"{file}: {old[:40]!r}")


preload(*[f"test_cuda_{family}" for family in FAMILIES])


@pytest.mark.parametrize(("file", "old", "new", "test"), list(of_families()))
def test_a_fault_of_a_family_is_noticed(file: str, old: str, new: str, test: str, tmp_path: Path) -> None:
    status = outcome(str(TESTS / test), (file, old, new), tmp_path / "printed")
    said = (tmp_path / "printed").read_text("utf-8")
    assert status == pytest.ExitCode.TESTS_FAILED and "1 failed" in said, said[-4000:]
    assert "does not compile" not in said, said[-4000:]


def test_what_notices_them_passes_without(tmp_path: Path) -> None:
    right = ("common.cuh", "WARP = 32", "WARP = 32")
    assert outcome(str(TESTS / "test_cuda_roi.py::test_of_nothing"), right, tmp_path / "printed") == pytest.ExitCode.OK
