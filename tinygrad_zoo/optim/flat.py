"""Tensors side by side: a flat buffer per dtype and device, of which every tensor is a view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from .. import backend
from ..errors import DeviceError, ShapeError
from ..kernels.pieces import Pieces, pieces
from ..variable import Array, mark_all_written


def kind_of(x: Any) -> tuple[np.dtype[Any], str]:
    """What tensors must share to lie in one buffer: dtype and device."""
    return x._data.dtype, backend.device_of(x._data)


def by_kind(tensors: Iterable[Any]) -> list[list[Any]]:
    """The tensors parted by dtype and device, otherwise in order."""
    parts: dict[Any, list[Any]] = {}
    for x in tensors:
        parts.setdefault(kind_of(x), []).append(x)
    return list(parts.values())


class Layout:
    """Where each of several tensors of one dtype and device lies in a flat buffer."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self.tensors = list(tensors)
        self.dtype, self.device = kind_of(tensors[0])
        self.shapes = [x._data.shape for x in tensors]
        self.bounds = list(accumulate((x._data.size for x in tensors), initial=0))
        self.cuts = np.array(self.bounds, np.int64)  # for kernels
        self.join = backend.namespace(tensors[0]._data).concatenate  # join(arrays, axis=None, out=flat)

    def buffer(self) -> Array:
        """Zeros for all tensors."""
        return backend.to_device(np.zeros(self.bounds[-1], self.dtype), self.device)

    def parts(self, buffer: Array) -> list[Array]:
        """The view of each tensor, in its shape."""
        return [buffer[a:b].reshape(s) for (a, b), s in zip(pairwise(self.bounds), self.shapes, strict=True)]


class Run:
    """Neighbouring parameters that have a gradient and have taken equally many steps: one kernel call updates them.

    `data`, `grad` and every `slot` are contiguous 1-D arrays; `t` counts the steps. A kernel takes `pieces`, which
    spares it the copy that `grad` is.
    """

    __slots__ = (
        *("_arrays", "_buffer", "_cuts", "_flat", "_joined", "_negated", "_range", "_slots"),
        *("data", "first", "fixed", "last", "params", "t"),
    )

    def __init__(self, flat: Flat, first: int, last: int, t: int) -> None:
        self._flat, self.first, self.last, self.t = flat, first, last, t
        self._range = slice(flat.bounds[first], flat.bounds[last])
        self._slots: dict[str, Array] = {}
        self.params = flat.tensors[first:last]
        self.data, self._buffer = flat.data[self._range], flat.grad[self._range]
        self._cuts = flat.cuts[first : last + 1] - flat.bounds[first]
        self.fixed: Pieces | None = None  # gradients that always lie in the same place, while a replay says so
        self.open([], negated=False)

    def open(self, arrays: list[Array], negated: bool) -> None:
        """Take the gradients of a step, with the sign turned where `negated`."""
        self._arrays, self._negated, self._joined = arrays, negated, False

    @property
    def grad(self) -> Array:
        """The gradients side by side."""
        if not self._joined:
            self._joined = True
            self._flat.join(self._arrays, axis=None, out=self._buffer)
            if self._negated:
                self._buffer *= -1
        return self._buffer

    def join(self) -> None:
        """Put the gradients side by side by copies alone: a graph of a device can hold these, and repeat them."""
        for (a, b), array in zip(pairwise(self._cuts.tolist()), self._arrays, strict=True):
            self._buffer[a:b].reshape(array.shape)[...] = array
        if self._negated:
            self._buffer *= -1

    def reopen(self) -> None:
        """Take the gradients that `join` put side by side, perhaps long ago and now in a graph."""
        self._joined = True

    @property
    def pieces(self) -> Array | Pieces:
        """The gradients where they lie if a kernel can read them there, else side by side."""
        if self.fixed is not None:
            return self.fixed
        if self._joined:
            return self._buffer
        table = None if self._negated else pieces(self._arrays, self._cuts)
        return self.grad if table is None or table.dtype != self.data.dtype else table

    def close(self) -> None:
        """After the update: let go of the gradients, and mark the parameters as written."""
        self._arrays = []
        mark_all_written(self.params)

    def slot(self, name: str) -> Array:
        """The state called `name`: zeros before the first step."""
        if name not in self._slots:
            self._slots[name] = self._flat.slot(name)[self._range]
        return self._slots[name]


class Flat(Layout):
    """The parameters of a group that share dtype and device: their values, gradients and state in flat buffers.

    Construction copies the values and makes each `p.data` a view. It bumps no version: no value changes, and a graph
    recorded before refers to the parameter itself or to the old memory, which nothing here writes.
    """

    def __init__(self, params: Sequence[Any]) -> None:
        super().__init__(params)
        self.data, self.grad = self.buffer(), self.buffer()
        self.views = self.parts(self.data)
        self.slots: dict[str, Array] = {}
        self.steps = [0] * len(params)  # a run counts its own: `settle` writes them here
        self.pattern = [False] * len(params)  # which parameters had a gradient when the runs were made
        self.runs: list[Run] = []
        self.adopt()

    def adopt(self) -> bool:
        """Make every `p.data` the view again, with the value it has now; False if one changed its dtype or device."""
        moved = [(p, view) for p, view in zip(self.tensors, self.views, strict=True) if p._data is not view]
        if not moved:
            return True
        for p, view in moved:
            if p._data.shape != view.shape:
                raise ShapeError(
                    f"optimizer: a parameter of shape {view.shape} now has shape {p._data.shape}: "
                    "make a new optimizer for it"
                )
        if any(kind_of(p) != (self.dtype, self.device) for p, _ in moved):
            return False
        # Values that lie in this very buffer (two parameters exchanged) are read before any is overwritten.
        values = [p._data.copy() if p._data.base is self.data else p._data for p, _ in moved]
        for (p, view), value in zip(moved, values, strict=True):
            view[...] = value
            p._data = view
        return True

    def collect(self, negated: bool = False) -> list[Run]:
        """Hand the gradients to the runs, with the sign turned where `negated`; returns the runs to update."""
        grads = [p._grad for p in self.tensors]
        pattern = [g is not None for g in grads]
        if pattern != self.pattern:
            self._regroup(pattern)
        for run in self.runs:
            run.open([g._data for g in grads[run.first : run.last]], negated)
        return self.runs

    def _regroup(self, pattern: list[bool]) -> None:
        self.settle()
        cuts = [0, *(i for i in range(1, len(pattern)) if self._differ(i, pattern)), len(pattern)]
        self.runs = [Run(self, a, b, self.steps[a]) for a, b in pairwise(cuts) if pattern[a]]
        self.pattern = pattern

    def _differ(self, i: int, pattern: list[bool]) -> bool:
        return pattern[i - 1] != pattern[i] or self.steps[i - 1] != self.steps[i]

    def settle(self) -> None:
        """Write the runs' step counts down."""
        for run in self.runs:
            self.steps[run.first : run.last] = [run.t] * (run.last - run.first)

    def slot(self, name: str) -> Array:
        """The flat state called `name`, made when first asked for."""
        if name not in self.slots:
            self.slots[name] = self.buffer()
        return self.slots[name]

    def save(self) -> list[dict[str, Any]]:
        """The state of each parameter, views on the buffers: {} before its first step."""
        self.settle()
        states: list[dict[str, Any]] = [{"step": t} if t else {} for t in self.steps]
        for name, slot in self.slots.items():
            for state, part in zip(states, self.parts(slot), strict=True):
                if state:
                    state[name] = part
        return states

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Take over what `save` gave, perhaps in another dtype or on another device."""
        self.slots, self.runs, self.pattern = {}, [], [False] * len(self.tensors)
        self.steps = [state.get("step", 0) for state in states]
        for i, state in enumerate(states):
            for name, value in state.items():
                if name != "step":
                    part = self.slot(name)[self.bounds[i] : self.bounds[i + 1]].reshape(self.shapes[i])
                    part[...] = backend.to_device(value, self.device)


def check_gradients_fit(params: Iterable[Any]) -> None:
    """Raise for a parameter that was moved to another device than its gradient."""
    for p in params:
        if p._grad is not None and kind_of(p._grad)[1] != kind_of(p)[1]:
            raise DeviceError(
                f"optimizer: a parameter was moved to {kind_of(p)[1]}, its gradient is on {kind_of(p._grad)[1]}: "
                "write zero_grad() and run backward() again before step()"
            )


def overlap(tensors: Sequence[Any]) -> bool:
    """Whether two of the tensors share memory: flat buffers would untie them without a word."""
    extents = sorted((*_extent(x._data), i) for i, x in enumerate(tensors) if x._data.size)
    for (_, end, i), (start, _, j) in pairwise(extents):
        a, b = tensors[i]._data, tensors[j]._data
        if start < end and backend.namespace(a).shares_memory(a, b):
            return True
    return False


def _extent(array: Array) -> tuple[int, int]:
    """The first address of its memory and the one behind the last."""
    start = end = array.ctypes.data if backend.on_host(array) else array.data.ptr
    for size, stride in zip(array.shape, array.strides, strict=True):
        start, end = start + min(0, (size - 1) * stride), end + max(0, (size - 1) * stride)
    return start, end + array.itemsize
