"""Recurrent layers and their cells, with PyTorch's arguments and names of parameters.

The input's product with its weight is one `linear` for all steps; a step is a `linear` of the state and one fused op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import ops
from ..creation import zeros
from ..errors import ShapeError, UsageError
from ..tensor import as_tensor
from . import init
from .layers import check_sizes
from .module import Module, Parameter

State = tuple[Any, ...]  # an LSTM's hidden and cell state; a GRU's hidden state alone


class _Kind(NamedTuple):
    """What a GRU and an LSTM differ in."""

    gates: int
    names: tuple[str, ...]  # of the parts of the state, in errors
    step: Callable[[Any, Any, State], State]  # of the products of input and state with their weights, and the state


_GRU = _Kind(3, ("h_0",), lambda x, h, state: (ops.gru_step(x, h, state[0]),))
_LSTM = _Kind(4, ("h_0", "c_0"), lambda x, h, state: tuple(ops.lstm_step(x, h, state[1])))


class _Recurrent(Module):
    """What layers and cells share: their weights, and their state."""

    kind: ClassVar[_Kind]

    input_size: int
    hidden_size: int

    def _make(self, suffix: str, features: int, recurrent: int, bias: bool, rng: np.random.Generator) -> None:
        """The parameters of one layer in one direction, U(±1/√hidden_size)."""
        rows = self.kind.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...] | None] = {"weight_ih": (rows, features), "weight_hh": (rows, recurrent)}
        shapes |= dict.fromkeys(("bias_ih", "bias_hh"), (rows,) if bias else None)
        if recurrent != self.hidden_size:
            shapes["weight_hr"] = (recurrent, self.hidden_size)
        bound = 1 / math.sqrt(self.hidden_size)
        for name, shape in shapes.items():
            parameter = None if shape is None else Parameter(np.empty(shape, np.float32))
            setattr(self, name + suffix, parameter)
            if parameter is not None:
                init.uniform_(parameter, -bound, bound, rng=rng)

    def _weights(self, suffix: str) -> list[Any]:
        """weight_ih, weight_hh, bias_ih, bias_hh, and the weight_hr of a projection."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, name + suffix, None) for name in names]

    def _checked(self, x: Any, shapes: dict[int, str]) -> Any:
        x = as_tensor(x)
        if x.ndim not in shapes or x.shape[-1] != self.input_size:
            expected = " or ".join(f"({text}{self.input_size})" for text in shapes.values())
            raise ShapeError(f"{type(self).__name__}: expected x of shape {expected}, got {x.shape}")
        return x

    def _state(self, hx: Any, like: Any, shapes: Sequence[tuple[int, ...]]) -> State:
        """The parts of the state that was given, or zeros."""
        if hx is None:
            return tuple(zeros(shape, dtype=like.dtype, device=like.device) for shape in shapes)
        if len(shapes) == 1:
            hx = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != len(shapes):
            raise UsageError(f"{type(self).__name__}: expected the state as ({', '.join(self.kind.names)})")
        parts = tuple(map(as_tensor, hx))
        for name, part, shape in zip(self.kind.names, parts, shapes, strict=True):
            if part.shape != shape:
                raise ShapeError(f"{type(self).__name__}: expected a state {name} of shape {shape}, got {part.shape}")
        return parts


# ---- over sequences
class _Layers(_Recurrent):
    """Layers in a row, each in one direction or two."""

    proj_size: int = 0

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        who = type(self).__name__
        check_sizes(who, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise UsageError(f"{who}: expected 0 <= dropout <= 1, got {dropout}")
        if dropout and num_layers == 1:
            raise UsageError(f"{who}: dropout={dropout} acts between layers, and there is one: write dropout=0.0")
        if not 0 <= self.proj_size < hidden_size:
            raise UsageError(f"{who}: expected 0 <= proj_size < hidden_size, got {self.proj_size} and {hidden_size}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.rng = init.generator(who, rng)
        out = self.proj_size or hidden_size
        for layer in range(num_layers):
            features = out * len(self._suffixes(layer)) if layer else input_size
            for suffix in self._suffixes(layer):
                self._make(suffix, features, out, bias, self.rng)

    def _suffixes(self, layer: int) -> list[str]:
        """Of the names of a layer's parameters, by direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        batched = "N, T, " if self.batch_first else "T, N, "
        x = self._checked(x, {3: batched, 2: "T, "})
        time = 1 if self.batch_first and x.ndim == 3 else 0
        if not x.shape[time]:
            raise ShapeError(f"{type(self).__name__}: expected a sequence of a step or more, got {x.shape}")
        lead = (self.num_layers * (1 + self.bidirectional), *(x.shape[1 - time : 2 - time] if x.ndim == 3 else ()))
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: len(self.kind.names)]
        given = self._state(hx, self._weights("_l0")[1], [(*lead, size) for size in sizes])
        states = list(zip(*(ops.unbind(part) for part in given), strict=True))
        ends: list[State] = []
        for layer in range(self.num_layers):
            runs = []
            for suffix in self._suffixes(layer):
                out, end = self._run(x, time, states[len(ends)], suffix)
                runs.append(out)
                ends.append(end)
            x = runs[0] if len(runs) == 1 else ops.concat(*runs, axis=-1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = ops.dropout(x, ops.draw_key(self.rng, x.device), p=self.dropout)
        last = tuple(ops.stack(*parts) for parts in zip(*ends, strict=True))
        return x, last if len(last) > 1 else last[0]

    def _run(self, x: Any, time: int, state: State, suffix: str) -> tuple[Any, State]:
        """One layer in one direction: what it shows at every step, and the state it ends in."""
        weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = self._weights(suffix)
        way = -1 if suffix.endswith("_reverse") else 1
        shown = []
        for input_gates in ops.unbind(ops.linear(x, weight_ih, bias_ih), axis=time)[::way]:
            state = self.kind.step(input_gates, ops.linear(state[0], weight_hh, bias_hh), state)
            if weight_hr is not None:
                state = (ops.linear(state[0], weight_hr), *state[1:])
            shown.append(state[0])
        return ops.stack(*shown[::way], axis=time), state

    def settings(self) -> str:
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        defaults |= {"bidirectional": False, "proj_size": 0}
        changed = [f"{n}={getattr(self, n)}" for n, default in defaults.items() if getattr(self, n) != default]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *changed])


class GRU(_Layers):
    """`gru_step` along a sequence (T, N, input_size): (output, h_n), what the last layer shows at each step and where
    each layer ends (arXiv 1406.1078).

    output is (T, N, D · hidden_size) and h_n, like the state hx to start from, (D · num_layers, N, hidden_size), where
    D = 2 if bidirectional, then forwards and backwards side by side. batch_first: x and output are (N, T, …). Without
    a batch there is no N. In training `dropout` is applied to what each layer but the last shows.

    >>> output, h_n = GRU(3, 4, bidirectional=True, rng=np.random.default_rng(0))(np.zeros((5, 2, 3), np.float32))
    >>> output.shape, h_n.shape
    ((5, 2, 8), (2, 2, 4))
    """

    kind = _GRU


class LSTM(_Layers):
    """`lstm_step` along a sequence (T, N, input_size): (output, (h_n, c_n)), what the last layer shows at each step and
    where each layer ends (Hochreiter & Schmidhuber 1997).

    Shapes and arguments are those of `GRU`, and hx is (h_0, c_0). With proj_size what is shown is projected to that
    size, h_0 and h_n too (arXiv 1402.1128).

    >>> output, (h_n, c_n) = LSTM(3, 4, proj_size=2, rng=np.random.default_rng(0))(np.zeros((5, 2, 3), np.float32))
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 2, 2), (1, 2, 2), (1, 2, 4))
    """

    kind = _LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        self.proj_size = proj_size
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng)


# ---- one step
class _Cell(_Recurrent):
    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, rng: np.random.Generator = init.REQUIRED
    ) -> None:
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._make("", input_size, hidden_size, bias, init.generator(type(self).__name__, rng))

    def forward(self, x: Any, hx: Any = None) -> Any:
        x = self._checked(x, {2: "N, ", 1: ""})
        weight_ih, weight_hh, bias_ih, bias_hh, _ = self._weights("")
        state = self._state(hx, weight_hh, [(*x.shape[:-1], self.hidden_size)] * len(self.kind.names))
        after = self.kind.step(ops.linear(x, weight_ih, bias_ih), ops.linear(state[0], weight_hh, bias_hh), state)
        return after if len(after) > 1 else after[0]

    def settings(self) -> str:
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias else ', bias=False'}"


class GRUCell(_Cell):
    """One step of a `GRU`: x (N, input_size) or (input_size,), and the state, by default 0, to the next state.

    >>> GRUCell(3, 4, rng=np.random.default_rng(0))(np.zeros((2, 3), np.float32)).shape
    (2, 4)
    """

    kind = _GRU


class LSTMCell(_Cell):
    """One step of an `LSTM`: x (N, input_size) or (input_size,), and (h, c), by default 0, to the next (h, c).

    >>> h, c = LSTMCell(3, 4, rng=np.random.default_rng(0))(np.zeros(3, np.float32))
    >>> h.shape, c.shape
    ((4,), (4,))
    """

    kind = _LSTM
