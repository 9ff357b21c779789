"""Learning-rate schedules: names, arguments and values are PyTorch's.

A schedule sets the rates for step 0 when it is made; `step()` after each `optimizer.step()` sets the next. Every rate
is a closed formula of the number of steps and of each group's `initial_lr` (its lr when its first schedule was made),
so a resumed run continues bitwise, and a rate that somebody else writes into a group lasts until the next `step()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import CheckpointError, UsageError
from ..grad_mode import effect
from .optimizer import Optimizer


class Schedule:
    """The shared part; a subclass gives `rates(count)`."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.count = 0
        self.apply(0)

    def rates(self, count: int) -> list[float]:
        """The learning rate of each group after `count` steps."""
        raise NotImplementedError

    def apply(self, count: int) -> None:
        """Write the rates of step `count` into the optimizer."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise UsageError(
                f"{type(self).__name__}: made for {len(self.base_lrs)} groups, the optimizer now has {len(groups)}: "
                "make the schedule after add_param_group"
            )
        for group, lr in zip(groups, self.rates(count), strict=True):
            group["lr"] = lr

    @effect
    def step(self) -> None:
        """Go on to the next rate."""
        self.apply(self.count + 1)
        self.count += 1

    def get_last_lr(self) -> list[float]:
        """The rate of each group as it stands now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What JSON can hold: the count of steps and the rates it starts from (no functions)."""
        return {"count": self.count, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        base_lrs = [float(lr) for lr in state_dict["base_lrs"]]
        if len(base_lrs) != len(self.base_lrs):
            raise CheckpointError(
                f"{type(self).__name__}: expected a state of {len(self.base_lrs)} groups, got {len(base_lrs)}"
            )
        self.base_lrs = base_lrs
        self.apply(int(state_dict["count"]))
        self.count = int(state_dict["count"])

    def _positive(self, **values: int) -> None:
        for name, value in values.items():
            if value < 1:
                raise UsageError(f"{type(self).__name__}: expected {name} >= 1, got {value}")

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """`value` for every group, or a list with one for each."""
        groups = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, list | tuple) else [value] * groups
        if len(values) != groups:
            raise UsageError(f"{type(self).__name__}: expected {groups} of {name}, one a group, got {len(values)}")
        return values


class LambdaLR(Schedule):
    """lr = initial_lr · lr_lambda(step); a list gives each group its own function.

    >>> from tinygrad_zoo import tensor
    >>> from tinygrad_zoo.optim import SGD
    >>> schedule = LambdaLR(SGD([tensor([0.0])], lr=1.0), lambda step: 0.5**step)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        self.optimizer = optimizer
        self.lr_lambdas = self._per_group("lr_lambda", lr_lambda)
        super().__init__(optimizer)

    def rates(self, count: int) -> list[float]:
        return [lr * float(function(count)) for lr, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(Schedule):
    """lr = initial_lr · gamma^⌊step / step_size⌋.

    >>> from tinygrad_zoo import tensor
    >>> from tinygrad_zoo.optim import SGD
    >>> StepLR(SGD([tensor([0.0])], lr=1.0), step_size=10, gamma=0.5).rates(25)
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self._positive(step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rates(self, count: int) -> list[float]:
        return [lr * self.gamma ** (count // self.step_size) for lr in self.base_lrs]


class CosineAnnealingLR(Schedule):
    """lr = eta_min + (initial_lr − eta_min) · (1 + cos(π·step / T_max)) / 2; after T_max it rises again.

    >>> from tinygrad_zoo import tensor
    >>> from tinygrad_zoo.optim import SGD
    >>> CosineAnnealingLR(SGD([tensor([0.0])], lr=1.0), T_max=10).rates(5)
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self._positive(T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rates(self, count: int) -> list[float]:
        share = (1 + math.cos(math.pi * count / self.T_max)) / 2
        return [self.eta_min + (lr - self.eta_min) * share for lr in self.base_lrs]


class LinearWarmup(Schedule):
    """lr = initial_lr · (start_factor + (1 − start_factor)·step/steps) for the first `steps`; then `after`, from its 0.

    `after` is any schedule of the same optimizer; without one the rate stays at initial_lr. It is driven by this
    schedule: call `step()` here alone. (PyTorch: SequentialLR of LinearLR and `after`.)

    >>> from tinygrad_zoo import tensor
    >>> from tinygrad_zoo.optim import SGD
    >>> optimizer = SGD([tensor([0.0])], lr=1.0)
    >>> schedule = LinearWarmup(optimizer, 4, CosineAnnealingLR(optimizer, T_max=10))
    >>> [schedule.rates(step)[0] for step in (0, 1, 2, 4, 9, 14)]
    [0.0, 0.25, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, after: Schedule | None = None, *, start_factor: float = 0.0
    ) -> None:
        self._positive(steps=steps)
        if not 0 <= start_factor <= 1:
            raise UsageError(f"LinearWarmup: expected start_factor in [0, 1], got {start_factor}")
        if after is not None and after.optimizer is not optimizer:
            raise UsageError("LinearWarmup: `after` drives another optimizer; make both for the same one")
        self.steps, self.after, self.start_factor = steps, after, start_factor
        super().__init__(optimizer)

    def rates(self, count: int) -> list[float]:
        if count >= self.steps:
            return list(self.base_lrs) if self.after is None else self.after.rates(count - self.steps)
        factor = self.start_factor + (1 - self.start_factor) * count / self.steps
        return [lr * factor for lr in self.base_lrs]

    def apply(self, count: int) -> None:
        if self.after is not None:
            self.after.apply(max(0, count - self.steps))  # it may set more than the rate: OneCycleLR's momentum
            self.after.count = max(0, count - self.steps)
        super().apply(count)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if self.after is not None:
            self.after.load_state_dict(state_dict["after"])
        super().load_state_dict(state_dict)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | ({} if self.after is None else {"after": self.after.state_dict()})


class OneCycleLR(Schedule):
    """From max_lr/div_factor up to max_lr in the first `pct_start` of all steps, then down to initial/final_div_factor.

    Momentum (or β₁) moves the other way, between `max_momentum` and `base_momentum`, if `cycle_momentum`. `three_phase`
    comes down to the initial rate as fast as it rose, then to the final one. Super-convergence, arXiv 1708.07120.

    >>> from tinygrad_zoo import tensor
    >>> from tinygrad_zoo.optim import SGD
    >>> schedule = OneCycleLR(SGD([tensor([0.0])], momentum=0.9), max_lr=1.0, total_steps=11, pct_start=0.5)
    >>> [round(schedule.rates(step)[0], 6) for step in (0, 10)]
    [0.04, 4e-06]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise UsageError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        self._positive(total_steps=total_steps)
        if not 0 <= pct_start <= 1:
            raise UsageError(f"OneCycleLR: expected pct_start in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise UsageError(f"OneCycleLR: expected anneal_strategy 'cos' or 'linear', got {anneal_strategy!r}")
        if cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise UsageError(
                f"OneCycleLR: {type(optimizer).__name__} has neither momentum nor betas: cycle_momentum=False"
            )
        self.optimizer = optimizer
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        peak, low = self._per_group("max_lr", max_lr), self._per_group("base_momentum", base_momentum)
        high = self._per_group("max_momentum", max_momentum)
        first = [lr / div_factor for lr in peak]
        final = [lr / final_div_factor for lr in first]
        rise = pct_start * total_steps - 1
        # A phase: its last step, then where rate and momentum go.
        self.start = (first, high)
        self.phases = [(rise, peak, low)]
        if three_phase:
            self.phases += [(2 * pct_start * total_steps - 2, first, high), (total_steps - 1.0, final, high)]
        else:
            self.phases += [(total_steps - 1.0, final, high)]
        for group, lr in zip(optimizer.param_groups, first, strict=True):
            group["initial_lr"] = lr
        super().__init__(optimizer)

    def rates(self, count: int) -> list[float]:
        return self._values(count)[0]

    def apply(self, count: int) -> None:
        super().apply(count)
        if self.cycle_momentum:
            for group, momentum in zip(self.optimizer.param_groups, self._values(count)[1], strict=True):
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum

    def _values(self, count: int) -> tuple[list[float], list[float]]:
        """The rate and the momentum of each group."""
        if count > self.total_steps:
            raise UsageError(f"OneCycleLR: step {count} of {self.total_steps}; make it with more total_steps")
        begin, (lrs, momenta) = 0.0, self.start
        for end, next_lrs, next_momenta in self.phases:
            if count <= end or end == self.phases[-1][0]:
                break
            begin, lrs, momenta = end, next_lrs, next_momenta
        share = (count - begin) / (end - begin) if end > begin else 1.0
        rates = [self._anneal(a, b, share) for a, b in zip(lrs, next_lrs, strict=True)]
        return rates, [self._anneal(a, b, share) for a, b in zip(momenta, next_momenta, strict=True)]

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "cos":
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        return start + (end - start) * share
