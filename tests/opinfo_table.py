"""Which OpInfo of PyTorch is which op of ours, and every sample on which the two differ, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tinygrad_zoo as tz


def _same(x: Any) -> Any:
    return x


@dataclass(frozen=True)
class Case:
    """An OpInfo's counterpart: `call` (of the name `ours` if None) takes the sample's arguments as they are."""

    ours: str
    call: Callable[..., Any] | None = None
    before: Callable[[Any], Any] = _same  # of the first argument, in both libraries
    after: Callable[[list[Any]], list[Any]] = _same  # of the outputs, in both libraries: what is compared


@dataclass(frozen=True)
class Difference:
    """Samples on which the libraries differ: where, at which stage, with what text, and why that is meant."""

    infos: tuple[str, ...]
    where: Callable[[Any], bool]
    what: str  # a stage of tests/opinfo.py, or "refused": ours raises
    text: str  # a regular expression that the difference's text contains
    why: str


# OpInfos called as our op is, with arguments that our op takes as they are.
_NAMESAKES = """
    abs acos acosh add addcdiv addcmul all amax amin any argmax argmin argsort argwhere asin asinh atan atan2 atanh
    bitwise_and bitwise_not bitwise_or bitwise_xor broadcast_to cat ceil chunk clamp copysign cos cosh
    count_nonzero cross cummax cummin cumprod cumsum deg2rad diag diag_embed diagonal diff digamma
    div.floor_rounding div.no_rounding_mode div.trunc_rounding dot eq erf erfc erfinv exp exp2 expand expm1 flatten
    floor floor_divide fmax fmin fmod frac gather ge gt heaviside hypot index_add index_put index_select isclose
    isfinite isinf isnan kron kthvalue le lerp lgamma linalg.cross linalg.det linalg.diagonal linalg.inv
    linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.matrix_rank.hermitian linalg.pinv
    linalg.slogdet linalg.solve linalg.solve_triangular linalg.svdvals log log10 log1p log2 log_softmax
    log_softmax.with_dtype logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit
    logsumexp lt masked_fill masked_select matmul maximum mean median meshgrid.list_of_tensors
    meshgrid.variadic_tensors minimum movedim mul nan_to_num nanmean nansum narrow ne neg
    nn.functional.adaptive_avg_pool1d nn.functional.adaptive_avg_pool2d nn.functional.adaptive_avg_pool3d
    nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d nn.functional.adaptive_max_pool3d
    nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.avg_pool3d nn.functional.binary_cross_entropy
    nn.functional.binary_cross_entropy_with_logits nn.functional.celu nn.functional.conv1d nn.functional.conv2d
    nn.functional.conv3d nn.functional.conv_transpose1d nn.functional.conv_transpose2d
    nn.functional.conv_transpose3d nn.functional.cosine_embedding_loss nn.functional.cosine_similarity
    nn.functional.cross_entropy nn.functional.elu nn.functional.gaussian_nll_loss nn.functional.gelu
    nn.functional.glu nn.functional.grid_sample nn.functional.group_norm nn.functional.hardshrink
    nn.functional.hardsigmoid nn.functional.hardswish nn.functional.hardtanh nn.functional.hinge_embedding_loss
    nn.functional.huber_loss nn.functional.interpolate.area nn.functional.interpolate.bicubic
    nn.functional.interpolate.bilinear nn.functional.interpolate.nearest
    nn.functional.interpolate.nearest-exact nn.functional.interpolate.trilinear nn.functional.kl_div
    nn.functional.l1_loss nn.functional.layer_norm nn.functional.leaky_relu nn.functional.linear
    nn.functional.logsigmoid nn.functional.margin_ranking_loss nn.functional.max_pool1d nn.functional.max_pool2d
    nn.functional.max_pool3d nn.functional.max_unpool1d nn.functional.max_unpool1d.grad nn.functional.max_unpool2d
    nn.functional.max_unpool2d.grad nn.functional.max_unpool3d nn.functional.max_unpool3d.grad nn.functional.mish
    nn.functional.mse_loss nn.functional.multi_margin_loss nn.functional.multilabel_soft_margin_loss
    nn.functional.nll_loss nn.functional.normalize nn.functional.one_hot nn.functional.pad.circular
    nn.functional.pad.constant nn.functional.pad.reflect nn.functional.pad.replicate
    nn.functional.pad.replicate_negative nn.functional.pairwise_distance nn.functional.pixel_shuffle
    nn.functional.pixel_unshuffle nn.functional.poisson_nll_loss nn.functional.prelu nn.functional.relu
    nn.functional.relu6 nn.functional.rms_norm nn.functional.rrelu nn.functional.scaled_dot_product_attention
    nn.functional.selu nn.functional.silu nn.functional.smooth_l1_loss nn.functional.soft_margin_loss
    nn.functional.softmin nn.functional.softmin.with_dtype nn.functional.softplus nn.functional.softshrink
    nn.functional.softsign nn.functional.tanhshrink nn.functional.threshold nn.functional.triplet_margin_loss
    nn.functional.unfold nonzero norm norm.fro norm.inf outer permute pow prod rad2deg reciprocal remainder
    repeat_interleave reshape roll round round.decimals_0 round.decimals_3 round.decimals_neg_3 rsqrt scatter
    scatter_add searchsorted sigmoid sign sin sinc sinh softmax softmax.with_dtype sort special.entr special.erfcx
    special.log_ndtr special.ndtr split split.list_args sqrt square squeeze squeeze.multiple stack std sub sum take
    take_along_dim tan tanh tensor_split tensordot tile topk trace transpose tril triu trunc unbind unflatten
    unsqueeze var xlogy
"""
NAMESAKES: Sequence[str] = _NAMESAKES.split()


def _norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **dtype: Any) -> Any:
    return tz.vector_norm(x, ord, dim, keepdim, **dtype)


def _batch_norm(
    x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, momentum: float = 0.1, **settings: Any
) -> Any:
    """Without the momentum, by which PyTorch updates its running statistics in place."""
    return tz.batch_norm(x, mean, var, weight, bias, **settings)


def _instance_norm(x: Any, momentum: float = 0.1, **settings: Any) -> Any:
    return tz.instance_norm(x, **settings)


def _polygamma(x: Any, n: int) -> Any:
    return tz.polygamma(n, x)


def _symmetrized(x: Any) -> Any:
    """For what reads one triangle: PyTorch's gradient is spread over both, ours is that of the triangle."""
    return (x + x.mT) / 2


def _projector(basis: Any) -> Any:
    """Onto the span: all that is determined of the columns beyond those of a factorization, which have no gradient."""
    basis = basis.detach()
    return basis @ basis.mT


def _signless_qr(outputs: list[Any]) -> list[Any]:
    """What the signs of Q's columns, which are free, do not change. R alone is what mode="r" is for."""
    q, r = outputs
    if q.ndim == 1:
        return [r.abs()]
    k = min(q.shape[-2], r.shape[-1])
    return [q[..., :k].abs(), r.abs(), q @ r, _projector(q[..., k:])]


def _signless_svd(outputs: list[Any]) -> list[Any]:
    u, s, vh = outputs
    k = s.shape[-1]
    beyond = [_projector(u[..., k:]), _projector(vh[..., k:, :].mT)]
    u, vh = u[..., :k], vh[..., :k, :]
    return [s, u.abs(), vh.abs(), u @ vh, *beyond]


def _signless_eigh(outputs: list[Any]) -> list[Any]:
    w, v = outputs
    return [w, v.abs(), (v * w[..., None, :]) @ v.mT]


ADAPTED: dict[str, Case] = {
    "clamp_max": Case("clip", lambda x, bound: tz.clip(x, None, bound)),
    "clamp_min": Case("clip", lambda x, bound: tz.clip(x, bound)),
    "clone": Case("copy"),
    "T": Case("permute", lambda x: x.T),
    "mT": Case("swapaxes", lambda x: x.mT),
    "__radd__": Case("add", lambda x, y: y + x),
    "__rdiv__": Case("div", lambda x, y: y / x),
    "__rmatmul__": Case("matmul", lambda x, y: y @ x),
    "__rmul__": Case("mul", lambda x, y: y * x),
    "__rpow__": Case("pow", lambda x, y: y**x),
    "__rsub__": Case("sub", lambda x, y: y - x),
    "bmm": Case("matmul"),
    "mm": Case("matmul"),
    "mv": Case("matmul"),
    "__getitem__": Case("getitem"),
    "true_divide": Case("div"),
    "nn.functional.interpolate.linear": Case("interpolate"),
    "nn.functional.upsample_bilinear": Case("interpolate", lambda x, **size: tz.nn.UpsamplingBilinear2d(**size)(x)),
    "nn.functional.upsample_nearest": Case("interpolate"),
    "view": Case("reshape"),
    "max.binary": Case("maximum"),
    "min.binary": Case("minimum"),
    "max.reduction_no_dim": Case("max"),
    "max.reduction_with_dim": Case("max", lambda x, *dim: (tz.max(x, *dim), tz.argmax(x, *dim))),
    "min.reduction_no_dim": Case("min"),
    "min.reduction_with_dim": Case("min", lambda x, *dim: (tz.min(x, *dim), tz.argmin(x, *dim))),
    "flip": Case("flip", lambda x, dims: tz.flip(x, dims)),
    "nn.functional.embedding": Case("embedding", lambda weight, indices: tz.embedding(indices, weight)),
    "std.unbiased": Case("std", lambda x, unbiased: tz.std(x, correction=int(unbiased))),
    "var.unbiased": Case("var", lambda x, unbiased: tz.var(x, correction=int(unbiased))),
    "where": Case("where", lambda x, condition, other: tz.where(condition, x, other)),
    "cdist": Case("cdist", lambda x1, x2, p, how: tz.cdist(x1, x2, p=p)),  # how: two ways to the same numbers
    "cholesky": Case("cholesky", before=_symmetrized),
    "linalg.cholesky": Case("cholesky", before=_symmetrized),
    "linalg.eigvalsh": Case("eigvalsh", before=_symmetrized),
    "einsum": Case("einsum", lambda arrays, equation: tz.einsum(equation, *arrays)),
    "linalg.vector_norm": Case("vector_norm", _norm),
    "nn.functional.batch_norm": Case("batch_norm", _batch_norm),
    "nn.functional.instance_norm": Case("instance_norm", _instance_norm),
    "linalg.pinv.hermitian": Case("pinv", before=_symmetrized),
    "linalg.pinv.singular": Case("pinv", lambda a, b: tz.pinv(a @ b.mT)),
    "linalg.qr": Case("qr", after=_signless_qr),
    "qr": Case("qr", after=_signless_qr),
    "linalg.svd": Case("svd", after=_signless_svd),
    "linalg.eigh": Case("eigh", before=_symmetrized, after=_signless_eigh),
    "polygamma.polygamma_n_0": Case("polygamma", _polygamma),
    "special.polygamma.special_polygamma_n_0": Case("polygamma", _polygamma),
}

_MASKED = """
    masked.amax masked.amin masked.argmax masked.argmin masked.cumprod masked.cumsum masked.log_softmax
    masked.logaddexp masked.logsumexp masked.mean masked.median masked.norm masked.normalize masked.prod
    masked.softmax masked.softmin masked.std masked.sum masked.var
"""

# OpInfos called as an op of ours is, and why they are left out: most are of another function.
NOT_COMPARED: dict[str, str] = {
    **dict.fromkeys(_MASKED.split(), "of torch.masked, which leaves the masked entries out"),
    "linalg.norm": "linalg.vector_norm or linalg.matrix_norm by the dimensions: both are compared",
    "linalg.norm.subgradients_at_zero": "as linalg.norm",
    "nn.functional.dropout": "its mask comes from our Philox key, PyTorch's from its own generator",
    "nn.functional.silu.complex": "of complex numbers, which no array here has",
    "nn.functional.batch_norm.without_cudnn": "for GPUs; nn.functional.batch_norm is the same on a CPU",
    "svd": "the old function, of V; linalg.svd of Vᵀ is ours",
    **{f"polygamma.polygamma_n_{n}": "has the samples of polygamma_n_0" for n in range(1, 5)},
    "unfold": "the windows of one axis, a method of tensors; nn.functional.unfold of images is ours",
    "norm.nuc": "linalg.matrix_norm with ord='nuc', which is compared",
}


def _given(*names: str) -> Callable[[Any], bool]:
    return lambda sample: any(name in sample.kwargs for name in names)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(("add", "sub"), _given("alpha"), "refused", "has no 'alpha'", "write x + alpha * y"),
    Difference(("std", "var"), _given("unbiased"), "refused", "has no 'unbiased'", "write correction=0 or 1"),
    Difference(
        ("cat",),
        lambda sample: sample.input[0].shape == (0,) and sample.input[1].ndim == 2,
        "refused",
        "out of bounds",
        "an empty vector fits matrices only in PyTorch, for old code",
    ),
    Difference(
        ("nn.functional.batch_norm",),
        lambda sample: sample.input.ndim == 1,
        "refused",
        "expected x of shape",
        "an empty vector has no axis of channels",
    ),
    Difference(
        ("nn.functional.hardsigmoid",),
        lambda sample: sample.input.shape == (20,),
        "gradients",
        "off on a scale",
        "PyTorch's backward has 1/6 rounded to float32",
    ),
    Difference(
        ("nn.functional.rrelu",),
        lambda sample: sample.kwargs.get("training", False),
        "refused",
        "key holds four uint32 words",
        "its slopes come from our Philox key, PyTorch's from its own generator",
    ),
    Difference(
        ("nn.functional.scaled_dot_product_attention",),
        lambda sample: sample.kwargs.get("dropout_p", 0.0) > 0,
        "refused",
        "needs a key: write dropout_key",
        "its mask comes from our Philox key, PyTorch's from its own generator",
    ),
)
