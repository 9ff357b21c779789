"""Bad calls: each error is typed, and its text names the op, the argument, the offending value and what to write.

A row is the call, the error, and the four parts that its text must hold: "op | argument | value | fix".
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import errors, nn, optim
from tinygrad_zoo.autograd import fused, primitive
from tinygrad_zoo.distributions import Independent, MultivariateNormal, Normal
from tinygrad_zoo.errors import DTypeError, GradientError, TinygradZooError

RNG = np.random.default_rng(0)
NAMES: dict[str, Any] = {
    "tz": tz,
    "np": np,
    "nn": nn,
    "optim": optim,
    "operator": operator,
    "rng": RNG,
    "Normal": Normal,
    "Independent": Independent,
    "MultivariateNormal": MultivariateNormal,
    "x": tz.ones(2, 3),  # float32 (2, 3)
    "v": tz.ones(4),
    "s": tz.tensor(2.0),
    "sq": tz.eye(3),
    "i": tz.tensor([[0, 1, 2]]),
    "b": tz.tensor([True, False]),
    "w": tz.ones(2, requires_grad=True),
    "key": tz.draw_key(RNG),
}
SIZES = "counted from the last axis, sizes must be equal or 1"
AXES = "write -2 <= axis < 2"
FLAG = "write keepdims=True or keepdims=False"
MAKE = "write tinygrad_zoo.tensor(...)"
REAL = "expected real numbers or booleans: write its .real and .imag, or .astype(...)"
CLASSES = "class indices from"

TABLE = f"""
x + v                                   ShapeError     add | x and y | (2, 3) and (4,) | {SIZES}
x - v                                   ShapeError     sub | y: float32 | (4,) | write x.reshape(...)
x * v                                   ShapeError     mul | x: float32 | (2, 3) | {SIZES}
x / v                                   ShapeError     div | x and y | (2, 3) and (4,) | {SIZES}
x ** v                                  ShapeError     pow | x and y | (2, 3) and (4,) | x.expand_dims(axis)
x // v                                  ShapeError     floor_divide | x and y | (2, 3) and (4,) | {SIZES}
x % v                                   ShapeError     remainder | x and y | (2, 3) and (4,) | {SIZES}
x < v                                   ShapeError     lt | x and y | (2, 3) and (4,) | {SIZES}
x == v                                  ShapeError     eq | x and y | (2, 3) and (4,) | {SIZES}
tz.maximum(x, v)                        ShapeError     maximum | x and y | (2, 3) and (4,) | {SIZES}
tz.atan2(x, v)                          ShapeError     atan2 | input and other | (2, 3) and (4,) | {SIZES}
tz.hypot(v, x)                          ShapeError     hypot | x and y | (4,) and (2, 3) | {SIZES}
tz.logaddexp(x, v)                      ShapeError     logaddexp | x and y | (2, 3) and (4,) | {SIZES}
tz.where(x > 0, x, v)                   ShapeError     where | condition and x and y | (4,) | {SIZES}
tz.clip(x, v)                           ShapeError     clip | x and min | (2, 3) and (4,) | {SIZES}
np.ones(4) + x                          ShapeError     add | x and y | (4,) and (2, 3) | {SIZES}
x * "2"                                 DTypeError     mul | argument y | str | {MAKE}
"2" * x                                 DTypeError     mul | argument y | str | {MAKE}
x + 1j                                  DTypeError     add | argument y | complex | {REAL}
x + np.array([1j])                      DTypeError     add | argument y | complex128 | {REAL}
x + np.complex64(1j)                    DTypeError     add | argument y | complex64 | {REAL}
np.array([1j]) == v                     DTypeError     eq | argument x | complex128 | {REAL}
tz.abs(np.array([1j]))                  DTypeError     abs | argument x | complex128 | {REAL}
tz.swish(x, np.array(1j))               DTypeError     swish | argument beta | complex128 | {REAL}
v + np.array([1, 2, 3, 4], object)      DTypeError     add | argument y | object | {REAL}
v * np.ones(4, "m8[s]")                 DTypeError     mul | argument y | timedelta64[s] | {REAL}
v * np.ma.ones(4)                       DTypeError     mul | argument y | numpy.ma.MaskedArray | write numpy.asarray(...)
v * np.str_("2")                        DTypeError     mul | argument y | <U1 | {REAL}
x + [1.0]                               DTypeError     add | argument y | list | {MAKE}
[x] + x                                 DTypeError     add | argument y | list | write tinygrad_zoo.stack(...)
x + {{}}                                DTypeError     add | argument y | dict | {MAKE}
x - None                                DTypeError     sub | y is None | None | expected a Tensor, an array or a number
x ** None                               DTypeError     pow | y is None | None | expected a Tensor, an array or a number
x + np.array(["a"])                     DTypeError     add | argument y | <U1 | {REAL}
x < "a"                                 DTypeError     lt | argument y | str | {MAKE}
-b                                      DTypeError     neg | (x of bool) | bool | write logical_not, ~x
b - b                                   DTypeError     sub | (x and y of bool and bool) | bool | x.astype('int64')
~x                                      DTypeError     bitwise_not | x of float32 | float32 | write x.astype(...)
x & 1                                   DTypeError     bitwise_and | x of float32 | float32 | write x.astype(...)
x | b                                   DTypeError     bitwise_or | x and y of float32 and bool | bool | write x.astype(...)
x ^ x                                   DTypeError     bitwise_xor | x and y | float32 | write x.astype(...)
tz.tensor([1], "int8") * 300            DTypeError     mul | (x of int8) | 300 | to a wider dtype first
tz.exp()                                DTypeError     exp(x) | argument x | missing | write exp(x)
tz.exp(x, x)                            DTypeError     exp(x) | positional arguments | 2 | write exp(x)
tz.exp(y=x)                             DTypeError     exp(x) | argument x | missing | write exp(x)
tz.exp(x, dim=0)                        DTypeError     exp(x) | has no | 'dim' | it takes x
tz.exp("a")                             DTypeError     exp | argument x | str | {MAKE}
tz.exp([1.0])                           DTypeError     exp | argument x | list | {MAKE}
tz.exp([x])                             DTypeError     exp | argument x | list | write tinygrad_zoo.stack(...)
tz.exp(None)                            DTypeError     exp | x is None | None | expected a Tensor, an array or a number
tz.add(x)                               DTypeError     add(x, y) | argument y | missing | write add(x, y)
tz.add(x, x, x)                         DTypeError     add(x, y) | positional arguments | 3 | write add(x, y)
tz.add(x, x, y=x)                       DTypeError     add(x, y) | y is given | twice | write one
x.sum(0, axis=0)                        DTypeError     sum( | axis is given | twice, by position | write one
x.sum(axis=0, dim=1)                    DTypeError     sum( | axis is given | as dim too | write one
x.sum(axes=0)                           DTypeError     sum( | has no | 'axes' | did you mean axis?
x.sum(keepdmis=True)                    DTypeError     sum( | has no | 'keepdmis' | did you mean keepdims?
x.sum(frobnicate=1)                     DTypeError     sum( | has no | 'frobnicate' | it takes x, axis, keepdims
tz.sum(2.0)                             DTypeError     sum | x is the number | 2.0 | write tinygrad_zoo.tensor(2.0)
x.sum(5)                                ShapeError     sum | axis= | 5 | {AXES}
x.sum(axis=(0, 5))                      ShapeError     sum | axis= | (0, 5) | {AXES}
x.sum(axis=(0, 0))                      ShapeError     sum | axis= | (0, 0) | write each once
x.sum(axis="x")                         DTypeError     sum | axis is | 'x' | an integer or a tuple of integers or None
x.sum(axis=1.0)                         DTypeError     sum | axis is | 1.0 | an integer or a tuple of integers or None
x.sum(axis=s)                           DTypeError     sum | axis is a setting | Tensor | write axis=tensor.item()
x.sum(keepdims=2)                       DTypeError     sum | keepdims is | 2 | {FLAG}
x.sum(0, 1)                             DTypeError     sum | keepdims is | got 1 | {FLAG}
x.mean(axis=-3)                         ShapeError     mean | axis= | -3 | {AXES}
x.mean(0, keepdim="yes")                DTypeError     mean | keepdims is | 'yes' | {FLAG}
x.max(3)                                ShapeError     max | axis= | 3 | {AXES}
x.min("rows")                           DTypeError     min | axis is | 'rows' | an integer
tz.zeros(0).max()                       ShapeError     max | x: float32 | (0,) | no values along axis=None
tz.zeros(0, 2).min(axis=0)              ShapeError     min | x: float32 | (0, 2) | no values along axis=0
x.argmax(9)                             ShapeError     argmax | axis= | 9 | {AXES}
x.argmin(axis=(0, 1))                   DTypeError     argmin | axis is | (0, 1) | an integer or None
x.var(7)                                ShapeError     var | axis= | 7 | {AXES}
x.var(correction="one")                 DTypeError     var | correction is | 'one' | a number or None
x.std(axis=(0, 9))                      ShapeError     std | axis= | (0, 9) | {AXES}
x.all(4)                                ShapeError     all | axis= | 4 | {AXES}
x.any(axis="a")                         DTypeError     any | axis is | 'a' | an integer
tz.prod(x, 2)                           ShapeError     prod | axis= | 2 | {AXES}
tz.count_nonzero(x, 2)                  ShapeError     count_nonzero | axis= | 2 | {AXES}
tz.median(x, 5)                         ShapeError     median | axis= | 5 | {AXES}
x.cumsum(4)                             ShapeError     cumsum | axis= | 4 | {AXES}
x.cumsum("a")                           DTypeError     cumsum | axis is | 'a' | an integer
x.cumsum()                              DTypeError     cumsum | the setting | 'axis' | write axis=...
tz.cumprod(x, 2)                        ShapeError     cumprod | axis= | 2 | {AXES}
tz.logsumexp(x, 5)                      ShapeError     logsumexp | axis= | 5 | {AXES}
tz.softmax(x, 5)                        ShapeError     softmax | axis= | 5 | {AXES}
tz.softmax(x, axis="a")                 DTypeError     softmax | axis is | 'a' | an integer
tz.log_softmax(x, 3)                    ShapeError     log_softmax | axis= | 3 | {AXES}
x.reshape(4)                            ShapeError     reshape | shape= | (4,) | write one size as -1
x.reshape("a")                          DTypeError     reshape | shape is | ('a',) | an integer or a tuple of integers
x.reshape(2.0, 3)                       DTypeError     reshape | shape is | (2.0, 3) | a tuple of integers
x.reshape(-3, 2)                        ShapeError     reshape | shape= | (-3, 2) | expected sizes >= 0 and one -1 at most
x.reshape(-1, -1)                       ShapeError     reshape | shape= | (-1, -1) | write one of them at most
x.reshape()                             DTypeError     reshape | the setting | 'shape' | write shape=...
x.permute(0)                            ShapeError     permute | dims= | (0,) | write each of 0 to 1 once
x.permute(0, 0)                         ShapeError     permute | dims= | (0, 0) | write each once
x.permute(0, 5)                         ShapeError     permute | dims= | (0, 5) | write -2 <= dims < 2
x.permute("a", "b")                     DTypeError     permute | dims is | ('a', 'b') | a tuple of integers
x.swapaxes(0, 5)                        ShapeError     swapaxes | axis2= | 5 | write -2 <= axis2 < 2
x.swapaxes(0)                           DTypeError     swapaxes | the setting | 'axis2' | write axis2=...
x.expand_dims(7)                        ShapeError     expand_dims | axis= | 7 | write -3 <= axis < 3
x.expand_dims("a")                      DTypeError     expand_dims | axis is | 'a' | an integer
x.squeeze(9)                            ShapeError     squeeze | axis= | 9 | {AXES}
x.broadcast_to((4, 4))                  ShapeError     broadcast_to | shape= | (4, 4) | {SIZES}
x.broadcast_to((3,))                    ShapeError     broadcast_to | shape= | (3,) | expected at least 2 sizes
x.flip(6)                               ShapeError     flip | axis= | 6 | {AXES}
x.tril("a")                             DTypeError     tril | diagonal is | 'a' | an integer
v.triu()                                ShapeError     triu | x: float32 | (4,) | expected at least two axes
tz.diagonal(v)                          ShapeError     diagonal | x: float32 | (4,) | expected at least two axes
tz.trace(v)                             ShapeError     trace | x: float32 | (4,) | expected at least two axes
tz.diag(tz.ones(2, 2, 2))               ShapeError     diag | x: float32 | (2, 2, 2) | write diagonal or diag_embed
tz.concat([])                           ShapeError     concat | axis=0 | at least one | expected at least one array
tz.concat([x, v])                       ShapeError     concat | [1]: float32 | (2, 3) and (4,) | all sizes but that of axis=0
tz.concat([x, tz.ones(2, 4)])           ShapeError     concat | axis=0 | (2, 3) and (2, 4) | must be equal
tz.concat([x, x], 5)                    ShapeError     concat | axis= | 5 | {AXES}
tz.concat(x, [x])                       DTypeError     concat | argument [1] | list | write tinygrad_zoo.stack(...)
tz.concat([x, x], axis="a")             DTypeError     concat | axis is | 'a' | an integer
tz.concat([s, s])                       ShapeError     concat | [0] | shape () | write tinygrad_zoo.stack
tz.stack([])                            ShapeError     stack | axis=0 | at least one | expected at least one array
tz.stack([x, v])                        ShapeError     stack | [1]: float32 | (2, 3) and (4,) | expected one shape for all
tz.stack([x, x], 8)                     ShapeError     stack | axis= | 8 | write -3 <= axis < 3
tz.split(x, 0)                          UsageError     split | split_size_or_sections=0 | got 0 | expected pieces of at least 1
tz.split(x, (1, 3))                     ShapeError     split | split_size_or_sections= | (1, 3) | sum to 4, the axis has 2
tz.split(x, "a")                        DTypeError     split | split_size_or_sections is | 'a' | an integer
tz.split(x, 1, 4)                       ShapeError     split | axis= | 4 | {AXES}
tz.chunk(x, 0)                          UsageError     chunk | chunks=0 | got 0 | expected at least 1 chunk
tz.unbind(x, 4)                         ShapeError     unbind | axis= | 4 | {AXES}
tz.tile(x, "a")                         DTypeError     tile | dims is | 'a' | a tuple of integers
tz.roll(x, 1, 7)                        ShapeError     roll | dims= | 7 | write -2 <= dims < 2
tz.roll(x, "a")                         DTypeError     roll | shifts is | 'a' | an integer
tz.movedim(x, 0, 7)                     ShapeError     movedim | destination= | 7 | write -2 <= destination < 2
tz.meshgrid(v, v, indexing="yx")        UsageError     meshgrid | indexing= | 'yx' | expected indexing='ij' or 'xy'
tz.meshgrid(x)                          ShapeError     meshgrid | [0]: float32 | (2, 3) | expected vectors
tz.pad(x, (1,))                         ShapeError     pad | pad=(1,) | (1,) | expected pairs (before, after)
tz.pad(x, (1, 1), mode="blur")          UsageError     pad | mode | 'blur' | constant, reflect, replicate, circular
tz.repeat_interleave(x, -1)             UsageError     repeat_interleave | repeats | -1 | expected repeats >= 0
tz.flatten(x, 5)                        ShapeError     flatten | start_dim= | 5 | write -2 <= start_dim < 2
tz.unflatten(x, 0, (3, 5))              ShapeError     unflatten | axis 0 has 2 entries | (3, 5) | does not multiply to
tz.einsum("ij,jk->ik", x, x)            ShapeError     einsum | under 'j' | (2, 3) | axes of different length
tz.einsum("ij", x, x)                   UsageError     einsum | 'ij' | got 2 | names 1 arrays
tz.tensordot(x, x, 1)                   ShapeError     tensordot | dims= | (2, 3) and (2, 3) | axes of equal length
tz.kron(x, "a")                         DTypeError     kron | argument y | str | {MAKE}
tz.outer(x, x)                          ShapeError     outer | x: float32 | (2, 3) | expected two vectors
tz.dot(x, x)                            ShapeError     dot | x: float32 | (2, 3) | expected two vectors
tz.cross(x, v)                          ShapeError     cross | axis -1 | (4,) | expected 3 entries
x @ x                                   ShapeError     matmul | last axis of x | (2, 3) | as long as the last but one of y
x @ s                                   ShapeError     matmul | y: float32 | shape () | as long as the last but one of y
x[5]                                    IndexingError  getitem | axis 0 of x | index 5 | write -2 <= index < 2
x[0, 3]                                 IndexingError  getitem | axis 1 of x | index 3 | write -3 <= index < 3
x[0, 0, 0]                              IndexingError  getitem | index= | (0, 0, 0) | write at most 2
x[1.0]                                  DTypeError     getitem | index | 1.0 | holds integers or booleans
x["a"]                                  DTypeError     getitem | index | 'a' | holds integers or booleans
x[tz.tensor([9])]                       IndexingError  getitem | axis 0 of x | index 9 | write -2 <= index < 2
x[v > 0]                                IndexingError  getitem | index= | tensor([ True, | expected a mask with the sizes
x[v]                                    DTypeError     getitem | index | float32 | holds integers or booleans
x[[True, False, True]]                  IndexingError  getitem | index= | [True, False, True] | expected a mask with the sizes
s[0]                                    IndexingError  getitem | index=0 | x has 0 axes | write at most 0
operator.setitem(x, 0, 1.0)             IndexingError  x[0] = | not written in place | 0 | tinygrad_zoo.where(mask, value, x)
tz.take_along_axis(x, i.to("float32"), 1)   DTypeError     take_along_axis | index | float32 | holds integers
tz.take_along_axis(x, tz.tensor([[9]]), 1)  IndexingError  take_along_axis | axis 1 | index 9 | out of bounds for axis 1 of length 3
tz.take_along_axis(x, tz.tensor([1]), 1)    ShapeError     take_along_axis | the index has | 1 axes and x 2 | expected as many
tz.gather(x, 1, tz.tensor([[9]]))       IndexingError  gather | axis 1 | index 9 | out of bounds for axis 1 of length 3
tz.gather(x, 1, i, 2)                   DTypeError     gather( | positional arguments | 4 | write gather(x, index, axis=...)
tz.gather(x, 1, i, dim=1)               DTypeError     gather( | axis is given | twice | write one
tz.gather(x, 5, i)                      ShapeError     gather | axis= | 5 | {AXES}
tz.scatter(x, 1, tz.tensor([[9]]), x)   IndexingError  scatter | axis 1 | index 9 | of length 3
tz.scatter_add(x, 1, tz.tensor([[0.5]]), x)  DTypeError     scatter_add | index | float32 | holds integers
tz.index_select(x, 0, tz.tensor([9]))   IndexingError  index_select | axis 0 | index 9 | of length 2
tz.index_add(x, 0, tz.tensor([0]), v)   ShapeError     index_add | source | (4,) | a source like x
tz.masked_fill(x, x, 0.0)               DTypeError     masked_fill | mask | float32 | write mask != 0
tz.masked_select(x, v)                  DTypeError     masked_select | mask | float32 | write mask != 0
tz.embedding(tz.tensor([9]), x)         IndexingError  embedding | weight: float32 | 9 | do not fit a table of 2 rows
tz.embedding(x, x)                      DTypeError     embedding | input holds | float32 | so integers
tz.embedding(tz.tensor([1]), v)         ShapeError     embedding | weight | (4,) | of shape (V, D)
tz.one_hot(tz.tensor([5]), 3)           IndexingError  one_hot | num_classes=3 | 5 | do not fit num_classes=3
tz.one_hot(x, 3)                        DTypeError     one_hot | x: float32 | float32 | expected integers
tz.clip(x)                              UsageError     clip | min | None | expected a min, a max or both
tz.clip(x, "a")                         DTypeError     clip | argument min | str | {MAKE}
tz.topk(x, 9)                           UsageError     topk | k=9 | got 9 | expected k from 0 to the 3 values
tz.topk(x, "a")                         DTypeError     topk | k is | 'a' | an integer
tz.topk(x, 1, 5)                        ShapeError     topk | axis= | 5 | {AXES}
tz.sort(x, 5)                           ShapeError     sort | axis= | 5 | {AXES}
tz.sort(x, descending=1)                DTypeError     sort | descending is | 1 | write descending=True or descending=False
tz.kthvalue(x, 7)                       UsageError     kthvalue | axis 1 | rank 7 | has 3 values
tz.searchsorted(v, v, side="middle")    UsageError     searchsorted | side= | 'middle' | expected side='left' or 'right'
tz.inv(x)                               ShapeError     inv | x: float32 | (2, 3) | expected (…, n, n)
tz.inv(tz.zeros(2, 2))                  LinAlgError    inv | x: float32 | (2, 2) | Singular matrix
tz.det(v)                               ShapeError     det | x: float32 | (4,) | expected (…, n, n)
tz.solve(sq, v)                         ShapeError     solve | a: float32 | (3, 3) and (4,) | and b of (…, n, k)
tz.solve(tz.zeros(3, 3), sq)            LinAlgError    solve | a: float32 | (3, 3) | Singular matrix
tz.cholesky(-sq)                        LinAlgError    cholesky | x: float32 | (3, 3) | positive definite
tz.eigh(x)                              ShapeError     eigh | x: float32 | (2, 3) | expected (…, n, n)
tz.qr(v)                                ShapeError     qr | x: float32 | (4,) | expected (…, m, n)
tz.qr(x, mode="full")                   UsageError     qr | mode is | 'full' | 'reduced' or 'complete'
tz.svd(v)                               ShapeError     svd | x: float32 | (4,) | expected (…, m, n)
tz.slogdet(x)                           ShapeError     slogdet | x: float32 | (2, 3) | expected (…, n, n)
tz.matrix_power(sq, 0.5)                DTypeError     matrix_power | n is | 0.5 | an integer
tz.norm(x, "nucc")                      UsageError     norm | p= | 'nucc' | expected p='fro' or a number
tz.norm(x, axis=5)                      ShapeError     norm | axis= | 5 | {AXES}
tz.solve_triangular(sq, sq, upper=1)    DTypeError     solve_triangular | upper is | 1 | write upper=True or upper=False
tz.solve_triangular(sq, sq)             DTypeError     solve_triangular | the setting | 'upper' | write upper=...
tz.linear(x, v)                         ShapeError     linear | weight | (4,) | of (out, in)
tz.linear(x, tz.ones(4, 3), tz.ones(3)) ShapeError     linear | bias | (3,) | a bias of shape (4,)
tz.linear(x)                            DTypeError     linear | argument weight | missing | write linear(x, weight)
tz.layer_norm(x, normalized_shape=(4,)) ShapeError     layer_norm | normalized_shape | (4,) | the shape (2, 3) of x
tz.layer_norm(x, (3,), v)               ShapeError     layer_norm | weight | (4,) | of shape (3,)
tz.layer_norm(x, v)                     DTypeError     layer_norm | normalized_shape is a setting | Tensor | tensor.item()
tz.rms_norm(x, normalized_shape=(4,))   ShapeError     rms_norm | normalized_shape | (4,) | the shape (2, 3) of x
tz.batch_norm(v, v, v)                  ShapeError     batch_norm | x | (4,) | of shape (N, C, …)
tz.dropout(x, key, p=2.0)               UsageError     dropout | p= | 2.0 | expected 0 <= p <= 1
tz.dropout(x, v)                        DTypeError     dropout | key holds | float32 | write key=tinygrad_zoo.draw_key(rng)
tz.dropout(x)                           DTypeError     dropout | argument key | missing | write dropout(x, key)
tz.dropout(x, key[:2])                  ShapeError     dropout | key | (2,) | expected a key of shape (4,)
tz.standard_normal(key, (-1,))          ShapeError     standard_normal | shape= | (-1,) | sizes >= 0, as in (2, 3)
tz.standard_normal(v, (2,))             DTypeError     standard_normal | key holds | float32 | tinygrad_zoo.draw_key(rng)
tz.standard_normal(key, (2,), "int64")  DTypeError     standard_normal | dtype= | 'int64' | write dtype='float32'
tz.standard_uniform(key)                DTypeError     standard_uniform | the setting | 'shape' | write shape=...
tz.draw_key(0)                          DTypeError     draw_key | rng must be | got 0 | write rng=numpy.random.default_rng(0)
tz.gelu(x, approximate="fast")          UsageError     gelu | approximate= | 'fast' | expected 'none' or 'tanh'
tz.softplus(x, beta=0.0)                UsageError     softplus | beta | 0.0 | expected beta > 0
tz.softplus(x, beta="a")                DTypeError     softplus | beta is | 'a' | a number
tz.elu(x, alpha="a")                    DTypeError     elu | alpha is | 'a' | a number
tz.leaky_relu(x, v)                     DTypeError     leaky_relu | negative_slope is a setting | Tensor | tensor.item()
tz.glu(x)                               ShapeError     glu | axis -1 | (2, 3) | of even length
tz.prelu(x, v)                          ShapeError     prelu | weight has shape | (4,) | one number or 3
tz.hardtanh(x, 2.0, 1.0)                UsageError     hardtanh | min_val | 2.0 and 1.0 | expected min_val <= max_val
tz.threshold(x)                         DTypeError     threshold | the setting | 'threshold' | write threshold=...
tz.cross_entropy(x, tz.tensor([0]))     ShapeError     cross_entropy | target | (1,) | expected a target of (2,)
tz.cross_entropy(x, tz.tensor([0, 7]))  IndexingError  cross_entropy | target: int64 | 7 | do not fit input with C=3
tz.cross_entropy(x, tz.tensor([0, 1]), reduction="avg")  UsageError  cross_entropy | reduction | 'avg' | 'mean', 'sum' or 'none'
tz.cross_entropy(x, tz.tensor([0, 1]), label_smoothing=2.0)  UsageError  cross_entropy | label_smoothing | 2.0 | 0 <= label_smoothing <= 1
tz.cross_entropy(x, tz.tensor([0, 1]), v)  ShapeError  cross_entropy | weight | (4,) | of shape (3,)
tz.nll_loss(x, tz.tensor([0, 9]))       IndexingError  nll_loss | target: int64 | 9 | do not fit input with C=3
tz.nll_loss(x, x)                       DTypeError     nll_loss | target holds | float32 | class indices
tz.mse_loss(x, v)                       ShapeError     mse_loss | target | (4,) | expected the same
tz.mse_loss(x, x, reduction="max")      UsageError     mse_loss | reduction | 'max' | 'mean', 'sum' or 'none'
tz.mse_loss(x)                          DTypeError     mse_loss | argument target | missing | write mse_loss(input, target)
tz.huber_loss(x, x, delta=0.0)          UsageError     huber_loss | delta | 0.0 | expected delta > 0
tz.kl_div(x, v)                         ShapeError     kl_div | target | (4,) | expected the same
tz.binary_cross_entropy(x + 1, x)       UsageError     binary_cross_entropy | input from | 2 | write binary_cross_entropy_with_logits
tz.cosine_similarity(x, v)              ShapeError     cosine_similarity | x1 and x2 | (2, 3) and (4,) | {SIZES}
tz.cdist(x, v)                          ShapeError     cdist | x2: float32 | (4,) | and (…, R, M)
x.astype("complex64")                   DTypeError     astype | its result is | complex64 | tensors hold real numbers or booleans
x.astype(object)                        DTypeError     astype | its result is | object | tensors hold real numbers or booleans
x.astype("floaty")                      DTypeError     astype | dtype= | 'floaty' | write one like 'float32'
x.astype()                              DTypeError     astype | the setting | 'dtype' | write dtype=...
x.to(None)                              DTypeError     to | dtype or a device | None | ('cpu', 'cupy:0')
tz.to_device(x, "tpu")                  DeviceError    to_device | device= | 'tpu' | 'cupy' or 'cupy:1'
float(x)                                ShapeError     float | tensor | (2, 3) | use .astype('float64')
int(x)                                  ShapeError     int | tensor | (2, 3) | use .astype('int64')
bool(x)                                 ShapeError     bool | tensor | (2, 3) | use .any() or .all()
x.item()                                ShapeError     item | tensor | (2, 3) | use .tolist()
format(x, ".2f")                        ShapeError     format | tensor | (2, 3) | use .tolist()
len(s)                                  DTypeError     len | 0-d tensor | tensor(2.) | read it with .item()
operator.index(s)                       DTypeError     index | integer tensors | float32 | write int(x)
x.backward()                            GradientError  backward | this tensor | not computed from any | write requires_grad=True
w.backward()                            GradientError  backward | a tensor of shape | (2,) | or pass gradient=
(w * 1).backward(tz.ones(3))            ShapeError     backward | gradient | (3,) | expected a gradient of shape (2,)
tz.tensor([1], requires_grad=True)      DTypeError     tensor | requires_grad=True | int64 | write dtype='float32'
tz.tensor([[w, 1.0]])                   DTypeError     tensor | list of Tensors | list | write tinygrad_zoo.stack([...])
tz.tensor(np.ma.ones(2))                DTypeError     tensor | masked array | lose its mask | write array.filled(value)
tz.Tensor([1.0])                        DTypeError     Tensor | expected an array | list | {MAKE}
tz.Tensor(np.ma.ones(2))                DTypeError     Tensor | expected an array | MaskedArray | {MAKE}
tz.Tensor(np.ones(2), "float32")        DTypeError     requires_grad | True or False | 'float32' | expected True or False
w.requires_grad_(None)                  DTypeError     requires_grad | True or False | None | expected True or False
tz.tensor([x, x])                       DTypeError     tensor | list of Tensors | list | write tinygrad_zoo.stack([...])
tz.tensor("a")                          DTypeError     tensor | real numbers or booleans | str | expected real numbers
tz.tensor([1.0], dtype="complex64")     DTypeError     tensor | dtype | 'complex64' | of real numbers or booleans
tz.tensor([1.0], device="cuda")         DeviceError    device | 'cuda' | 'cuda' | 'cupy' or 'cupy:1'
tz.zeros(2, -1)                         ShapeError     zeros | sizes | (2, -1) | as in zeros(2, 3)
tz.ones(2.0)                            ShapeError     ones | sizes | (2.0,) | as in ones(2, 3)
tz.zeros(2, "float64")                  ShapeError     zeros | sizes | 'float64' | dtype= and device= go by name
tz.zeros(np.ones(2, int))               ShapeError     zeros | sizes | array([1, 1]) | as in zeros(2, 3)
tz.zeros(v)                             ShapeError     zeros | sizes | tensor([1., 1., 1., 1.]) | as in zeros(2, 3)
tz.zeros(2, dtype="int64", requires_grad=True)  DTypeError  zeros | requires_grad=True | int64 | write dtype='float32'
tz.full((2,), v)                        DTypeError     full | value is a number | tensor([1., 1., 1., 1.]) | write broadcast_to(value
tz.full((2,), "a")                      DTypeError     full | value is a number | 'a' | is a number
tz.arange("a")                          DTypeError     arange | stop is | 'a' | a number
tz.arange(0, v)                         DTypeError     arange | stop is | a tensor | write stop.item()
tz.arange(0, 1, 0)                      UsageError     arange | step | got 0 | a step other than 0
tz.arange(float("inf"))                 UsageError     arange | stop | inf | expected a finite stop
tz.linspace(0, 1, -1)                   UsageError     linspace | num | -1 | expected num >= 0
tz.linspace(0, float("nan"), 2)         UsageError     linspace | stop | nan | expected a finite stop
tz.linspace(0, 1, 2.0)                  DTypeError     linspace | num is | 2.0 | write int(num)
tz.linspace(0, 1, 3, dtype="int64")     DTypeError     linspace | dtype | int64 | write dtype='float32'
tz.logspace(0, 1, 3, base=-1.0)         UsageError     logspace | base | -1.0 | expected base > 0
tz.eye(-1)                              UsageError     eye | n >= | -1 | expected n >= 0
tz.eye("a")                             DTypeError     eye | n is | 'a' | write int(n)
tz.rand(2)                              DTypeError     rand | rng must be | missing | write rng=numpy.random.default_rng(0)
tz.rand(2, rng=0)                       DTypeError     rand | rng must be | got 0 | write rng=numpy.random.default_rng(0)
tz.randn(2, rng=None)                   DTypeError     randn | rng must be | got None | write rng=numpy.random.default_rng(0)
tz.randn(2, rng=rng, dtype="int64")     DTypeError     randn | dtype | int64 | write dtype='float32'
tz.randint(5, 5, (2,), rng=rng)         UsageError     randint | low | 5 and 5 | expected low < high
tz.randint(0, 300, (2,), rng=rng, dtype="int8")  UsageError  randint | fit int8 | 299 | write dtype='int64'
tz.randint(0, 4096, (2,), rng=rng, dtype="float16")  UsageError  randint | fit float16, -2048 to 2048 | 4095 | write dtype='int64'
tz.randint(0, 2**64, (2,), rng=rng)     UsageError     randint | fit int64 | 0 to 18446744073709551615 | to 9223372036854775807
tz.randint(0, 3, rng=rng)               UsageError     randint | low | 0 and 0 | write randint(low, high, size)
tz.normal(0.0, 1.0, 2, rng=rng, dtype="int64")   DTypeError  normal | dtype | int64 | write dtype='float32'
tz.uniform(0.0, 1.0, 2, rng=rng, dtype="bool")   DTypeError  uniform | dtype | bool | write dtype='float32'
tz.randint(0, 2.5, (2,), rng=rng)       DTypeError     randint | high is | 2.5 | write int(high)
tz.randperm(-1, rng=rng)                UsageError     randperm | n >= | -1 | expected n >= 0
tz.normal(0.0, -1.0, rng=rng)           UsageError     normal | std | -1.0 | expected std >= 0
tz.normal(w, 1.0, rng=rng)              GradientError  normal | mean requires a gradient | mean | write mean.detach()
tz.normal(x, v, rng=rng)                ShapeError     normal | mean and std | (4,) | sizes must be equal or 1
tz.uniform(1.0, 0.0, rng=rng)           UsageError     uniform | low | 1.0 and 0.0 | expected low <= high
tz.uniform(0.0, x, (4,), rng=rng)       ShapeError     uniform | low and high | size=(4,) | sizes must be equal or 1
tz.bernoulli(1.5, rng=rng)              UsageError     bernoulli | p | 1.5 | expected 0 <= p <= 1
tz.multinomial([1.0, 0.0], 2, rng=rng)  UsageError     multinomial | 2 samples | 1 classes | write replacement=True
tz.multinomial([1.0, -1.0], 1, rng=rng) UsageError     multinomial | p holds | -1.0 | weights >= 0
tz.multinomial([1.0], 0, rng=rng)       UsageError     multinomial | num_samples | got 0 | expected num_samples >= 1
tz.multinomial(tz.ones(1, 1, 1), 1, rng=rng)  ShapeError  multinomial | p of shape | (1, 1, 1) | (n,) or (rows, n)
tz.from_numpy([1.0])                    DTypeError     from_numpy | numpy.ndarray | list | write tensor(...)
tz.from_dlpack([1.0])                   DTypeError     from_dlpack | __dlpack__ | list | {MAKE}
tz.from_dlpack(w)                       GradientError  from_dlpack | Tensor | requires a gradient | write x.detach()
tz.asarray([1.0], copy=False)           UsageError     asarray | copy=False | list | write copy=None
tz.grad(lambda y: y)(x)                 ShapeError     grad | must return one number | (2, 3) | jacobian takes any
tz.grad(lambda y: y.sum(), 3)(x)        UsageError     argnums | no argument | 3 | the function was given 1
tz.grad(lambda y: 1.0)(x)               DTypeError     function | must return a Tensor | float | must return a Tensor
tz.jvp(lambda y: y, [x], [v])           ShapeError     jvp | tangent | (4,) | of that shape
tz.jvp(lambda y: y, x, x)               DTypeError     jvp | primals and tangents | lists | jvp(f, [x], [t])
tz.hvp(lambda y: y.sum(), x, v)         ShapeError     hvp | v | (4,) | expected v of that shape
tz.vjp(lambda y: y, x)[1](v)            ShapeError     vjp | v of that shape | (4,) | of that shape
tz.checkpoint(lambda y: 1.0, w)         DTypeError     checkpoint | the function | Tensor | return a Tensor or a tuple
nn.Linear(2, 3)                         DTypeError     Linear | rng must be | missing | write rng=numpy.random.default_rng(0)
nn.Dropout(2.0, rng=rng)                UsageError     Dropout | p | 2.0 | 0 <= p
Normal(0.0, -1.0)                       UsageError     Normal | scale | -1.0 | expected scale > 0
Normal(x, v)                            ShapeError     Normal | loc | (4,) | do not broadcast
Normal(0.0, 1.0).sample(rng=0)          DTypeError     Normal | rng must be | got 0 | write rng=numpy.random.default_rng(0)
Independent(Normal(0.0, 1.0), 2)        UsageError     Independent | ndims | 2 | 0 <= ndims <= 0
MultivariateNormal(v, sq)               ShapeError     MultivariateNormal | scale_tril | (3, 3) | scale_tril (…, d, d)
np.exp(x)                               DTypeError     numpy.exp | a Tensor | gradient | write tinygrad_zoo.exp(...)
np.concatenate([x, x])                  DTypeError     numpy.concatenate | a Tensor | gradient | write tinygrad_zoo.concat(...)
np.add.reduce(x)                        DTypeError     numpy.add.reduce | a Tensor | gradient | write tinygrad_zoo.sum(...)
operator.iadd(np.ones(2), w)            DTypeError     numpy.add | out= | Tensor | write array = tinygrad_zoo.add(array, tensor)
"""  # noqa: E501


def rows() -> list[Any]:
    found = []
    for line in TABLE.strip().splitlines():
        kind = next(word for word in line.split() if word in vars(errors) and word.endswith("Error"))
        call, said = line.split(f" {kind} ", 1)
        found.append(pytest.param(call.strip(), kind, [part.strip() for part in said.split(" | ")], id=call.strip()))
    return found


@pytest.mark.parametrize(("call", "kind", "parts"), rows())
def test_a_bad_call_says_what_is_wrong_and_what_to_write(call: str, kind: str, parts: list[str]) -> None:
    expected = getattr(errors, kind)
    with pytest.raises(expected) as error:
        eval(call, dict(NAMES))
    assert type(error.value) is expected and len(parts) == 4
    text = str(error.value)
    assert not [part for part in parts if part not in text], text


def test_the_table_is_long_and_every_kind_of_error_is_a_builtin_too() -> None:
    table = rows()
    assert len(table) >= 200 and len({row.id for row in table}) == len(table)
    builtin = {
        "ShapeError": ValueError,
        "DTypeError": TypeError,
        "IndexingError": IndexError,
        "UsageError": ValueError,
        "LinAlgError": ValueError,
        "DeviceError": RuntimeError,
        "GradientError": RuntimeError,
    }
    kinds = {row.values[1] for row in table}
    assert kinds == set(builtin)
    for kind in kinds:
        assert issubclass(getattr(errors, kind), TinygradZooError) and issubclass(getattr(errors, kind), builtin[kind])


# ---- definitions of ops


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda g, out: g, r"(g, out), expected (g, out, x, axis)"),
        (lambda g, out, x: g, r"(g, out, x), expected (g, out, x, axis)"),
        (lambda g, out, x, y, axis: g, r"(g, out, x, y, axis), expected (g, out, x, axis)"),
        (lambda g, out, x, dim: g, r"(g, out, x, dim), expected (g, out, x, axis)"),
    ],
)
def test_a_rule_of_wrong_arity_is_refused_when_it_is_defined(rule: Any, said: str) -> None:
    with pytest.raises(GradientError) as error:

        @primitive(vjp=(rule,))
        def halved(x: Any, *, axis: int = 0) -> Any:
            return x / 2

    assert str(error.value) == f"halved: the rule of x takes {said}"


def test_rules_with_defaults_and_open_ends_are_taken() -> None:
    rules = [
        lambda g, out, x, axis: g,
        lambda g, out, x, *, axis: g,
        lambda g, out, x, **settings: g,
        lambda *all_of_it, axis: all_of_it[0],
        lambda g, out, x, axis, scale=1: g,
        tz.ops.mul,
    ]
    for rule in rules:

        @primitive(vjp=(rule,))
        def halved(x: Any, *, axis: int = 0) -> Any:
            return x / 2

        assert halved(np.ones(2)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("result", "said"), [(None, "None"), ([1.0], "a list"), (1.0, "a float"), (tz.ones(2), "a Tensor")]
)
def test_a_forward_that_returns_no_array_is_named(result: Any, said: str) -> None:
    @primitive(vjp=(lambda g, out, x: g,))
    def broken(x: Any) -> Any:
        return result

    for x in (np.ones(2), tz.ones(2), tz.ones(2, requires_grad=True)):
        with pytest.raises(DTypeError, match=f"broken: its forward returned {said}; expected an array"):
            broken(x)


def test_one_of_several_outputs_that_is_no_array_is_named() -> None:
    @primitive(vjp=lambda g, out, x, needs: [g])
    def pair(x: Any) -> Any:
        return x, [1.0]

    with pytest.raises(DTypeError, match="pair: its forward returned a list"):
        pair(tz.ones(2, requires_grad=True))


def test_the_backward_of_a_fused_op_is_named() -> None:
    @fused(formula=lambda x: x * 2, backward=lambda g, out, x, needs: [None, None])
    def doubled(x: Any) -> Any:
        return x * 2

    with pytest.raises(GradientError, match="doubled: its rule must return a list of 1"):
        doubled(tz.ones(2, requires_grad=True)).sum().backward()
