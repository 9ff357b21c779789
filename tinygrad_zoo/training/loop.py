"""fit(recipe): step, check, log, save; at the end evaluate, compare and draw."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import backend
from ..anomaly import detect_anomaly
from ..capture import capture as capture_function
from ..data import batch_indices, steps_per_epoch
from ..data.loading import stream
from ..errors import NonFiniteError, UsageError, require
from ..grad_mode import no_grad
from ..recipe import Recipe, State
from ..tensor import Tensor, as_tensor
from .checkpoint import Saved, check_same_run, load_checkpoint, save_checkpoint
from .folder import (
    CHECKPOINT,
    CONFIG,
    FIGURE,
    METRICS,
    RESULT,
    SAMPLES,
    Log,
    claimed,
    describe,
    resume_command,
    run_folder,
    to_json,
    write,
)
from .result import Result
from .session import Interrupted, Progress, Signals

if TYPE_CHECKING:
    from ..capture.captured import Captured

LOGGED, SAVED = 1000, 20  # about how often a run logs its metrics, and saves a checkpoint
PHASES = 64  # of a step, at most, that have a captured program at a time


def fit(
    recipe: Recipe[Any, Any],
    *,
    seed: int = 0,
    out: Path | str | None = None,
    steps: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    device: str | None = None,
    progress: bool = True,
    checkpoint_every: int | None = None,
    capture: bool = False,
) -> Result:
    """Train `recipe` into the run folder `out`, evaluate it and draw its figure.

    A run is a function of (recipe, config, seed) to the last bit, at the same device, thread count and vector width:
    its batches and draws come from the seed, and a checkpoint holds everything else. So `resume` continues as if there
    had been no interruption; without a checkpoint it starts from the beginning. BLAS runs on one thread meanwhile: at
    these sizes its idle workers cost more than they bring. Kernels share large sums among threads: on another number of
    cores these differ in the last bits, unless `set_num_threads` says how many there are.

    With `capture` the step is recorded twice and replayed from then on (`tinygrad_zoo.capture`): the same run, to
    rounding, in less time. It is no part of what a run is: a captured run may be resumed without, and the reverse.

    `steps` and `overrides` change the recipe's config. `out` is by default runs/NAME, or runs/NAME-2 and so on where
    that holds a finished run (with `resume`, the latest of these). A folder in use is never overwritten.

    Raises UsageError for unknown overrides, a folder in use or one that cannot be written; CheckpointError for a
    damaged checkpoint or one of another run; CaptureError for a step that can't be captured; NonFiniteError, naming the
    op, where the metric or a parameter is NaN or Inf; Interrupted after Ctrl-C or SIGTERM.
    """
    from threadpoolctl import threadpool_limits

    began = time.perf_counter()
    for module in ("safetensors", "matplotlib") + ("tqdm",) * progress:
        require(module, "zoo")  # now, rather than when the training is done
    config = recipe.config.overridden({**(overrides or {}), **({} if steps is None else {"steps": steps})})
    every = max(1, config.steps // SAVED) if checkpoint_every is None else checkpoint_every
    if every < 1:
        raise UsageError(f"checkpoint_every must be >= 1, got {every}")
    folder = run_folder(recipe.name, out, resume)
    with backend.using(device or backend.default_device()), threadpool_limits(1, user_api="blas"):
        state = prepare(recipe, config, seed)
        # Before the training: a baseline that fails must not cost its result.
        baseline = {name: float(value) for name, value in recipe.baseline(state.data).items()}
        with contextlib.ExitStack() as stack:
            saved = None
            try:
                stack.enter_context(claimed(folder))
                run_folder(recipe.name, folder, resume)  # again, now that no other process can come between
                if resume and (folder / CHECKPOINT).exists():
                    saved = load_checkpoint(folder / CHECKPOINT)
                    check_same_run(recipe, state, saved.rest, folder)
                    saved.restore(state)
                write(folder / CONFIG, to_json(describe(recipe, state), indent=2))
                log = stack.enter_context(Log(folder / METRICS, 0 if saved is None else saved.rest["metrics_bytes"]))
            except OSError as error:
                raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another folder, --out") from error
            if resume and progress:
                where = "no checkpoint, starting from scratch" if saved is None else f"going on after step {state.step}"
                print(f"{folder}: {where}", file=sys.stderr)
            state.history = log.history
            captured = captured_step(recipe, state) if capture else None
            started = time.perf_counter()
            with Progress(recipe, state, progress) as shown, Signals() as signals:
                _train(recipe, state, folder, every, log, shown, signals, captured)
            training = time.perf_counter() - started
            if signals.received:
                raise Interrupted(
                    f"stopped after step {state.step} of {config.steps}, checkpoint saved; to go on: "
                    + resume_command(recipe, state, folder, device, capture),
                    signals.received,
                )
            return _finish(recipe, state, folder, baseline, began, training, captured)


def _train(
    recipe: Recipe[Any, Any],
    state: State[Any, Any],
    folder: Path,
    every: int,
    log: Log,
    shown: Progress,
    signals: Signals,
    captured: Captured[..., Mapping[str, Any]] | None,
) -> None:
    """The loop: step, check, log, save; after a signal it saves and returns."""
    steps = state.config.steps
    log_every = max(1, steps // LOGGED)
    while state.step < steps:
        metrics = advance(recipe, state, captured)
        if not math.isfinite(metrics[recipe.metric]):
            _explain_non_finite(recipe, state, folder, captured is not None)
        if state.step % log_every == 0 or state.step == steps:
            log.write({"step": state.step, **_numbers(metrics)})
        shown.update(metrics)
        stop = bool(signals.received)  # looked at once: a signal can come between any two lines
        if state.step % every == 0 or state.step == steps or stop:
            if not _parameters_finite(state):
                _explain_non_finite(recipe, state, folder, captured is not None)  # the last good checkpoint stays
            save_checkpoint(folder / CHECKPOINT, recipe, state, _numbers(metrics), log.flush())
        if stop:
            return


def prepare(recipe: Recipe[Any, Any], config: Any, seed: int) -> State[Any, Any]:
    """The state before the first step."""
    data = recipe.data(config, np.random.default_rng(0))  # one data set, whatever the seed
    steps_per_epoch(len(data.train[0]), config.batch_size)  # raises where no batch can be had
    rng = stream(seed, 0)
    parts = recipe.build(config, data, rng)
    parts.model.train()
    return State(
        config=config,
        seed=seed,
        rng=rng,
        data=data,
        model=parts.model,
        optimizers=parts.optimizers,
        schedules=parts.schedules,
        extras=parts.extras,
        device=backend.default_device(),
    )


def captured_step(recipe: Recipe[Any, Any], state: State[Any, Any]) -> Captured[..., Mapping[str, Any]]:
    """The recipe's step as a captured function of a phase and a batch's arrays, with a program for each phase."""

    def step(phase: Hashable, *batch: Any) -> Mapping[str, Any]:
        return recipe.step(state, batch)

    return capture_function(step, max_programs=PHASES)


def advance(
    recipe: Recipe[Any, Any], state: State[Any, Any], captured: Captured[..., Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """One step, of the recipe or its captured form: a function of the state, which it updates.

    Of its metrics only the recipe's own is a number already: reading one waits for the device.
    """
    rows = batch_indices(len(state.data.train[0]), state.config.batch_size, state.seed, state.step)
    batch = tuple(Tensor(backend.to_device(array[rows], state.device)) for array in state.data.train)
    found = recipe.step(state, batch) if captured is None else captured(recipe.phase(state), *batch)
    metrics = {k: v.detach() if isinstance(v, Tensor) else v for k, v in found.items()}
    if recipe.metric not in metrics or "step" in metrics:
        raise UsageError(f"{recipe.name}: step must return {recipe.metric!r} and no 'step', got {', '.join(metrics)}")
    state.step += 1
    metrics[recipe.metric] = float(metrics[recipe.metric])
    return metrics


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _finish(
    recipe: Recipe[Any, Any],
    state: State[Any, Any],
    folder: Path,
    baseline: dict[str, float],
    began: float,
    training: float,
    captured: Captured[..., Mapping[str, Any]] | None,
) -> Result:
    """Evaluate, compare with the baselines and the bar, draw, and write the result: last, so it means finished."""
    state.model.eval()
    with no_grad():
        metrics = _numbers(recipe.evaluate(dataclasses.replace(state, rng=stream(state.seed, 1))))
        recipe.figure(dataclasses.replace(state, rng=stream(state.seed, 2)), folder / FIGURE)
        if recipe.samples is not None:
            drawn = recipe.samples(dataclasses.replace(state, rng=stream(state.seed, 3)))
            arrays: dict[str, Any] = {name: backend.to_host(as_tensor(x).data) for name, x in drawn.items()}
            np.savez(folder / SAMPLES, **arrays)
    result = Result(
        recipe=recipe,
        config=state.config,
        seed=state.seed,
        out=folder,
        step=state.step,
        metrics=metrics,
        baseline=baseline,
        holds=recipe.bar.holds(metrics),
        seconds=time.perf_counter() - began,
        training_seconds=training,
        program=None if captured is None or not captured.counts["replayed"] else captured.report(),
    )
    write(folder / RESULT, to_json(result.as_dict(), indent=2))
    return result


# ---- NaN and Inf


def _parameters_finite(state: State[Any, Any]) -> bool:
    return all(bool(backend.namespace(p.data).isfinite(p.data).all()) for p in state.model.parameters())


def _explain_non_finite(recipe: Recipe[Any, Any], state: State[Any, Any], folder: Path, captured: bool) -> NoReturn:
    """Replay from the last checkpoint to the first step that makes a NaN or Inf; do that one op by op."""
    checkpoint = folder / CHECKPOINT
    kept = f"the checkpoint in {folder} is the last good one" if checkpoint.exists() else "no checkpoint was due yet"
    replay = prepare(recipe, state.config, state.seed)
    if checkpoint.exists():
        load_checkpoint(checkpoint).restore(replay)
    while replay.step < state.step:
        before = Saved.of(replay)
        metrics = advance(recipe, replay)
        if math.isfinite(metrics[recipe.metric]) and _parameters_finite(replay):
            continue
        what = f"{recipe.name}: {recipe.metric} or a parameter is no longer finite at step {replay.step}"
        before.restore(replay)
        try:
            with detect_anomaly():
                advance(recipe, replay)
        except NonFiniteError as error:
            raise NonFiniteError(f"{what}: {error} ({kept})") from error
        raise NonFiniteError(f"{what}: no op made it, so the update did: is the learning rate too large? ({kept})")
    again = "done again without capture" if captured else "done again"
    raise NonFiniteError(
        f"{recipe.name}: not finite at step {state.step}, and finite when {again}: step is not a "
        f"function of its state and batch ({kept})"
    )
