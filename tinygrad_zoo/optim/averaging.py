"""EMA: an exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import backend
from ..errors import CheckpointError, UsageError
from ..grad_mode import effect
from ..kernels import optimizer as kernels
from ..kernels.pieces import pieces
from ..nn import Module
from ..variable import Array
from .flat import Layout, by_kind, kind_of


class EMA:
    """a ← x + d·(a − x) for every parameter x of `model`: a is the average over about the last 1/(1−decay) updates.

    It starts as the parameters are at construction, d = decay. With `bias_correction` the start is forgotten:
    d = decay·(1−decayᵗ⁻¹)/(1−decayᵗ) at update t, so a is the first x after one update and the properly weighted mean
    of all x since (Adam's m̂). Floating buffers are averaged too if `average_buffers`; all other buffers are copied.

    `update()` goes after `optimizer.step()`; inside `with ema.applied():` the model has the averages.

    >>> from tinygrad_zoo import nn
    >>> model = nn.Module()
    >>> model.w = nn.Parameter([0.0])
    >>> ema = EMA(model, decay=0.75)
    >>> model.w.data = np.array([4.0], np.float32)
    >>> ema.update()
    >>> with ema.applied():
    ...     print(model.w.tolist())
    [1.0]
    >>> model.w.tolist()
    [4.0]
    """

    def __init__(
        self, model: Module, decay: float = 0.999, *, bias_correction: bool = False, average_buffers: bool = False
    ) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"EMA: expected decay in [0, 1), got {decay}")
        self.model, self.decay, self.updates = model, decay, 0
        self.bias_correction, self.average_buffers = bias_correction, average_buffers
        self._named: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        buffers = {id(x) for x in model.buffers()}
        self._averaged = {
            name: x
            for name, x in self._named.items()
            if id(x) not in buffers or (average_buffers and x.dtype.kind == "f")
        }
        self._copies = {name: x.data.copy() for name, x in self._named.items() if name not in self._averaged}
        self._lay_out({name: x.data for name, x in self._averaged.items()})

    def _lay_out(self, values: Mapping[str, Array]) -> None:
        """Flat averages with these values, one for each dtype and device of the model."""
        names = {id(x): name for name, x in self._averaged.items()}
        self._layouts = [Layout(part) for part in by_kind(self._averaged.values())]
        self._flats = [(layout.buffer(), layout.buffer()) for layout in self._layouts]  # averages, current values
        self._views: dict[str, Array] = {}
        for layout, (average, _) in zip(self._layouts, self._flats, strict=True):
            for x, view in zip(layout.tensors, layout.parts(average), strict=True):
                self._views[names[id(x)]] = view
                view[...] = backend.to_device(values[names[id(x)]], layout.device)

    @effect
    def update(self) -> None:
        """Take the model's present values into the average."""
        if any(kind_of(x) != (layout.dtype, layout.device) for layout in self._layouts for x in layout.tensors):
            self._lay_out(self._views)  # the model was moved or converted
        self.updates += 1
        decay = self.decay
        if self.bias_correction:
            decay *= (1 - self.decay ** (self.updates - 1)) / (1 - self.decay**self.updates)
        for layout, (average, current) in zip(self._layouts, self._flats, strict=True):
            arrays = [x._data for x in layout.tensors]
            table = pieces(arrays, layout.cuts)
            values = layout.join(arrays, axis=None, out=current) if table is None else table
            kernels.ema(average, values, decay=decay)
        self._copies = {name: self._named[name].data.copy() for name in self._copies}

    @effect
    def copy_to(self, model: Module | None = None) -> None:
        """Write the averages into the model, or into another of the same make."""
        target = self.model if model is None else model
        tensors = {**dict(target.named_parameters()), **dict(target.named_buffers())}
        values = self._values()
        if tensors.keys() != values.keys():
            raise UsageError(f"EMA.copy_to: the models differ in {sorted(tensors.keys() ^ values.keys())}")
        for name, x in tensors.items():
            x.data[...] = backend.to_device(values[name], x.device)
            x.mark_written()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages inside, and its own values again, bitwise, after."""
        own = {name: x.data.copy() for name, x in self._named.items()}
        self.copy_to()
        try:
            yield
        finally:
            for name, x in self._named.items():
                x.data[...] = own[name]
                x.mark_written()

    def _values(self) -> dict[str, Array]:
        return {**self._views, **self._copies}

    def state_dict(self) -> dict[str, Any]:
        """{"updates": int, "average": {name: array on the host}}, all copies."""
        average = {name: np.array(backend.to_host(value)) for name, value in self._values().items()}
        return {"updates": self.updates, "average": average}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, bitwise."""
        own, given = self._values(), state_dict["average"]
        wrong = own.keys() ^ given.keys() or {n for n in own if own[n].shape != np.shape(given[n])}
        if wrong:
            raise CheckpointError(f"EMA: the state does not fit the model in {', '.join(sorted(wrong))}")
        for name, value in own.items():
            value[...] = backend.to_device(given[name], backend.device_of(value))
        self.updates = int(state_dict["updates"])
