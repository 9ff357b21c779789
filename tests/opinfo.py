"""PyTorch's own samples of an op (its OpInfo), called in both libraries, and the first thing that differs.

Values, first gradients and gradients of gradients in float64 over `op_db`; tests/opinfo_table.py says which OpInfo is
which op of ours and what differs on purpose. `python tests/opinfo.py` prints what is compared.
"""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np

import oracles
import tinygrad_zoo as tz
from opinfo_table import ADAPTED, DIFFERENCES, NAMESAKES, Case, Difference
from tinygrad_zoo.errors import TinygradZooError
from torch_ops import our_derivatives, their_derivatives

torch = oracles.load("torch")

# Arrays agree whose errors are within 1e-9 of the largest entry of PyTorch's, and 1e-15 of the largest number of the
# sample, which double precision leaves of numbers that cancel. Where 0 is left of them, both arrays may be rounding.
TOLERANCE, PRECISION, ROUNDING = 1e-9, 1e-15, 1e-12
STAGES = ("values", "gradients", "second derivatives")


def _our_name(name: str) -> str:
    """Ours among the parts of an OpInfo's name, as in "nn.functional.pad.circular"."""
    return next((part for part in reversed(name.split(".")) if part in tz.ops.__all__), name)


CASES: dict[str, Case] = {**{name: Case(_our_name(name)) for name in NAMESAKES}, **ADAPTED}


@cache
def op_db() -> dict[str, Any]:
    """PyTorch's OpInfos by full name, as in "linalg.solve" and "max.binary". The import takes seconds."""
    from torch.testing._internal.common_methods_invocations import op_db as infos

    return {".".join(filter(None, (info.name, info.variant_test_name))): info for info in infos}


def _without_warnings() -> Any:
    """Without PyTorch's advice to write something else, for calls of PyTorch alone."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def samples(info: Any) -> list[Any]:
    """Its samples in float64 (int64 where it takes no float), the same in every run."""
    from torch.testing._internal.common_utils import freeze_rng_state, set_rng_seed

    with freeze_rng_state(), _without_warnings():
        set_rng_seed(0)
        dtype = next(d for d in (torch.float64, torch.int64) if d in info.dtypes)
        return list(info.sample_inputs("cpu", dtype, requires_grad=info.supports_autograd and dtype.is_floating_point))


def namesakes() -> dict[str, str]:
    """The OpInfos called as one of our ops is, by their own name or an alias of it -> our name."""
    found = {}
    for full, info in op_db().items():
        names = [info.name, *(alias.name for alias in info.aliases)]
        shared = [name for name in (n.rpartition(".")[2] for n in names) if name in tz.ops.__all__]
        if shared:
            found[full] = shared[0]
    return found


# ---- one sample in both libraries
def _tensors(x: Any) -> Iterator[Any]:
    """The tensors in an argument, in order."""
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, (list, tuple, dict)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def converted(x: Any, leaves: list[Any]) -> Any:
    """An argument of a sample as ours, in the same memory; `leaves` collects what needs gradients."""
    if isinstance(x, torch.Tensor):
        tensor = tz.Tensor(x.detach().numpy(), requires_grad=x.requires_grad)
        if x.requires_grad:
            leaves.append(tensor)
        return tensor
    if isinstance(x, dict):
        return {key: converted(value, leaves) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return (list if isinstance(x, list) else tuple)(converted(part, leaves) for part in x)
    return str(x).removeprefix("torch.") if isinstance(x, torch.dtype) else x


def _outputs(made: Any) -> list[Any]:
    return list(made) if isinstance(made, (tuple, list)) else [made]


def _array(y: Any) -> Any:
    return y.numpy(force=True) if isinstance(y, torch.Tensor) else y.numpy() if isinstance(y, tz.Tensor) else y


REFUSED = "refused"  # by our typed errors
RAISED = "raised"  # another error: never meant, so no row can say it


class Result(NamedTuple):
    """Where the libraries part on one sample: nowhere (""), at one of STAGES, or by an error of ours."""

    stage: str
    text: str


class Theirs(NamedTuple):
    """What PyTorch makes of a sample."""

    arrays: list[list[Any]]  # a list a stage
    live: list[int]  # the outputs that have gradients
    orders: int
    largest: float  # number of the inputs and of the arrays


def orders(info: Any) -> int:
    """How often PyTorch differentiates the op."""
    return (1 + info.supports_gradgrad) if info.supports_autograd and torch.float64 in info.dtypes else 0


def their_results(case: Case, info: Any, sample: Any) -> Theirs:
    attention = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # the one with second derivatives
    with _without_warnings(), attention:
        made = case.after(_outputs(info.op(case.before(sample.input), *sample.args, **sample.kwargs)))
    arrays = [[_array(y) for y in made]]
    live = [i for i, y in enumerate(made) if getattr(y, "requires_grad", False)]
    given = list(_tensors((sample.input, sample.args, sample.kwargs)))
    if live:
        wrt = [x for x in given if x.requires_grad]
        arrays += their_derivatives([made[i] for i in live], wrt, orders=orders(info))
    largest = max(map(_largest, [*map(_array, given), *chain(*arrays)]), default=0.0)
    return Theirs(arrays, live, orders(info), largest)


def compared(case: Case, sample: Any, theirs: Theirs) -> Result:
    """What we make of the sample, against that."""
    leaves: list[Any] = []
    try:
        first, rest, named = converted((sample.input, sample.args, sample.kwargs), leaves)
        call = case.call or getattr(tz, case.ours)
        made = case.after(_outputs(call(case.before(first), *rest, **named)))
        arrays = [[_array(y) for y in made]]
        if theirs.live and not difference(arrays, theirs):
            arrays += our_derivatives([made[i] for i in theirs.live], leaves, orders=theirs.orders)
    except TinygradZooError as error:
        return Result(REFUSED, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Result(RAISED, f"{type(error).__name__}: {error}")
    return difference(arrays, theirs) or Result("", "")


def _largest(a: Any) -> float:
    """The largest finite entry of a floating array."""
    a = np.asarray(a)
    return float(np.abs(a[np.isfinite(a)]).max(initial=0)) if a.dtype.kind == "f" else 0.0


def difference(ours: Sequence[Sequence[Any]], theirs: Theirs) -> Result | None:
    """The first difference between arrays."""
    for stage, ys, xs in zip(STAGES, ours, theirs.arrays, strict=False):
        if len(ys) != len(xs):
            return Result(stage, f"{len(ys)} arrays, PyTorch has {len(xs)}")
        for k, (y, x) in enumerate(zip(ys, xs, strict=True)):
            text = _array_difference(np.asarray(y), np.asarray(x), theirs.largest)
            if text:
                return Result(stage, f"[{k}]: {text}")
    return None


def _array_difference(y: Any, x: Any, largest: float) -> str:
    if y.shape != x.shape or y.dtype != x.dtype:
        return f"{y.dtype} of shape {y.shape}, PyTorch has {x.dtype} of shape {x.shape}"
    if x.dtype.kind != "f":
        return "" if np.array_equal(y, x) else f"{y}, PyTorch has {x}"
    finite = np.isfinite(x)
    if not np.array_equal(y[~finite], x[~finite], equal_nan=True) or not np.isfinite(y[finite]).all():
        return f"not finite in other places: {y}, PyTorch has {x}"
    errors, scale = np.abs(np.where(finite, y, 0) - np.where(finite, x, 0)), _largest(x)
    close = errors.max(initial=0) <= TOLERANCE * scale + PRECISION * largest
    if close or max(scale, _largest(y)) <= ROUNDING * largest:
        return ""
    at = np.unravel_index(np.argmax(errors), errors.shape)
    return f"{y[at]!r} at {tuple(map(int, at))}, PyTorch has {x[at]!r}: {errors[at]:.1e} off on a scale of {scale:.1e}"


def described(x: Any) -> str:
    """An argument, with shapes in place of tensors."""
    if isinstance(x, torch.Tensor):
        return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
    if isinstance(x, dict):
        return ", ".join(f"{key}={described(value)}" for key, value in x.items())
    return f"({', '.join(map(described, x))})" if isinstance(x, (list, tuple)) else repr(x)


# ---- all samples of an OpInfo against the table
class Report(NamedTuple):
    """What came of all samples of one OpInfo."""

    problems: list[str]  # differences that the table does not have, rows of the table that name none
    counts: Counter[str]  # samples, agreeing, differences, and arrays a stage


def report(name: str, case: Case, info: Any, rows: Sequence[Difference]) -> Report:
    problems, counts, met = [], Counter[str](), [0] * len(rows)
    for k, sample in enumerate(samples(info)):
        expected = [i for i, row in enumerate(rows) if row.where(sample)]
        for i in expected:
            met[i] += 1
        named = ", ".join(filter(None, [*map(described, (sample.input, *sample.args)), described(sample.kwargs)]))
        counts["samples"] += 1
        theirs = their_results(case, info, sample)
        for layout, given in (("", sample), (", strided", sample.noncontiguous())):
            result = compared(case, given, theirs)
            problem = _problem(result, [rows[i] for i in expected])
            if problem:
                problems.append(f"{name}, sample {k}{layout}: ({named}): {problem}")
                break
        counts["differences" if expected else "failing" if problem else "agreeing"] += 1
        for stage, arrays in zip(STAGES, theirs.arrays, strict=False):
            counts[stage] += 0 if expected else len(arrays)
    problems += [f"{name}: no sample is as a row says: {r.why}" for r, n in zip(rows, met, strict=True) if not n]
    return Report(problems, counts)


def _problem(result: Result, rows: Sequence[Difference]) -> str:
    """What the table does not say of the sample, or says and is not so."""
    if len(rows) > 1:
        return f"two rows name it: {rows[0].why}; {rows[1].why}"
    if not rows:
        return f"{result.stage}: {result.text}" if result.stage else ""
    (row,) = rows
    if not result.stage:
        return f"agrees, but a row says otherwise: {row.why}"
    if result.stage == row.what and re.search(row.text, result.text):
        return ""
    return f"{result.stage}: {result.text}; the row that names it says {row.what}, {row.text!r}: {row.why}"


def full_report(name: str) -> Report:
    return report(name, CASES[name], op_db()[name], [row for row in DIFFERENCES if name in row.infos])


def _gist(problem: str) -> str:
    return re.sub(r"\d[-\d.e+]*", "#", problem.partition("): ")[2].split("\n")[0])[:60]


def main(names: Sequence[str]) -> None:
    """Prints the counts of each OpInfo, and all problems: python tests/opinfo.py [NAME OF OURS OR OF AN OPINFO]..."""
    total, shown, columns = Counter[str](), set(), ("samples", "differences", *STAGES)
    print("    CPU", "ours".ljust(32), "OpInfo".ljust(44), *columns)
    for name, case in sorted(CASES.items()):
        if names and not {name, case.ours} & set(names):
            continue
        started = time.process_time()
        problems, counts = full_report(name)
        seconds = time.process_time() - started
        numbers = [f"{counts[column]:{len(column)}}" for column in columns]
        print(f"{seconds:5.2f} s {case.ours:32} {name:44}", *numbers, flush=True)
        for gist, alike in groupby(sorted(problems, key=_gist), key=_gist):
            first, *others = alike
            print(f"    {len(others) + 1} x {gist} -- {' '.join(first.split())}"[:400])
        total += counts
        shown.add(id(getattr(tz, case.ours)))
    print(f"{len(shown)} ops:", ", ".join(f"{n} {what}" for what, n in total.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
