"""Huffman's code: as short as any, uniquely decodable, and the same every time."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_zoo.algorithms.huffman import Fork, HuffmanCode, Leaf, huffman_codes, huffman_tree, pack, unpack

TEXTS = st.text("abcdefg", min_size=1, max_size=60)


@given(TEXTS)
def test_texts_come_back(text: str) -> None:
    code = HuffmanCode.of(text)
    bits = code.encode(text)
    assert "".join(code.decode(bits)) == text
    assert unpack(pack(bits)) == bits and len(pack(bits)) == 1 + math.ceil(len(bits) / 8)


@given(TEXTS)
def test_no_word_begins_another_and_none_is_left_over(text: str) -> None:
    words = HuffmanCode.of(text).codes.values()
    assert not any(a != b and b.startswith(a) for a, b in itertools.product(words, repeat=2))
    assert sum(Fraction(1, 2 ** len(word)) for word in words) == (1 if len(words) > 1 else Fraction(1, 2))


@cache
def shortest(weights: tuple[int, ...]) -> int:
    """The least total length over all trees: over all ways to part the symbols in two."""
    if len(weights) == 1:
        return 0
    first, rest = weights[0], weights[1:]
    best = math.inf
    for chosen in itertools.product([False, True], repeat=len(rest)):
        left = (first, *itertools.compress(rest, chosen))
        right = tuple(w for w, taken in zip(rest, chosen, strict=True) if not taken)
        if right:
            best = min(best, shortest(tuple(sorted(left))) + shortest(tuple(sorted(right))))
    return int(best) + sum(weights)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=6))
def test_no_code_is_shorter(weights: list[int]) -> None:
    code = HuffmanCode(dict(enumerate(weights)))
    length = sum(weight * len(code.codes[i]) for i, weight in enumerate(weights))
    assert length == shortest(tuple(sorted(weights)))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40))
def test_within_a_bit_of_the_entropy(weights: list[int]) -> None:
    total = sum(weights)
    entropy = -sum(w / total * math.log2(w / total) for w in weights)
    table = dict(enumerate(weights))
    assert entropy - 1e-9 <= HuffmanCode(table).mean_length(table) < entropy + 1


def test_the_tree_weighs_what_its_leaves_do() -> None:
    counts = Counter("abracadabra")

    def weigh(tree: Any) -> int:
        if isinstance(tree, Leaf):
            return counts[tree.symbol]
        assert isinstance(tree, Fork)
        assert tree.weight == weigh(tree.left) + weigh(tree.right)
        return int(tree.weight)

    assert weigh(huffman_tree(counts)) == 11


def test_equal_weights_give_one_code_always() -> None:
    assert huffman_codes(huffman_tree(dict.fromkeys("abcde", 1))) == {
        "c": "00",
        "d": "01",
        "e": "10",
        "a": "110",
        "b": "111",
    }


def test_a_tree_of_any_depth() -> None:
    weights = {i: 2**i for i in range(1500)}  # each weighs more than all before it
    codes = HuffmanCode(weights).codes
    assert max(map(len, codes.values())) == 1499 and len(codes[1499]) == 1


def test_one_symbol() -> None:
    code = HuffmanCode.of("aaa")
    assert code.codes == {"a": "0"} and code.encode("aaa") == "000" and code.decode("000") == list("aaa")
    assert code.encode("") == "" and code.decode("") == [] and unpack(pack("")) == ""


def test_wrong_calls_say_what_is_right() -> None:
    code = HuffmanCode({"a": 5, "b": 2, "c": 1})
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: HuffmanCode.of(""), ValueError, "expected at least one symbol"),
        (lambda: HuffmanCode({"a": -1}), ValueError, "expected weights of at least 0, got -1 for 'a'"),
        (lambda: HuffmanCode({"a": math.nan, "b": 1}), ValueError, "NaN"),
        (lambda: code.encode("abd"), KeyError, "'d' is none of the 3 symbols"),
        (lambda: code.decode("10"), ValueError, "the last word breaks off"),
        (lambda: code.decode("1x"), ValueError, "'x' at 1 continues no word"),
        (lambda: HuffmanCode({"a": 1}).decode("01"), ValueError, "'1' at 1 continues no word"),
        (lambda: unpack(b""), ValueError, "the bytes that pack made"),
        (lambda: unpack(b"\x08\x00"), ValueError, "the bytes that pack made"),
        (lambda: unpack(b"\x01"), ValueError, "the bytes that pack made"),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()
