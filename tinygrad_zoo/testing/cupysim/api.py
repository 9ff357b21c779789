"""What CuPy offers: api.json, written by tests/goldens/make_cupy_api.py from the real package."""

from __future__ import annotations

import ast
import functools
import inspect
import json
from pathlib import Path
from typing import Any

KINDS = inspect.Parameter


@functools.cache
def api() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "api.json").read_text("utf-8"))
    return found


def entry(namespace: str, name: str) -> Any:
    """The row of a name; AttributeError where CuPy has none.

    >>> entry("cupy", "add")["ufunc"]
    [2, 1]
    >>> entry("cupy", "vecdot")
    Traceback (most recent call last):
    AttributeError: cupy has no 'vecdot' (CuPy 14.2.0)
    """
    row = api()[namespace].get(name)
    if row is None:
        raise AttributeError(f"{namespace} has no {name!r} (CuPy {api()['cupy version']})")
    return row


@functools.cache
def signature(text: str) -> inspect.Signature:
    """The signature that `text` writes; defaults that are no plain constants are Ellipsis.

    >>> signature("(a, axis=None, *, dtype=numpy.float64)")
    <Signature (a, axis=None, *, dtype=Ellipsis)>
    """
    (function,) = ast.parse(f"def f{text}: pass").body
    assert isinstance(function, ast.FunctionDef)
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    made = []
    for p, default in zip(positional, defaults, strict=True):
        kind = KINDS.POSITIONAL_ONLY if p in a.posonlyargs else KINDS.POSITIONAL_OR_KEYWORD
        made.append(KINDS(p.arg, kind, default=_value(default)))
    if a.vararg:
        made.append(KINDS(a.vararg.arg, KINDS.VAR_POSITIONAL))
    made += [
        KINDS(p.arg, KINDS.KEYWORD_ONLY, default=_value(d)) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)
    ]
    if a.kwarg:
        made.append(KINDS(a.kwarg.arg, KINDS.VAR_KEYWORD))
    return inspect.Signature(made)


def _value(default: ast.expr | None) -> Any:
    if default is None:
        return KINDS.empty
    try:
        return ast.literal_eval(default)
    except ValueError:
        return ...


@functools.cache
def _names(text: str) -> tuple[list[str], int, frozenset[str]]:
    """The parameters that go by position, how many of them must be given, and all; none of a signature with *args."""
    parameters = list(signature(text).parameters.values())
    if any(p.kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD, KINDS.POSITIONAL_ONLY) for p in parameters):
        return [], 1, frozenset()
    positional = [p for p in parameters if p.kind is KINDS.POSITIONAL_OR_KEYWORD]
    required = [p for p in parameters if p.default is p.empty]
    return [p.name for p in positional], len(required), frozenset(p.name for p in parameters)


def bound(name: str, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by CuPy's names; TypeError where CuPy does not take them."""
    positional, required, known = _names(text)
    if required <= len(args) <= len(positional) and kwargs.keys() <= known:  # the usual call, without inspect
        given = dict(zip(positional, args, strict=False))
        if not given.keys() & kwargs.keys():
            return given | kwargs
    try:
        found = signature(text).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}{text}: {error} (CuPy {api()['cupy version']})") from None
    return found.arguments
