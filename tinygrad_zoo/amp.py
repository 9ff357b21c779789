"""Mixed precision (arXiv 1710.03740): products in 16 bits, all else, the parameters first of all, in float32.

    scaler = GradScaler()
    with autocast("float16"):
        loss = cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

Inside of `autocast`, matrix products, convolutions and attention round their float32 factors and results to float16 or
bfloat16 and add up in float32, forward and in the gradients of what was made inside; on a device with the hardware for
it they run on that. Normalisations, softmax, losses and sums stay in float32. float16 has no numbers below 6e-8, where
gradients lie: a `GradScaler` multiplies the loss so that they stay above, and leaves out steps that overflow. bfloat16
has the range of float32, and needs none.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from contextlib import ContextDecorator
from typing import Any, Literal, TypeAlias

from .errors import UsageError
from .grad_mode import each_step, effect, state
from .ops import isfinite, stack
from .optim import Optimizer

Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]


class autocast(ContextDecorator):
    """`with autocast("bfloat16"):`, or a function so decorated; "float32" is to round nothing. Float64 is left alone.

    Raises UsageError for another dtype than those of 16 bits and float32.

    >>> with autocast("bfloat16"):
    ...     y = tz.tensor([[1.0, 1 / 512]]) @ tz.tensor([[1.0], [1.0]])
    >>> y.item(), y.dtype
    (1.0, dtype('float32'))
    """

    def __init__(self, dtype: Any = "bfloat16", *, enabled: bool = True) -> None:
        self.dtype = dtype if isinstance(dtype, str) else getattr(dtype, "name", repr(dtype))
        if self.dtype not in typing.get_args(Precision):
            raise UsageError(f"autocast: expected dtype={self.dtype!r} to be one of {typing.get_args(Precision)}")
        self.enabled = enabled and self.dtype != "float32"
        self._outer: list[Any] = []

    def __enter__(self) -> autocast:
        self._outer.append(state.precision)
        state.precision = self.dtype if self.enabled else None
        return self

    def __exit__(self, *_: object) -> None:
        state.precision = self._outer.pop()

    def _recreate_cm(self) -> autocast:  # one a call of a decorated function
        return type(self)(self.dtype, enabled=self.enabled)


def is_autocast_enabled() -> bool:
    """Whether products are taken in 16 bits here and now."""
    return state.precision is not None


class GradScaler:
    """Multiplies losses by a scale, divides gradients by it, and leaves out steps whose gradients are not finite.

    After such a step the scale is multiplied by `backoff_factor`; after `growth_interval` steps without one by
    `growth_factor`. `step` reads from the device whether all is finite: once a step, as PyTorch's does. With
    `enabled=False` everything passes through.

    >>> w = tz.nn.Parameter([1.0])
    >>> sgd, scaler = tz.optim.SGD([w], lr=0.5), GradScaler(init_scale=8.0)
    >>> scaler.scale((w * 2.0).sum()).backward()
    >>> w.grad.item(), scaler.step(sgd), w.item()
    (16.0, True, 0.0)
    >>> scaler.update()
    >>> scaler.scale((w * np.inf).sum()).backward()
    >>> scaler.step(sgd), w.item(), scaler.update(), scaler.get_scale()
    (False, 0.0, None, 4.0)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        enabled: bool = True,
    ) -> None:
        if not (init_scale > 0 and growth_factor > 1 and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise UsageError(
                "GradScaler: expected init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval "
                f">= 1, got {init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled = enabled
        self._scale, self._good = float(init_scale), 0
        self._finite: dict[int, bool] = {}  # by optimizer: whether its gradients, unscaled, are all finite
        self._stepped: set[int] = set()

    def scale(self, loss: Any) -> Any:
        """loss · scale: call `backward` on it."""
        return loss * each_step(self.get_scale) if self.enabled else loss

    def get_scale(self) -> float:
        """What losses are multiplied by."""
        return self._scale if self.enabled else 1.0

    @effect
    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, to clip or look at them before `step`.

        Raises UsageError the second time before `update`.
        """
        if not self.enabled:
            return
        if id(optimizer) in self._finite:
            raise UsageError("GradScaler.unscale_: these gradients are unscaled already: call update() after each step")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for g in grads:
            g.data = g.data * (1 / self._scale)  # not in place: it may be a broadcast view
        self._finite[id(optimizer)] = not grads or bool(stack(*(isfinite(g.data).all() for g in grads)).all())

    @effect
    def step(self, optimizer: Optimizer) -> bool:
        """`unscale_`, unless that was done, and `optimizer.step()` if all gradients are finite; whether they were.

        Raises UsageError the second time before `update`.
        """
        if not self.enabled:
            optimizer.step()
            return True
        if id(optimizer) in self._stepped:
            raise UsageError("GradScaler.step: this optimizer has made its step: call update() after each step")
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        if self._finite[id(optimizer)]:
            optimizer.step()
        return self._finite[id(optimizer)]

    @effect
    def update(self) -> None:
        """Adjust the scale after the steps of an iteration."""
        if not self.enabled or not self._finite:
            return
        if not all(self._finite.values()):
            self._scale, self._good = self._scale * self.backoff_factor, 0
        else:
            self._good += 1
            if self._good == self.growth_interval:
                self._scale, self._good = self._scale * self.growth_factor, 0
        self._finite.clear()
        self._stepped.clear()

    def state_dict(self) -> dict[str, float]:
        """The scale, and how many steps in a row were good."""
        return {"scale": self._scale, "good": self._good}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Go on from a `state_dict`."""
        self._scale, self._good = float(state_dict["scale"]), int(state_dict["good"])
