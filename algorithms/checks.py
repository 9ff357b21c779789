"""What arguments must be, said once."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex


def comparable(key: Any) -> Any:
    """`key`, unless it is NaN.

    >>> comparable(float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: NaN has no place in an order: leave it out, or give a key function that maps it to a number
    """
    if key != key:
        raise ValueError("NaN has no place in an order: leave it out, or give a key function that maps it to a number")
    return key


def whole(caller: str, name: str, value: SupportsIndex, least: int) -> int:
    """`value` as a whole number that is not too small.

    >>> whole("TopK", "k", -1, 0)
    Traceback (most recent call last):
    ...
    ValueError: TopK: expected k of at least 0, got -1
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{caller}: expected a whole number as {name}, got {value!r}") from None
    if number < least:
        raise ValueError(f"{caller}: expected {name} of at least {least}, got {number}")
    return number


def choice(caller: str, name: str, value: str, known: tuple[str, ...]) -> str:
    """`value`, if it is one of those known.

    >>> choice("TopK", "nan", "drop", ("raise", "skip"))
    Traceback (most recent call last):
    ...
    ValueError: TopK: expected nan to be 'raise' or 'skip', got 'drop'
    """
    if value not in known:
        raise ValueError(f"{caller}: expected {name} to be {' or '.join(map(repr, known))}, got {value!r}")
    return value
