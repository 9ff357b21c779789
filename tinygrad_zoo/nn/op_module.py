"""Modules that are one op: its settings are given once, when the module is made."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..autograd import Op
from ..errors import UsageError
from ..signature import SYNONYMS
from .module import Buffer, Module


class OpModule(Module):
    """The module of one op: `class Softplus(OpModule, op=ops.softplus): ...` is its whole definition.

    The op's optional arrays (kept as Buffers) and then its settings are the arguments, and become attributes; the doc
    is the op's. `arguments` names some of them, in another order: "p margin weight".

    >>> from tinygrad_zoo import ops
    >>> class Rectifier(OpModule, op=ops.leaky_relu): ...
    >>> Rectifier(0.5)(np.array([-2.0, 2.0])).tolist()
    [-1.0, 2.0]
    >>> Rectifier(negative_slope=0.5)
    Rectifier(negative_slope=0.5)
    """

    op: ClassVar[Op]
    arguments: ClassVar[list[str]] = []

    def __init_subclass__(cls, op: Op | None = None, arguments: str = "") -> None:
        super().__init_subclass__()
        if op is not None:
            cls.op = op
            cls.arguments = arguments.split() or [*_optional(op), *op.signature.settings]
            cls.__doc__ = cls.__doc__ or op.__doc__

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        signature, who, names = self.op.signature, type(self).__name__, self.arguments
        if len(arguments) > len(names):
            raise UsageError(f"{who}: expected at most {len(names)} arguments ({', '.join(names)})")
        given = dict(zip(names, arguments, strict=False))
        for name, value in settings.items():
            name = name if name in names else SYNONYMS.get(name, name)
            if name not in names or name in given:
                problem = "is given twice" if name in given else "is no setting"
                raise UsageError(f"{who}: {name} {problem}; expected {', '.join(names) or 'none'}")
            given[name] = value
        for name in names:
            if name not in given and name in signature.settings and name not in signature.defaults:
                raise UsageError(f"{who}: the setting {name} is missing")
            value = given.get(name, signature.defaults.get(name))
            setattr(self, name, Buffer(value) if name not in signature.settings and value is not None else value)
        if self.op.elementwise and len(signature.arrays) == 1:
            self.forward(np.zeros(1))  # a setting that the op refuses is refused now, not in the first batch

    def forward(self, *inputs: Any) -> Any:
        op = type(self).op  # through the instance it would be a method
        return op(*inputs, **{name: getattr(self, name) for name in self.arguments})

    def settings(self) -> str:
        shown = {name: getattr(self, name) for name in self.arguments if name in self.op.signature.settings}
        return ", ".join(f"{n}={v!r}" for n, v in shown.items() if v != self.op.defaults.get(n))


def _optional(op: Op) -> list[str]:
    """The names of the arrays that may be left out."""
    return [p.name for p in op.signature.arrays if p.default is not p.empty]
