"""Other libraries around a Tensor: NumPy's protocols, DLPack both ways, the array API, copy and pickle."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import linalg, special

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import array_api, nn, ops
from tinygrad_zoo.errors import DeviceError, DTypeError, GradientError, SharingError, TinygradZooError, UsageError
from tinygrad_zoo.tensor import Tensor

torch = oracles.load("torch")

LEAF = tz.tensor([1.0, 2.0], requires_grad=True)
MATRIX = tz.tensor(np.arange(6.0).reshape(2, 3))


# ---- NumPy


@pytest.mark.parametrize(
    ("call", "name", "ours"),
    [
        (lambda x: np.exp(x), "numpy.exp", "tinygrad_zoo.exp("),
        (lambda x: np.negative(x), "numpy.negative", "tinygrad_zoo.neg("),
        (lambda x: np.arctan2(x, 1.0), "numpy.arctan2", "tinygrad_zoo.atan2("),
        (lambda x: np.invert(x), "numpy.invert", "tinygrad_zoo.bitwise_not("),
        (lambda x: np.sum(x), "numpy.sum", "tinygrad_zoo.sum("),
        (lambda x: np.mean(x, axis=0), "numpy.mean", "tinygrad_zoo.mean("),
        (lambda x: np.concatenate([x, x]), "numpy.concatenate", "tinygrad_zoo.concat("),
        (lambda x: np.stack([np.ones(2), x]), "numpy.stack", "tinygrad_zoo.stack("),
        (lambda x: np.where(True, x, x), "numpy.where", "tinygrad_zoo.where("),
        (lambda x: np.dot(x, x), "numpy.dot", "tinygrad_zoo.matmul("),
        (lambda x: np.einsum("i->", x), "numpy.einsum", "tinygrad_zoo.einsum("),
        (lambda x: np.linalg.norm(x), "numpy.linalg.norm", "tinygrad_zoo.norm("),
        (lambda x: np.linalg.inv(x), "numpy.linalg.inv", "tinygrad_zoo.inv("),
        (lambda x: np.fft.fft(x), "numpy.fft.fft", "tensor.numpy()"),
        (lambda x: np.shape(x), "numpy.shape", "tensor.numpy()"),
        (lambda x: np.modf(x), "numpy.modf", "tensor.numpy()"),
        (lambda x: np.add.reduce(x), "numpy.add.reduce", "tinygrad_zoo.sum("),
        (lambda x: np.multiply.reduce(x), "numpy.multiply.reduce", "tinygrad_zoo.prod("),
        (lambda x: np.add.accumulate(x), "numpy.add.accumulate", "tinygrad_zoo.cumsum("),
        (lambda x: np.multiply.outer(x, x), "numpy.multiply.outer", "tensor.numpy()"),
    ],
)
def test_numpy_functions_name_our_op(call: Callable[[Any], Any], name: str, ours: str) -> None:
    with pytest.raises(DTypeError) as error:
        call(LEAF)
    text = str(error.value)
    assert text.startswith(f"{name} cannot take a Tensor (its gradient would be lost): write ") and ours in text


def test_a_hint_of_ours_is_an_op() -> None:
    """So that nobody is told to write what does not exist."""
    renamed = (np.concatenate, np.absolute, np.arcsin, np.rint, np.transpose, np.ravel, np.radians, np.degrees, np.fix)
    for function in (*renamed, np.fabs, np.square, np.cumsum, lambda x: np.repeat(x, 2)):
        with pytest.raises(DTypeError) as error:
            function(LEAF)
        name = str(error.value).rpartition("write tinygrad_zoo.")[2].partition("(")[0]
        assert isinstance(getattr(ops, name), tz.Op)


@pytest.mark.parametrize("symbol", ["+", "-", "*", "/", "**", "@", "//", "%", "==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(
    "other", [np.array([3.0, 5.0]), np.float64(3.0), np.array(3.0)], ids=["array", "scalar", "0-d"]
)
def test_arithmetic_with_host_arrays_gives_tensors_both_ways(symbol: str, other: Any) -> None:
    if symbol == "@" and not np.ndim(other):
        return
    x = tz.tensor(np.array([2.0, 7.0]), requires_grad=True)
    for a, b in ((x, other), (other, x)):
        raw = [v.data if isinstance(v, Tensor) else v for v in (a, b)]
        made = eval(f"a {symbol} b", {"a": a, "b": b})
        assert type(made) is Tensor
        np.testing.assert_array_equal(made.data, eval(f"a {symbol} b", {"a": raw[0], "b": raw[1]}))


@pytest.mark.parametrize("symbol", ["&", "|", "^"])
def test_bits_of_integers_and_booleans(symbol: str) -> None:
    for values, other in ((np.array([1, 6]), np.array([3, 5])), (np.array([True, False]), np.array([True, True]))):
        x = tz.tensor(values)
        for a, b in ((x, other), (other, x), (x, bool(other[0])), (bool(other[0]), x), (x, tz.tensor(other))):
            raw = [v.data if isinstance(v, Tensor) else v for v in (a, b)]
            made = eval(f"a {symbol} b", {"a": a, "b": b})
            expected = eval(f"a {symbol} b", {"a": raw[0], "b": raw[1]})
            assert type(made) is Tensor and made.dtype == expected.dtype and made.tolist() == expected.tolist()
        assert (~x).tolist() == (~values).tolist()
    with pytest.raises(DTypeError, match="bitwise_not: "):
        operator.invert(LEAF)


def test_python_numbers_around_floor_and_round() -> None:
    x = tz.tensor([-2.5, 7.25], requires_grad=True)
    assert [t.tolist() for t in divmod(x, 2)] == [[-2.0, 3.0], [1.5, 1.25]]
    assert [t.tolist() for t in divmod(7, tz.tensor([2.0]))] == [[3.0], [1.0]]
    assert (7 // tz.tensor([2])).tolist() == [3] and (7 % tz.tensor([4])).tolist() == [3]
    assert round(x).tolist() == [-2.0, 7.0] and round(x, 1).tolist() == np.round(x.data, 1).tolist()
    assert math.floor(x).tolist() == [-3, 7] and math.ceil(x).tolist() == [-2, 8] and math.trunc(x).tolist() == [-2, 7]
    assert (+x).tolist() == x.tolist() and (+x).node is not None and abs(x).tolist() == [2.5, 7.25]
    (x % 2).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_an_array_is_not_written_from_a_tensor() -> None:
    array = np.ones(2)
    for write in (operator.iadd, operator.imul, lambda a, x: np.add(a, x, out=a), lambda a, x: np.exp(x, out=a)):
        with pytest.raises(DTypeError, match=r"out= .*its gradient would be lost: write array.*\.numpy\(\)"):
            write(array, LEAF)
    assert array.tolist() == [1.0, 1.0]
    with pytest.raises(DTypeError, match=r"write array = tinygrad_zoo.add\(array, tensor\)"):
        array += LEAF
    array += LEAF.detach().numpy()
    assert array.tolist() == [2.0, 3.0]


def test_asarray_is_a_view_outside_the_graph() -> None:
    x = LEAF * 1
    assert np.shares_memory(np.asarray(x), x.data) and np.shares_memory(x.numpy(), x.data)
    assert np.shares_memory(np.asarray(x, copy=False), x.data) and np.asarray(x, dtype="float64").dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data) and not np.shares_memory(np.asarray(x, copy=True), x.data)
    assert np.array([x, x]).tolist() == [[1.0, 2.0]] * 2
    with pytest.raises(UsageError, match=r"numpy.asarray: float32 to float64 needs a copy: write copy=None"):
        np.asarray(x, dtype="float64", copy=False)
    with pytest.raises(DeviceError, match=r"on cupysim:0: write tensor.numpy\(\)"):
        np.asarray(LEAF.detach().to("cupysim"))


def test_the_ufuncs_of_scipy_are_refused_and_its_functions_convert() -> None:
    with pytest.raises(DTypeError, match=r"numpy.erf cannot take a Tensor .*write tinygrad_zoo.erf"):
        special.erf(LEAF)
    assert linalg.det(tz.eye(2) * 3) == 9.0


# ---- DLPack


@pytest.mark.parametrize(
    ("make", "shared"),
    [
        (lambda: tz.tensor(np.arange(6.0).reshape(2, 3)), True),
        (lambda: tz.tensor(np.arange(6, dtype="float16").reshape(2, 3)).T, True),
        (lambda: tz.tensor(np.arange(6, dtype="int8"))[1::2], True),
        (lambda: tz.tensor([True, False]), True),
        (lambda: tz.tensor(3.0), True),
        (lambda: tz.zeros(0, 3), False),
        (lambda: tz.tensor([1.0, 2.0]).flip(), False),
        (lambda: tz.tensor([1.0, 2.0]).broadcast_to((3, 2)), False),
        (lambda: Tensor(np.frombuffer(bytes([0, 0, 128, 63]), "float32")), False),
        (lambda: Tensor(np.array([1.0, 2.0], ">f8")), False),
    ],
    ids=[
        "plain",
        "transposed",
        "strided",
        "bool",
        "0-d",
        "empty",
        "negative",
        "zero-stride",
        "read-only",
        "big-endian",
    ],
)
@pytest.mark.parametrize("reader", ["numpy", pytest.param("torch", marks=pytest.mark.oracle("torch")), "tinygrad_zoo"])
def test_dlpack_shares_what_can_be_shared_and_copies_the_rest(make: Any, shared: bool, reader: str) -> None:
    x = make()
    read = {"numpy": np, "torch": torch, "tinygrad_zoo": tz}[reader].from_dlpack
    made = read(x)
    host = made.numpy() if reader != "numpy" else made
    assert host.shape == x.shape and host.tolist() == x.tolist()
    assert host.dtype == (x.dtype if reader == "tinygrad_zoo" else x.dtype.newbyteorder("="))
    if shared:
        x.data[...] = 1 - x.data if x.dtype != bool else ~x.data
        assert host.tolist() == x.tolist()
    elif reader == "torch" and host.size:
        host.flat[0] = 5
        assert x.tolist() == make().tolist()


def test_dlpack_without_a_copy_or_not_at_all() -> None:
    for x in (MATRIX.flip(1), tz.tensor([1.0]).broadcast_to((3,)), Tensor(np.frombuffer(b"abcd", "float32"))):
        with pytest.raises(SharingError, match=r"dlpack: copy=False, but this memory \(strides .*: write copy=None"):
            x.__dlpack__(copy=False)
    with pytest.raises(SharingError, match=r"dlpack: .* This tensor is .*: write tensor.to\('float64'\)"):
        np.from_dlpack(Tensor(np.ones(2, np.longdouble)))
    read_only = np.from_dlpack(Tensor(np.frombuffer(b"abcd", "float32")), copy=False)
    assert not read_only.flags.writeable and np.from_dlpack(tz.zeros(0, 3), copy=False).shape == (0, 3)
    with pytest.raises(BufferError):
        np.from_dlpack(MATRIX.flip(1), copy=False)
    assert np.shares_memory(np.from_dlpack(MATRIX, copy=False), MATRIX.data)
    assert not np.shares_memory(np.from_dlpack(MATRIX, copy=True), MATRIX.data)


def test_dlpack_refuses_what_would_lose_the_gradient_or_the_device() -> None:
    for x in (LEAF, LEAF * 2):
        with pytest.raises(GradientError, match=r"the gradient would be lost; write tensor.detach\(\)"):
            np.from_dlpack(x)
    assert MATRIX.__dlpack_device__() == (1, 0)
    MATRIX.__dlpack__(max_version=(1, 0), dl_device=(1, 0), stream=None)
    with pytest.raises(DeviceError, match=r"dlpack: this tensor is on device \(1, 0\), not \(2, 0\): move it"):
        MATRIX.__dlpack__(dl_device=(2, 0))
    with pytest.raises(UsageError, match="dlpack: memory of the host has no stream, got stream=1"):
        MATRIX.__dlpack__(stream=1)
    for read in (MATRIX.to("cupysim").__dlpack__, MATRIX.to("cupysim").flip().__dlpack__):
        with pytest.raises(DeviceError, match=r"dlpack: arrays of cupysim cannot be shared: write tensor.to\('cpu'\)"):
            read()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"])
def test_from_torch_and_back(dtype: str) -> None:
    t = torch.tensor([[0, 1, 2], [1, 1, 0]]).to(getattr(torch, dtype))
    for theirs in (t, t.T, t[:, 1], t[0, 0], t[:0], t[:, ::2], t.expand(2, 2, 3)):
        x = tz.from_dlpack(theirs)
        assert type(x) is Tensor and x.dtype.name == dtype and x.tolist() == theirs.tolist()
        assert tz.tensor(theirs).tolist() == theirs.tolist()
        again = torch.from_dlpack(x)
        assert again.dtype == theirs.dtype and again.tolist() == theirs.tolist()
    x = tz.from_dlpack(t)
    t[0, 0] = 1
    assert x.tolist() == t.tolist() and x.data.ctypes.data == t.data_ptr()
    copied = tz.from_dlpack(t, copy=True)
    t[0, 0] = 0
    assert copied.tolist() != t.tolist()
    again = torch.from_dlpack(tz.tensor(t))
    assert again.data_ptr() != t.data_ptr()


@pytest.mark.oracle("torch")
def test_torch_tensors_that_cannot_be_read() -> None:
    leaf = torch.ones(2, requires_grad=True)
    for make in (tz.from_dlpack, tz.tensor, tz.as_tensor, tz.asarray):
        with pytest.raises(GradientError, match=r"this Tensor requires a gradient, .*write x.detach\(\)"):
            make(leaf)
        assert make(leaf.detach()).tolist() == [1.0, 1.0]
    for mixed in (lambda: tz.ones(2) + leaf, lambda: tz.matmul(leaf, tz.ones(2))):
        with pytest.raises(DTypeError, match=r"argument . is a torch.Tensor, .*write tinygrad_zoo.from_dlpack"):
            mixed()
    with pytest.raises(DTypeError, match=r"from_dlpack: Tensor cannot be read: .*; convert it first"):
        tz.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(DTypeError, match="real numbers or booleans, got complex64"):
        tz.from_dlpack(torch.ones(2, dtype=torch.complex64))


def test_from_dlpack_of_what_is_no_array() -> None:
    with pytest.raises(DTypeError, match=r"from_dlpack: list has no __dlpack__: write tinygrad_zoo.tensor"):
        tz.from_dlpack([1.0])
    x = tz.tensor([1.0])
    assert np.shares_memory(tz.from_dlpack(x).data, x.data)
    with pytest.raises(GradientError):
        tz.from_dlpack(LEAF)
    with pytest.raises(DeviceError):
        tz.from_dlpack(x, device="cuda")


# ---- the array API standard


# Every function of the 2024.12 standard. Why one is absent stands beside it.
COMPLEX = "tensors hold no complex numbers"
NOT_YET = "no op of ours"
SET = "the shape of the result depends on the values"
ABSENT = {
    "empty": "uninitialised memory is no feature: zeros",
    "empty_like": "uninitialised memory is no feature: zeros_like",
    "conj": COMPLEX,
    "imag": COMPLEX,
    "real": COMPLEX,
    "bitwise_left_shift": NOT_YET,
    "bitwise_right_shift": NOT_YET,
    "nextafter": NOT_YET,
    "signbit": NOT_YET,
    "vecdot": NOT_YET,
    "diff": NOT_YET,
    "unique_all": SET,
    "unique_counts": SET,
    "unique_inverse": SET,
    "unique_values": SET,
    "complex64": COMPLEX,
    "complex128": COMPLEX,
    "__array_namespace_info__": "default devices and dtypes are those of TINYGRAD_ZOO_BACKEND and of tensor()",
    "fft": COMPLEX,
}
STANDARD = """
e inf nan newaxis pi
arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like
tril triu zeros zeros_like
astype can_cast finfo iinfo isdtype result_type
bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128
abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or
bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor floor_divide greater
greater_equal hypot imag isfinite isinf isnan less less_equal log log1p log2 log10 logaddexp logical_and logical_not
logical_or logical_xor maximum minimum multiply negative nextafter not_equal positive pow real reciprocal remainder
round sign signbit sin sinh square sqrt subtract tan tanh trunc
take take_along_axis
__array_namespace_info__
matmul matrix_transpose tensordot vecdot
broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll squeeze stack
tile unstack
argmax argmin count_nonzero nonzero searchsorted where
unique_all unique_counts unique_inverse unique_values
argsort sort
cumulative_prod cumulative_sum max mean min prod std sum var
all any diff
linalg fft
"""
LINALG = """
cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose outer pinv qr
slogdet solve svd svdvals tensordot trace vecdot vector_norm
"""


def test_every_name_of_the_standard_is_there_or_said_to_be_absent() -> None:
    names = STANDARD.split()
    assert len(names) == len(set(names)) and set(names) >= set(ABSENT)
    assert {name for name in names if not hasattr(array_api, name)} == set(ABSENT)
    assert {name for name in LINALG.split() if not hasattr(array_api.linalg, name)} == {"vecdot"}
    if np.__array_api_version__ == "2024.12":  # type: ignore[attr-defined]
        assert not [name for name in names if not hasattr(np, name)]
        assert not [name for name in LINALG.split() if not hasattr(np.linalg, name)]
    public = {name for name in dir(array_api) if name.isidentifier() and not name.startswith("_")}
    assert public <= {*names, "VERSIONS"}


def test_the_namespace_of_a_tensor() -> None:
    assert MATRIX.__array_namespace__() is MATRIX.__array_namespace__(api_version="2024.12") is array_api
    with pytest.raises(UsageError, match=r"no api_version '2030.12': write one of 2021.12, .*2024.12"):
        MATRIX.__array_namespace__(api_version="2030.12")
    with pytest.raises(AttributeError, match=r"tinygrad_zoo.array_api has no 'relu'"):
        array_api.relu  # noqa: B018
    for empty in ("empty", "empty_like"):
        with pytest.raises(AttributeError, match="uninitialised memory differs from run to run: write zeros"):
            getattr(tz, empty)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "var": lambda xp, x: xp.var(x, axis=0),
    "std": lambda xp, x: xp.std(x, axis=1, correction=1.0, keepdims=True),
    "sort": lambda xp, x: xp.sort(x, axis=0, descending=True) if xp is array_api else np.sort(x, axis=0)[::-1],
    "argsort": lambda xp, x: xp.argsort(x, axis=1),
    "nonzero": lambda xp, x: xp.nonzero(x)[1],
    "searchsorted": lambda xp, x: xp.searchsorted(xp.sort(x[0]), x, side="right"),
    "take": lambda xp, x: xp.take(x, xp.asarray([1, 0, 1]), axis=1),
    "take of a vector": lambda xp, x: xp.take(x[0], xp.asarray([1, 0])),
    "unstack": lambda xp, x: xp.unstack(x, axis=1)[2],
    "repeat": lambda xp, x: xp.repeat(x, 2, axis=1),
    "meshgrid": lambda xp, x: xp.meshgrid(x[0], x[:, 0])[0],
    "meshgrid ij": lambda xp, x: xp.meshgrid(x[0], x[:, 0], indexing="ij")[1],
    "cumulative_sum": lambda xp, x: xp.cumulative_sum(x, axis=1),
    "cumulative_sum of a vector": lambda xp, x: xp.cumulative_sum(x[0]),
    "cumulative_prod": lambda xp, x: xp.cumulative_prod(x, axis=0),
    "matrix_transpose": lambda xp, x: xp.matrix_transpose(x),
    "broadcast_arrays": lambda xp, x: xp.broadcast_arrays(x, x[0])[1],
    "diagonal": lambda xp, x: xp.linalg.diagonal(xp.stack([x, x + 1]), offset=1),
    "trace": lambda xp, x: xp.linalg.trace(xp.stack([x, x + 1])),
    "vector_norm": lambda xp, x: xp.linalg.vector_norm(x, axis=0, ord=3),
    "matrix_norm": lambda xp, x: xp.linalg.matrix_norm(x),
    "concat": lambda xp, x: xp.concat([x, x], axis=1),
    "permute_dims": lambda xp, x: xp.permute_dims(x, (1, 0)),
    "moveaxis": lambda xp, x: xp.moveaxis(x, 0, -1),
    "roll": lambda xp, x: xp.roll(x, 1, axis=0) if xp is np else xp.roll(x, 1, 0),
    "clip": lambda xp, x: xp.clip(x, 0.0, 1.0),
    "full": lambda xp, x: xp.full((2, 3), 2.0) * x,
    "eye": lambda xp, x: xp.eye(2, 3, k=1) * x,
    "linspace": lambda xp, x: xp.linspace(0, 1, 3, endpoint=False) * x,
    "divide": lambda xp, x: xp.divide(xp.subtract(x, 1.5), xp.multiply(x, x)),
    "positive": lambda xp, x: xp.positive(x),
    "expand_dims": lambda xp, x: xp.expand_dims(x, axis=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_functions_mean_what_the_standard_says(name: str) -> None:
    """NumPy 2's main namespace is the standard's."""
    values = np.random.default_rng(0).standard_normal((2, 3))
    ours, expected = CALLS[name](array_api, tz.tensor(values)), CALLS[name](np, values)
    assert isinstance(ours, Tensor) and ours.shape == expected.shape
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


def test_questions_about_dtypes_take_tensors() -> None:
    assert array_api.finfo(MATRIX).bits == 64 and array_api.iinfo(array_api.int8).max == 127
    assert array_api.result_type(MATRIX, tz.tensor([1.0])) == np.float64 == array_api.result_type(MATRIX, 1.0)
    assert array_api.can_cast(MATRIX, "float64") and not array_api.can_cast(MATRIX, "float32")
    assert array_api.isdtype(MATRIX.dtype, "real floating") and not array_api.isdtype(array_api.bool, "integral")


# ---- copy, pickle, hash


def test_a_shallow_copy_is_the_same_value_in_the_graph() -> None:
    made = LEAF * 2
    for x in (LEAF, made, tz.tensor([1])):
        y = copy.copy(x)
        assert y is not x and type(y) is Tensor and y.data is x.data and y.node is x.node and y.version is x.version
        assert y.requires_grad == x.requires_grad
    x = tz.tensor([3.0], requires_grad=True)
    copy.copy(x * x).backward()
    assert x.grad.item() == 6.0
    assert type(copy.copy(nn.Parameter([1.0]))) is nn.Parameter


def test_tensors_are_not_pickled() -> None:
    for x in (LEAF, LEAF * 2, nn.Parameter([1.0]), [tz.ones(2)], nn.Linear(1, 1, rng=np.random.default_rng(0))):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TinygradZooError, match=r"pickle: Tensors are not pickled.*state_dict\(\)"):
                pickle.dumps(x, protocol)
