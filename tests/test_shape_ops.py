"""Shapes, pieces, copies, padding and diagonals in settings that samples do not reach, and their errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from test_ops_oracle import same
from tinygrad_zoo.backend import namespace
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.ops.sampling import Sample
from tinygrad_zoo.testing import cupysim
from torch_ops import ours, theirs

torch = oracles.load("torch")


def against_torch(name: str, *inputs: Any, **settings: Any) -> None:
    """Values and both orders, as PyTorch has them."""
    bound = Sample(*getattr(tz, name).signature.bind(inputs, settings))
    same(ours(name, bound), theirs(name, bound), 1e-12, f"{name} of {[np.shape(x) for x in inputs]}, {settings}")


def share_memory(x: Any, y: Any) -> bool:
    return bool(namespace(x.data).shares_memory(x.data, y.data))


def numbers(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).standard_normal(shape)


# ---- padding
WIDTHS = st.tuples(st.integers(-2, 3), st.integers(-2, 3))


@given(st.lists(WIDTHS, min_size=1, max_size=2), st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_padding_is_a_choice_of_entries_and_its_gradient_counts_them(widths: list[Any], mode: str) -> None:
    """Against the positions that NumPy's padding of a range gives, axis by axis."""
    x, pad = numbers(4, 5), [w for pair in widths for w in pair]
    mask, at = np.ones(()), []
    for n, (lo, hi) in zip(x.shape, [(0, 0)] * (2 - len(widths)) + widths[::-1], strict=True):
        places = np.arange(max(-lo, 0), n - max(-hi, 0))
        numpy_mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        copies = np.pad(places, (max(lo, 0), max(hi, 0)), numpy_mode)
        kept = np.pad(np.ones(len(places)), (max(lo, 0), max(hi, 0)), numpy_mode)
        at.append(copies)
        mask = np.multiply.outer(mask, kept)
    small = mode == "reflect" and any(max(w) >= n for w, n in zip(widths, x.shape[::-1], strict=False))
    few = mode == "circular" and any(
        max(w) > n + min(w[0], 0) + min(w[1], 0) for w, n in zip(widths, x.shape[::-1], strict=False)
    )
    if small or few:
        with pytest.raises(ShapeError, match=rf"mode='{mode}'"):
            tz.pad(x, pad, mode)
        return
    leaf = tz.tensor(x, requires_grad=True)
    out = tz.pad(leaf, pad, mode)
    weights = numbers(*out.shape)
    (out * tz.tensor(weights)).sum().backward()
    expected = np.zeros_like(x)
    np.add.at(expected, np.ix_(*at), weights * mask)
    if not (mode == "reflect" and any(min(w) < 0 < max(w) for w in widths)):  # NumPy mirrors what is left
        np.testing.assert_array_equal(out.numpy(), x[np.ix_(*at)] * mask)
        np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_is_that_of_torch(mode: str) -> None:
    widths = [(2, 1), (0, 3), (-1, 2), (2, -1), (-1, -2), (3, 0)]
    for first, second in itertools.product(widths, repeat=2):
        against_torch("pad", numbers(2, 3, 6, 5), pad=(*first, *second), mode=mode)
    against_torch("pad", numbers(2, 3, 4, 5, 6), pad=(1, 2, 3, 1, 2, 2), mode=mode)


def test_padding_keeps_dtypes_and_copies() -> None:
    x = tz.tensor([1, 2])
    assert tz.pad(x, (1, 0)).dtype == np.int64 and tz.pad(x, (1, 0), value=7).tolist() == [7, 1, 2]
    for mode in ("constant", "reflect"):
        same_values = tz.pad(x, (0, 0), mode)
        assert same_values.tolist() == [1, 2] and not share_memory(same_values, x)


# ---- pieces
@pytest.mark.oracle("torch")
def test_pieces_are_those_of_torch() -> None:
    for n, parts in itertools.product(range(10), range(1, 6)):
        x = numbers(n, 2)
        for name, settings in [
            ("chunk", {"chunks": parts}),
            ("split", {"split_size_or_sections": parts}),
            ("tensor_split", {"indices_or_sections": parts}),
            ("tensor_split", {"indices_or_sections": (parts // 2, parts, -1) if n > parts else (parts,)}),
        ]:
            pieces = theirs(name, Sample((x,), {"axis": 0, **settings}))[0]
            found = getattr(tz, name)(x, **settings)
            assert [p.shape for p in found] == [p.shape for p in pieces], (name, n, settings)
            np.testing.assert_array_equal(np.concatenate(found), x)
    assert len(tz.unbind(tz.zeros((0, 2)))) == 0


def test_pieces_share_the_memory_of_the_whole() -> None:
    x = tz.tensor([1.0, 2.0, 3.0, 4.0])
    for pieces in (tz.split(x, 2), tz.chunk(x, 2), tz.tensor_split(x, 2), tz.unbind(x), [tz.narrow(x, 0, 1, 2)]):
        assert all(share_memory(p, x) and p.version is x.version for p in pieces)


def test_indices_to_cut_at_as_every_kind_of_integers() -> None:
    x = tz.tensor([1, 2, 3])
    for indices in ((1, -1), [1, 2], np.array([1, 2]), tz.tensor([1, 2], device="cpu"), np.array([1, 2], "uint8")):
        assert [p.tolist() for p in tz.tensor_split(x, indices)] == [[1], [2], [3]]
    for sections in (2, np.int64(2), tz.tensor(2, device="cpu")):
        assert [p.tolist() for p in tz.tensor_split(x, sections)] == [[1, 2], [3]]


def test_one_piece_alone_has_a_gradient() -> None:
    x = tz.tensor([1.0, 2.0, 3.0, 4.0, 5.0], requires_grad=True)
    tz.chunk(x, 2)[1].sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_differences() -> None:
    x = tz.tensor([1.0, 4.0, 9.0])
    assert tz.diff(x, 2).tolist() == [2.0] and tz.diff(x, 5).shape == (0,)
    assert tz.diff(x, 1, -1, tz.tensor([0.0]), tz.tensor([9.0])).tolist() == [1.0, 3.0, 5.0, 0.0]
    assert tz.diff(x, append=x, dim=0).tolist() == [3.0, 5.0, -8.0, 3.0, 5.0]
    with pytest.raises(UsageError, match="n >= 0"):
        tz.diff(x, -1)


# ---- copies
def test_repeats_as_every_kind_of_integers() -> None:
    x = tz.tensor([[1, 2], [3, 4]])
    for repeats in ((2, 1), [2, 1], np.array([2, 1]), tz.tensor([2, 1], device="cpu"), np.array([2, 1], "int8")):
        assert tz.repeat_interleave(x, repeats, 0).tolist() == [[1, 2], [1, 2], [3, 4]]
    for repeats in (2, np.int64(2), tz.tensor(2, device="cpu"), (2,), np.array([2])):
        assert tz.repeat_interleave(x, repeats).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert tz.repeat_interleave(x, (0, 0), 1).shape == (2, 0)


@pytest.mark.oracle("torch")
def test_copies_are_those_of_torch() -> None:
    for shape, dims in itertools.product([(), (0,), (2,), (3, 2)], [(), (0,), (2,), (2, 3), (1, 3, 2)]):
        against_torch("tile", numbers(*shape), dims=dims)
    for shifts, dims in [(5, None), (-7, 1), ((1, -2), (0, 1)), ((1, 2, 3), (0, -1, 1)), (10_001, 2)]:
        against_torch("roll", numbers(2, 3, 4), shifts=shifts, dims=dims)


def test_a_copy_owns_its_memory() -> None:
    x = tz.tensor([1.0])
    for copy in (tz.tile(x, (1,)), tz.roll(x, 0), tz.repeat_interleave(x, 1), tz.meshgrid(x)[0], tz.sort(x).values):
        assert not share_memory(copy, x)


# ---- shapes
def test_settings_as_torch_writes_them() -> None:
    x = tz.zeros((2, 3, 4))
    assert tz.tile(tz.zeros(2), 2, 3).shape == (2, 6) and tz.permute(x, 2, 0, 1).shape == (4, 2, 3)
    assert tz.flatten(x, start_dim=1).shape == tz.flatten(x, 1).shape == (2, 12)
    assert tz.unflatten(x, 2, (2, 2)).shape == tz.unflatten(x, dim=-1, sizes=(2, -1)).shape == (2, 3, 2, 2)
    assert tz.transpose(x, 0, 2).shape == (4, 3, 2) and tz.unsqueeze(x, dim=1).shape == (2, 1, 3, 4)
    assert tz.expand(tz.zeros((3, 1)), (2, -1, 4)).shape == (2, 3, 4)
    assert tz.movedim(x, (0, 1), (-1, 0)).shape == (3, 4, 2)
    assert tz.narrow(x, dim=2, start=-2, length=1).shape == (2, 3, 1)
    assert [p.shape for p in tz.cat([x, x], dim=-1).split(4, dim=2)] == [x.shape] * 2


def test_axes_that_are_none_of_size_1_stay() -> None:
    x = tz.zeros((2, 1, 3, 1))
    assert tz.squeeze(x, 0).shape == x.shape and tz.squeeze(x, (0, 1)).shape == (2, 3, 1)
    assert tz.squeeze(x, ()).shape == x.shape and tz.squeeze(tz.zeros(()), 0).shape == ()


def test_views_are_views() -> None:
    x = tz.tensor(np.zeros((2, 1, 6)))
    for view in (
        tz.flatten(x, 1),
        tz.unflatten(x, 2, (2, 3)),
        tz.squeeze(x),
        tz.movedim(x, 0, 2),
        tz.transpose(x, 0, 2),
        tz.flip(x, 2),
        tz.diagonal(x),
        tz.expand(x, (2, 4, 6)),
    ):
        assert share_memory(view, x) and view.version is x.version


def test_shapes_without_entries_or_axes() -> None:
    assert tz.flatten(tz.zeros(())).shape == (1,) and tz.flatten(tz.zeros((2, 0, 3)), 1).shape == (2, 0)
    assert tz.unflatten(tz.zeros((0, 2)), 0, (-1, 3)).shape == (0, 3, 2)
    assert tz.transpose(tz.zeros(()), 0, -1).shape == tz.flip(tz.zeros(())).shape == ()
    assert tz.diagonal(tz.zeros((0, 3))).shape == (0,) and tz.diagonal(tz.zeros((2, 3)), 4).shape == (0,)
    assert tz.trace(tz.zeros((2, 0, 0))).tolist() == [0.0, 0.0] and tz.diag(tz.zeros(0)).shape == (0, 0)
    assert tz.diag_embed(tz.zeros((2, 0)), 1).shape == (2, 1, 1)
    assert [g.shape for g in tz.meshgrid(tz.zeros(0), tz.zeros(3))] == [(0, 3)] * 2


# ---- diagonals
@pytest.mark.oracle("torch")
def test_diagonals_are_those_of_torch() -> None:
    for offset, (dim1, dim2) in itertools.product(range(-4, 5), [(0, 1), (2, 0), (-1, -2)]):
        against_torch("diagonal", numbers(2, 3, 4), offset=offset, dim1=dim1, dim2=dim2)
        against_torch("diag_embed", numbers(2, 3), offset=offset, dim1=dim1, dim2=dim2)
    for k in range(-4, 5):
        for name in ("diag", "tril", "triu"):
            against_torch(name, numbers(3, 3), diagonal=k)
        against_torch("diag", numbers(3), diagonal=k)


# ---- errors
BAD: dict[str, tuple[type[TinygradZooError], str, Callable[[], Any]]] = {
    "pad: odd": (ShapeError, "pairs", lambda: tz.pad(tz.ones(3), (1, 2, 3))),
    "pad: more pairs than axes": (ShapeError, "at most 1", lambda: tz.pad(tz.ones(3), (1, 2, 3, 4))),
    "pad: crops too much": (ShapeError, "crops more", lambda: tz.pad(tz.ones(3), (-2, -2))),
    "pad: crops too much on one side": (ShapeError, "crops more", lambda: tz.pad(tz.ones(3), (-4, 5))),
    "pad: mode": (UsageError, "reflect, replicate", lambda: tz.pad(tz.ones(3), (1, 1), "edge")),
    "pad: reflect": (ShapeError, "at least 4 entries", lambda: tz.pad(tz.ones(3), (3, 0), "reflect")),
    "pad: circular": (ShapeError, "at least 4 entries", lambda: tz.pad(tz.ones(3), (4, 0), "circular")),
    "pad: nothing to replicate": (ShapeError, "at least 1", lambda: tz.pad(tz.ones(0), (1, 0), "replicate")),
    "chunk": (UsageError, "at least 1", lambda: tz.chunk(tz.ones(3), 0)),
    "chunk of a number": (ShapeError, "no axis to cut", lambda: tz.chunk(tz.ones(()), 1)),
    "unbind of a number": (ShapeError, "no axis to cut", lambda: tz.unbind(tz.ones(()))),
    "split below 0": (ShapeError, "sizes >= 0", lambda: tz.split(tz.ones(3), (4, -1))),
    "tensor_split: order": (UsageError, "in order", lambda: tz.tensor_split(tz.ones(3), (2, 1))),
    "tensor_split: floats": (DTypeError, "integers", lambda: tz.tensor_split(tz.ones(3), tz.tensor([1.5]))),
    "narrow: too long": (IndexingError, "do not fit", lambda: tz.narrow(tz.ones(3), 0, 2, 2)),
    "narrow: below 0": (IndexingError, "do not fit", lambda: tz.narrow(tz.ones(3), 0, -4, 1)),
    "tile": (ShapeError, "counts >= 0", lambda: tz.tile(tz.ones(3), (-1,))),
    "repeats": (ShapeError, "2 repeats for an axis of 3", lambda: tz.repeat_interleave(tz.ones(3), (1, 2))),
    "repeats below 0": (UsageError, "repeats >= 0", lambda: tz.repeat_interleave(tz.ones(3), -1)),
    "repeats of floats": (DTypeError, "integers", lambda: tz.repeat_interleave(tz.ones(2), np.array([1.0, 2.0]))),
    "repeats on a device": (
        UsageError,
        r"repeats\.tolist",
        lambda: tz.repeat_interleave(tz.ones(1), cupysim.ones(1, int)),
    ),
    "output_size": (ShapeError, "make 6", lambda: tz.repeat_interleave(tz.ones(3), 2, output_size=5)),
    "roll": (ShapeError, "2 shifts for 1 axes", lambda: tz.roll(tz.ones((2, 2)), (1, 2), 0)),
    "roll: flat": (ShapeError, "2 shifts", lambda: tz.roll(tz.ones((2, 2)), (1, 2))),
    "flatten": (ShapeError, "comes after", lambda: tz.flatten(tz.ones((2, 2)), 1, 0)),
    "unflatten": (ShapeError, "does not multiply", lambda: tz.unflatten(tz.ones((2, 6)), 1, (4, -1))),
    "expand to fewer axes": (ShapeError, "at least 2 sizes", lambda: tz.expand(tz.ones((2, 3)), (3,))),
    "expand: a new axis of -1": (ShapeError, "-1 for none", lambda: tz.expand(tz.ones(3), (-1, 3))),
    "swapaxes": (ShapeError, "out of bounds", lambda: tz.swapaxes(tz.ones((2, 3)), 0, 2)),
    "movedim": (TinygradZooError, "same number", lambda: tz.movedim(tz.ones((2, 3)), (0, 1), 0)),
    "meshgrid": (ShapeError, "vectors", lambda: tz.meshgrid(tz.ones((2, 2)))),
    "meshgrid of nothing": (ShapeError, "vectors", lambda: tz.meshgrid()),
    "meshgrid: indexing": (UsageError, "'ij' or 'xy'", lambda: tz.meshgrid(tz.ones(2), indexing="yx")),
    "diag": (ShapeError, "diag_embed", lambda: tz.diag(tz.ones((2, 2, 2)))),
    "diagonal": (ShapeError, "two axes", lambda: tz.diagonal(tz.ones(3))),
    "diagonal: one axis": (TinygradZooError, "diagonal", lambda: tz.diagonal(tz.ones((3, 3)), 0, 1, 1)),
    "diag_embed: one axis": (ShapeError, "same axis", lambda: tz.diag_embed(tz.ones(3), 0, 0, -2)),
    "diagonal_adjoint": (ShapeError, "has the shape", lambda: tz.diagonal_adjoint(tz.ones(3), shape=(2, 2))),
    "tril of a vector": (ShapeError, "two axes", lambda: tz.tril(tz.ones(3))),
    "trace of a vector": (ShapeError, "two axes", lambda: tz.trace(tz.ones(3))),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_raises_the_typed_error(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_other_names_are_the_same_op() -> None:
    assert (tz.transpose, tz.unsqueeze, tz.expand) == (tz.swapaxes, tz.expand_dims, tz.broadcast_to)
    assert (tz.moveaxis, tz.cat) == (tz.movedim, tz.concat)
