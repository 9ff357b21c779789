"""The errors of tinygrad_zoo. Each says the invariant, what was received, and what to write instead.

TinygradZooError
├── ShapeError               (ValueError)    sizes or axes that do not fit together
├── DTypeError               (TypeError)     an argument of the wrong type or dtype
├── IndexingError            (IndexError)    an index outside its axis
├── LinAlgError              (ValueError)    a matrix the algorithm cannot take: singular, not positive definite
├── UsageError               (ValueError)    a setting or a name that has no meaning here
├── DeviceError              (RuntimeError)  no such backend or device, or devices mixed in one call
├── GradientError            (RuntimeError)  a gradient that does not exist or cannot be right
├── NonFiniteError           (ArithmeticError)  a NaN or Inf, where one was watched for
├── CaptureError             (RuntimeError)  a step that cannot be recorded or replayed
├── CheckpointError          (RuntimeError)  a saved state that does not fit
├── SharingError             (BufferError)   memory that another library cannot read as it is
└── MissingDependencyError   (ImportError)   an optional package is absent; names the extra that brings it
"""

from __future__ import annotations

import importlib
from types import ModuleType


class TinygradZooError(Exception):
    """The root: `except TinygradZooError` catches everything this library raises on purpose."""


class ShapeError(TinygradZooError, ValueError): ...


class DTypeError(TinygradZooError, TypeError): ...


class IndexingError(TinygradZooError, IndexError): ...


class LinAlgError(TinygradZooError, ValueError): ...


class UsageError(TinygradZooError, ValueError): ...


class DeviceError(TinygradZooError, RuntimeError): ...


class GradientError(TinygradZooError, RuntimeError): ...


class NonFiniteError(TinygradZooError, ArithmeticError): ...


class CaptureError(TinygradZooError, RuntimeError): ...


class CheckpointError(TinygradZooError, RuntimeError): ...


class SharingError(TinygradZooError, BufferError): ...


class MissingDependencyError(TinygradZooError, ImportError): ...


def require(module: str, extra: str) -> ModuleType:
    """Import the optional `module`, or say which extra of this package brings it.

    >>> require("json", "zoo").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f'{module} is not importable ({error}); write: pip install "tinygrad_zoo[{extra}]"'
        ) from error
