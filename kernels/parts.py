"""How a kernel's loop over parts becomes machine code that threads share.

    def double(x, out, parts):                          def double(x, out, parts):
        for part in prange(parts):         becomes          if forks(parts): fork(); return
            ...                                             for part in range(first, behind): ...

It is compiled once, for one thread and for several, and takes the parts that the number `parts` names: all of them, or
a single one (`one`). Given all of several, it asks for threads to call it again, each for a part. Threads are asked for
through the word at `FORK`, the address of a function of a task, its data, and how many parts; while that is 0 the parts
follow one another on the thread that called.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from .jit import Routine, helper
from .vector import I32, I64, addresses, written

SHIFT = 32  # the bits of a number of parts; above them stands a part's own number, counted from 1
SYMBOL = "tinygrad_zoo_fork"  # what machine code calls FORK
FORK = np.zeros(1, np.int64)
llvmlite.binding.add_symbol(SYMBOL, FORK.ctypes.data)
ALONE, DONE, FAILED = range(3)  # what `fork` tells


def one(part: int, parts: int) -> int:
    """The number that a kernel is given in the place of `parts` to do that part alone.

    >>> hex(one(1, 3))
    '0x200000003'
    """
    return (part + 1) << SHIFT | parts


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that is compiled for a kernel, whose loop over parts must stand last."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    loops = [x for x in ast.walk(definition) if isinstance(x, ast.Call) and ast.unparse(x.func) == "prange"]
    loop = definition.body[-1]
    if len(loops) != 1 or not isinstance(loop, ast.For) or loop.iter is not loops[0]:
        raise ValueError(f"{function.__name__}: expected one loop over parts, `for part in prange(parts)`, at its end")
    loop.iter = ast.parse("range(_first, _behind)", mode="eval").body
    begin = f"""
_first, _behind, parts = _span(parts)
if _first < 0:
    _told = _fork()
    if _told == {FAILED}:
        raise MemoryError("a part could not allocate its working memory")
    if _told == {DONE}:
        return
    _first = 0
"""
    documented = int(ast.get_docstring(definition) is not None)
    definition.body[documented:documented] = ast.parse(begin).body
    definition.decorator_list = []
    ast.increment_lineno(ast.fix_missing_locations(tree), function.__code__.co_firstlineno - 1)
    known = {**function.__globals__, "_span": span, "_fork": fork}
    exec(compile(tree, function.__code__.co_filename, "exec"), known)
    made: Callable[..., Any] = functools.wraps(function)(known[definition.name])
    del made.__wrapped__  # type: ignore[attr-defined]
    return made


@helper
def span(parts):  # type: ignore[no-untyped-def]
    """The first part, or -1 where threads are to be asked first, the one behind the last, and how many there are."""
    part, count = parts >> SHIFT, parts & ((1 << SHIFT) - 1)
    if part > 0:
        return part - 1, part, count
    return (-1 if count > 1 else 0), count, count


@intrinsic
def fork(context: Any) -> Any:
    """Have threads call the function that this stands in, once for each part: ALONE where there are none."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _called(builder)

    return types.int64(), code


def _called(builder: Any) -> Any:
    """Its code: the arguments are put side by side, and a task is made that takes them from there."""
    function, module = builder.function, builder.module
    given = function.args[2:]  # the first two are where Numba's machine code leaves a value and an exception
    (count,) = (i for i, x in enumerate(given) if x.name == "arg.parts")
    data = ir.LiteralStructType([*(x.type for x in given), I64])
    failed = I32(len(given))
    with builder.goto_entry_block():
        place = builder.alloca(data)
    builder.store(I64(0), builder.gep(place, [I32(0), failed]))
    for i, x in enumerate(given):
        builder.store(x, builder.gep(place, [I32(0), I32(i)]))

    task = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64]), f"{function.name}.task")
    task.linkage = "internal"
    inner = ir.IRBuilder(task.append_basic_block())
    at, part = task.args
    where = inner.inttoptr(at, data.as_pointer())
    passed = [inner.load(inner.gep(where, [I32(0), I32(i)])) for i in range(len(given))]
    number = inner.shl(inner.add(part, I64(1)), I64(SHIFT))
    passed[count] = inner.or_(number, passed[count])
    left = []
    for x in function.args[:2]:
        kept = inner.alloca(x.type.pointee)
        inner.store(ir.Constant(x.type.pointee, None), kept)
        left.append(kept)
    status = inner.call(function, [*left, *passed])
    with inner.if_then(inner.icmp_unsigned("!=", status, I32(0)), likely=False):
        inner.store(I64(1), inner.gep(where, [I32(0), failed]))
    inner.ret_void()

    word = module.globals.get(SYMBOL) or ir.GlobalVariable(module, I64, SYMBOL)
    threads = builder.load(word)
    kind = ir.FunctionType(ir.VoidType(), [I64, I64, I64])
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", threads, I64(0))):
        arguments = [builder.ptrtoint(task, I64), builder.ptrtoint(place, I64), given[count]]
        builder.call(builder.inttoptr(threads, kind.as_pointer()), arguments)
        wrong = builder.load(builder.gep(place, [I32(0), failed]))
        told, inside = builder.add(wrong, I64(DONE)), builder.block
    found = builder.phi(I64)
    found.add_incoming(I64(ALONE), before)
    found.add_incoming(told, inside)
    return found


@intrinsic
def run(context: Any, task: Any, data: Any, part: Any) -> Any:
    """Call the function of a task, by its address."""

    def write(builder: Any, *values: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [I64, I64])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return written(types.void, addresses(3), write)


def _asked(task, data, parts):  # type: ignore[no-untyped-def]
    for part in prange(parts):
        run(task, data, np.int64(part))


asked = Routine(_asked, "void(i8, i8, i8)", parallel=True)


def start() -> None:
    """Let kernels ask for threads from now on."""
    FORK[0] = asked[np.dtype(np.float32)]


def stop() -> None:
    """No longer."""
    FORK[0] = 0
