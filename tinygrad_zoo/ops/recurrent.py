"""One step of a recurrent layer: all that is pointwise in it. The two matrix products before it are `linear`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import fused
from ..backend import errstate, namespace
from ..errors import ShapeError
from ..variable import Array
from .activation import sigmoid
from .joining import chunk
from .precision import narrowed, widened
from .trigonometry import tanh


def _check(op: str, gates: int, input_gates: Array, hidden_gates: Array, **state: Array) -> None:
    ((name, x),) = state.items()
    expected = (*x.shape[:-1], gates * x.shape[-1]) if x.ndim else None
    if input_gates.shape != expected or hidden_gates.shape != expected:
        raise ShapeError(
            f"{op}: expected gates of shape (…, {gates} · H) for a {name} of shape (…, H), got "
            f"{input_gates.shape} and {hidden_gates.shape} for {x.shape}"
        )


def _sigmoid_(x: Array) -> None:
    """1 / (1 + e⁻ˣ), written over x: where e⁻ˣ overflows it is 0."""
    xp = namespace(x)
    x *= -1  # negative(x, out=x) of strided float32 is wrong in NumPy 2.4
    xp.exp(x, out=x)
    x += 1
    xp.divide(1, x, out=x)


def _parts(x: Array, count: int) -> list[Array]:
    """Views of the last axis in `count` pieces."""
    n = x.shape[-1] // count
    return [x[..., k * n : (k + 1) * n] for k in range(count)]


def _reference_sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0, -x))


# ---- gated recurrent unit
def _gru_formula(input_gates: Any, hidden_gates: Any, hidden: Any) -> Any:
    input_gates, hidden_gates, hidden = map(widened, (input_gates, hidden_gates, hidden))
    (xr, xz, xn), (hr, hz, hn) = (chunk(gates, chunks=3, axis=-1) for gates in (input_gates, hidden_gates))
    new = tanh(xn + sigmoid(xr + hr) * hn)
    return new + sigmoid(xz + hz) * (hidden - new)


def _gru_backward(
    g: Array, out: Array, input_gates: Array, hidden_gates: Array, hidden: Array, gates: Array, *, needs: Any
) -> list[Any]:
    reset, update, new = _parts(gates, 3)
    hn = _parts(hidden_gates, 3)[2]
    g = widened(g)
    gn = g * (1 - update) * (1 - new * new)
    gr, gz = gn * hn * reset * (1 - reset), g * (hidden - new) * update * (1 - update)
    join = namespace(g).concatenate
    return [
        join((gr, gz, gn), axis=-1) if needs[0] else None,
        join((gr, gz, gn * reset), axis=-1) if needs[1] else None,
        g * update if needs[2] else None,
    ]


def _gru_reference(input_gates: Any, hidden_gates: Any, hidden: Any) -> Any:
    (xr, xz, xn), (hr, hz, hn) = (np.split(gates, 3, -1) for gates in (input_gates, hidden_gates))
    z = _reference_sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + _reference_sigmoid(xr + hr) * hn) + z * hidden


@fused(
    formula=_gru_formula,
    backward=_gru_backward,
    saved=("gates",),
    samples=lambda r: [
        (r(3, 6), r(3, 6), r(3, 2)),
        (r(3), r(3), r(1)),
        (20 * r(2, 1, 3), r(2, 1, 3), r(2, 1, 1)),
        (r(0, 3), r(0, 3), r(0, 1)),
    ],
    reference=_gru_reference,
)
def gru_step(input_gates: Array, hidden_gates: Array, hidden: Array) -> Any:
    """(1 - z) · n + z · hidden with r, z = σ(xr + hr), σ(xz + hz) and n = tanh(xn + r · hn): the next state, (…, H).

    input_gates holds xr, xz, xn, and hidden_gates hr, hz, hn side by side, (…, 3 · H): `linear` of the input and of
    the state (arXiv 1406.1078; as in PyTorch the reset gate r acts on hn, after the matrix product).

    >>> tz.gru_step(tz.zeros(3), tz.zeros(3), tz.tensor([1.0])).tolist()
    [0.5]
    """
    _check("gru_step", 3, input_gates, hidden_gates, hidden=hidden)
    x, h, wide = map(widened, (input_gates, hidden_gates, hidden))
    xp = namespace(x)
    gates = x + h
    reset, update, new = _parts(gates, 3)
    with errstate(x):
        _sigmoid_(gates[..., : 2 * hidden.shape[-1]])
        xp.multiply(reset, _parts(h, 3)[2], out=new)
        new += _parts(x, 3)[2]
        xp.tanh(new, out=new)
        out = wide - new
        out *= update
        out += new
    return narrowed(out, input_gates, hidden_gates, hidden), gates


# ---- long short-term memory
class LSTMState(NamedTuple):
    """What an LSTM shows, and what it keeps."""

    hidden: Any
    cell: Any


def _lstm_formula(input_gates: Any, hidden_gates: Any, cell: Any) -> LSTMState:
    input_gates, hidden_gates, cell = map(widened, (input_gates, hidden_gates, cell))
    i, f, g, o = chunk(input_gates + hidden_gates, chunks=4, axis=-1)
    cell = sigmoid(f) * cell + sigmoid(i) * tanh(g)
    return LSTMState(sigmoid(o) * tanh(cell), cell)


def _lstm_backward(
    gh: Array, gc: Array, out: Array, out_cell: Array, input_gates: Array, hidden_gates: Array, cell: Array,
    gates: Array, shown: Array, *, needs: Any,
) -> list[Any]:  # fmt: skip
    i, f, new, o = _parts(gates, 4)
    gh, gc = widened(gh), widened(gc)
    gc = gc + gh * o * (1 - shown * shown)
    pulled = None
    if needs[0] or needs[1]:
        parts = gc * new * i * (1 - i), gc * cell * f * (1 - f), gc * i * (1 - new * new), gh * shown * o * (1 - o)
        pulled = namespace(gh).concatenate(parts, axis=-1)
    return [pulled if needs[0] else None, pulled if needs[1] else None, gc * f if needs[2] else None]


def _lstm_reference(input_gates: Any, hidden_gates: Any, cell: Any) -> Any:
    i, f, g, o = np.split(input_gates + hidden_gates, 4, -1)
    cell = _reference_sigmoid(f) * cell + _reference_sigmoid(i) * np.tanh(g)
    return _reference_sigmoid(o) * np.tanh(cell), cell


@fused(
    formula=_lstm_formula,
    backward=_lstm_backward,
    saved=("gates", "shown"),
    samples=lambda r: [
        (r(3, 8), r(3, 8), r(3, 2)),
        (r(4), r(4), r(1)),
        (20 * r(2, 1, 4), r(2, 1, 4), r(2, 1, 1)),
        (r(0, 4), r(0, 4), r(0, 1)),
    ],
    reference=_lstm_reference,
)
def lstm_step(input_gates: Array, hidden_gates: Array, cell: Array) -> Any:
    """(σ(o) · tanh(c), c) with c = σ(f) · cell + σ(i) · tanh(g): the next hidden and cell state, (…, H) each.

    The sum of input_gates and hidden_gates holds i, f, g, o side by side, (…, 4 · H): `linear` of the input and of the
    hidden state (Hochreiter & Schmidhuber 1997; the forget gate: Gers et al. 2000).

    >>> tz.lstm_step(tz.zeros(4), tz.zeros(4), tz.tensor([1.0])).cell.tolist()
    [0.5]
    """
    _check("lstm_step", 4, input_gates, hidden_gates, cell=cell)
    wide = widened(cell)
    gates = widened(input_gates) + widened(hidden_gates)
    xp, n = namespace(gates), cell.shape[-1]
    i, f, new, o = _parts(gates, 4)
    with errstate(gates):
        _sigmoid_(gates[..., : 2 * n])
        xp.tanh(new, out=new)
        _sigmoid_(o)
        after = f * wide
        after += i * new
        shown = xp.tanh(after)
        state = LSTMState(*(narrowed(a, input_gates, hidden_gates, cell) for a in (o * shown, after)))
    return state, gates, shown
