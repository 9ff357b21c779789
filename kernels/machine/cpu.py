"""The machine that replays a captured step, and the instructions that no other folder has a kernel for.

A program is a table of launches: for each the address of a trampoline, of a kernel's machine code, and of its arguments
(`__init__.py` writes it). `run` goes through it, at some 50 ns a launch, without Python.

Values are views of memory: addresses and strides in bytes, of up to AXES axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, prange, types
from numba.extending import intrinsic

from ..jit import helper, kernel
from ..polynomial import constant, exp, fma, maximum, sigmoid, tanh
from ..vector import I64, keep, peek, pointer, poke

BLOCK = 512  # numbers that a register holds
AXES = 6


# ---- the machine
@intrinsic
def _word(context: Any, address: Any) -> Any:
    """The int64 at an address."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(builder.inttoptr(values[0], I64.as_pointer()))

    return types.int64(types.int64), code


@intrinsic
def _launch(context: Any, trampoline: Any, function: Any, arguments: Any) -> Any:
    """What a trampoline returns: 0, or the status of a kernel that failed."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(I64, [I64, I64])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.int64(types.int64, types.int64, types.int64), code


@kernel("void(i8, i8, i8)")
def run(table, count, failed):  # type: ignore[no-untyped-def]
    """Launches `count` rows of three words, until one fails: then failed[0] is its number, counted from 1; or until
    one finds an index out of range and counts failed[1] up: kernels after it would go where the index says. `failed` is
    an address, since an array among the arguments takes two microseconds."""
    for i in range(count):
        at = table + 24 * i
        if _launch(_word(at), _word(at + 8), _word(at + 16)) != 0:
            poke(failed, np.int64(i + 1))
            return
        if _word(failed + 8) != 0:
            return


@kernel("void(i8, i8, i8)", parallel=True)
def together(tables, count, parts):  # type: ignore[no-untyped-def]
    """One parallel region for several launches: every part has a table of `count` rows, one behind the other."""
    for part in prange(parts):
        for i in range(count):
            at = tables + 24 * (part * count + i)
            if _launch(_word(at), _word(at + 8), _word(at + 16)) != 0:
                raise MemoryError("a kernel could not allocate its working memory")


# ---- chains of pointwise ops
(
    ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, LT, LE, GT, GE,  # of two
    WHERE,  # of three
    NEG, ABS, SQUARE, SQRT, RECIPROCAL, EXP, LOG, TANH, SIGMOID, RELU, SAME,  # of one
    TANH_PULLED, SIGMOID_PULLED, RELU_PULLED,  # g and the function's value
) = range(25)  # fmt: skip
OF_T, OF_BOOL, OF_CONSTANT = range(3)  # what an operand holds


@helper
def _binary(code, x, y, out, n):  # type: ignore[no-untyped-def]
    T = x.dtype.type
    if code == ADD:
        for i in range(n):
            out[i] = x[i] + y[i]
    elif code == SUB:
        for i in range(n):
            out[i] = x[i] - y[i]
    elif code == MUL:
        for i in range(n):
            out[i] = x[i] * y[i]
    elif code == DIV:
        for i in range(n):
            out[i] = x[i] / y[i]
    elif code == MAXIMUM:
        for i in range(n):
            out[i] = maximum(x[i], y[i]) if y[i] == y[i] else y[i]
    elif code == MINIMUM:
        for i in range(n):
            out[i] = -maximum(-x[i], -y[i]) if y[i] == y[i] else y[i]
    elif code == LT:
        for i in range(n):
            out[i] = T(1) if x[i] < y[i] else T(0)
    elif code == LE:
        for i in range(n):
            out[i] = T(1) if x[i] <= y[i] else T(0)
    elif code == GT:
        for i in range(n):
            out[i] = T(1) if x[i] > y[i] else T(0)
    elif code == GE:
        for i in range(n):
            out[i] = T(1) if x[i] >= y[i] else T(0)
    elif code == TANH_PULLED:
        for i in range(n):
            out[i] = x[i] * fma(-y[i], y[i], constant(y[i], 1))
    elif code == SIGMOID_PULLED:
        for i in range(n):
            out[i] = x[i] * y[i] * (constant(y[i], 1) - y[i])
    elif code == RELU_PULLED:
        for i in range(n):
            out[i] = x[i] if y[i] > T(0) else T(0)


@helper
def _unary(code, x, out, n):  # type: ignore[no-untyped-def]
    T = x.dtype.type
    if code == NEG:
        for i in range(n):
            out[i] = -x[i]
    elif code == ABS:
        for i in range(n):
            out[i] = abs(x[i])
    elif code == SQUARE:
        for i in range(n):
            out[i] = x[i] * x[i]
    elif code == SQRT:
        for i in range(n):
            out[i] = np.sqrt(x[i])
    elif code == RECIPROCAL:
        for i in range(n):
            out[i] = T(1) / x[i]
    elif code == EXP:
        for i in range(n):
            out[i] = exp(x[i])
    elif code == LOG:
        for i in range(n):
            out[i] = np.log(x[i])
    elif code == TANH:
        for i in range(n):
            out[i] = tanh(x[i])
    elif code == SIGMOID:
        for i in range(n):
            out[i] = sigmoid(x[i])
    elif code == RELU:
        for i in range(n):
            out[i] = maximum(x[i], constant(x[i], 0))
    elif code == SAME:
        for i in range(n):
            out[i] = x[i]


@helper
def _where(condition, x, y, out, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        out[i] = x[i] if condition[i] != 0 else y[i]


@helper
def _loaded(like, kind, address, stride, register, n):  # type: ignore[no-untyped-def]
    """Where `n` numbers at a stride lie side by side: in place, or in the register that they are put into."""
    if kind == OF_T and stride == like.itemsize:
        return address
    block = carray(pointer(like.dtype.type(0), register), n)
    if kind == OF_T:
        if stride == 0:
            block[:] = peek(like.dtype.type(0), address)
        else:
            for i in range(n):
                block[i] = peek(like.dtype.type(0), address + i * stride)
    else:
        for i in range(n):
            block[i] = peek(np.uint8(0), address + i * stride)
    return register


@helper
def _stored(like, kind, register, address, stride, n):  # type: ignore[no-untyped-def]
    block = carray(pointer(like.dtype.type(0), register), n)
    if kind == OF_BOOL:
        for i in range(n):
            poke(address + i * stride, np.uint8(block[i] != 0))
    elif kind == OF_T:
        for i in range(n):
            poke(address + i * stride, block[i])


@helper
def _place(row, shape, strides):  # type: ignore[no-untyped-def]
    """How far from the start a row lies, by its number: all axes but the last."""
    offset = np.int64(0)
    for axis in range(AXES - 2, -1, -1):
        if shape[axis] > 1:
            offset += row % shape[axis] * strides[axis]
            row //= shape[axis]
    return offset


@kernel("void(T[::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8)", parallel=True)
def pointwise(constants, code, operands, results, shape, parts):  # type: ignore[no-untyped-def]
    """A chain of ops on numbers, block by block, with what stands between them in registers.

    A row of `code` is (op, result, x, y, z), registers by number. Row i of `operands` fills register i: what it holds,
    its address (of a constant its number), and its strides along the axes of `shape`. A row of `results` is a register
    to be written: what the memory holds, the address, the strides, and the register. The last axis goes by blocks.
    """
    size, last_axis = constants.itemsize, AXES - 1
    length = shape[last_axis]
    rows = np.int64(1)
    for axis in range(last_axis):
        rows *= shape[axis]
    across = rows >= parts  # parts share rows, else the last axis
    registers = len(operands) + len(code)
    for part in prange(parts):
        memory = np.empty((registers, BLOCK), constants.dtype)
        base = np.int64(memory.ctypes.data)
        at, begins = np.empty(registers, np.int64), np.empty(len(operands) + len(results), np.int64)
        for k in range(len(operands)):
            if operands[k, 0] == OF_CONSTANT:
                memory[k, :] = constants[operands[k, 1]]
                at[k] = base + k * BLOCK * size
        first, last = (part * rows // parts, (part + 1) * rows // parts) if across else (np.int64(0), rows)
        start, stop = (np.int64(0), length) if across else (part * length // parts, (part + 1) * length // parts)
        for row in range(first, last):
            for k in range(len(operands)):
                begins[k] = operands[k, 1] + _place(row, shape, operands[k, 2:])
            for k in range(len(results)):
                begins[len(operands) + k] = results[k, 1] + _place(row, shape, results[k, 2:])
            for j in range(start, stop, BLOCK):
                n = min(BLOCK, stop - j)
                for k in range(len(operands)):
                    if operands[k, 0] != OF_CONSTANT:
                        stride = operands[k, 2 + last_axis]
                        register = base + k * BLOCK * size
                        at[k] = _loaded(constants, operands[k, 0], begins[k] + j * stride, stride, register, n)
                for k in range(len(operands), registers):
                    at[k] = base + k * BLOCK * size
                for k in range(len(results)):  # made where it belongs, if it lies side by side there
                    register = results[k, 2 + AXES]
                    if results[k, 0] == OF_T and results[k, 2 + last_axis] == size and register >= len(operands):
                        at[register] = begins[len(operands) + k] + j * size
                for k in range(len(code)):
                    op = code[k, 0]
                    out = carray(pointer(constants.dtype.type(0), at[code[k, 1]]), n)
                    x = carray(pointer(constants.dtype.type(0), at[code[k, 2]]), n)
                    if op >= NEG and op <= SAME:
                        _unary(op, x, out, n)
                    else:
                        y = carray(pointer(constants.dtype.type(0), at[code[k, 3]]), n)
                        if op == WHERE:
                            z = carray(pointer(constants.dtype.type(0), at[code[k, 4]]), n)
                            _where(x, y, z, out, n)
                        else:
                            _binary(op, x, y, out, n)
                for k in range(len(results)):
                    stride, register = results[k, 2 + last_axis], results[k, 2 + AXES]
                    address = begins[len(operands) + k] + j * stride
                    if at[register] != address:
                        _stored(constants, results[k, 0], at[register], address, stride, n)
        keep(memory)


# ---- copies
@kernel("void(T[::1], i8, i8[::1], i8, i8[::1], i8[::1], i8)", parallel=True)
def copy(like, source, source_strides, target, target_strides, shape, parts):  # type: ignore[no-untyped-def]
    """The numbers of one view to another of the same shape, of the size of `like`'s; parts share the rows, or where
    these are too few the last axis."""
    T, size, last_axis = like.dtype.type, like.itemsize, AXES - 1
    rows = np.int64(1)
    for axis in range(last_axis):
        rows *= shape[axis]
    across, whole = rows >= parts, shape[last_axis]
    step, out_step = source_strides[last_axis], target_strides[last_axis]
    for part in prange(parts):
        first, last = (part * rows // parts, (part + 1) * rows // parts) if across else (np.int64(0), rows)
        start, stop = (np.int64(0), whole) if across else (part * whole // parts, (part + 1) * whole // parts)
        length = stop - start
        at = np.zeros(AXES, np.int64)
        rest = first
        x, out = source + start * step, target + start * out_step
        for axis in range(last_axis - 1, -1, -1):
            at[axis] = rest % shape[axis]
            rest //= shape[axis]
            x += at[axis] * source_strides[axis]
            out += at[axis] * target_strides[axis]
        for _ in range(first, last):
            if step == size and out_step == size:
                x_row, out_row = carray(pointer(T(0), x), length), carray(pointer(T(0), out), length)
                for i in range(length):
                    out_row[i] = x_row[i]
            else:
                for i in range(length):
                    poke(out + i * out_step, peek(T(0), x + i * step))
            axis = last_axis - 1
            while axis >= 0:
                at[axis] += 1
                x += source_strides[axis]
                out += target_strides[axis]
                if at[axis] < shape[axis]:
                    break
                x -= shape[axis] * source_strides[axis]
                out -= shape[axis] * target_strides[axis]
                at[axis] = 0
                axis -= 1


# ---- sums
@helper
def _along(like, x, count, stride):  # type: ignore[no-untyped-def]
    """Σ of `count` numbers at a stride, by 512 at a time."""
    T = like.dtype.type
    found = T(0)
    for start in range(0, count, 512):
        n = min(512, count - start)
        partial = T(0)
        if stride == like.itemsize:
            row = carray(pointer(T(0), x + start * stride), n)
            for i in range(n):
                partial += row[i]
        else:
            for i in range(start, start + n):
                partial += peek(T(0), x + i * stride)
        found += partial
    return found


@helper
def _down(like, x, rows, stride, columns, column_stride, sums, block):  # type: ignore[no-untyped-def]
    """The sums of the columns, by 64 rows at a time."""
    T = like.dtype.type
    sums[:columns] = T(0)
    for start in range(0, rows, 64):
        block[:columns] = T(0)
        for i in range(start, min(start + 64, rows)):
            if column_stride == like.itemsize:
                row = carray(pointer(T(0), x + i * stride), columns)
                for c in range(columns):
                    block[c] += row[c]
            else:
                for c in range(columns):
                    block[c] += peek(T(0), x + i * stride + c * column_stride)
        for c in range(columns):
            sums[c] += block[c]


@kernel("void(T[::1], i8, i8, i8[::1], i8)", fast=True)
def total(like, x, out, plan, divisor):  # type: ignore[no-untyped-def]
    """out[a, c] = Σ_b x[a, b, c] / divisor.

    `plan` holds the lengths of a, b, c, the strides of x along them, and those of `out` along a and c. `like` gives the
    type. Fewer digits are lost where few numbers are added up at a time.
    """
    T = like.dtype.type
    n_a, n_b, n_c = plan[0], plan[1], plan[2]
    width = min(n_c, 1024)
    sums, block = np.empty(width, like.dtype), np.empty(width, like.dtype)
    for a in range(n_a):
        x_a, out_a = x + a * plan[3], out + a * plan[6]
        if n_c == 1:
            poke(out_a, T(_along(like, x_a, n_b, plan[4]) / T(divisor)))
        else:
            for first in range(0, n_c, width):
                columns = min(width, n_c - first)
                _down(like, x_a + first * plan[5], n_b, plan[4], columns, plan[5], sums, block)
                for c in range(columns):
                    poke(out_a + (first + c) * plan[7], T(sums[c] / T(divisor)))


# ---- rows by their numbers
@kernel("void(T[:, ::1], i8[::1], T[:, ::1], i8[::1])")
def gather(table, index, out, wrong):  # type: ignore[no-untyped-def]
    """out[i] = table[index[i]]; wrong[0] counts indices that are out of range, whose rows are left alone."""
    for i in range(index.size):
        row = index[i]
        if row < 0 or row >= len(table):
            wrong[0] += 1
        else:
            for j in range(table.shape[1]):
                out[i, j] = table[row, j]


@kernel("void(T[:, ::1], i8[::1], T[:, ::1], i8[::1])")
def scatter(g, index, out, wrong):  # type: ignore[no-untyped-def]
    """out[index[i]] += g[i], in order, onto zeros; `wrong` as in `gather`."""
    out[:] = out.dtype.type(0)
    for i in range(index.size):
        row = index[i] + len(out) if index[i] < 0 else index[i]
        if row < 0 or row >= len(out):
            wrong[0] += 1
        else:
            for j in range(out.shape[1]):
                out[row, j] += g[i, j]


@kernel("void(i8, i8, i8, i8, i8[::1])")
def check(address, count, itemsize, size, wrong):  # type: ignore[no-untyped-def]
    """wrong[0] counts the integers, of four or eight bytes side by side, that are not from 0 to size - 1."""
    bad = 0
    if itemsize == 4:
        few = carray(pointer(np.int32(0), address), count)
        for i in range(count):
            bad += few[i] < 0 or few[i] >= size
    else:
        many = carray(pointer(np.int64(0), address), count)
        for i in range(count):
            bad += many[i] < 0 or many[i] >= size
    wrong[0] += bad


@kernel("void(i8, i8)")
def move(source, target):  # type: ignore[no-untyped-def]
    """Eight bytes from one address to another."""
    poke(target, peek(np.int64(0), source))


@kernel("void(i8, i8, i8)")
def spread(source, target, count):  # type: ignore[no-untyped-def]
    """`count` uint32 to as many int64: a key to the arguments of a launch."""
    for i in range(count):
        poke(target + 8 * i, np.int64(peek(np.uint32(0), source + 4 * i)))


@kernel("void(i8, i8)")
def clear(address, count):  # type: ignore[no-untyped-def]
    """Zeros in `count` bytes."""
    block = carray(pointer(np.uint8(0), address), count)
    block[:] = 0


# ---- what the softmax kernels leave to NumPy
@kernel("void(T[::1], f8[:, ::1], i8, i8, i8, i8[::1])")
def mean_loss(like, sums, loss, share, kind, wrong):  # type: ignore[no-untyped-def]
    """The loss from the sums of `softmax.cross_entropy`: 0 of all rows, 1 their mean; its share to address `share`."""
    found, weight, bad = 0.0, 0.0, 0.0
    for part in range(len(sums)):
        found += sums[part, 0]
        weight += sums[part, 1]
        bad += sums[part, 2]
    if bad != 0:
        wrong[0] += 1
    scale = 1.0
    if kind == 1:
        scale = 1.0 / weight if weight != 0.0 else np.inf
    poke(loss, like.dtype.type(found * scale))
    if share != 0:
        poke(share, scale)
