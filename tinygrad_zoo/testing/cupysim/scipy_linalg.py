"""Stands in for `cupyx.scipy.linalg`."""

from typing import Any

from .calls import lookup


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lookup("cupyx.scipy.linalg", name)
