"""The kernels of explicit vectors on checked memory: at every width no access is wrong, and planted faults show."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kernel_checks import (
    check_attention,
    check_batch,
    check_convolutions,
    check_products,
    check_weight_gradient,
    check_winograd,
    served,
)
from kernel_emulation import FOLDER, Emulation, Fault, Memory

# Bytes of a vector, and how many registers there are: SSE, Arm, AVX2, AVX-512.
PROCESSORS = [(16, 16), (16, 32), (32, 16), (64, 32)]


def small_portions(emulation: Emulation) -> Emulation:
    """As large as a few tiles: their borders are met in small arrays."""
    gemm, conv = emulation.gemm, emulation.conv
    gemm.ROWS, gemm.DEPTH, gemm.COLUMNS = 21, 20, 2 * gemm.WIDEST * gemm.VECTOR // 4
    emulation.direct.DEPTH = 11
    conv._BLOCK, conv._PLACES, conv._TILES = 2000, 12, 1
    return emulation


def check_gemm(emulation: Emulation, dtype: str = "float32") -> None:
    gemm, memory, rng = emulation.gemm, emulation.memory, np.random.default_rng(0)
    check_products(gemm, memory, dtype, crossed=False, parts=(1, 2, 3))
    for i in range(6):
        check_batch(gemm, memory, rng, i, 3, 2 * i, 5, dtype, ("C", "F"), parts=2)
        check_weight_gradient(gemm, memory, rng, 2 * i, 7, 3 * i, dtype, ("C", "strided"), parts=1 + i % 3)


def check_conv(emulation: Emulation, dtype: str = "float32") -> None:
    lanes = emulation.gemm.VECTOR // np.dtype(dtype).itemsize
    check_convolutions(emulation.conv, emulation.memory, lanes, dtype, parts=(1, 2, 3))


def check_tiles(emulation: Emulation) -> None:
    check_winograd(emulation.conv, emulation.memory, emulation.gemm.VECTOR // 4, parts=(1, 2), every=3)


def check_flash(emulation: Emulation, dtype: str = "float32") -> None:
    """Lengths around those of vectors, panels and blocks; keys shared among parts where there are few heads."""
    rng, lanes = np.random.default_rng(0), emulation.gemm.VECTOR // np.dtype(dtype).itemsize
    cases = [
        # batch, heads, queries, keys, d, e, layout, causal, hide, blocks, parts
        (1, 1, 1, 1, 1, 1, "C", False, False, (64, 256), 1),
        (2, 2, 5, 2 * lanes + 3, 3, lanes + 1, "strided", False, True, (3, 4), 1),
        (2, 1, 9, 9, lanes, 2 * lanes, "F", True, False, (4, 5), 2),
        (1, 2, 7, 4 * lanes + 5, 2 * lanes + 1, 4 * lanes + 2, "rows apart", True, True, (2, 3), 2),
        (1, 1, 11, 3 * lanes, 5, 3, "negative", False, False, (5, 2 * lanes), 3),
    ]
    for *sizes, layout, causal, hide, blocks, parts in cases:
        with served(emulation.conv, emulation.conv.np, parts):
            check_attention(emulation.attention, emulation.memory, rng, *sizes, dtype, layout, causal, hide, blocks)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_no_access_is_wrong_on_any_processor(processor):
    emulation = small_portions(Emulation(*processor))
    check_gemm(emulation)
    check_conv(emulation)
    check_tiles(emulation)
    check_flash(emulation)


def test_no_access_is_wrong_in_double_precision():
    emulation = small_portions(Emulation(32, 16))
    check_gemm(emulation, "float64")
    check_conv(emulation, "float64")
    check_flash(emulation, "float64")


def test_wrong_accesses_are_faults():
    memory = Memory()
    single = np.dtype(np.float32)
    x, gap = memory.laid(np.ones((2, 3), np.float32)), memory.laid(np.ones((2, 3), np.float32), "rows apart")
    y = memory.empty((2, 3), np.float32)
    at, apart, out = (memory.address(array) for array in (x, gap, y))
    assert memory.at(at, 6, single, False).tolist() == [1.0] * 6
    assert memory.at(apart + 32, 3, single, False).tolist() == [1.0] * 3
    memory.at(out + 20, 1, single, True)[0] = 5
    assert y[1, 2] == 5 and np.isnan(y[0]).all()
    for address, count, stores in (
        *((at - 4, 1, False), (at + 24, 1, False), (at + 4, 6, False), (at, 1, True)),  # outside; read-only
        *((apart + 12, 1, False), (apart, 8, False), (out + 20, 2, True), (0, 1, False)),  # between rows; of no array
    ):
        with pytest.raises(Fault):
            memory.at(address, count, single, stores)
    with pytest.raises(Fault):
        memory.rows(np.array([at, at + 8]), 5, single)


# ---- addresses
def dangling(text: str) -> Iterator[str]:
    """Arrays made in a function whose address is taken, and that are not kept behind the last mention of it."""
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef):
            continue
        made = {
            target.id: node
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call | ast.BinOp)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        lines: dict[str, dict[str, int]] = {"address": {}, "keep": {}}
        for call in calls:
            if call.func.id in lines and isinstance(call.args[0], ast.Name):
                lines[call.func.id][call.args[0].id] = call.lineno
        loops = [n for n in ast.walk(function) if isinstance(n, ast.For | ast.While)]
        for name, line in lines["address"].items():
            if name in made:
                inside = [loop for loop in loops if made[name].lineno < loop.lineno < line]
                used = max([line, *(loop.end_lineno or 0 for loop in inside)])
                if lines["keep"].get(name, 0) <= used:
                    yield f"{function.name}: {name}"


def test_an_array_is_kept_until_its_address_is_done_with():
    """Numba frees an array behind the last mention of it, and an address is no mention."""
    found, kept = [], 0
    for path in (*FOLDER.glob("gemm/cpu.py"), *FOLDER.glob("conv/*.py"), *FOLDER.glob("attention/cpu.py")):
        text = path.read_text("utf-8")
        found += [f"{path.name}: {name}" for name in dangling(text)]
        for line in text.splitlines():
            if line.strip().startswith("keep("):
                kept += 1
                assert len([*dangling(text.replace(line + "\n", "", 1))]) == 1, (
                    "a `keep` too many, or the check is blind"
                )
    assert not found and kept > 10


# ---- planted faults
GEMM, DIRECT, DEPTHWISE, WINOGRAD, CONV = "gemm.cpu", "conv.direct", "conv.depthwise", "conv.winograd", "conv.cpu"
ATTENTION = "attention.cpu"
# By what shows them: of a module, a text and what stands in its place.
FAULTS = {
    check_gemm: {
        "the last row of a panel is left out": (GEMM, "        _1x2(like, i,", "        (like, i,"),
        "the last vector of a panel": (GEMM, "        _1x1(like, i,", "        (like, i,"),
        "one row too many": (GEMM, "while rows - i >= height and", "while rows - i >= height - 1 and"),
        "a panel's columns that do not fill a vector": (
            GEMM,
            "for j in range(whole * count, columns):\n                poke(target + k",
            "for j in range(whole * count, columns - 1):\n                poke(target + k",
        ),
        "the rest of a depth behind transposed blocks": (
            GEMM,
            "for k in range(blocks, depth):",
            "for k in range(blocks, blocks):",
        ),
        "transposed blocks beyond the depth": (
            GEMM,
            "blocks = depth // count * count",
            "blocks = (depth + 1) // count * count",
        ),
        "a copied row's rest": (
            GEMM,
            "for j in range(whole * count, columns):\n            poke(target + i",
            "for j in range(whole * count, whole * count):\n            poke(target + i",
        ),
        "an edge's rows as wide as the panel": (
            GEMM,
            "poke(c + i * c_row + j * size, peek(like, edge",
            "poke(c + i * row + j * size, peek(like, edge",
        ),
        "an edge that is not copied out": (
            GEMM,
            "        for i in range(rows):\n            for j in range(columns):\n                poke(edge",
            "        for i in range(0):\n            for j in range(columns):\n                poke(edge",
        ),
        "a full tile at an edge": (
            GEMM,
            "if these == vectors * VECTOR // size:",
            "if these + 1 >= vectors * VECTOR // size:",
        ),
        "a portion of the depth that is not added": (
            GEMM,
            "if k0 == 0 else (c_at, c_row)",
            "if k0 >= 0 else (c_at, c_row)",
        ),
        "the bias once a portion": (
            GEMM,
            "(first + j * size, np.int64(0)) if k0 == 0 else (c_at, c_row)",
            "(first + j * size, np.int64(0))",
        ),
        "the bias of other columns": (GEMM, "peek(like, bias + (n0 + j) * size)", "peek(like, bias + j * size)"),
        "the bias of another part": (GEMM, "address(bias) + n0 * size if", "address(bias) if"),
        "an empty sum that is not written": (
            GEMM,
            "poke(c + i * c_row + (n0 + j) * size, peek(like, first + j * size))",
            "pass",
        ),
        "scratch memory a panel too small": (GEMM, "padded * (min(k, DEPTH) + 1)", "padded * min(k, DEPTH)"),
        "no scratch memory for a copy of A": (GEMM, "ROWS * WIDEST * VECTOR + staged", "ROWS * WIDEST * VECTOR"),
        "rows of the copy of A in each other's place": (
            GEMM,
            "near_row, near_col = size, ROWS * size",
            "near_row, near_col = size, (ROWS - 1) * size",
        ),
        "parts that overlap": (
            GEMM,
            "(part + 1) * m // parts, np.int64(0), n",
            "(part + 1) * m // parts + 1, np.int64(0), n",
        ),
        "parts that leave a gap": (
            GEMM,
            "part * panels // parts * columns, min",
            "(part * panels + parts - 1) // parts * columns, min",
        ),
    },
    check_conv: {
        "a group's kernels": (
            DIRECT,
            "start = address(weight) + g * (len(weight) // groups) * size",
            "start = address(weight)",
        ),
        "a window's taps": (
            DIRECT,
            "rows[j] * row_bytes\n                    for c",
            "j * row_bytes\n                    for c",
        ),
        "no zeros behind the image": (
            DIRECT,
            "for j in range(right * channels, columns * channels):",
            "for j in range(0):",
        ),
        "no zeros before the image": (DIRECT, "for j in range(left * channels):", "for j in range(0):"),
        "zeros that are not": (GEMM, "return type(like)(0)", "return like - like"),
        "windows that reach out of the image": (DIRECT, "last > geometry[a]", "last > geometry[a] + 1"),
        "windows before the image": (DIRECT, "geometry[9 + a] < 0 or", ""),
        "scratch memory of one plane": (DIRECT, "len(planes) * seen(", "seen("),
        "the plane of a tap": (DIRECT, "fill(like, x, n, plane + planes[i]", "fill(like, x, n, plane + i"),
        "a pass that is not added": (
            DIRECT,
            "(start, np.int64(0)) if k0 == 0 else",
            "(start, np.int64(0)) if k0 >= 0 else",
        ),
        "the last rows of a block": (
            DIRECT,
            "last = min(geometry[4], first + geometry[16])",
            "last = first + geometry[16]",
        ),
        "the rows of a gradient": (
            DIRECT,
            "m = ((i * len(rows) + r) * len(columns) + t) * channels",
            "m = ((i * len(rows) + r) * len(columns) + t)",
        ),
        "a gradient that is not cleared": (DIRECT, "        out[part] = 0\n", ""),
        "taps that are no neighbours": (DIRECT, "near = near and columns[t] == t", "near = near and columns[t] >= t"),
        "the rest of eight places": (DEPTHWISE, "while m < rows:", "while m < rows - 1:"),
        "channels that do not fill a vector": (
            DEPTHWISE,
            "for c in range(channels // count * count, channels):",
            "for c in range(channels, channels):",
        ),
        "a depthwise bias": (
            DEPTHWISE,
            "like, 8, x + at, x_rows + 8 * m, offsets, w + at, w_row, start + m * start_row + at",
            "like, 8, x + at, x_rows + 8 * m, offsets, w + at, w_row, start + at",
        ),
        "the phases of a stride": (
            CONV,
            "places = [(i + before - r * dilation) // stride for r in index]",
            "places = [(i + before - r * dilation) // stride for r in range(len(index))]",
        ),
    },
    check_tiles: {
        "a tile of outputs beyond the image": (WINOGRAD, "whole = rows == 4 and columns == 4", "whole = rows == 4"),
        "a square beyond the image": (WINOGRAD, "left + side <= breadth:", "left + side <= breadth + 1:"),
        "Winograd's zeros": (
            WINOGRAD,
            "if 0 <= h < height and 0 <= w < breadth:",
            "if 0 <= h < height and 0 <= w <= breadth:",
        ),
        "a kernel that is not turned": (WINOGRAD, "step = -row if flipped else row", "step = row"),
        "Winograd's scratch memory": (
            WINOGRAD,
            "36 * (place + result) + 36 * max(channels, made) * size + 64 +",
            "36 * (place + result) + 16 * max(channels, made) * size + 64 +",
        ),
        "one wrong entry of a matrix": (WINOGRAD, "[0, 4, -4, -1, 1, 0]", "[0, 4, -4, 1, 1, 0]"),
        "the second part of a gradient": (WINOGRAD, "for part in range(1, parts):", "for part in range(1):"),
    },
    check_flash: {
        "keys behind the query": (
            ATTENTION,
            "max(first_query + r + 1 - first_key, 0)",
            "max(first_query + r - first_key, 0)",
        ),
        "a key too many": (
            ATTENTION,
            "max(first_query + r + 1 - first_key, 0)",
            "max(first_query + r + 2 - first_key, 0)",
        ),
        "hidden keys of another block": (ATTENTION, "hidden + first_key, np.int64(1), n)", "hidden, np.int64(1), n)"),
        "sums that do not shrink": (
            ATTENTION,
            "                        sums[r, x] *= shrunk\n",
            "                        pass\n",
        ),
        "a total that does not shrink": (ATTENTION, "totals[0, r] *= shrunk", "pass"),
        "a query that sees nothing": (ATTENTION, "if top == -np.inf:\n", "if False:\n"),
        "queries before a block of keys": (
            ATTENTION,
            "first_key // block_q * block_q if causal else 0",
            "0 if causal else 0 + block_q",
        ),
        "the scale of the gradient of q": (ATTENTION, "gq[share, b, h, i, c] *= scale", "gq[share, b, h, i, c] *= one"),
        "the sum along a row": (
            ATTENTION,
            "pulled[r, x] = weight * (pulled[r, x] - less)",
            "pulled[r, x] = weight * pulled[r, x]",
        ),
        "a share of the keys": (ATTENTION, "range(share * blocks // shares,", "range(0,"),
        "room for fewer rows": (
            ATTENTION,
            "table + rows * (columns * size + filled(block",
            "table + (rows - 1) * (columns * size + filled(block",
        ),
        "the last key of a tile": (
            ATTENTION,
            "for x in range(n):\n                weight =",
            "for x in range(n - 1):\n                weight =",
        ),
    },
}


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, faults in FAULTS.items() for name in faults])
def test_planted_faults_show(check, name):
    emulation = small_portions(Emulation(16, 16, FAULTS[check][name]))
    with pytest.raises(AssertionError):
        check(emulation)


def at(memory: Any, start: int, rows: int, width: int, dtype: str) -> Any:
    """A matrix in memory, from a byte on."""
    size = np.dtype(dtype).itemsize
    return memory[start : start + rows * width * size].view(dtype).reshape(rows, width)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_how_far_apart_arrays_lie(dtype: str) -> None:
    """Where an array that is written lies close behind one that is read, LLVM takes another loop."""
    from tinygrad_zoo.kernels.normalize import cpu as norms
    from tinygrad_zoo.kernels.softmax import cpu as softmaxes

    kind, rng = np.dtype(dtype), np.random.default_rng(0)
    for rows, width in ((1, 4), (1, 7), (2, 5), (3, 4), (1, 12)) * 8:  # others lie further apart than it asks
        x, g = (rng.standard_normal((rows, width)).astype(dtype) for _ in range(2))
        weight, saved = rng.standard_normal(width).astype(dtype), np.ones((2, rows), dtype)
        sums, memory = np.zeros((1, 2, width), dtype), np.zeros(8192, np.uint8)
        found: dict[str, set[bytes]] = {}
        for apart in range(0, 256, kind.itemsize):
            inside = at(memory, 64, rows, width, dtype)
            out = at(memory, 64 + x.nbytes + apart, rows, width, dtype)
            inside[...] = x
            softmaxes.softmax[kind](inside, out, 1)
            found.setdefault("softmax", set()).add(out.tobytes())
            softmaxes.softmax_pulled[kind](g, inside, out, 1)
            found.setdefault("softmax_pulled", set()).add(out.tobytes())
            softmaxes.log_softmax[kind](inside, out, 1)
            found.setdefault("log_softmax", set()).add(out.tobytes())
            softmaxes.log_softmax_pulled[kind](g, inside, out, 1)
            found.setdefault("log_softmax_pulled", set()).add(out.tobytes())
            norms.rows_pulled[kind](g, inside, weight, saved, out, sums, True, 1)
            found.setdefault("rows_pulled", set()).add(out.tobytes() + sums.tobytes())
        assert {name: len(bits) for name, bits in found.items()} == dict.fromkeys(found, 1)
