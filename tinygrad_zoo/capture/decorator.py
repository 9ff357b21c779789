"""`capture`, which imports the rest on first use: few scripts capture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..errors import UsageError

if TYPE_CHECKING:
    from .captured import Captured

P = ParamSpec("P")
R = TypeVar("R")


@overload
def capture(function: Callable[P, R], /) -> Captured[P, R]: ...
@overload
def capture(*, check_every: int | None = None, max_programs: int = 8) -> Callable[[Callable[P, R]], Captured[P, R]]: ...
@overload
def capture(
    function: Callable[P, R], /, *, check_every: int | None = None, max_programs: int = 8
) -> Captured[P, R]: ...


def capture(function: Any = None, /, *, check_every: int | None = None, max_programs: int = 8) -> Any:
    """`function`, recorded in its first two calls and replayed from then on: a training step of fixed shapes.

    Arguments may be Tensors and arrays, also in lists and dicts: their values are copied in. Of other arguments, and of
    every new shape, there is a program of its own, `max_programs` at most, the least used of which is dropped. Results
    are as if the function had run: bitwise where the same kernels run, else to rounding (sums are added up in another
    order). Tensors that the function returns, or puts into attributes, hold the values of the latest call.

    With `check_every=N` every N replays one call runs eagerly, and CaptureError is raised where a replay would have
    given something else. Raises CaptureError for what can't be replayed, naming the line and what to write instead;
    UsageError for other settings.

    >>> w = tz.tensor([1.0], requires_grad=True)
    >>> optimizer = tz.optim.SGD([w], lr=0.25)
    >>> @tz.capture
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = tz.square(w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [step(tz.tensor([1.0])).item() for _ in range(4)]
    [1.0, 0.25, 0.0625, 0.015625]
    >>> step.counts["replayed"]
    2
    """
    for name, value in (("check_every", check_every), ("max_programs", max_programs)):
        if value is not None and (type(value) is not int or value < 1):
            raise UsageError(f"capture: expected {name} >= 1, got {value!r}")
    from .captured import Captured

    if function is None:
        return lambda of: Captured(of, check_every, max_programs)
    if not callable(function):
        raise UsageError(f"capture: expected a function, got {type(function).__name__}: write capture(step)")
    return Captured(function, check_every, max_programs)
