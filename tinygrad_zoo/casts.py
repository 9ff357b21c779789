"""PyTorch's short names for a Tensor in another dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import dtypes
from .variable import Variable


class Casts(Variable):
    """What `tensor.to(dtype)` does, by the name of the dtype: the tensor itself where it has that dtype already."""

    __slots__ = ()

    if TYPE_CHECKING:  # Tensor's own

        def to(self, target: Any) -> Any: ...

    def half(self) -> Any:
        """In float16."""
        return self.to(dtypes.float16)

    def float(self) -> Any:
        """In float32."""
        return self.to(dtypes.float32)

    def double(self) -> Any:
        """In float64."""
        return self.to(dtypes.float64)

    def int(self) -> Any:
        """In int32."""
        return self.to(dtypes.int32)

    def long(self) -> Any:
        """In int64."""
        return self.to(dtypes.int64)

    def bool(self) -> Any:
        """In bool: whether not 0."""
        return self.to(dtypes.bool)
