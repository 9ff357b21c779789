"""Explicit vectors: what a kernel does with whole vector registers, as LLVM IR that Numba compiles into it.

LLVM turns plain loops into vector code well enough where they run along memory. It does not keep a block of a matrix
in registers while a loop goes on, which is what matrix products live from, nor transpose in registers. The functions
below do. A vector has `lanes(like)` entries of the type of `like`: 16, 8 or 4 of float32, as the processor's registers
have 64, 32 or 16 bytes. Addresses, offsets and strides are bytes, in int64.

Nothing here checks a bound: `gemm/cpu.py` holds all address arithmetic.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)


@functools.cache
def vector_bytes() -> int:
    """The width of the processor's vector registers; TINYGRAD_ZOO_VECTOR_BYTES=16|32|64 chooses another one."""
    chosen = os.environ.get("TINYGRAD_ZOO_VECTOR_BYTES", "")
    if chosen:
        if chosen not in ("16", "32", "64"):
            raise ValueError(f"TINYGRAD_ZOO_VECTOR_BYTES={chosen!r}: expected 16, 32 or 64")
        return int(chosen)
    has = llvmlite.binding.get_host_cpu_features()
    return 64 if has.get("avx512f") else 32 if has.get("avx2") else 16


@functools.cache
def registers() -> int:
    """How many vector registers there are: 32 with AVX-512 and on Arm, else 16."""
    arm = llvmlite.binding.get_default_triple().startswith(("aarch64", "arm64"))
    return 32 if vector_bytes() == 64 or arm else 16


class Vectors:
    """Writes IR for vectors of one scalar type."""

    def __init__(self, builder: Any, scalar: Any, lanes: int = 0) -> None:
        self.builder = builder
        self.scalar = ir.FloatType() if scalar == types.float32 else ir.DoubleType()
        self.bytes = 4 if scalar == types.float32 else 8
        self.lanes = lanes or vector_bytes() // self.bytes
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.bytes}"

    def address(self, base: Any, offset: Any) -> Any:
        return self.builder.add(base, offset)

    def load(self, address: Any) -> Any:
        loaded = self.builder.load(self.builder.inttoptr(address, self.type.as_pointer()))
        loaded.align = self.bytes
        return loaded

    def store(self, value: Any, address: Any) -> None:
        stored = self.builder.store(value, self.builder.inttoptr(address, self.type.as_pointer()))
        stored.align = self.bytes

    def broadcast(self, address: Any) -> Any:
        """A vector of the scalar at `address`."""
        return self.splat(self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer())))

    def splat(self, scalar: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, I32(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x · y + z, rounded once."""
        signature = ir.FunctionType(self.type, [self.type] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, signature, f"llvm.fma.{self.suffix}")
        return self.builder.call(function, [x, y, z])


class Loop:
    """A loop of `count` >= 1 rounds: `variables` begin as `first`, what `close` is given they are in the next round.

    loop = Loop(builder, count, first); what is written then is the body; loop.close(following).
    """

    def __init__(self, builder: Any, count: Any, first: list[Any]) -> None:
        self.builder, self.count = builder, count
        before = builder.block
        self.body, self.after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.index = builder.phi(I64)
        self.index.add_incoming(I64(0), before)
        self.variables = [builder.phi(value.type) for value in first]
        for variable, value in zip(self.variables, first, strict=True):
            variable.add_incoming(value, before)

    def close(self, following: list[Any]) -> None:
        builder = self.builder
        index = builder.add(self.index, I64(1))
        end = builder.block
        self.index.add_incoming(index, end)
        for variable, value in zip(self.variables, following, strict=True):
            variable.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", index, self.count), self.body, self.after)
        builder.position_at_end(self.after)


def addresses(count: int) -> list[Any]:
    return [types.int64] * count


def written(result: Any, arguments: list[Any], write: Callable[..., None]) -> Any:
    """What an intrinsic of no value returns: its signature, and `write(builder, *values)` as its code."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write(builder, *values)
        return context.get_dummy_value()

    return result(*arguments), code


@intrinsic
def lanes(context: Any, like: Any) -> Any:
    """How many entries a vector has."""
    count = vector_bytes() // (like.bitwidth // 8)
    return types.int64(like), lambda context, builder, signature, values: I64(count)


@intrinsic(prefer_literal=True)
def tile(
    context: Any, like: Any, rows: Any, vectors: Any, a: Any, a_row: Any, offsets: Any, b: Any, b_row: Any,
    start: Any, start_row: Any, c: Any, c_row: Any, depth: Any,
) -> Any:  # fmt: skip
    """C = start + A · B for a block of C that stays in registers: `rows` × `vectors` registers, both literals.

    A vector of row k of B times entry (m, k) of A, spread over a vector, is added to row m: of a round's
    rows + vectors loads come rows · vectors products. Entry (m, k) of A lies at a + m·a_row + offsets[k]: for a matrix
    offsets are multiples of a stride, for a convolution they say where under the window tap k lies. Row m of `start` is
    at start + m·start_row: zeros or a bias with start_row 0, or C itself, to add to it. depth >= 1.
    """
    m_count, v_count = rows.literal_value, vectors.literal_value

    def write(builder: Any, *values: Any) -> None:
        a, a_row, offsets, b, b_row, start, start_row, c, c_row, depth = values[3:]
        v = Vectors(builder, like)
        along = [I64(i * v.lanes * v.bytes) for i in range(v_count)]
        first = []
        for m in range(m_count):
            row = builder.add(start, builder.mul(start_row, I64(m)))
            first += [v.load(builder.add(row, offset)) for offset in along]
        a_rows = [builder.mul(a_row, I64(m)) for m in range(m_count)]
        loop = Loop(builder, depth, [offsets, b, *first])
        table, b_at, *sums = loop.variables
        here = builder.add(a, builder.load(builder.inttoptr(table, I64.as_pointer())))
        b_vectors = [v.load(builder.add(b_at, offset)) for offset in along]
        following = []
        for m in range(m_count):
            spread = v.broadcast(builder.add(here, a_rows[m]))
            following += [v.fma(spread, x, sums[m * v_count + i]) for i, x in enumerate(b_vectors)]
        loop.close([builder.add(table, I64(8)), builder.add(b_at, b_row), *following])
        for m in range(m_count):
            row = builder.add(c, builder.mul(c_row, I64(m)))
            for i, offset in enumerate(along):
                v.store(following[m * v_count + i], builder.add(row, offset))

    return written(types.void, [like, rows, vectors, *addresses(10)], write)


@intrinsic(prefer_literal=True)
def lanewise(
    context: Any, like: Any, rows: Any, x: Any, x_rows: Any, offsets: Any, w: Any, w_row: Any, start: Any,
    start_row: Any, y: Any, y_row: Any, depth: Any,
) -> Any:  # fmt: skip
    """y[m] = start[m] + Σ_k x[m, k] ∘ w[k], vector by vector, for `rows` (a literal) sums that stay in registers.

    The vector x[m, k] lies at x + x_rows[m] + offsets[k], two tables; w[k] at w + k·w_row. depth >= 1.
    """
    count = rows.literal_value

    def write(builder: Any, *values: Any) -> None:
        x, x_rows, offsets, w, w_row, start, start_row, y, y_row, depth = values[2:]
        v = Vectors(builder, like)

        def entry(table: Any) -> Any:
            return builder.load(builder.inttoptr(table, I64.as_pointer()))

        at = [entry(builder.add(x_rows, I64(8 * m))) for m in range(count)]
        first = [v.load(builder.add(start, builder.mul(start_row, I64(m)))) for m in range(count)]
        loop = Loop(builder, depth, [offsets, w, *first])
        table, w_at, *sums = loop.variables
        here, factor = builder.add(x, entry(table)), v.load(w_at)
        following = [v.fma(v.load(builder.add(here, row)), factor, s) for row, s in zip(at, sums, strict=True)]
        loop.close([builder.add(table, I64(8)), builder.add(w_at, w_row), *following])
        for m, total in enumerate(following):
            v.store(total, builder.add(y, builder.mul(y_row, I64(m))))

    return written(types.void, [like, rows, *addresses(10)], write)


@intrinsic
def transpose(context: Any, like: Any, source: Any, source_row: Any, target: Any, target_row: Any) -> Any:
    """Write the transpose of a block of lanes × lanes entries, by log₂(lanes) exchanges between pairs of registers."""

    def write(builder: Any, like_value: Any, source: Any, source_row: Any, target: Any, target_row: Any) -> None:
        v = Vectors(builder, like)
        rows = [v.load(builder.add(source, builder.mul(source_row, I64(i)))) for i in range(v.lanes)]
        step = 1
        while step < v.lanes:  # blocks of step × step change places across the diagonal of blocks of twice the size
            low = [i if i & step == 0 else v.lanes + (i ^ step) for i in range(v.lanes)]
            high = [i + step if i & step == 0 else v.lanes + i for i in range(v.lanes)]
            for i in range(v.lanes):
                if i & step == 0:
                    x, y = rows[i], rows[i + step]
                    masks = [ir.Constant(ir.VectorType(I32, v.lanes), mask) for mask in (low, high)]
                    rows[i], rows[i + step] = (builder.shuffle_vector(x, y, mask) for mask in masks)
            step *= 2
        for i, row in enumerate(rows):
            v.store(row, builder.add(target, builder.mul(target_row, I64(i))))

    return written(types.void, [like, *addresses(4)], write)


@intrinsic
def copy(context: Any, like: Any, source: Any, target: Any, count: Any) -> Any:
    """Copy `count` >= 1 vectors from one address to another."""

    def write(builder: Any, like_value: Any, source: Any, target: Any, count: Any) -> None:
        v = Vectors(builder, like)
        step = I64(v.lanes * v.bytes)
        loop = Loop(builder, count, [source, target])
        v.store(v.load(loop.variables[0]), loop.variables[1])
        loop.close([builder.add(x, step) for x in loop.variables])

    return written(types.void, [like, *addresses(3)], write)


@intrinsic
def peek(context: Any, like: Any, address: Any) -> Any:
    """The number at an address, of the type of `like`."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(builder.inttoptr(values[1], values[0].type.as_pointer()))

    return like(like, types.int64), code


@intrinsic
def poke(context: Any, address: Any, value: Any) -> Any:
    """Write a number, of a vector's type or int64, to an address."""

    def write(builder: Any, address: Any, number: Any) -> None:
        builder.store(number, builder.inttoptr(address, number.type.as_pointer()))

    return written(types.void, [types.int64, value], write)


@intrinsic
def pointer(context: Any, like: Any, address: Any) -> Any:
    """An address as what Numba's `carray` takes, of numbers of the type of `like`."""
    kind = types.CPointer(like)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[1], context.get_value_type(kind))

    return kind(like, types.int64), code


@intrinsic
def call(context: Any, routine: Any, like: Any, arguments: Any) -> Any:
    """Call a Routine of jit.py by its address, with `like` and a tuple of int64."""

    def write(builder: Any, address: Any, like_value: Any, values: Any) -> None:
        scalar = Vectors(builder, like).scalar
        numbers = [builder.extract_value(values, i) for i in range(arguments.count)]
        function = ir.FunctionType(ir.VoidType(), [scalar, *[I64] * arguments.count])
        builder.call(builder.inttoptr(address, function.as_pointer()), [like_value, *numbers])

    return written(types.void, [types.int64, like, arguments], write)


@intrinsic
def keep(context: Any, array: Any) -> Any:
    """Mention an array behind the last use of its address: Numba frees an array after the last mention of it."""
    return written(types.void, [array], lambda builder, value: None)
