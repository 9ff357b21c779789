"""Names that users of PyTorch and NumPy reach for and that are called otherwise here: what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from .explain import nearest

_IN_PLACE = "tensors are not written in place: rebind, as in x = x + y, or on a leaf x.data = new values"
_MATMUL = "write a @ b, which takes stacks and vectors too"
_RNG = "randomness is an explicit argument: rng = numpy.random.default_rng(0), then rng=rng where numbers are drawn"

TENSOR = {
    "view_as": "write x.reshape(y.shape)",
    "reshape_as": "write x.reshape(y.shape)",
    "expand_as": "write x.expand(y.shape)",
    "type_as": "write x.to(y.dtype)",
    "contiguous": "leave it out: every op takes every memory layout",
    "cuda": 'write x.to("cupy")',
    "type": 'write x.to("float32")',
    "nelement": "write x.numel()",
    "element_size": "write x.dtype.itemsize",
    "get_device": "write x.device",
    "is_cuda": 'write x.device != "cpu"',
    "grad_fn": "write x.node",
    "retain_grad": "write y_grad, = tinygrad_zoo.autograd.gradients([loss], [y])",
    "mm": _MATMUL,
    "bmm": _MATMUL,
    "mv": _MATMUL,
    "addmm": "write c + a @ b",
    "vecdot": "write (x * y).sum(axis=-1)",
    "absolute": "write x.abs()",
    "negative": "write -x",
    "multiply": "write x * y",
    "divide": "write x / y",
    "subtract": "write x - y",
    "true_divide": "write x / y",
    "logdet": "write x.slogdet().logabsdet",
    "unique": "write numpy.unique(x.numpy())",
    "bincount": "write numpy.bincount(x.numpy())",
    "quantile": "write numpy.quantile(x.numpy(), q)",
    "mode": "write numpy.unique(x.numpy(), return_counts=True)",
    "histc": "write numpy.histogram(x.numpy())",
    "allclose": "write numpy.allclose(x.numpy(), y.numpy())",
    "equal": "write bool((x == y).all())",
    "uniform_": _RNG + ", e.g. tinygrad_zoo.uniform",
    "normal_": _RNG + ", e.g. tinygrad_zoo.normal",
}

PACKAGE = {
    "empty": "uninitialised memory differs from run to run: write zeros",
    "empty_like": "uninitialised memory differs from run to run: write zeros_like",
    "array": "write tensor",
    "concatenate": "write concat",
    "hstack": "write concat(arrays, axis=1)",
    "vstack": "write concat(arrays, axis=0)",
    "mm": _MATMUL,
    "bmm": _MATMUL,
    "mv": _MATMUL,
    "addmm": "write c + a @ b",
    "linalg": "its functions are here: tinygrad_zoo.solve, .inv, .det, .eigh, .svd, .norm, ...",
    "special": "its functions are here: tinygrad_zoo.erfinv, .digamma, .logit, ...",
    "functional": "write tinygrad_zoo.nn.functional, or the op itself: tinygrad_zoo.relu",
    "manual_seed": _RNG,
    "random": _RNG + ": tinygrad_zoo.randn(2, 3, rng=rng)",
    "seed": _RNG,
    "Generator": "write numpy.random.default_rng(0)",
    "save": "write numpy.savez(path, **model.state_dict()), then model.load_state_dict(numpy.load(path))",
    "load": "write model.load_state_dict(numpy.load(path)) for what numpy.savez(path, **model.state_dict()) wrote",
    "set_grad_enabled": "write with tinygrad_zoo.no_grad(): or with tinygrad_zoo.enable_grad():",
    "inference_mode": "write with tinygrad_zoo.no_grad():",
    "absolute": "write abs",
    "arcsin": "write asin",
    "arccos": "write acos",
    "arctan": "write atan",
    "arctan2": "write atan2",
    "arcsinh": "write asinh",
    "arccosh": "write acosh",
    "arctanh": "write atanh",
    "power": "write pow",
    "true_divide": "write div",
    "divide": "write div",
    "multiply": "write mul",
    "subtract": "write sub",
    "logdet": "write slogdet(x).logabsdet",
    "unique": "write numpy.unique(x.numpy())",
    "bincount": "write numpy.bincount(x.numpy())",
    "quantile": "write numpy.quantile(x.numpy(), q)",
    "allclose": "write numpy.allclose(x.numpy(), y.numpy())",
    "equal": "write bool((x == y).all())",
    "is_tensor": "write isinstance(x, tinygrad_zoo.Tensor)",
    "triangular_solve": "write solve_triangular(a, b, upper=True)",
    "vmap": "ops take batches: put the batch on the first axis",
    "pi": "write math.pi",
    "inf": "write math.inf",
    "nan": "write math.nan",
    "cuda": 'write tensor.to("cupy"), or set TINYGRAD_ZOO_BACKEND=cupy',
    "device": 'devices are named by text: "cpu", "cupy"',
}

NN = {
    "RNN": "write nn.GRU or nn.LSTM",
    "RNNCell": "write nn.GRUCell or nn.LSTMCell",
    "utils": "write tinygrad_zoo.optim.clip_grad_norm_ and its neighbours",
}


# PyTorch keeps its losses there.
NN |= {
    f"{name}Loss": f"write tinygrad_zoo.losses.{name}Loss"
    for name in (
        *("BCE", "BCEWithLogits", "CosineEmbedding", "CrossEntropy", "GaussianNLL", "HingeEmbedding", "Huber", "KLDiv"),
        *("L1", "MSE", "MarginRanking", "MultiLabelSoftMargin", "MultiMargin", "NLL", "PoissonNLL", "SmoothL1"),
        *("SoftMargin", "TripletMargin"),
    )
}


for _name in (
    *("abs", "add", "clamp", "copy", "div", "exp", "fill", "log", "masked_fill", "mul", "neg", "pow", "relu"),
    *("scatter", "scatter_add", "index_add", "sigmoid", "sqrt", "sub", "tanh", "transpose", "squeeze", "zero"),
):
    TENSOR[f"{_name}_"] = _IN_PLACE


class Elsewhere:
    """An attribute that is not there, and says what to write.

    >>> class Box:
    ...     contiguous = Elsewhere("Box", "contiguous", TENSOR)
    >>> hasattr(Box(), "contiguous")
    False
    """

    def __init__(self, owner: str, name: str, hints: dict[str, str]) -> None:
        self.arguments = owner, name, hints

    def __get__(self, instance: Any, owner: Any = None) -> NoReturn:
        raise missing(*self.arguments, ())


def missing(owner: str, name: str, hints: dict[str, str], known: Iterable[str]) -> AttributeError:
    """The error of an attribute that is not there.

    >>> missing("Tensor", "contiguous", TENSOR, [])
    AttributeError("Tensor has no 'contiguous': leave it out: every op takes every memory layout")
    >>> missing("tinygrad_zoo", "summ", PACKAGE, ["sum"])
    AttributeError("tinygrad_zoo has no 'summ'; did you mean sum?")
    """
    hint = hints.get(name)
    return AttributeError(f"{owner} has no {name!r}{f': {hint}' if hint else nearest(name, list(known))}")
