"""`check_report`: the laws of every op on the current backend, one line an op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .. import ops
from ..autograd import Op, alias
from ..backend import HOST, default_device
from ..errors import UsageError
from ..recipe import nearest
from .gradients import GradientCheckError
from .laws import Executed, op_laws

EXAMPLES = 5


def public_ops() -> dict[str, Op]:
    """Every op of `tinygrad_zoo.ops`, and `alias`, by its own name (`amax`, another name of `max`, is no other op).

    >>> public_ops()["mul"]
    mul
    """
    found = {name: value for name, value in vars(ops).items() if isinstance(value, Op) and name == repr(value)}
    return dict(sorted({**found, "alias": alias}.items()))


def check_report(
    names: str | Sequence[str] | None = None, examples: int = EXAMPLES, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Run `op_laws` on `examples` seeds for the op or ops named (all by default) and yield what was found.

    {"op", "backend", "order1", "order2", "examples", "worst"}: an order is "passed" if its comparisons ran and agreed,
    "failed" if one disagreed, another law broke or none ran (then "error" says it), "integer" where there is no
    gradient to take; worst is the largest relative difference seen.

    >>> next(check_report(["mul"], examples=1))["order2"]
    'passed'
    """
    known = public_ops()
    names = [names] if isinstance(names, str) else list(names or known)
    for name in names:
        if name not in known:
            raise UsageError(f"no op {name!r}{nearest(name, known)}")
    for name in names:
        yield _checked(name, known[name], examples, seed)


def _checked(name: str, op: Op, examples: int, seed: int) -> dict[str, Any]:
    ran, done, error = Executed(), 0, None
    for k in range(examples):
        try:
            ran.add(op_laws(op, seed + k))
            done += 1
        except Exception as raised:  # whatever breaks, the other ops are still reported
            error = raised
            break
    order1 = order2 = "passed"
    message = None
    if error is not None:
        message = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        first_order_holds = isinstance(error, GradientCheckError) and error.order > 1
        order1, order2 = "passed" if first_order_holds else "failed", "failed"
    elif not op.differentiable:
        order1 = order2 = "integer"
    elif not (ran.order1 and ran.order2):
        order1, order2 = ("passed" if n else "failed" for n in (ran.order1, ran.order2))
        message = "no comparison ran"
    line: dict[str, Any] = {
        "op": name,
        "backend": "numpy" if default_device() == HOST else default_device().partition(":")[0],
        "order1": order1,
        "order2": order2,
    }
    line |= {"examples": done, "worst": ran.worst}
    return line if message is None else line | {"error": message}
