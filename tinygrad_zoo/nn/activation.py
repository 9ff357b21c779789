"""The activation functions: as modules, and as a table of what is known of each.

A module's formula and rule are those of its op. `ACTIVATIONS` has year, paper, derivative and flags by name, and
tests/test_activations.py measures the flags. Not in it, for want of a paper: LogSigmoid, Softmin, Tanhshrink,
Threshold, each a step away from one that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .. import ops
from ..autograd import Op
from ..backend import device_of, to_device
from ..errors import UsageError
from ..tensor import Tensor, as_tensor
from . import init
from .module import Module, Parameter
from .op_module import OpModule


# ---- of one number, without parameters
class Step(OpModule, op=ops.step): ...


class Sign(OpModule, op=ops.sign): ...


class Threshold(OpModule, op=ops.threshold): ...


class Sigmoid(OpModule, op=ops.sigmoid): ...


class LogSigmoid(OpModule, op=ops.logsigmoid): ...


class Hardsigmoid(OpModule, op=ops.hardsigmoid): ...


class Tanh(OpModule, op=ops.tanh): ...


class Hardtanh(OpModule, op=ops.hardtanh): ...


class Tanhshrink(OpModule, op=ops.tanhshrink): ...


class Softshrink(OpModule, op=ops.softshrink): ...


class Hardshrink(OpModule, op=ops.hardshrink): ...


class Softsign(OpModule, op=ops.softsign): ...


class Softplus(OpModule, op=ops.softplus): ...


class ReLU(OpModule, op=ops.relu): ...


class ReLU6(OpModule, op=ops.relu6): ...


class ReLUSquared(OpModule, op=ops.relu_squared): ...


class LeakyReLU(OpModule, op=ops.leaky_relu): ...


class ELU(OpModule, op=ops.elu): ...


class SELU(OpModule, op=ops.selu): ...


class CELU(OpModule, op=ops.celu): ...


class SiLU(OpModule, op=ops.silu): ...


class Hardswish(OpModule, op=ops.hardswish): ...


class GELU(OpModule, op=ops.gelu): ...


class QuickGELU(OpModule, op=ops.quick_gelu): ...


class Mish(OpModule, op=ops.mish): ...


# ---- along an axis
class Softmax(OpModule, op=ops.softmax): ...


class Softmin(OpModule, op=ops.softmin): ...


class LogSoftmax(OpModule, op=ops.log_softmax): ...


class Maxout(OpModule, op=ops.maxout): ...


class GLU(OpModule, op=ops.glu): ...


# ---- of a gate and a value
class BilinearGLU(OpModule, op=ops.mul): ...


class ReGLU(OpModule, op=ops.reglu): ...


class GEGLU(OpModule, op=ops.geglu): ...


class SwiGLU(OpModule, op=ops.swiglu): ...


# ---- with parameters or draws of their own
class PReLU(Module):
    """x where x > 0, else weight · x, the weight learnt: one, or one for each index of axis 1 (arXiv 1502.01852).

    >>> PReLU(3)(np.array([[-4.0, 4.0, -8.0]], np.float32)).tolist()
    [[-1.0, 4.0, -2.0]]
    """

    op: ClassVar[Op] = ops.prelu
    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        if num_parameters < 1:
            raise UsageError(f"PReLU: expected num_parameters >= 1, got {num_parameters}")
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Any) -> Any:
        return ops.prelu(x, self.weight)

    def settings(self) -> str:
        return f"{self.weight.size}"


class Swish(Module):
    """x · sigmoid(βx), β one learnt number (arXiv 1710.05941); `SiLU` is the one with β = 1.

    >>> Swish()(np.zeros(2, np.float32)).tolist()
    [0.0, 0.0]
    """

    op: ClassVar[Op] = ops.swish
    beta: Parameter

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = Parameter(np.asarray(beta, np.float32))

    def forward(self, x: Any) -> Any:
        return ops.swish(x, self.beta)


class RReLU(Module):
    """x where x > 0, else a · x: each a uniform in [lower, upper) in training, their mean after (arXiv 1505.00853).

    Every call in training draws one key from `rng`, which it shares with whoever gave it.

    >>> RReLU(0.1, 0.3, rng=np.random.default_rng(0)).eval()(np.array([-10.0, 2.0])).tolist()
    [-2.0, 2.0]
    """

    op: ClassVar[Op] = ops.rrelu

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, rng: np.random.Generator = init.REQUIRED) -> None:
        if lower > upper:
            raise UsageError(f"RReLU: expected lower <= upper, got {lower} and {upper}")
        self.lower, self.upper, self.rng = lower, upper, init.generator("RReLU", rng)

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        key = ops.draw_key(self.rng, x.device) if self.training else None
        return ops.rrelu(x, key, lower=self.lower, upper=self.upper, training=self.training)

    def settings(self) -> str:
        return f"{self.lower:g}, {self.upper:g}"


# ---- the table
@dataclass(frozen=True)
class Activation:
    """What is known of an activation function; called, it is that function with its usual settings.

    `derivative` is an expression in Python: σ is the logistic function, Φ and φ the normal distribution and density,
    p softmax's result, u the argument of gelu_tanh's tanh; a gated unit's is the one in the gate.

    >>> leaky = ACTIVATIONS["leaky_relu"]
    >>> leaky(np.array([-1.0, 2.0])).tolist(), leaky.year, leaky.monotone, leaky.bounded
    ([-0.01, 2.0], 2013, True, False)
    """

    module: type[Module]
    year: int  # in which the paper, or the citation, brought it to neural networks
    paper: str
    derivative: str
    monotone: bool  # it never falls where an argument grows
    bounded: bool  # on both sides
    smooth: bool  # it has derivatives of every order everywhere
    kinks: tuple[float, ...]  # of a function of one number: where it or one of its derivatives jumps
    of: Literal["a number", "a vector", "gate and value"]
    parameter: float | None  # the usual value of what may be learnt
    settings: dict[str, Any]

    @property
    def op(self) -> Op:
        op: Op = vars(self.module)["op"]
        return op

    def __call__(self, *inputs: Any) -> Any:
        if self.parameter is None:
            return self.op(*inputs, **self.settings)
        (x,) = inputs
        array = x.data if isinstance(x, Tensor) else x
        return self.op(x, to_device(np.asarray(self.parameter, x.dtype), device_of(array)), **self.settings)


def _known(
    module: type[Module],
    year: int,
    paper: str,
    derivative: str,
    flags: str,
    *kinks: float,
    of: Literal["a number", "a vector", "gate and value"] = "a number",
    parameter: float | None = None,
    **settings: Any,
) -> Activation:
    held = flags.split()
    monotone, bounded, smooth = (flag in held for flag in ("monotone", "bounded", "smooth"))
    return Activation(module, year, paper, derivative, monotone, bounded, smooth, kinks, of, parameter, settings)


# fmt: off
_SILU = "σ(x) * (1 + x * (1 - σ(x)))"
_MISH = "tanh(log1p(exp(x))) + x * σ(x) * (1 - tanh(log1p(exp(x))) ** 2)"
_TANH = "0.5 * (1 + tanh(u)) + x / 2 * (1 - tanh(u) ** 2) * sqrt(2 / pi) * (1 + 0.134145 * x ** 2)"

ACTIVATIONS: dict[str, Activation] = {
    # steps and squashing functions
    "step": _known(Step, 1943, "McCulloch & Pitts", "0", "monotone bounded", 0),
    "sign": _known(Sign, 1960, "Widrow & Hoff", "0", "monotone bounded", 0),
    "sigmoid": _known(Sigmoid, 1986, "Rumelhart, Hinton & Williams", "σ(x) * (1 - σ(x))", "monotone bounded smooth"),
    "tanh": _known(Tanh, 1989, "LeCun et al.", "1 - tanh(x) ** 2", "monotone bounded smooth"),
    "hardtanh": _known(Hardtanh, 2004, "Collobert", "where(abs(x) < 1, 1, 0)", "monotone bounded", -1, 1),
    "softsign": _known(Softsign, 2009, "Bergstra et al.", "1 / (1 + abs(x)) ** 2", "monotone bounded", 0),
    "hardsigmoid": _known(
        Hardsigmoid, 2019, "arXiv 1905.02244", "where(abs(x) < 3, 1 / 6, 0)", "monotone bounded", -3, 3
    ),
    # thresholds of |x|
    "hardshrink": _known(
        Hardshrink, 1994, "Donoho & Johnstone", "where(abs(x) > 0.5, 1, 0)", "monotone", -0.5, 0.5
    ),
    "softshrink": _known(
        Softshrink, 1994, "Donoho & Johnstone", "where(abs(x) > 0.5, 1, 0)", "monotone", -0.5, 0.5
    ),
    # rectifiers
    "relu": _known(ReLU, 1969, "Fukushima", "where(x > 0, 1, 0)", "monotone", 0),
    "softplus": _known(Softplus, 2000, "Dugas et al.", "σ(x)", "monotone smooth"),
    "relu6": _known(ReLU6, 2010, "Krizhevsky", "where((x > 0) & (x < 6), 1, 0)", "monotone bounded", 0, 6),
    "leaky_relu": _known(LeakyReLU, 2013, "Maas, Hannun & Ng", "where(x > 0, 1, 0.01)", "monotone", 0),
    "prelu": _known(PReLU, 2015, "arXiv 1502.01852", "where(x > 0, 1, 0.25)", "monotone", 0, parameter=0.25),
    "rrelu": _known(RReLU, 2015, "arXiv 1505.00853", "where(x > 0, 1, (1 / 8 + 1 / 3) / 2)", "monotone", 0),
    "relu_squared": _known(ReLUSquared, 2021, "arXiv 2109.08668", "where(x > 0, 2 * x, 0)", "monotone", 0),
    # exponential units
    "elu": _known(ELU, 2015, "arXiv 1511.07289", "where(x > 0, 1, exp(x))", "monotone", 0),
    "selu": _known(
        SELU, 2017, "arXiv 1706.02515", "1.0507009873554805 * where(x > 0, 1, 1.6732632423543772 * exp(x))",
        "monotone", 0,
    ),
    "celu": _known(CELU, 2017, "arXiv 1704.07483", "where(x > 0, 1, exp(x))", "monotone", 0),
    # x times a gate of itself
    "gelu": _known(GELU, 2016, "arXiv 1606.08415", "Φ(x) + x * φ(x)", "smooth"),
    "gelu_tanh": _known(GELU, 2016, "arXiv 1606.08415", _TANH, "smooth", approximate="tanh"),
    "quick_gelu": _known(QuickGELU, 2016, "arXiv 1606.08415", _SILU.replace("x", "(1.702 * x)"), "smooth"),
    "silu": _known(SiLU, 2017, "arXiv 1702.03118", _SILU, "smooth"),
    "swish": _known(Swish, 2017, "arXiv 1710.05941", _SILU, "smooth", parameter=1.0),
    "hardswish": _known(
        Hardswish, 2019, "arXiv 1905.02244", "where(abs(x) < 3, x / 3 + 0.5, where(x > 0, 1, 0))", "", -3, 3
    ),
    "mish": _known(Mish, 2019, "arXiv 1908.08681", _MISH, "smooth"),
    # of several numbers
    "softmax": _known(Softmax, 1990, "Bridle", "diag(p) - outer(p, p)", "bounded smooth", of="a vector"),
    "log_softmax": _known(LogSoftmax, 1990, "Bridle", "eye(len(p)) - p", "smooth", of="a vector"),
    "maxout": _known(Maxout, 2013, "arXiv 1302.4389", "[x == x.max()]", "monotone", of="a vector", axis=-1),
    "glu": _known(GLU, 2016, "arXiv 1612.08083", "value * σ(gate) * (1 - σ(gate))", "smooth", of="a vector"),
    "bilinear": _known(BilinearGLU, 2020, "arXiv 2002.05202", "value", "smooth", of="gate and value"),
    "reglu": _known(ReGLU, 2020, "arXiv 2002.05202", "where(gate > 0, value, 0)", "", of="gate and value"),
    "geglu": _known(
        GEGLU, 2020, "arXiv 2002.05202", "value * (Φ(gate) + gate * φ(gate))", "smooth", of="gate and value"
    ),
    "swiglu": _known(
        SwiGLU, 2020, "arXiv 2002.05202", f"value * {_SILU.replace('x', 'gate')}", "smooth", of="gate and value"
    ),
}
# fmt: on
