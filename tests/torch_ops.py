"""What PyTorch calls our ops, and both libraries' values, gradients and second derivatives on our samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.testing import public_ops

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

OPS = public_ops()


def _dims(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def _positions(shape: tuple[int, ...], index: Any) -> Any:
    """Where x[index] reads, in flat positions: PyTorch has no negative steps."""
    return torch.as_tensor(np.ascontiguousarray(np.arange(int(np.prod(shape))).reshape(shape)[index]))


def _getitem_adjoint(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    zeros = torch.zeros(int(np.prod(shape)), dtype=x.dtype)
    return zeros.index_add(0, _positions(shape, index).ravel(), x.ravel()).reshape(shape)


def _take_adjoint(x: Any, indices: Any, axis: int, size: int) -> Any:
    shape = list(x.shape)
    shape[axis] = size
    return torch.zeros(shape, dtype=x.dtype).scatter_add(axis, indices, x)


def _expand_dims(x: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = x.unsqueeze(a)
    return x


def _layer_norm(x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> Any:
    shape = normalized_shape or x.shape[-1:]
    weight = torch.ones(shape, dtype=x.dtype) if weight is None else weight  # without one its double backward raises
    return F.layer_norm(x, shape, weight, bias, eps)


# Our name -> the same in PyTorch, called with our arrays by position and our settings by keyword. An op that is not
# named here, nor in NOT_IN_TORCH, is PyTorch's function of its own name, with `dim` for `axis`.
ADAPTED: dict[str, Callable[..., Any]] = {
    "alias": lambda x: x.view_as(x),
    "all": lambda x, axis, keepdims: x.all() if axis is None else x.all(axis, keepdim=keepdims),
    "any": lambda x, axis, keepdims: x.any() if axis is None else x.any(axis, keepdim=keepdims),
    "argmax": lambda x, axis, keepdims: torch.argmax(x, axis, keepdim=keepdims),
    "argmin": lambda x, axis, keepdims: torch.argmin(x, axis, keepdim=keepdims),
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "binary_cross_entropy_with_logits": lambda input, target, weight, pos_weight, reduction: (
        F.binary_cross_entropy_with_logits(input, target, weight, pos_weight=pos_weight, reduction=reduction)
    ),
    "broadcast_to": lambda x, shape: x.expand(shape),
    "clip": lambda x, min, max: torch.clamp(x, min, max),
    "concat": lambda *arrays, axis: torch.cat(arrays, axis),
    "copy": lambda x: x.clone(),
    "cross_entropy": lambda input, target, weight, **settings: F.cross_entropy(input, target, weight, **settings),
    "cumsum": lambda x, axis: torch.cumsum(x, axis),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "embedding": lambda input, weight: F.embedding(input, weight),
    "expand_dims": _expand_dims,
    "flip": lambda x, axis: torch.flip(x, _dims(x, axis)),
    "gelu": lambda x, approximate: F.gelu(x, approximate=approximate),
    "getitem": lambda x, index: torch.take(x, _positions(tuple(x.shape), index)),
    "getitem_adjoint": _getitem_adjoint,
    "inv": lambda x: torch.linalg.inv(x),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda x, negative_slope: F.leaky_relu(x, negative_slope),
    "linear": lambda x, weight, bias: F.linear(x, weight, bias),
    "logsumexp": lambda x, axis, keepdims: torch.logsumexp(x, _dims(x, axis), keepdim=keepdims),
    "max": lambda x, axis, keepdims: torch.amax(x, _dims(x, axis), keepdim=keepdims),
    "mean": lambda x, axis, keepdims: torch.mean(x, _dims(x, axis), keepdim=keepdims),
    "min": lambda x, axis, keepdims: torch.amin(x, _dims(x, axis), keepdim=keepdims),
    "mse_loss": lambda input, target, reduction: F.mse_loss(input, target, reduction=reduction),
    "one_hot": lambda x, num_classes: F.one_hot(x, num_classes),
    "permute": lambda x, dims: torch.permute(x, dims),
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "slogdet": lambda x: tuple(torch.linalg.slogdet(x)),
    "softmax": lambda x, axis: F.softmax(x, axis),
    "softplus": lambda x, beta: F.softplus(x, beta, threshold=700),
    "solve_triangular": lambda a, b, upper, unitriangular: torch.linalg.solve_triangular(
        a, b, upper=upper, unitriangular=unitriangular
    ),
    "split": lambda x, split_size_or_sections, axis: torch.split(x, split_size_or_sections, axis),
    "squeeze": lambda x, axis: torch.squeeze(x, _dims(x, axis)),
    "stack": lambda *arrays, axis: torch.stack(arrays, axis),
    "std": lambda x, axis, correction, keepdims: torch.std(x, _dims(x, axis), correction=correction, keepdim=keepdims),
    "sum": lambda x, axis, keepdims: torch.sum(x, _dims(x, axis), keepdim=keepdims) if x.ndim else x.sum(),
    "swapaxes": lambda x, axis1, axis2: torch.swapaxes(x, axis1, axis2),
    "take_along_axis": lambda x, indices, axis: torch.take_along_dim(x, indices, axis),
    "take_along_axis_adjoint": _take_adjoint,
    "var": lambda x, axis, correction, keepdims: torch.var(x, _dims(x, axis), correction=correction, keepdim=keepdims),
}

NOT_IN_TORCH = {
    "dropout": "its mask comes from our Philox key, PyTorch's from its own generator",
    "to_device": "moves between NumPy and CuPy, which PyTorch does not know",
}


def _namesake(name: str) -> Callable[..., Any]:
    """PyTorch's function of this name, with PyTorch's names of the settings."""

    def call(*inputs: Any, **settings: Any) -> Any:
        places = [torch, F, torch.linalg, torch.special]
        function = next(getattr(place, name) for place in places if hasattr(place, name))
        inputs = inputs[: max((i + 1 for i, x in enumerate(inputs) if x is not None), default=0)]
        return function(*inputs, **{THEIR_NAMES.get(key, key): value for key, value in settings.items()})

    return call


THEIR_NAMES = {"axis": "dim", "keepdims": "keepdim"}
TORCH = {name: ADAPTED.get(name, _namesake(name)) for name in OPS if name not in NOT_IN_TORCH}


# The inputs that one of the two libraries gives no gradient.
FIXED: dict[str, tuple[int, ...]] = {
    "binary_cross_entropy_with_logits": (2, 3),  # weight and pos_weight: not in PyTorch
    "cross_entropy": (2,),  # weight: in neither
}


def samples(name: str, seed: int = 0) -> list[Sample]:
    """The op's samples with every setting filled in."""
    op = OPS[name]
    assert op.samples is not None
    drawn = [s if isinstance(s, Sample) else Sample(s, {}) for s in op.samples(Draw(np.random.default_rng(seed)))]
    return [Sample(*op.signature.bind(s.inputs, dict(s.settings))) for s in drawn]


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and x.dtype.kind == "f"


def _draws(shapes: Sequence[Any], dtype: str, seed: int) -> list[Any]:
    rng = np.random.default_rng([seed, len(shapes)])
    return [np.asarray(rng.standard_normal(tuple(shape))).astype(dtype) for shape in shapes]


def ours(name: str, sample: Sample, dtype: str = "float64") -> list[list[Any]]:
    """Values; first gradients; gradients of ⟨first gradients, v⟩ in the inputs and in the cotangents."""
    op, fixed = OPS[name], FIXED.get(name, ())
    inputs = [tz.tensor(x.astype(dtype) if _is_float(x) else x) if hasattr(x, "dtype") else x for x in sample.inputs]
    wrt = [x for i, x in enumerate(inputs) if _is_float(x) and i not in fixed and op.differentiable]
    for x in wrt:
        x.requires_grad = True
    made = op(*inputs, **sample.settings)
    made = made if isinstance(made, tuple) else (made,)
    values = [y.numpy() for y in made]
    live = [y for y in made if y.requires_grad]
    if not live:
        return [values]

    def pulled(outputs: list[Any], leaves: list[Any], cotangents: list[Any], create_graph: bool) -> list[Any]:
        found = gradients(outputs, leaves, cotangents, create_graph=create_graph)
        return [tz.zeros(x.shape, dtype=x.dtype) if g is None else g for g, x in zip(found, leaves, strict=True)]

    ws = [tz.tensor(w, requires_grad=True) for w in _draws([y.shape for y in live], dtype, 1)]
    raw = pulled(live, wrt, ws, False)
    first = pulled(live, wrt, ws, True)
    for a, b in zip(raw, first, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-10)
    vs = [tz.tensor(v) for v in _draws([g.shape for g in first], dtype, 2)]
    held = [(g, v) for g, v in zip(first, vs, strict=True) if g.requires_grad]
    leaves = [*wrt, *ws]
    second = pulled([g for g, _ in held], leaves, [v for _, v in held], False) if held else []
    second = second or [tz.zeros(x.shape, dtype=x.dtype) for x in leaves]
    return [values, [g.numpy() for g in raw], [h.numpy() for h in second]]


def theirs(name: str, sample: Sample, dtype: str = "float64") -> list[list[Any]]:
    """The same by PyTorch."""
    fixed = FIXED.get(name, ())
    inputs = [torch.as_tensor(x.astype(dtype) if _is_float(x) else x) if hasattr(x, "dtype") else x for x in sample[0]]
    wrt = [
        x
        for i, x in enumerate(inputs)
        if isinstance(x, torch.Tensor) and x.is_floating_point() and i not in fixed and OPS[name].differentiable
    ]
    for x in wrt:
        x.requires_grad_()
    made = TORCH[name](*inputs, **sample.settings)
    made = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    values = [y.numpy(force=True) for y in made]
    live = [y for y in made if y.requires_grad]
    if not live:
        return [values]

    def pulled(outputs: list[Any], leaves: list[Any], cotangents: list[Any]) -> list[Any]:
        found = torch.autograd.grad(outputs, leaves, cotangents, create_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]

    ws = [torch.as_tensor(w).requires_grad_() for w in _draws([y.shape for y in live], dtype, 1)]
    first = pulled(live, wrt, ws)
    vs = [torch.as_tensor(v) for v in _draws([g.shape for g in first], dtype, 2)]
    held = [(g, v) for g, v in zip(first, vs, strict=True) if g.requires_grad]
    leaves = [*wrt, *ws]
    second = pulled([g for g, _ in held], leaves, [v for _, v in held]) if held else []
    second = second or [torch.zeros_like(x) for x in leaves]
    return [values, [g.numpy(force=True) for g in first], [h.numpy(force=True) for h in second]]


def flat(results: Sequence[Sequence[Any]]) -> Any:
    """All numbers of one or both of the above, for the golden file."""
    return np.concatenate([np.zeros(0), *(np.asarray(a, dtype=np.float64).ravel() for group in results for a in group)])


def sample_numbers(sample: Sample) -> Any:
    """The numbers of the inputs: the golden file has them first, to know its samples again."""
    return flat([[x for x in sample.inputs if x is not None]])
