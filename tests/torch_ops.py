"""What PyTorch calls our ops, and both libraries' values, gradients and second derivatives on our samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import oracles
import tinygrad_zoo as tz
import torch_pooling
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.testing import public_ops
from tinygrad_zoo.testing.laws import placed

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
    return torch.zeros(shape, dtype=x.dtype).scatter_add(axis, indices.expand(x.shape), x)


def _mirrored(x: Any, upper: bool) -> Any:
    """The symmetric matrix of the triangle that we read: PyTorch's gradient is that of both."""
    return x.triu() + x.triu(1).mT if upper else x.tril() + x.tril(-1).mT


def _turn(vectors: Any) -> Any:
    """What gives columns our signs: the first entry of at least 0.65 of the largest is positive."""
    large = (vectors.abs() >= 0.65 * vectors.abs().amax(-2, keepdim=True)).to(torch.int64)
    return torch.sign(vectors.gather(-2, large.argmax(-2, keepdim=True))).detach()


def _eigh(x: Any, UPLO: str) -> Any:
    w, v = torch.linalg.eigh(_mirrored(x, UPLO == "U"))
    return w, v * _turn(v)


def _svd(x: Any, full_matrices: bool) -> Any:
    u, s, vh = torch.linalg.svd(x, full_matrices=full_matrices)
    turn = _turn(u)
    return u * turn, s, vh * turn.mT


def _written(x: Any, at: Any, values: Any) -> Any:
    """x with the values at flat positions, the last of those at one: PyTorch says nothing of repeated ones."""
    last = np.full(x.numel(), -1)
    for k, place in enumerate(at.ravel().tolist()):
        last[place] = k
    last = torch.as_tensor(last)
    values = torch.as_tensor(values, dtype=x.dtype).expand(at.shape).ravel()
    flat = torch.cat([x.ravel(), values])
    return flat[torch.where(last >= 0, last + x.numel(), torch.arange(x.numel()))].reshape(x.shape)


def _index_put(x: Any, values: Any, indices: Any, accumulate: bool) -> Any:
    at = _positions(tuple(x.shape), indices)
    if not accumulate:
        return _written(x, at, values)
    return x.ravel().index_put((at,), values.expand(at.shape), accumulate=True).reshape(x.shape)


def _scatter(x: Any, index: Any, src: Any, axis: int) -> Any:
    if not x.ndim:
        return x.scatter(0, index, src)
    grid = list(np.indices(tuple(index.shape)))
    grid[axis] = index.numpy()
    if isinstance(src, torch.Tensor) and src.ndim:
        src = src[tuple(slice(n) for n in index.shape)]
    return _written(x, _positions(tuple(x.shape), tuple(grid)), src)


def _sdpa(query: Any, key: Any, value: Any, attn_mask: Any, dropout_key: Any, dropout_p: float, **settings: Any) -> Any:
    """By its formula in PyTorch, whose kernels have no second derivative and whose dropout is another."""
    if settings["is_causal"] and attn_mask is not None:  # which PyTorch refuses
        settings["is_causal"], attn_mask = False, attn_mask.tril()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        if not dropout_p:
            return F.scaled_dot_product_attention(query, key, value, attn_mask, **settings)
        assert attn_mask is None and settings.pop("enable_gqa") and not settings.pop("is_causal")
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        weights = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, -1)
        kept = tz.dropout(np.ones(tuple(weights.shape)), np.asarray(dropout_key), p=dropout_p)
        return (weights * torch.as_tensor(kept, dtype=weights.dtype)) @ value


def _flash(query: Any, key: Any, value: Any, key_padding_mask: Any, is_causal: bool, scale: Any, **blocks: Any) -> Any:
    mask = None
    if key_padding_mask is not None:
        mask = ~key_padding_mask.reshape(*key_padding_mask.shape[:-1], *(1,) * (query.ndim - 2), -1)
        mask = mask.expand(*query.shape[:-1], key.shape[-2])
        mask = mask.tril() if is_causal else mask
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        is_causal = is_causal and mask is None
        return F.scaled_dot_product_attention(query, key, value, mask, 0.0, is_causal, scale=scale)


def _linear_attention(query: Any, key: Any, value: Any, kind: str, is_causal: bool, chunk: int) -> Any:
    if kind == "softmax":
        return query.softmax(-1) @ (key.softmax(-2).mT @ value)
    if kind == "elu":
        sim = (F.elu(query) + 1) @ (F.elu(key) + 1).mT
    else:
        sim = 1 + F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
    sim = sim.tril() if is_causal else sim
    return sim @ value / sim.sum(-1, keepdim=True)


def _linear_recurrence(a: Any, b: Any, axis: int) -> Any:
    if not b.numel() or not b.ndim:
        return b + 0 * a
    out: list[Any] = []
    for row, add in zip(a.unbind(axis), b.unbind(axis), strict=True):
        out.append(row * out[-1] + add if out else 0 * row + add)
    return torch.stack(out, axis)


def _norm(x: Any, p: Any, axis: Any, keepdims: bool) -> Any:
    return torch.linalg.vector_norm(x, 2 if p == "fro" else p, _dims(x, axis) or None, keepdim=keepdims)


def _prod(x: Any, axis: Any, keepdims: bool, dtype: Any) -> Any:
    for d in sorted((a % x.ndim for a in _dims(x, axis)) if x.ndim else (), reverse=True):
        x = x.prod(d, keepdim=keepdims)
    return x.clone()


def _pad(x: Any, pad: Any, mode: str, value: float) -> Any:
    if mode == "constant":
        return F.pad(x, pad, mode, value)
    shape = (1,) * (len(pad) // 2 + 2 - x.ndim) + tuple(x.shape)  # it pads 1, 2 or 3 axes behind two others
    out = F.pad(x.reshape(shape), pad, mode)
    return out.reshape(tuple(out.shape)[len(shape) - x.ndim :])


def _walls(padding: Any, axes: int) -> list[tuple[int, int]]:
    """The (before, after) of each axis; `F.pad` has them from the last axis on."""
    padding = padding if isinstance(padding, tuple) else (padding,) * axes
    return [p if isinstance(p, tuple) else (p, p) for p in padding]


def _conv_adjoint_input(y: Any, weight: Any, size: Any, padding: Any, **settings: Any) -> Any:
    transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(size) - 1](y, weight, **settings)
    walls = zip(size, transposed.shape[2:], _walls(padding, len(size)), strict=True)
    return F.pad(transposed, [w for n, m, (before, _) in reversed([*walls]) for w in (-before, n + before - m)])


def _conv_adjoint_weight(y: Any, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """A convolution, with examples for channels and the two steps exchanged, of each group."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    x = F.pad(x, [w for pair in reversed(_walls(padding, len(kernel))) for w in pair])
    y, x = (torch.cat([a, a.new_zeros(1, *a.shape[1:])]) for a in (y, x))  # no examples would give another shape
    parts = [
        conv(xs.transpose(0, 1), ys.transpose(0, 1), stride=dilation, dilation=stride).transpose(0, 1)
        for xs, ys in zip(x.chunk(groups, 1), y.chunk(groups, 1), strict=True)
    ]
    return torch.cat(parts)[(slice(None), slice(None), *map(slice, kernel))]


def _expand_dims(x: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = x.unsqueeze(a)
    return x


def _layer_norm(x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> Any:
    shape = normalized_shape or x.shape[-1:]
    weight = torch.ones(shape, dtype=x.dtype) if weight is None else weight  # without one its double backward raises
    return F.layer_norm(x, shape, weight, bias, eps)


def _rel_entr(p: Any, q: Any) -> Any:
    inside, edge = (p > 0) & (q > 0), torch.where((p == 0) & (q >= 0), 0.0, torch.inf)
    x, y = torch.where(inside, p, 1), torch.where(inside, q, 1)
    return torch.where(
        torch.isnan(p) | torch.isnan(q), torch.nan, torch.where(inside, x * (x.log() - y.log()), edge.to(p.dtype))
    )


def _batch_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, training: bool, eps: float) -> Any:
    weight = torch.ones(x.shape[1], dtype=x.dtype) if weight is None else weight  # as above
    if training:
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    mean, var, weight, bias = (
        None if a is None else a.reshape(-1, *(1,) * (x.ndim - 2)) for a in (mean, var, weight, bias)
    )
    return (x - mean) / (var + eps).sqrt() * weight + (0 if bias is None else bias)  # its own gives mean no gradient


def _batch_norm_with_statistics(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = (0, *range(2, x.ndim))
    return _batch_norm(x, None, None, weight, bias, True, eps), x.mean(axes), x.var(axes, correction=0)


def _instance_norm(x: Any, mean: Any, var: Any, weight: Any, bias: Any, use_input_stats: bool, eps: float) -> Any:
    if not use_input_stats:
        return _batch_norm(x, mean, var, weight, bias, False, eps)
    weight = torch.ones(x.shape[1], dtype=x.dtype) if weight is None else weight
    return F.instance_norm(x, None, None, weight, bias, True, 0.0, eps)


def _multi_margin_loss(input: Any, target: Any, weight: Any, p: int, margin: float, reduction: str) -> Any:
    """Its own has no second derivative: tests/test_losses.py compares values and gradients with that."""
    true = input.gather(-1, target[..., None])
    others = F.relu(margin - true + input) ** p * (1 - F.one_hot(target, input.shape[-1]))
    loss = others.sum(-1) / input.shape[-1] * (1 if weight is None else weight[target])
    return {"mean": loss.mean, "sum": loss.sum, "none": loss.clone}[reduction]()


def _gru_step(input_gates: Any, hidden_gates: Any, hidden: Any) -> Any:
    (xr, xz, xn), (hr, hz, hn) = input_gates.chunk(3, -1), hidden_gates.chunk(3, -1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - z) * torch.tanh(xn + r * hn) + z * hidden


def _lstm_step(input_gates: Any, hidden_gates: Any, cell: Any) -> Any:
    i, f, g, o = (input_gates + hidden_gates).chunk(4, -1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _activated(x: Any, activation: str) -> Any:
    name, _, approximate = activation.partition("_")
    if name == "softplus":
        return F.softplus(x, threshold=1e9)
    return getattr(F, name)(x, approximate=approximate) if approximate else getattr(F, name)(x)


def _stairs(x: Any, beta: float) -> Any:
    whole = torch.floor(x.detach())
    part, steps = (x - whole)[..., None], torch.arange(60, dtype=x.dtype)
    return whole + (torch.sigmoid(beta * (part - 1 - steps)) - torch.sigmoid(-beta * (part + steps))).sum(-1)


# Our name -> the same in PyTorch, called with our arrays by position and our settings by keyword. An op that is not
# named here, nor in NOT_IN_TORCH, is PyTorch's function of its own name, with `dim` for `axis`.
ADAPTED: dict[str, Callable[..., Any]] = {
    "alias": lambda x: x.view_as(x),
    "all": lambda x, axis, keepdims: x.all() if axis is None else x.all(axis, keepdim=keepdims),
    "any": lambda x, axis, keepdims: x.any() if axis is None else x.any(axis, keepdim=keepdims),
    "argmax": lambda x, axis, keepdims: torch.argmax(x, axis, keepdim=keepdims),
    "argmin": lambda x, axis, keepdims: torch.argmin(x, axis, keepdim=keepdims),
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "batch_norm": _batch_norm,
    "batch_norm_with_statistics": _batch_norm_with_statistics,
    "binary_cross_entropy": lambda input, target, weight, reduction: F.binary_cross_entropy(
        input, target.to(input.dtype), weight, reduction=reduction
    ),
    "binary_cross_entropy_with_logits": lambda input, target, weight, pos_weight, reduction: (
        F.binary_cross_entropy_with_logits(input, target, weight, pos_weight=pos_weight, reduction=reduction)
    ),
    "bias_activation": lambda x, bias, activation: _activated(x + bias, activation),
    "broadcast_to": lambda x, shape: x.expand(shape),
    "cdist": lambda x1, x2, p: torch.linalg.vector_norm(  # its own has no second derivative but for p = 2
        x1[..., :, None, :] - x2[..., None, :, :], p, -1
    ),
    "cholesky": lambda x, upper: torch.linalg.cholesky(_mirrored(x, upper), upper=upper),
    "clip": lambda x, min, max: torch.clamp(x, min, max),
    "cofactor": lambda x: torch.linalg.det(x)[..., None, None] * torch.linalg.inv(x).mT,
    "count_nonzero": lambda x, axis, keepdims: torch.count_nonzero(x, _dims(x, axis)),
    "concat": lambda *arrays, axis: torch.cat(arrays, axis),
    "conv_adjoint_input": _conv_adjoint_input,
    "conv_adjoint_weight": _conv_adjoint_weight,
    "copy": lambda x: x.clone(),
    "cross": lambda x, y, axis: torch.linalg.cross(*torch.broadcast_tensors(x, y), dim=axis),
    "cross_entropy": lambda input, target, weight, **settings: F.cross_entropy(input, target, weight, **settings),
    "cumprod": lambda x, axis, dtype: torch.cumprod(x, axis),
    "cumsum": lambda x, axis, dtype: torch.cumsum(x, axis),
    "diff": lambda x, prepend, append, n, axis: torch.diff(x, n, axis, prepend, append),
    "diagonal_adjoint": lambda x, offset, dim1, dim2, shape: torch.diagonal_scatter(
        torch.zeros(shape, dtype=x.dtype), x, offset, dim1, dim2
    ),
    "eigh": _eigh,
    "eigvalsh": lambda x, UPLO: torch.linalg.eigvalsh(_mirrored(x, UPLO == "U")),
    "einsum": lambda *arrays, equation: torch.einsum(equation, *arrays),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "embedding": lambda input, weight, padding_idx: F.embedding(input, weight, padding_idx),
    "expand_dims": _expand_dims,
    "flip": lambda x, axis: torch.flip(x, _dims(x, axis)),
    "floor_divide": lambda x, y: torch.div(x, y, rounding_mode="floor"),  # floor_divide has no derivative, not even 0
    "gather": lambda x, index, axis: torch.gather(x, axis, index),
    "geglu": lambda gate, value, approximate: F.gelu(gate, approximate=approximate) * value,
    "gelu": lambda x, approximate: F.gelu(x, approximate=approximate),
    "getitem": lambda x, index: torch.take(x, _positions(tuple(x.shape), index)),
    "getitem_adjoint": _getitem_adjoint,
    "group_norm": lambda x, weight, bias, num_groups, eps: F.group_norm(
        x, num_groups, torch.ones(x.shape[1], dtype=x.dtype) if weight is None else weight, bias, eps
    ),
    "gru_step": _gru_step,
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # its own has no second derivative, and 1/6 in float32 for the first
    "heaviside": lambda x, values: torch.heaviside(x.to(values.dtype), values),
    "hinge_loss": lambda input, target, reduction: {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[
        reduction
    ](torch.clamp(1 - target * input, min=0)),
    "huber_loss": lambda input, target, weight, **settings: F.huber_loss(input, target, weight=weight, **settings),
    "index_add": lambda x, index, source, axis, alpha: torch.index_add(x, axis, index, source, alpha=alpha),
    "index_put": _index_put,
    "index_select": lambda x, index, axis: torch.index_select(x, axis, index),
    "instance_norm": _instance_norm,
    "inv": lambda x: torch.linalg.inv(x),
    "l1_loss": lambda input, target, weight, reduction: F.l1_loss(input, target, reduction=reduction, weight=weight),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda x, negative_slope: F.leaky_relu(x, negative_slope),
    "linear": lambda x, weight, bias: F.linear(x, weight, bias),
    "linear_recurrence": _linear_recurrence,
    "lstm_step": _lstm_step,
    "logsumexp": lambda x, axis, keepdims: torch.logsumexp(x, _dims(x, axis), keepdim=keepdims),
    "matrix_rank": lambda x, atol, rtol, hermitian: torch.linalg.matrix_rank(x, atol=atol, rtol=rtol),
    "max": lambda x, axis, keepdims: torch.amax(x, _dims(x, axis), keepdim=keepdims),
    "maxout": lambda x, pool_size, axis: x.unflatten(axis, (-1, pool_size)).amax(axis % x.ndim + 1),
    "mean": lambda x, axis, keepdims, dtype: torch.mean(x, _dims(x, axis), keepdim=keepdims),
    "median": lambda x, axis, keepdims: torch.median(x) if axis is None else tuple(torch.median(x, axis, keepdims)),
    "min": lambda x, axis, keepdims: torch.amin(x, _dims(x, axis), keepdim=keepdims),
    "mse_loss": lambda input, target, weight, reduction: F.mse_loss(input, target, reduction=reduction, weight=weight),
    "multi_margin_loss": _multi_margin_loss,
    "nll_loss": lambda input, target, weight, **settings: F.nll_loss(input, target, weight, **settings),
    "norm": _norm,
    "one_hot": lambda x, num_classes: F.one_hot(x, num_classes),
    "pad": _pad,
    "permute": lambda x, dims: torch.permute(x, dims),
    "pinv": lambda x, atol, rtol, hermitian: torch.linalg.pinv(
        _mirrored(x, False) if hermitian else x, atol=atol, rtol=rtol, hermitian=hermitian
    ),
    "qr": lambda x, mode: torch.linalg.qr(x, mode),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "reglu": lambda gate, value: F.relu(gate) * value,
    "relu_squared": lambda x: F.relu(x) ** 2,
    "prod": _prod,
    "repeat_interleave": lambda x, repeats, axis, output_size: torch.repeat_interleave(
        x, repeats if isinstance(repeats, int) else torch.as_tensor(repeats), axis
    ),
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "rms_norm": lambda x, weight, normalized_shape, eps: F.rms_norm(x, normalized_shape or x.shape[-1:], weight, eps),
    "roll": lambda x, shifts, dims: torch.roll(x, shifts, () if dims is None else dims),
    "scatter": _scatter,
    "scatter_add": lambda x, index, src, axis: torch.scatter_add(
        x,
        axis,
        index,
        src[tuple(slice(n) for n in index.shape)],  # whose backward raises for a longer src
    ),
    "searchsorted": lambda rows, values, sorter, **settings: torch.searchsorted(
        rows, values, sorter=sorter, **settings
    ),
    "slogdet": lambda x: tuple(torch.linalg.slogdet(x)),
    "flash_attention": _flash,
    "linear_attention": _linear_attention,
    "online_softmax": lambda x, axis, block: F.softmax(x, axis),
    "scaled_dot_product_attention": _sdpa,
    "smooth_abs": lambda x, beta: x.abs() + F.softplus(-2 * beta * x.abs()) / beta,
    "smooth_accuracy": lambda input, target: input.gather(1, target[:, None]).mean(),
    "smooth_argmax": lambda x, beta, axis, keepdims: (
        F.softmax(beta * x, axis).cumsum(axis).flip(axis).narrow(axis, 0, 1) * x.shape[axis]
        - F.softmax(beta * x, axis).cumsum(axis).sum(axis, keepdim=True)
    ).sum(axis, keepdim=keepdims),
    "smooth_floor": _stairs,
    "rel_entr": _rel_entr,
    "smooth_max": lambda x, beta, axis, keepdims: torch.logsumexp(beta * x, _dims(x, axis), keepdim=keepdims) / beta,
    "smooth_onehot": lambda x, beta, axis: F.softmax(beta * x, axis),
    "smooth_round": lambda x, beta: _stairs(x + 0.5, beta),
    "smooth_sign": lambda x, beta: torch.tanh(beta * x),
    "softmax": lambda x, axis, dtype: F.softmax(x, axis, dtype=dtype),
    "softplus": lambda x, beta, threshold: F.softplus(x, beta, min(threshold, 700)),
    "solve": lambda a, b, left: torch.linalg.solve(a, b, left=left),
    "solve_triangular": lambda a, b, **settings: torch.linalg.solve_triangular(a, b, **settings),
    "split": lambda x, split_size_or_sections, axis: torch.split(x, split_size_or_sections, axis),
    "squeeze": lambda x, axis: torch.squeeze(x, _dims(x, axis)),
    "stack": lambda *arrays, axis: torch.stack(arrays, axis),
    "std": lambda x, axis, correction, keepdims: torch.std(x, _dims(x, axis), correction=correction, keepdim=keepdims),
    "step": lambda x: F.relu(torch.sign(x)),  # heaviside has no derivative, not even 0
    "sum": lambda x, axis, keepdims, dtype: (
        torch.sum(x, dims, keepdim=keepdims) if x.ndim and (dims := _dims(x, axis)) else x.clone()  # () is all to torch
    ),
    "svd": _svd,
    "swapaxes": lambda x, axis1, axis2: torch.swapaxes(x, axis1, axis2),
    "swiglu": lambda gate, value: F.silu(gate) * value,
    "swish": lambda x, beta: x * torch.sigmoid(beta * x),
    "take_along_axis": lambda x, indices, axis: torch.take_along_dim(x, indices, axis),
    "take_along_axis_adjoint": _take_adjoint,
    "tensor_split": lambda x, indices_or_sections, axis: torch.tensor_split(
        x, torch.as_tensor(indices_or_sections), axis
    ),
    "trace": lambda x, offset: x.diagonal(offset, -2, -1).sum(-1),
    "unflatten": lambda x, axis, sizes: torch.unflatten(x, axis, sizes),
    "var": lambda x, axis, correction, keepdims: torch.var(x, _dims(x, axis), correction=correction, keepdim=keepdims),
}

_VISION = "torchvision has it, which is no neighbour of PyTorch's here: tests/goldens/make_torchvision.py"

NOT_IN_TORCH = {
    "batched_nms": _VISION,
    "box_iou": _VISION,
    "deform_conv2d": _VISION,
    "deform_ps_roi_pool": "only its case of offsets 0 is in torchvision: tests/test_roi.py",
    "deform_roi_pool": "only its case of offsets 0 is in torchvision: tests/test_roi.py",
    "nms": _VISION,
    "ps_roi_pool": _VISION,
    "roi_align": _VISION,
    "roi_pool": _VISION,
    "dropout": "its mask comes from our Philox key, PyTorch's from its own generator",
    "rrelu": "its slopes come from our Philox key, PyTorch's from its own generator",
    "gumbel_softmax": "its noise comes from our Philox key: tests/test_reparameterised.py gives PyTorch the same",
    "standard_gamma": "its numbers come from our Philox key, PyTorch's from its own generator",
    "standard_gamma_grad": "_standard_gamma_grad has fewer digits, no derivative: see tests/test_reparameterised.py",
    "standard_gumbel": "its numbers come from our Philox key, PyTorch's from its own generator",
    "smooth_f1": "has none: tests/test_surrogates.py writes it in PyTorch",
    "smooth_topk": "has no threshold that makes the values sum to k: tests/test_smooth.py has the formula",
    "standard_normal": "its numbers come from our Philox key, PyTorch's from its own generator",
    "standard_uniform": "its numbers come from our Philox key, PyTorch's from its own generator",
    "to_device": "moves between NumPy and CuPy, which PyTorch does not know",
}


def _namesake(name: str) -> Callable[..., Any]:
    """PyTorch's function of this name, with PyTorch's names of the settings."""

    def call(*inputs: Any, **settings: Any) -> Any:
        places = [torch, F, torch.linalg, torch.special]
        if "reduction" in settings:  # which torch's own losses number
            places = [F]
        function = next(getattr(place, name) for place in places if hasattr(place, name))
        inputs = inputs[: max((i + 1 for i, x in enumerate(inputs) if x is not None), default=0)]
        return function(*inputs, **{THEIR_NAMES.get(key, key): value for key, value in settings.items()})

    return call


THEIR_NAMES = {"axis": "dim", "keepdims": "keepdim"}
ADAPTED |= torch_pooling.ADAPTED
TORCH = {name: ADAPTED.get(name, _namesake(name)) for name in OPS if name not in NOT_IN_TORCH}


# The inputs that one of the two libraries gives no gradient.
FIXED: dict[str, tuple[int, ...]] = {
    "binary_cross_entropy_with_logits": (2, 3),  # weight and pos_weight: not in PyTorch
    "binary_cross_entropy": (2,),
    "cross_entropy": (2,),
    "heaviside": (0, 1),  # in PyTorch neither
    "multi_margin_loss": (2,),
    "nll_loss": (2,),
    "soft_margin_loss": (1,),
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
    made = op(*inputs, **{key: placed(value) for key, value in sample.settings.items()})
    made = made if isinstance(made, tuple) else (made,)
    values = [y.numpy() for y in made]
    live = [y for y in made if y.requires_grad]
    return [values, *our_derivatives(live, wrt, dtype)] if live else [values]


def our_derivatives(outputs: Sequence[Any], wrt: Sequence[Any], dtype: str = "float64", orders: int = 2) -> Any:
    """The gradients of `wrt` for drawn cotangents of the outputs; theirs for drawn v, in `wrt` and the cotangents."""

    def pulled(ys: Sequence[Any], leaves: Sequence[Any], gs: Sequence[Any], create_graph: bool) -> list[Any]:
        held = [(y, g) for y, g in zip(ys, gs, strict=True) if y.requires_grad]
        found = gradients([y for y, _ in held], leaves, [g for _, g in held], create_graph=create_graph)
        return [tz.zeros(x.shape, dtype=x.dtype) if g is None else g for g, x in zip(found, leaves, strict=True)]

    ws = [tz.tensor(w, requires_grad=True) for w in _draws([y.shape for y in outputs], dtype, 1)]
    raw = pulled(outputs, wrt, ws, False)
    if orders == 1:
        return [[g.numpy() for g in raw]]
    first = pulled(outputs, wrt, ws, True)
    for a, b in zip(raw, first, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4 if dtype == "float32" else 1e-10)
    vs = [tz.tensor(v) for v in _draws([g.shape for g in first], dtype, 2)]
    return [[g.numpy() for g in raw], [h.numpy() for h in pulled(first, [*wrt, *ws], vs, False)]]


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
    return [values, *their_derivatives(live, wrt, dtype)] if live else [values]


def their_derivatives(outputs: Sequence[Any], wrt: Sequence[Any], dtype: str = "float64", orders: int = 2) -> Any:
    """The same by PyTorch."""

    def pulled(ys: Sequence[Any], leaves: Sequence[Any], gs: Sequence[Any], create_graph: bool) -> list[Any]:
        held = [(y, g) for y, g in zip(ys, gs, strict=True) if y.requires_grad]
        if not held:
            return [torch.zeros_like(x) for x in leaves]
        ys, gs = zip(*held, strict=True)
        found = torch.autograd.grad(ys, leaves, gs, create_graph=create_graph, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]

    ws = [torch.as_tensor(w).requires_grad_() for w in _draws([y.shape for y in outputs], dtype, 1)]
    first = pulled(outputs, wrt, ws, orders == 2)
    if orders == 1:
        return [[g.numpy(force=True) for g in first]]
    vs = [torch.as_tensor(v) for v in _draws([g.shape for g in first], dtype, 2)]
    second = pulled(first, [*wrt, *ws], vs, False)
    return [[g.numpy(force=True) for g in first], [h.numpy(force=True) for h in second]]


def flat(results: Sequence[Sequence[Any]]) -> Any:
    """All numbers of one or both of the above, for the golden file."""
    return np.concatenate([np.zeros(0), *(np.asarray(a, dtype=np.float64).ravel() for group in results for a in group)])


def sample_numbers(sample: Sample) -> Any:
    """The numbers of the inputs: the golden file has them first, to know its samples again."""
    return flat([[x for x in sample.inputs if x is not None]])
