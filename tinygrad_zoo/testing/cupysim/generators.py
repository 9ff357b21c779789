"""`cupy.random`: a Generator with the methods that CuPy's has. Its numbers are NumPy's, not CuPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .api import bound, entry
from .calls import Namespace
from .capturing import captured
from .device_array import wrap
from .refusals import unwrap


class Generator:
    """Draws on the device."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        text, draw = entry("Generator", name)["signature"], getattr(self._generator, name)

        @captured(f"cupy.random.{name}")
        def run(*args: Any, **kwargs: Any) -> Any:
            bound(f"Generator.{name}", text, args, kwargs)
            return wrap(draw(*unwrap(args, name), **{k: unwrap(v, name) for k, v in kwargs.items()}))

        return run


def default_rng(seed: int | None = None) -> Generator:
    """A generator seeded on the host."""
    return Generator(np.random.default_rng(seed))


random = Namespace("cupy.random")
random.__dict__.update(Generator=Generator, default_rng=default_rng)
