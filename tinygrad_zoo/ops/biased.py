"""A bias and an activation in one pass over memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd import Op, fused
from ..errors import ShapeError, UsageError
from ..kernels import elementwise as kernels
from ..variable import Array
from .activation import gelu, mish, sigmoid, silu, softplus
from .piecewise import elu, relu
from .precision import half_in_single
from .sampling import sample
from .trigonometry import tanh


class _Activation(NamedTuple):
    op: Op
    settings: dict[str, Any]
    kernel: tuple[Any, ...]  # its name, and its settings


_KNOWN = {
    "elu": _Activation(elu, {"alpha": 1.0}, ("elu", 1.0, 1.0)),
    "gelu": _Activation(gelu, {"approximate": "none"}, ("gelu",)),
    "gelu_tanh": _Activation(gelu, {"approximate": "tanh"}, ("gelu_tanh",)),
    "mish": _Activation(mish, {}, ("mish",)),
    "relu": _Activation(relu, {}, ("relu",)),
    "sigmoid": _Activation(sigmoid, {}, ("sigmoid",)),
    "silu": _Activation(silu, {}, ("swish", 1.0)),
    "softplus": _Activation(softplus, {"beta": 1.0, "threshold": float("inf")}, ("softplus", 1.0)),
    "tanh": _Activation(tanh, {}, ("tanh",)),
}


def bias_activation_formula(x: Any, bias: Any, *, activation: str) -> Any:
    known = _KNOWN[activation]
    return known.op(x + bias, **known.settings)


def _backward(g: Array, out: Array, x: Array, bias: Array, *, needs: Any, activation: str) -> list[Any]:
    known = _KNOWN[activation]
    name, *settings = known.kernel
    made = kernels.biased_pulled(name, g, x, bias, *settings)
    if made is None:
        assert known.op.backward is not None
        (gx,) = known.op.backward.forward(g, out, x + bias, needs=(True,), **known.settings)
        made = gx, gx.sum(axis=tuple(range(gx.ndim - 1)))
    return [made[0], made[1] if needs[1] else None]


def _reference(x: Any, bias: Any, activation: str) -> Any:
    known = _KNOWN[activation]
    assert known.op.reference is not None
    return known.op.reference(x + bias, **known.settings)


@fused(
    formula=bias_activation_formula,
    backward=_backward,
    samples=lambda r: [
        sample(r.nonzero(2, 3), 0.05 * r(3)),
        *(sample(r(2, 2, 3), r(3), activation=name) for name in sorted(_KNOWN.keys() - {"elu", "relu"})),
        sample(r.nonzero(2, 4), 0.05 * r(4), activation="elu"),
        sample(r(0, 3), r(3), activation="tanh"),
    ],
    reference=_reference,
)
@half_in_single
def bias_activation(x: Array, bias: Array, *, activation: str = "relu") -> Any:
    """activation(x + bias) for x (…, C) and bias (C,), without an array of the sums.

    `activation` is "elu", "gelu", "gelu_tanh", "mish", "relu", "sigmoid", "silu", "softplus" or "tanh".

    >>> tz.bias_activation(tz.tensor([[-1.0, 2.0]]), tz.tensor([2.0, 1.0])).tolist()
    [[1.0, 3.0]]
    """
    if activation not in _KNOWN:
        raise UsageError(f"bias_activation: activation={activation!r}: expected one of {', '.join(sorted(_KNOWN))}")
    if x.ndim == 0 or bias.shape != x.shape[-1:]:
        raise ShapeError(f"bias_activation: x has shape {x.shape}; expected a bias of its last axis, got {bias.shape}")
    name, *settings = _KNOWN[activation].kernel
    out = kernels.biased(name, x, bias, *settings)
    return bias_activation_formula(x, bias, activation=activation) if out is None else out
