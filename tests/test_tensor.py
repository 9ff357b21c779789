"""Tensors: making them, Python and NumPy around them, dtypes, indexing, repr, and what a wrong call is told."""

from __future__ import annotations

import copy
import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import elsewhere, ops
from tinygrad_zoo.autograd import Op, primitive
from tinygrad_zoo.errors import (
    DeviceError,
    DTypeError,
    GradientError,
    IndexingError,
    LinAlgError,
    ShapeError,
    UsageError,
)
from tinygrad_zoo.tensor import Tensor


def text(error: pytest.ExceptionInfo[Exception]) -> str:
    return str(error.value)


# ---- making


def test_tensor_copies_and_python_floats_are_float32() -> None:
    array = np.arange(3.0)
    t = tz.tensor(array)
    array[0] = 9
    assert t.tolist() == [0, 1, 2] and t.dtype == np.float64
    assert not np.shares_memory(tz.tensor(t).data, t.data)
    dtypes = [tz.tensor(v).dtype.name for v in (1.0, [1.0, 2.0], [1, 2.5], 1, [1], True, [], np.float32(1), np.int8(1))]
    assert dtypes == ["float32", "float32", "float32", "int64", "int64", "bool", "float32", "float32", "int8"]
    assert tz.tensor(2**40, dtype="float64").item() == 2.0**40
    assert tz.tensor([1.1], dtype="float64").item() == 1.1  # not rounded to float32 on the way


def test_as_tensor_shares_where_it_can() -> None:
    array, t = np.ones(2), tz.ones(2)
    assert tz.as_tensor(t) is t
    assert np.shares_memory(tz.as_tensor(array).data, array)
    assert tz.as_tensor(2.0).dtype == np.float32 and tz.as_tensor(np.float64(2)).dtype == np.float64


@pytest.mark.parametrize("wrong", ["a", ["a"], [[1], [1, 2]], 1j, [1j], None, {}, object(), 2**70])
def test_what_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(DTypeError, match="tensor: "):
        tz.tensor(wrong)


@pytest.mark.parametrize("dtype", ["complex64", "no such", "S3", object])
def test_what_is_no_real_dtype_is_refused(dtype: Any) -> None:
    with pytest.raises(DTypeError, match="expected a dtype"):
        tz.tensor([1.0], dtype=dtype)
    with pytest.raises(DTypeError, match=r"expected a dtype or a device \('cpu', 'cupy:0'\)"):
        tz.tensor([1.0]).to(dtype)


def test_creation_by_shape_and_by_draw() -> None:
    assert tz.zeros((2, 3)).shape == (2, 3) and tz.ones(2).dtype == np.float32
    assert tz.full((2,), 3, dtype="int64").tolist() == [3, 3] and tz.eye(2).sum().item() == 2
    assert tz.arange(3).dtype == np.int64 and tz.arange(0.0, 1.0, 0.5).tolist() == [0, 0.5]
    a, b = (tz.randn(2, 3, rng=np.random.default_rng(1)) for _ in range(2))
    assert a.tolist() == b.tolist() and a.dtype == np.float32
    assert (tz.rand(100, rng=np.random.default_rng(1)).data < 1).all()


# ---- dtypes


def test_python_scalars_are_weak() -> None:
    single, half, integer = tz.tensor([1.0]), tz.tensor([1.0], dtype="float16"), tz.tensor([1])
    for op in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        for t in (single, half):
            assert op(t, 2.0).dtype == op(2.0, t).dtype == op(t, 2).dtype == t.dtype
        assert op(tz.tensor(1.0), 2.0).dtype == np.float32  # also without axes
    assert (integer * 2).dtype == np.int64 and (integer + True).dtype == np.int64
    assert (integer * 2.0).dtype == (integer / 2).dtype == np.float64  # NumPy's promotion
    assert (tz.tensor([1], dtype="int8") * 2).dtype == np.int8
    with pytest.raises(DTypeError, match=r"mul: .*300 out of bounds for int8"):
        tz.tensor([1], dtype="int8") * 300


def test_arrays_and_numpy_scalars_are_strong() -> None:
    single = tz.tensor([1.0])
    for strong in (np.array(2.0), np.float64(2), tz.tensor(np.array(2.0))):
        assert (single * strong).dtype == (strong * single).dtype == np.float64
        assert type(strong * single) is Tensor


def test_to_converts_and_its_gradient_comes_back() -> None:
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    assert x.to("float32") is x and x.to("cpu") is x and x.to(np.float32) is x
    y = x.to("float64")
    (y * y).sum().backward()
    assert y.dtype == np.float64 and x.grad.dtype == np.float32 and x.grad.tolist() == [2, 4]
    assert not x.to(int).requires_grad
    with pytest.raises(DTypeError, match="got None"):
        x.to(None)


# ---- Python around it


def test_numbers_from_tensors_of_one_element() -> None:
    x = tz.tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x), bool(tz.tensor(0.0))) == (2.5, 2.5, 2, True, False)
    assert [10, 20, 30][tz.tensor(1)] == 20 and hex(tz.tensor([255])) == "0xff"
    for convert in (float, int, bool):
        with pytest.raises(ShapeError, match=r"expected one element, this tensor has shape \(2,\)"):
            convert(tz.tensor([1.0, 2.0]))
    with pytest.raises(DTypeError, match="only integer tensors can be an index, this one is float32"):
        operator.index(tz.tensor(1.0))


def test_format_takes_the_spec_of_a_number() -> None:
    x = tz.tensor(1.23456, requires_grad=True)
    assert f"{x:.2f}" == f"{x * 1:.2f}" == "1.23" and f"{tz.tensor([7]):03d}" == "007"
    assert f"{x}" == str(x) == "tensor(1.23456, requires_grad=True)"
    with pytest.raises(ShapeError, match="expected one element"):
        format(tz.ones(2), ".2f")


def test_len_and_iteration_go_over_the_first_axis() -> None:
    x = tz.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert len(x) == 2
    first, second = x
    (first * second).sum().backward()
    assert x.grad.tolist() == [[3, 4, 5], [0, 1, 2]]
    assert (x.shape, x.ndim, x.size, x.numel(), x.is_leaf, first.is_leaf) == ((2, 3), 2, 6, 6, True, False)
    assert 2.0 in tz.tensor([1.0, 2.0]) and 3.0 not in tz.tensor([1.0, 2.0])
    for call in (len, iter):
        with pytest.raises(DTypeError, match=r"0-d tensor has no length; read it with .item\(\)"):
            call(tz.tensor(1.0))


def test_repr_shows_what_is_not_the_default() -> None:
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    assert repr(tz.tensor([1, 2])) == "tensor([1, 2])" and repr(tz.tensor([True])) == "tensor([ True])"
    assert repr(tz.tensor(1.0)) == "tensor(1.)"
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], from mul)" and repr((x * 2).detach()) == "tensor([2., 4.])"
    assert repr(tz.tensor(np.ones(2))) == "tensor([1., 1.], dtype=float64)"
    assert repr(tz.zeros((0, 3))) == "tensor([], shape=(0, 3))"
    assert repr(tz.tensor(np.eye(2), dtype="int8")) == "tensor([[1, 0],\n        [0, 1]], dtype=int8)"
    assert "..." in repr(tz.zeros(1000)) and len(repr(tz.zeros((100, 100)))) < 1000


def test_deepcopy_copies_leaves_only() -> None:
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y, same = copy.deepcopy([x, x])
    assert y is same and y.requires_grad and y.tolist() == [1, 2] and y.grad.tolist() == [2, 4]
    assert not np.shares_memory(y.data, x.data) and not np.shares_memory(y.grad.data, x.grad.data)
    assert y.version is not x.version
    with pytest.raises(GradientError, match=r"mul made this tensor; only leaves can be copied: .detach\(\)"):
        copy.deepcopy(x * 2)


def test_tensors_are_hashed_by_identity() -> None:
    x, y = tz.ones(1), tz.ones(1)
    assert len({x, y, x}) == 2 and {x: 1}[x] == 1


def test_augmented_assignment_rebinds() -> None:
    x = tz.tensor([1.0], requires_grad=True)
    y = z = 1 * x
    y += 1
    y *= x
    assert z.tolist() == [1] and y.tolist() == [2] and y is not z
    y.backward()
    assert x.grad.item() == 3


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ipow", "imatmul", "imod", "ifloordiv"])
def test_augmented_assignment_does_not_leave_a_parameter_behind(name: str) -> None:
    p = tz.tensor([1.0], requires_grad=True)
    for context in (tz.enable_grad(), tz.no_grad()):
        with context, pytest.raises(GradientError, match=r"leaf requires a gradient: write x = x \+ y .* optimizer"):
            getattr(operator, name)(p, p)
    p.data = p.data - 0.5
    assert p.tolist() == [0.5] and p.requires_grad


def test_short_names_of_dtypes() -> None:
    x = tz.tensor([1.7, 0.0], requires_grad=True)
    for name in ("half", "float", "double", "int", "long", "bool"):
        expected = {"half": tz.float16, "float": tz.float32, "double": tz.float64, "int": tz.int32, "long": tz.int64}
        assert getattr(x, name)().dtype == expected.get(name, tz.bool)
    assert x.float() is x and x.double().requires_grad and x.bool().tolist() == [True, False]
    assert all(
        tz.zeros(2, dtype=getattr(tz, name)).dtype.name == name for name in ("float16", "int32", "bool", "uint8")
    )


def test_a_name_that_is_called_otherwise_here_says_how() -> None:
    x = tz.zeros((2, 3))
    assert (x.dim(), x.view(3, 2).t().shape, x.cpu() is x) == (2, (2, 3), True)
    with pytest.raises(AttributeError, match="Tensor has no 'contiguous': leave it out"):
        x.contiguous()
    with pytest.raises(AttributeError, match="Tensor has no 'add_': tensors are not written in place"):
        x.add_(1)
    with pytest.raises(AttributeError, match=r"tinygrad_zoo has no 'sofmax'; did you mean softmax\?"):
        tz.sofmax(x)
    with pytest.raises(AttributeError, match="tinygrad_zoo has no 'manual_seed': randomness is an explicit argument"):
        tz.manual_seed(0)
    with pytest.raises(AttributeError, match=r"'CrossEntropyLoss': write tinygrad_zoo\.losses\.CrossEntropyLoss"):
        tz.nn.CrossEntropyLoss()
    assert not hasattr(x, "__cuda_array_interface__") and not hasattr(x, "_no_such")


def test_every_hint_is_of_a_name_that_is_not_there() -> None:
    for owner, hints in ((tz.Tensor, elsewhere.TENSOR), (tz, elsewhere.PACKAGE), (tz.nn, elsewhere.NN)):
        assert not any(hasattr(owner, name) for name in hints)
    for text in [*elsewhere.TENSOR.values(), *elsewhere.PACKAGE.values(), *elsewhere.NN.values()]:
        for path in re.findall(r"tinygrad_zoo\.([a-zA-Z_0-9.]+)", text):
            functools.reduce(getattr, path.rstrip(".").split("."), tz)  # what a hint names is there


# ---- indexing

INDICES: dict[str, Any] = {
    "integer": 1,
    "negative": -1,
    "slice": slice(None, None, -2),
    "tuple": (0, slice(1, None)),
    "None": None,
    "Ellipsis": Ellipsis,
    "both": (Ellipsis, None, 0),
    "empty tuple": (),
    "list": [2, 0, 0],
    "empty list": [],
    "array": np.array([[0, 1], [2, 2]]),
    "pair": ([0, 1], np.array([1, 1])),
    "bool list": [True, False, True],
    "mask": np.arange(12).reshape(3, 4) % 2 == 0,
    "mask and integer": (np.array([True, False, True]), 2),
    "numpy integer": np.int64(2),
    "0-d array": np.array(2),
    "bool": True,
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing_is_numpys_and_its_gradient_counts_reads(name: str) -> None:
    index = INDICES[name]
    values = np.arange(12.0).reshape(3, 4)
    x = tz.tensor(values, requires_grad=True)
    out = x[index]
    np.testing.assert_array_equal(out.data, values[index])
    out.sum().backward()
    counts = np.zeros_like(values)
    np.add.at(counts, index, 1)
    np.testing.assert_array_equal(x.grad.data, counts)


def test_tensors_are_indices() -> None:
    x = tz.tensor([10.0, 20.0, 30.0], requires_grad=True)
    assert x[tz.tensor([2, 0])].tolist() == [30, 10] and x[tz.tensor(1)].item() == 20
    assert x[x > 15].tolist() == [20, 30] and x[None, tz.tensor([True, False, True])].tolist() == [[10, 30]]
    x[tz.tensor([1, 1])].sum().backward()
    assert x.grad.tolist() == [0, 2, 0]


def test_wrong_indices() -> None:
    x = tz.zeros((2, 3))
    for index in (2, (0, 3), [5], (0, 0, 0)):
        with pytest.raises(IndexingError, match="getitem: "):
            x[index]
    with pytest.raises(DTypeError, match="an index holds integers or booleans, not float32"):
        x[tz.tensor([1.0])]
    with pytest.raises(DTypeError, match="an index holds integers or booleans, not 'a'"):
        x["a"]
    with pytest.raises(IndexingError, match=r"write x = tinygrad_zoo.index_put\(x, index, value\) or x = "):
        x[0] = 1.0
    with pytest.raises(IndexingError, match="mark_written"):
        x[0] += 1.0


# ---- NumPy around it

BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow", "==": "eq", "!=": "ne", "<": "lt", ">=": "ge"}


@pytest.mark.parametrize("symbol", BINARY)
def test_an_array_and_a_tensor_meet_both_ways(symbol: str) -> None:
    array, x = np.array([1.0, 2.0, 3.0]), tz.tensor(np.array([3.0, 2.0, 1.0]), requires_grad=True)
    for left, right in ((array, x), (x, array), (np.float64(2), x), (2.0, x), (x, 2)):
        out = eval(f"left {symbol} right")
        assert type(out) is Tensor and (out.node is None or out.node.op is getattr(ops, BINARY[symbol]))
        raw = [v.data if isinstance(v, Tensor) else v for v in (left, right)]
        np.testing.assert_array_equal(out.data, eval(f"a {symbol} b", {"a": raw[0], "b": raw[1]}))


def test_matmul_with_arrays_both_ways() -> None:
    a, x = np.arange(4.0).reshape(2, 2), tz.tensor(np.eye(2) * 2, requires_grad=True)
    assert (a @ x).tolist() == (x @ a).tolist() == (2 * a).tolist()
    assert (a @ x).node.op is ops.matmul


# ---- calls: every branch of a Signature


@primitive(vjp=None)
def shaped(x: Any, y: Any = None, *, axis: int, keepdims: bool = False) -> Any:
    return x


def test_settings_by_position_keyword_or_pytorchs_name() -> None:
    x = tz.tensor(np.arange(6.0).reshape(2, 3))
    for out in (x.sum(1, True), x.sum(axis=1, keepdims=True), x.sum(dim=1, keepdim=True), ops.sum(x, 1, keepdim=True)):
        assert out.tolist() == [[3], [12]]
    assert shaped(x, axis=0) is not None and shaped(x=x, y=None, axis=0).shape == (2, 3)
    assert tz.softmax(x, dim=1).shape == (2, 3)


def test_integers_for_a_shape_and_a_list_for_arrays() -> None:
    x = tz.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    for out in (x.reshape(3, 2), x.reshape((3, 2)), x.reshape(shape=(3, 2)), x.T.permute(1, 0).reshape(3, -1)):
        assert out.shape == (3, 2)
    assert x.reshape(6).shape == x.reshape(-1).shape == (6,) and x[0].broadcast_to(3).shape == (3,)
    x[0].permute(0).sum().backward()
    for out in (tz.concat([x, x], 1), tz.concat((x, x), axis=1), tz.concat(x, x, dim=1)):
        assert out.shape == (2, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tz.exp(), "the argument x is missing"),
        (lambda x: tz.add(x), "the argument y is missing"),
        (lambda x: tz.add(x, x, x), "3 positional arguments are too many"),
        (lambda x: tz.add(x, x, x, x), "4 positional arguments are too many"),
        (lambda x: tz.add(x, x, y=x), "y is given twice"),
        (lambda x: x.sum(0, axis=0), "axis is given twice"),
        (lambda x: x.sum(axis=0, dim=1), "axis is given twice, as dim too"),
        (lambda x: x.sum(axes=0), "has no 'axes'"),
        (lambda x: tz.exp(x, dim=0), "has no 'dim'"),
        (lambda x: shaped(x), "needs the setting 'axis'"),
        (lambda x: x.reshape(), "needs the setting 'shape'"),
        (lambda x: tz.add([1.0], x), "add: argument x is a list; expected a Tensor, an array or a number"),
        (lambda x: x * "2", "mul: argument y is a str; .*write tinygrad_zoo.tensor"),
        (lambda x: x + 1j, "add: argument y is a complex"),
        (lambda x: x * None, "mul: .*\n  x: float32 of shape .2, 3. on cpu\n  y: None"),
        (lambda x: tz.concat(x, [x]), r"concat: argument \[1\] is a list"),
        (lambda x: tz.sum(2.0), "sum: .*\n  x: 2.0\n  axis=None"),
    ],
)
def test_a_wrong_call_is_a_typed_error(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(DTypeError, match=message):
        call(tz.zeros((2, 3)))


@pytest.mark.parametrize(
    ("call", "kind", "parts"),
    [
        (
            lambda x: x @ x,
            ShapeError,
            ["matmul: ", "x: float32 of shape (2, 3) on cpu", "y: float32 of shape (2, 3) on cpu"],
        ),
        (lambda x: x + tz.zeros(4), ShapeError, ["add: ", "shape (4,)", "could not be broadcast"]),
        (lambda x: x.reshape(4), ShapeError, ["reshape: ", "x: float32 of shape (2, 3)", "shape=(4,)"]),
        (lambda x: x.sum(5), ShapeError, ["sum: ", "axis=5"]),
        (lambda x: tz.concat([]), ShapeError, ["concat: expected at least one array"]),
        (lambda x: tz.inv(x[:, :2]), LinAlgError, ["inv: ", "x: float32 of shape (2, 2)"]),
        (lambda x: tz.clip(x), UsageError, ["clip: expected a min, a max or both"]),
        (lambda x: tz.embedding(tz.tensor([9]), x), IndexingError, ["embedding: ", "9", "2 rows"]),
    ],
)
def test_a_failed_op_names_itself_its_arguments_and_settings(
    call: Callable[[Any], Any], kind: type[Exception], parts: list[str]
) -> None:
    with pytest.raises(kind) as error:
        call(tz.zeros((2, 3)))
    assert all(part in text(error) for part in parts), text(error)


class FakeDeviceArray:
    """What an op sees of an array that lives elsewhere."""

    def __init__(self, device: str) -> None:
        self.dtype, self.shape, self.ndim, self.device = np.dtype("float32"), (2,), 1, device


def test_devices_do_not_mix() -> None:
    with pytest.raises(DeviceError) as error:
        tz.ones(2) * Tensor(FakeDeviceArray("cupy:1"))
    assert "mul: x is on cpu and y on cupy:1: move one of them with tensor.to(...) first" in text(error)
    assert "y: float32 of shape (2,) on cupy:1" in text(error)
    with pytest.raises(DeviceError, match="add: x is on cupy:0 and y on cupy:1"):
        ops.add(FakeDeviceArray("cupy:0"), FakeDeviceArray("cupy:1"))


def test_every_op_has_a_signature_that_names_its_arguments() -> None:
    for name, op in vars(ops).items():
        if isinstance(op, Op):
            known = op.signature.name
            assert getattr(ops, known) is op and op.signature.text.startswith(f"{known}("), name  # clamp is clip
            assert op.signature.variadic or op.signature.arrays


def test_a_list_of_tensors_says_stack() -> None:
    with pytest.raises(tz.errors.DTypeError, match="stack"):
        tz.tensor([tz.tensor(1.0), tz.tensor(2.0)])


def test_shapes_are_written_as_sizes_or_as_one_tuple() -> None:
    rng = np.random.default_rng(0)
    for make in (tz.zeros, tz.ones, lambda *s: tz.randn(*s, rng=rng), lambda *s: tz.rand(*s, rng=rng)):
        assert make(2, 3).shape == make((2, 3)).shape == (2, 3)
        assert make().shape == make(()).shape == ()
        for wrong in ((2, "float64"), (-1,), (1.5,)):
            with pytest.raises(ShapeError, match="sizes >= 0"):
                make(*wrong)


def test_data_keeps_what_the_tensor_promises() -> None:
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(DTypeError, match="floating point"):
        x.data = np.array([1, 2])
    (x * x).sum().backward()
    with pytest.raises(ShapeError, match="gradient"):
        x.data = np.zeros(3, np.float32)
    assert x.tolist() == [1.0, 2.0]
