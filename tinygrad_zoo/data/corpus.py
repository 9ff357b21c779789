"""English text out of Python's standard library, and characters as integers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError


def text() -> str:
    """The help topics of the running Python (`pydoc_data.topics`), in alphabetical order: about 500,000 characters.

    Size and wording change with the Python version: compare a model with baselines computed on the same text.

    >>> len(text()) > 300_000 and "statement" in text()
    True
    """
    from pydoc_data.topics import topics  # half a megabyte, read only where it is asked for

    return "\n\n".join(topics[name] for name in sorted(topics))


def char_vocabulary(text: str) -> str:
    """The distinct characters of the text in code-point order; a character's token is its place here.

    >>> char_vocabulary("hello")
    'ehlo'
    """
    return "".join(sorted(set(text)))


def encode_chars(text: str, vocabulary: str) -> NDArray[np.int64]:
    """The tokens of a text, (len(text),). Raises UsageError for a character outside the vocabulary.

    >>> encode_chars("hole", "ehlo").tolist()
    [1, 3, 2, 0]
    """
    table = {character: token for token, character in enumerate(vocabulary)}
    if len(table) != len(vocabulary):
        raise UsageError("a vocabulary names each character once; char_vocabulary(text) makes one")
    try:
        return np.fromiter(map(table.__getitem__, text), np.int64, len(text))
    except KeyError as error:
        raise UsageError(f"the character {error.args[0]!r} is not in the vocabulary of {len(vocabulary)}") from None


def decode_chars(tokens: Iterable[int], vocabulary: str) -> str:
    """The text of a sequence of tokens (n,), the inverse of encode_chars. Raises UsageError for a token out of range.

    >>> decode_chars(np.array([1, 3, 2, 0]), "ehlo")
    'hole'
    """
    tokens = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    if tokens.ndim != 1 or (tokens.size and not np.issubdtype(tokens.dtype, np.integer)):
        raise UsageError(f"tokens must be integers of shape (n,), got {tokens.dtype} of shape {tokens.shape}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(vocabulary):
        raise UsageError(f"tokens must lie in 0..{len(vocabulary) - 1}, got {tokens.min()}..{tokens.max()}")
    return "".join(vocabulary[token] for token in tokens.tolist())
