"""tinygrad_zoo: a reverse-mode autodiff engine on NumPy and CuPy, and a zoo of learning systems on top of it.

>>> import tinygrad_zoo as tz
>>> x = tz.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from typing import TYPE_CHECKING, Any

from . import _checkout as _checkout  # first: raises where git wrote the package links as text
from . import elsewhere as _elsewhere
from . import errors, ops
from ._version import __version__
from .anomaly import detect_anomaly
from .autograd import Op, fused, primitive
from .capture import capture
from .creation import *  # noqa: F403
from .creation import __all__ as _creation_names
from .draws import *  # noqa: F403
from .draws import __all__ as _draw_names
from .dtypes import NAMES as _dtype_names
from .dtypes import bool, float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
from .grad_mode import each_step, effect, enable_grad, is_grad_enabled, no_grad
from .ops import *  # noqa: F403
from .ops import __all__ as _op_names
from .tensor import Tensor, as_tensor, tensor
from .threads import get_num_threads, set_num_threads
from .transforms import checkpoint, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

if TYPE_CHECKING:
    from . import (
        algorithms,
        amp,
        array_api,
        data,
        distributions,
        gradient_estimators,
        information,
        kernels,
        losses,
        metrics,
        nn,
        optim,
        optimal_transport,
        plotting,
        recipe,
        stochastic_approximation,
        testing,
        training,
    )
    from .plotting import draw_graph

_SUBMODULES = (
    "algorithms",
    "amp",
    "array_api",
    "data",
    "distributions",
    "gradient_estimators",
    "information",
    "kernels",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "optimal_transport",
    "plotting",
    "recipe",
    "stochastic_approximation",
    "testing",
    "training",
)

__all__ = [
    "Op",
    "Tensor",
    "__version__",
    "as_tensor",
    "capture",
    "checkpoint",
    "detect_anomaly",
    "each_step",
    "effect",
    "draw_graph",
    "enable_grad",
    "errors",
    "fused",
    "get_num_threads",
    "grad",
    "hessian",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "no_grad",
    "ops",
    "primitive",
    "set_num_threads",
    "tensor",
    "value_and_grad",
    "vjp",
    *_creation_names,
    *_draw_names,
    *_dtype_names,
    *_op_names,
    *_SUBMODULES,
]


def __getattr__(name: str) -> Any:
    """Submodules, and what needs one, load on first use, so that importing the package stays quick."""
    if name == "draw_graph":
        from .plotting import draw_graph

        return draw_graph
    if name not in _SUBMODULES:
        raise _elsewhere.missing("tinygrad_zoo", name, _elsewhere.PACKAGE, __all__)
    import importlib

    return importlib.import_module(f"tinygrad_zoo.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
