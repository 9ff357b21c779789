"""What the user sees and does while a run goes on: progress, Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from ..errors import require
from ..recipe import Recipe, State


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM (`signum`): the step was finished and a checkpoint saved; the message says how to go on."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class Progress:
    """A bar with the recipe's metric on a terminal; elsewhere ten plain lines; nothing if not wanted."""

    def __init__(self, recipe: Recipe[Any, Any], state: State[Any, Any], wanted: bool) -> None:
        self.name, self.metric, self.state, self.wanted = recipe.name, recipe.metric, state, wanted
        self.bar: Any = None
        if wanted and sys.stderr.isatty():
            self.bar = require("tqdm", "zoo").tqdm(
                total=state.config.steps, initial=state.step, desc=recipe.name, unit="step", dynamic_ncols=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, metrics: Mapping[str, float]) -> None:
        step, steps = self.state.step, self.state.config.steps
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.metric} {metrics[self.metric]:.4f}", refresh=False)
            self.bar.update()
        elif self.wanted and (step == steps or step % max(1, steps // 10) == 0):
            print(f"{self.name}: step {step} of {steps}, {self.metric} {metrics[self.metric]:.4f}", file=sys.stderr)


class Signals:
    """Notes SIGINT and SIGTERM, so that the step in progress can be finished; the second one acts as usual."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._before = {signum: signal.signal(signum, self._note) for signum in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        self.__exit__(None, None, None)
