"""The ops: one op, one definition: a module-level `Op` with forward, gradient rule, doc, reference, samples.

Written by docs/exports.py, from the definitions beside it.
"""

from .activation import gelu, sigmoid, silu, softplus
from .comparison import eq, ge, gt, isfinite, le, logical_and, logical_not, logical_or, lt, ne
from .cumulative import cumsum
from .decomposition import inv, slogdet, solve_triangular
from .diagonal import tril, triu
from .elementwise import abs, add, astype, clip, copy, div, maximum, minimum, mul, neg, sign, sub, where
from .exponential import exp, expm1, log, log1p, pow, reciprocal, sqrt, square
from .indexing import embedding, getitem, getitem_adjoint, one_hot, take_along_axis, take_along_axis_adjoint
from .joining import concat, split, stack
from .linalg import linear, matmul
from .loss import binary_cross_entropy_with_logits, cross_entropy
from .normalization import layer_norm
from .piecewise import elu, leaky_relu, relu
from .random import draw_key, dropout
from .reduction import all, any, argmax, argmin, logsumexp, max, mean, min, std, sum, var
from .regression import mse_loss
from .shape import broadcast_to, expand_dims, flip, permute, reshape, squeeze, swapaxes, to_device
from .softmax import log_softmax, softmax
from .special import erf
from .trigonometry import cos, sin, tanh

__all__ = [
    "abs",
    "add",
    "all",
    "any",
    "argmax",
    "argmin",
    "astype",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "clip",
    "concat",
    "copy",
    "cos",
    "cross_entropy",
    "cumsum",
    "div",
    "draw_key",
    "dropout",
    "elu",
    "embedding",
    "eq",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "flip",
    "ge",
    "gelu",
    "getitem",
    "getitem_adjoint",
    "gt",
    "inv",
    "isfinite",
    "layer_norm",
    "le",
    "leaky_relu",
    "linear",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "lt",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "mul",
    "ne",
    "neg",
    "one_hot",
    "permute",
    "pow",
    "reciprocal",
    "relu",
    "reshape",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "slogdet",
    "softmax",
    "softplus",
    "solve_triangular",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "swapaxes",
    "take_along_axis",
    "take_along_axis_adjoint",
    "tanh",
    "to_device",
    "tril",
    "triu",
    "var",
    "where",
]
