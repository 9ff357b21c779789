"""Captured training: parameters, gradients, optimizers, schedules and generators go on as they do eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from capture_checks import MLP, agrees, arrays, batches, states, unlike
from tinygrad_zoo import optim
from tinygrad_zoo.amp import GradScaler, autocast


def trains_alike(
    make: Callable[[], tuple[Any, Callable[..., Any], Callable[[], Any]]], data: Any, rtol: float = 0.0
) -> Any:
    """Results and state of the same training, captured and eager, after every step. `make` gives a model, its step, and
    what else is to be compared."""
    model, step, more = make()
    twin, eager, more_eager = make()
    captured = tz.capture(step)
    for i, batch in enumerate(data):
        found, expected = captured(*batch), eager(*batch)
        assert (said := unlike(found, expected, rtol)) is None, f"step {i}: {said}"
        if i < 10 or i + 1 == len(data):
            assert (said := unlike(states(model), states(twin), rtol)) is None, f"state after step {i}: {said}"
            said = unlike(more(), more_eager(), rtol)
            assert said is None and (rtol or repr(more()) == repr(more_eager())), f"after step {i}: {said}"
    assert captured.counts["replayed"] >= len(data) - 4
    return captured


def adamw_with_everything() -> Any:
    model = MLP(np.random.default_rng(0), dropout=0.3)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=1000)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tz.cross_entropy(model(x), y)
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        return loss

    return model, step, lambda: [optimizer.state_dict(), schedule.state_dict(), optimizer.param_groups[0]["lr"]]


@pytest.mark.host
def test_a_thousand_captured_steps_are_a_thousand_eager_steps() -> None:
    captured = trains_alike(adamw_with_everything, batches(1000))
    assert captured.counts["replayed"] == 998


@pytest.mark.parametrize(
    "make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers(make: Any, dtype: str) -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0), dtype=dtype)
        optimizer = make(model.parameters(), lr=1e-2)

        def step(x: Any, y: Any) -> Any:
            loss = tz.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return model, step, optimizer.state_dict

    trains_alike(build, batches(12, dtype))


def test_running_statistics_and_an_average_of_weights() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0), norm=True)
        optimizer, average = optim.SGD(model.parameters(), lr=0.1), optim.EMA(model, 0.9)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = tz.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            average.update()
            return loss

        return model, step, average.state_dict

    trains_alike(build, batches(10))


def test_random_numbers_go_on() -> None:
    def build() -> Any:
        rng, model = np.random.default_rng(3), MLP(np.random.default_rng(0))

        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            noise, keys = tz.randn(*x.shape, rng=rng), tz.draw_key(rng, x.device)
            order = tz.randperm(len(x), rng=rng)
            loss = tz.cross_entropy(tz.dropout(model(x + 0.1 * noise), keys, p=0.4)[order], y[order])
            loss.backward()
            return loss, noise, order, tz.rand(3, rng=rng), tz.standard_normal(keys, (2, 2))

        return model, step, lambda: repr(rng.bit_generator.state)

    trains_alike(build, batches(8))


def test_gradients_are_added_up() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            losses = [tz.cross_entropy(model(x[rows]), y[rows]) for rows in (slice(0, 3), slice(3, 8))]
            for loss in losses:
                (loss / 2).backward()
            optimizer.step()
            return losses

        return model, step, optimizer.state_dict

    trains_alike(build, batches(8))


def test_a_gradient_that_was_there_before_the_step() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0))

        def step(x: Any, y: Any) -> Any:
            loss = tz.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return model, step, lambda: None

    trains_alike(build, batches(8))


def test_gradients_set_to_nothing_outside() -> None:
    model, eager = MLP(np.random.default_rng(0)), MLP(np.random.default_rng(0))

    def step(model: Any, x: Any, y: Any) -> Any:
        tz.cross_entropy(model(x), y).backward()

    captured = tz.capture(lambda x, y: step(model, x, y))
    for i, (x, y) in enumerate(batches(9)):
        captured(x, y)
        step(eager, x, y)
        assert unlike(states(model), states(eager)) is None, i
        if i in (3, 6):
            model.zero_grad()
            eager.zero_grad()


def test_a_gradient_penalty() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0))
        optimizer = optim.SGD(model.parameters(), lr=0.05)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            at = x.detach().requires_grad_()
            slope = tz.grad(lambda x: tz.tanh(model(x)).sum())(at)
            loss = tz.cross_entropy(model(x), y) + ((slope * slope).sum(axis=1).sqrt() - 1).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return model, step, optimizer.state_dict

    trains_alike(build, batches(6), rtol=1e-6)


def test_checkpoints_recompute() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0), dropout=0.5)
        optimizer = optim.SGD(model.parameters(), lr=0.05)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = tz.cross_entropy(tz.checkpoint(model, x), y)
            loss.backward()
            optimizer.step()
            return loss

        return model, step, optimizer.state_dict

    trains_alike(build, batches(6))


def test_a_scaler_and_half_precision() -> None:
    def build() -> Any:
        model = MLP(np.random.default_rng(0))
        optimizer, scaler = optim.SGD(model.parameters(), lr=0.05), GradScaler(2.0**14, growth_interval=3)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            with autocast("float16"):
                loss = tz.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            optim.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            return loss

        return model, step, lambda: [optimizer.state_dict(), scaler.state_dict()]

    data = batches(12)
    data[5] = (data[5][0] * 1e30, data[5][1])  # overflows: a step is left out, the scale goes down
    trains_alike(build, data)


def test_no_grad_inside() -> None:
    def step(x: Any) -> Any:
        x = x.detach().requires_grad_()
        with tz.no_grad():
            constant = x * 2
        loss = (x * constant).sum()
        loss.backward()
        return loss, constant, x.grad

    agrees(step, (3, 2), rtol=1e-6)


def test_grad_mode_and_precision_around_are_part_of_the_key() -> None:
    w = tz.tensor(np.ones((3, 3), np.float32), requires_grad=True)
    step = tz.capture(lambda x: x @ w)
    x = tz.tensor(arrays(0, (2, 3))[0])
    for _ in range(3):
        assert step(x).dtype == np.float32
        with autocast("float16"):
            assert step(x).dtype == (x @ w).dtype
        with tz.no_grad():
            assert unlike(step(x), x @ w) is None
    assert step.counts["programs"] == 3
