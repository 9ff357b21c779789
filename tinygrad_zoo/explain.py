"""Why a call failed, in our words: the op, the argument, its value, and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import DTypeError, IndexingError, LinAlgError, ShapeError, TinygradZooError, UsageError

_ABOUT_SHAPES = ("shape", "dimension", "axis", "axes", "size", "broadcast", "square")

# What a setting's annotation admits, and how that is said.
_AXIS = "int | tuple[int, ...] | None"
_ADMITS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool, np.bool_), "True or False"),
    "int": ((int, np.integer), "an integer"),
    "float": ((int, float, np.integer, np.floating), "a number"),
    "str": ((str,), "a string"),
    "None": ((type(None),), "None"),
    "tuple[int, ...]": ((tuple, list), "a tuple of integers"),
}


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean axis?", where one of `known` is much like `name`.

    >>> nearest("axes", ["axis", "keepdims"])
    '; did you mean axis?'
    """
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def wrong_setting(name: str, value: Any, annotation: str) -> str | None:
    """What is wrong about the type of a setting, or None.

    >>> wrong_setting("axis", "x", "int | None")
    "axis is an integer or None, got 'x'"
    """
    if annotation != "Any" and getattr(value, "node", value) is not value:  # a Tensor, where it is no index
        elementwise = ", or, of two arrays, maximum(x, y) or minimum(x, y)" if name == "axis" else ""
        text = f"{name} is a setting, a plain Python value, got a Tensor: write {name}=tensor.item() or .tolist()"
        return text + elementwise
    kinds = [kind.strip() for kind in (_AXIS if annotation == "Axis" else annotation).split("|")]
    if not all(kind in _ADMITS for kind in kinds):
        return None
    for kind in kinds:
        fits = isinstance(value, _ADMITS[kind][0]) and not (isinstance(value, bool) and kind == "int")
        if fits and kind.startswith("tuple"):
            fits = all(hasattr(n, "__index__") and not isinstance(n, bool) for n in value)
        if fits:
            return None
    return f"{name} is {' or '.join(_ADMITS[kind][1] for kind in kinds)}, got {value!r}"


def _kind(error: Exception) -> type[TinygradZooError]:
    if isinstance(error, TinygradZooError):
        return type(error)
    about_shapes = any(word in str(error) for word in _ABOUT_SHAPES)
    if isinstance(error, np.linalg.LinAlgError):
        return ShapeError if about_shapes else LinAlgError
    if isinstance(error, ValueError):
        return ShapeError if about_shapes else UsageError
    return IndexingError if isinstance(error, IndexError) else DTypeError


def explained(
    name: str,
    inputs: Sequence[tuple[str, Any, bool]],
    settings: dict[str, Any],
    annotations: dict[str, str],
    error: Exception,
) -> tuple[type[TinygradZooError], str]:
    """The typed error and the first line of its text, for a call that raised `error`.

    `inputs` holds of each array its name, its value, and whether it may be left out.
    """
    arrays = [(argument, a) for argument, a, _ in inputs if hasattr(a, "dtype")]
    who = " and ".join(argument for argument, _ in arrays)
    shapes = " and ".join(str(tuple(a.shape)) for _, a in arrays)
    dtypes = " and ".join(str(a.dtype) for _, a in arrays)
    text, kind = str(error), _kind(error)
    for argument, a, optional in inputs:
        if a is None and not optional:
            return DTypeError, f"{argument} is None; expected a Tensor, an array or a number: {text}"
        if isinstance(a, (bool, int, float)) and isinstance(error, AttributeError):
            return DTypeError, f"{argument} is the number {a!r}; expected an array: write tinygrad_zoo.tensor({a!r})"
    if isinstance(error, np.exceptions.AxisError):
        return ShapeError, _axis_text(arrays, settings, error)
    for setting, value in settings.items():
        wrong = wrong_setting(setting, value, annotations.get(setting, ""))
        if wrong is not None:
            return DTypeError, wrong
    if "could not be broadcast" in text or "shape mismatch" in text:
        hint = "counted from the last axis, sizes must be equal or 1; write x.reshape(...) or x.expand_dims(axis)"
        return ShapeError, f"{who} of shapes {shapes} could not be broadcast together: {hint}"
    if "cannot reshape" in text:
        size = arrays[0][1].size
        return (
            ShapeError,
            f"shape={settings.get('shape')} does not hold the {size} elements of {who}; write one size as -1",
        )
    found = _known_text(text, settings, who, shapes, arrays)
    if found is not None:
        return found
    if "not supported for the input types" in text or "did not contain a loop" in text or "ufunc" in text[:6]:
        return DTypeError, f"there is no version for {who} of {dtypes}: write x.astype(...) first"
    if "boolean negative" in text or "boolean subtract" in text:
        return DTypeError, f"booleans ({who} of {dtypes}) have no minus: write logical_not, ~x or x.astype('int64')"
    if isinstance(error, OverflowError):
        return DTypeError, f"{text} ({who} of {dtypes}): write x.astype(...) to a wider dtype first"
    return kind, text


def _known_text(
    text: str, settings: dict[str, Any], who: str, shapes: str, arrays: Sequence[tuple[str, Any]]
) -> tuple[type[TinygradZooError], str] | None:
    """NumPy's own words for common mistakes, in ours."""
    said = ", ".join(f"{name}={value!r}" for name, value in settings.items() if value is not None)
    ndim = arrays[0][1].ndim if arrays else 0
    if "axes don't match" in text:
        return ShapeError, f"{said}: {who} has {ndim} axes; write each of 0 to {ndim - 1} once"
    if "repeated axis" in text or "duplicate value in" in text:
        return ShapeError, f"{said} names an axis twice; write each once"
    if "only specify one unknown" in text:
        return ShapeError, f"{said} has several sizes -1; write one of them at most"
    if "must have same number of dimensions" in text or "must match exactly" in text:
        return ShapeError, f"arrays of shapes {shapes} do not join; all sizes but that of {said} must be equal"
    if "must have the same shape" in text:
        return ShapeError, f"arrays of shapes {shapes} do not stack; expected one shape for all"
    if "zero-dimensional arrays cannot be concatenated" in text:
        return ShapeError, f"{who or 'a number'} has no axes to join along; write tinygrad_zoo.stack([...])"
    if "not understood" in text and "dtype" in settings:
        return DTypeError, f"dtype={settings['dtype']!r} is no dtype; write one like 'float32'"
    outside = re.search(r"index (-?\d+) is out of bounds for axis (\d+) with size (\d+)", text)
    if outside is not None and arrays:
        index, axis, size = outside.groups()
        fits = f"write -{size} <= index < {size}" if size != "0" else "it is empty"
        return (
            IndexingError,
            f"index {index} is out of bounds for axis {axis} of {arrays[0][0]}, which has {size} entries; {fits}",
        )
    if "too many indices" in text:
        return IndexingError, f"too many indices {said}: {who} has {ndim} axes; write at most {ndim}"
    if "boolean index did not match" in text:
        return IndexingError, f"{said} does not fit {who} of shape {shapes}; expected a mask with the sizes of its axes"
    return None


def _axis_text(arrays: Sequence[tuple[str, Any]], settings: dict[str, Any], error: Any) -> str:
    """The setting that names an axis which is not there, and the axes that are."""
    axis, ndim = getattr(error, "axis", None), getattr(error, "ndim", None)
    if axis is None or ndim is None:
        return str(error)
    setting = next(
        (n for n, v in settings.items() if v is not None and axis in (v if isinstance(v, (tuple, list)) else (v,))),
        "axis",
    )
    bound = f"write {-ndim} <= {setting} < {ndim}" if ndim else f"write no {setting}"
    argument = arrays[0][0] if arrays else "x"
    return f"{setting}={settings.get(setting, axis)!r} is out of bounds: {argument} has {ndim} axes; {bound}"
