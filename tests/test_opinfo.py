"""Our ops on PyTorch's own samples: values, gradients and gradients of gradients, but for a table of differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from opinfo import CASES, REFUSED, STAGES, full_report, namesakes, op_db, orders, report, samples
from opinfo_table import DIFFERENCES, NOT_COMPARED, Case, Difference
from tinygrad_zoo.autograd import Op, primitive

torch = oracles.load("torch")
pytestmark = pytest.mark.oracle("torch", "expecttest")


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_op_agrees_on_torchs_samples(name: str) -> None:
    info = op_db()[name]
    problems, counts = full_report(name)
    assert not problems, "\n".join(problems)
    assert all(counts[stage] for stage in STAGES[: 1 + orders(info)]), counts


def test_every_opinfo_called_as_an_op_of_ours_is_compared_or_left_out_for_a_reason() -> None:
    found = set(namesakes())
    assert found - set(CASES) == set(NOT_COMPARED)
    assert set(CASES) <= set(op_db())
    assert all(isinstance(getattr(tz.ops, case.ours, None), Op) for case in CASES.values())
    assert {name for row in DIFFERENCES for name in row.infos} <= set(CASES)
    assert {row.what for row in DIFFERENCES} <= {REFUSED, *STAGES}


def test_most_ops_are_compared() -> None:
    """An op counts once, however many OpInfos and names it has."""

    for order, least in ((0, 230), (1, 200), (2, 195)):
        ops = {id(getattr(tz, case.ours)) for name, case in CASES.items() if orders(op_db()[name]) >= order}
        assert len(ops) >= least


def test_the_samples_are_the_same_every_time() -> None:
    state = torch.random.get_rng_state()
    once, again = (samples(op_db()["addcdiv"]) for _ in range(2))
    assert all(torch.equal(a.input, b.input) for a, b in zip(once, again, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


# ---- the comparison notices what it is there for
def _sine(rule: Callable[..., Any]) -> Op:
    @primitive(vjp=(rule,))
    def sine(x: Any) -> Any:
        return np.sin(x)

    return sine


def _right(g: Any, out: Any, x: Any) -> Any:
    return g * tz.cos(x)


def _largest_entry(y: Any, factor: float) -> Any:
    return tz.where(tz.abs(y) == tz.max(tz.abs(y)), y * factor, y)


def _fails(x: Any) -> Any:
    raise ValueError("not ours")


FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "one value": (lambda x: _largest_entry(tz.sin(x), 1 + 1e-8), "values: .* off on a scale of"),
    "a NaN": (lambda x: tz.log(tz.exp(tz.sin(x)) - 1), "values: .* not finite in other places"),
    "the shape": (lambda x: tz.expand_dims(tz.sin(x), 0), "values: .* of shape"),
    "the dtype": (lambda x: tz.sin(x).to("float32"), "values: .* float32 of shape"),
    "an output more": (lambda x: (tz.sin(x), x), "values: 2 arrays, PyTorch has 1"),
    "the gradient": (_sine(lambda g, out, x: _right(g, out, x) * (1 + 1e-8)), "gradients: .* off on a scale of"),
    "no gradient": (lambda x: tz.sin(x.detach()), "gradients: .* off on a scale of"),
    "the second order": (
        _sine(lambda g, out, x: _right(g, out, x.detach() if isinstance(x, tz.Tensor) else x)),
        "second derivatives: .* off on a scale of",
    ),
    "our error": (lambda x: tz.sin(x, axis=1), "refused: DTypeError: sin.* has no 'axis'"),
    "another error": (_fails, "raised: ValueError: not ours"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    call, text = FAULTS[name]
    problems, _ = report("sin", Case("sin", call), op_db()["sin"], ())
    assert len(problems) == 1
    assert re.search(text, problems[0]), problems


def test_the_planted_op_without_a_fault_is_right() -> None:
    assert not report("sin", Case("sin", _sine(_right)), op_db()["sin"], ()).problems


def test_a_fault_that_depends_on_the_layout_is_found() -> None:
    def contiguous_only(x: Any) -> Any:
        return tz.sin(x) if x.data.flags.c_contiguous else tz.cos(x)

    (problem,) = report("sin", Case("sin", contiguous_only), op_db()["sin"], ()).problems
    assert "strided" in problem


def _row(where: Callable[[Any], bool], what: str = "values", text: str = "off on a scale") -> Difference:
    return Difference(("sin",), where, what, text, "planted")


WRONG_ROWS = {
    "agrees": ([_row(lambda sample: True)], tz.sin, "agrees, but a row says otherwise: planted"),
    "names no sample": ([_row(lambda sample: False)], tz.sin, "no sample is as a row says: planted"),
    "two rows": ([_row(lambda sample: True)] * 2, tz.cos, "two rows name it"),
    "another stage": ([_row(lambda sample: True, "gradients")], tz.cos, "the row that names it says gradients"),
    "another text": ([_row(lambda sample: True, text="dtype")], tz.cos, "the row that names it says values, 'dtype'"),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_a_row_of_the_table_that_is_not_so_is_found(name: str) -> None:
    rows, call, text = WRONG_ROWS[name]
    (problem,) = report("sin", Case("sin", call), op_db()["sin"], rows).problems
    assert text in problem


def test_a_row_of_the_table_that_is_so_is_accepted() -> None:
    problems, counts = report("sin", Case("sin", tz.cos), op_db()["sin"], [_row(lambda sample: True)])
    assert not problems and counts["differences"] == counts["samples"] == 1
