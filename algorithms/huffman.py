"""Huffman's code: the binary code of symbols, no word the beginning of another, with the shortest text.

Huffman, "A method for the construction of minimum-redundancy codes", Proc. IRE 40 (1952). A heap holds trees; the two
lightest become the children of a new one, until one is left. A symbol's word is the way to its leaf: 0 left, 1 right.
The heap's ties are settled by age, so equal counts give one code always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .checks import comparable
from .heaps import MinHeap

Symbol = TypeVar("Symbol", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Leaf(Generic[Symbol]):
    """A symbol and how often it occurs."""

    weight: Any
    symbol: Symbol


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fork(Generic[Symbol]):
    """Two trees, and what they weigh together."""

    weight: Any
    left: Tree[Symbol]
    right: Tree[Symbol]


Tree = Leaf[Symbol] | Fork[Symbol]


def huffman_tree(weights: Mapping[Symbol, Any]) -> Tree[Symbol]:
    """The tree of the symbols, each with a weight of at least 0: O(n log n). ValueError where there are none.

    >>> tree = huffman_tree({"a": 5, "b": 2, "c": 1})
    >>> tree.weight, tree.right.symbol, tree.left.left.symbol
    (8, 'a', 'c')
    """
    if not weights:
        raise ValueError("huffman_tree: expected at least one symbol with its weight, got none")
    for symbol, weight in weights.items():
        if comparable(weight) < 0:
            raise ValueError(f"huffman_tree: expected weights of at least 0, got {weight!r} for {symbol!r}")
    heap: MinHeap[Tree[Symbol]] = MinHeap(
        (Leaf(weight, symbol) for symbol, weight in weights.items()), key=lambda tree: tree.weight
    )
    while len(heap) > 1:
        left = heap.pop()
        right = heap.peek()
        heap.replace(Fork(left.weight + right.weight, left, right))
    return heap.pop()


def huffman_codes(tree: Tree[Symbol]) -> dict[Symbol, str]:
    """The word of every symbol: the way from the root to its leaf. A symbol that is alone has the word "0".

    >>> huffman_codes(huffman_tree({"a": 5, "b": 2, "c": 1}))
    {'c': '00', 'b': '01', 'a': '1'}
    """
    if isinstance(tree, Leaf):
        return {tree.symbol: "0"}
    return {leaf.symbol: word for leaf, word in _leaves(tree)}


def _leaves(tree: Tree[Symbol]) -> Iterator[tuple[Leaf[Symbol], str]]:
    """From left to right; without recursion, since a tree of n symbols may be n − 1 deep."""
    waiting = [(tree, "")]
    while waiting:
        node, word = waiting.pop()
        if isinstance(node, Leaf):
            yield node, word
        else:
            waiting += [(node.right, word + "1"), (node.left, word + "0")]


class HuffmanCode(Generic[Symbol]):
    """The code for texts in which symbols are as frequent as in `weights`; `tree` and `codes` show it.

    >>> code = HuffmanCode.of("abracadabra")
    >>> bits = code.encode("abracadabra")
    >>> len(bits), "".join(code.decode(bits))
    (23, 'abracadabra')
    """

    def __init__(self, weights: Mapping[Symbol, Any]) -> None:
        self.tree = huffman_tree(weights)
        self.codes = huffman_codes(self.tree)

    @classmethod
    def of(cls, text: Iterable[Symbol]) -> HuffmanCode[Symbol]:
        """The best code for this text: O(length + n log n)."""
        return cls(Counter(text))

    def encode(self, text: Iterable[Symbol]) -> str:
        """The words of the text's symbols, one behind the other: O(length). KeyError for a symbol without a word.

        >>> HuffmanCode({"a": 5, "b": 2, "c": 1}).encode("abc")
        '10100'
        """
        try:
            return "".join([self.codes[symbol] for symbol in text])
        except KeyError as error:
            raise KeyError(f"encode: {error.args[0]!r} is none of the {len(self.codes)} symbols of this code") from None

    def decode(self, bits: str) -> list[Symbol]:
        """The symbols of the words, by walks from the root to leaves: O(length). ValueError where no word ends.

        >>> HuffmanCode({"a": 5, "b": 2, "c": 1}).decode("10100")
        ['a', 'b', 'c']
        """
        text: list[Symbol] = []
        node = self.tree
        for i, bit in enumerate(bits):
            if bit not in "01" or (isinstance(self.tree, Leaf) and bit == "1"):
                raise ValueError(f"decode: {bit!r} at {i} continues no word of this code")
            if isinstance(node, Fork):
                node = node.right if bit == "1" else node.left
            if isinstance(node, Leaf):
                text.append(node.symbol)
                node = self.tree
        if node is not self.tree:
            raise ValueError(f"decode: the last word breaks off: {len(bits)} bits end inside it")
        return text

    def mean_length(self, weights: Mapping[Symbol, float]) -> float:
        """Bits a symbol of a text in which they have these weights; at least the entropy, and less than 1 more.

        >>> weights = {"a": 0.5, "b": 0.25, "c": 0.25}
        >>> HuffmanCode(weights).mean_length(weights)
        1.5
        """
        total = sum(weights.values())
        return float(sum(weight * len(self.codes[symbol]) for symbol, weight in weights.items()) / total)


def pack(bits: str) -> bytes:
    """Eight bits a byte, behind one byte that says how many of the last are padding.

    >>> pack("10100").hex()
    '03a0'
    """
    padding = -len(bits) % 8
    return bytes([padding]) + int("0" + bits + "0" * padding, 2).to_bytes((len(bits) + padding) // 8, "big")


def unpack(packed: bytes) -> str:
    """The bits that were packed; ValueError where the bytes can't be of `pack`.

    >>> unpack(pack("10100"))
    '10100'
    """
    if not packed or packed[0] > min(7, 8 * (len(packed) - 1)):
        raise ValueError("unpack: expected the bytes that pack made, which begin with the number of padding bits")
    bits = f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}"[8:]
    return bits[: len(bits) - packed[0]]
