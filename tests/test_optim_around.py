"""Around the step: schedules, clipping, decay groups, averages of weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.errors import CheckpointError, NonFiniteError, UsageError


def optimizer_of(*rates, method=optim.SGD, **options):
    return method([{"params": [nn.Parameter([1.0])], "lr": lr} for lr in rates], **options)


def follow(schedule, steps):
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr())
        schedule.step()
    return np.array(rates)


# ---- schedules


def test_rates_in_closed_form():
    assert follow(optim.StepLR(optimizer_of(1.0, 2.0), 2, 0.5), 5)[:, 1].tolist() == [2, 2, 1, 1, 0.5]
    cosine = follow(optim.CosineAnnealingLR(optimizer_of(1.0), 4, eta_min=0.2), 9)[:, 0]
    assert np.allclose(cosine[[0, 2, 4, 6, 8]], [1, 0.6, 0.2, 0.6, 1])
    warm = follow(optim.LinearWarmup(optimizer_of(1.0), 4, start_factor=0.2), 7)[:, 0]
    assert np.allclose(warm, [0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    cycle = follow(optim.OneCycleLR(optimizer_of(1.0, momentum=0.9), 1.0, 10, pct_start=0.5), 10)[:, 0]
    assert np.allclose(cycle[[0, 4, 9]], [1 / 25, 1, 1 / 25e4]) and cycle.argmax() == 4
    rates = follow(optim.LambdaLR(optimizer_of(1.0, 2.0), [lambda step: step, lambda step: -step]), 3)
    assert rates.tolist() == [[0, 0], [1, -2], [2, -4]]


def test_warmup_then_another_schedule_starts_that_one_at_its_beginning():
    optimizer = optimizer_of(1.0, momentum=0.9)
    schedule = optim.LinearWarmup(optimizer, 5, optim.OneCycleLR(optimizer, 2.0, 20))
    alone = optim.OneCycleLR(optimizer_of(1.0, momentum=0.9), 2.0, 20)
    rates = follow(schedule, 5)[:, 0]
    assert np.allclose(rates, np.arange(5) / 5 * 2 / 25)
    for _ in range(20):
        assert schedule.get_last_lr() == alone.get_last_lr()
        assert optimizer.param_groups[0]["momentum"] == alone.optimizer.param_groups[0]["momentum"]
        schedule.step()
        alone.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.LambdaLR(o, lambda step: 1 / (1 + step)),
        lambda o: optim.StepLR(o, 3),
        lambda o: optim.CosineAnnealingLR(o, 20, 0.1),
        lambda o: optim.LinearWarmup(o, 9, optim.CosineAnnealingLR(o, 10)),
        lambda o: optim.OneCycleLR(o, [0.3, 0.4], 30),
        lambda o: optim.LinearWarmup(o, 3, optim.OneCycleLR(o, 0.5, 30)),
    ],
)
def test_a_resumed_schedule_goes_on_bitwise(make):
    schedule = make(optimizer_of(0.1, 0.2, method=optim.Adam))
    follow(schedule, 7)
    saved = json.loads(json.dumps(schedule.state_dict()))
    state = schedule.optimizer.state_dict()
    rest = follow(schedule, 10)
    optimizer = optimizer_of(9.0, 9.0, method=optim.Adam)
    optimizer.load_state_dict(state)
    for first in (False, True):  # the order of making the schedule and loading the optimizer is free
        resumed = make(optimizer)
        resumed.load_state_dict(saved)
        if first:
            optimizer.load_state_dict(state)
        assert np.array_equal(follow(resumed, 10), rest)
        assert resumed.optimizer.param_groups[0]["betas"] == schedule.optimizer.param_groups[0]["betas"]


def test_a_schedule_drives_the_steps():
    optimizer = optimizer_of(1.0)
    (p,) = optimizer.param_groups[0]["params"]
    schedule = optim.StepLR(optimizer, 1, 0.5)
    for expected in (0.0, -0.5, -0.75):
        p.grad = tz.tensor([1.0])
        optimizer.step()
        schedule.step()
        assert p.item() == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.StepLR(o, 0), "step_size >= 1"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "T_max >= 1"),
        (lambda o: optim.LinearWarmup(o, 0), "steps >= 1"),
        (lambda o: optim.LinearWarmup(o, 5, start_factor=2.0), "start_factor"),
        (lambda o: optim.LinearWarmup(o, 5, optim.StepLR(optimizer_of(1.0), 2)), "another optimizer"),
        (lambda o: optim.LambdaLR(o, [abs, abs]), "one a group"),
        (lambda o: optim.OneCycleLR(o, 1.0), "give total_steps"),
        (lambda o: optim.OneCycleLR(o, 1.0, epochs=3), "give total_steps"),
        (lambda o: optim.OneCycleLR(o, 1.0, 0), "total_steps >= 1"),
        (lambda o: optim.OneCycleLR(o, 1.0, 10, pct_start=1.5), "pct_start"),
        (lambda o: optim.OneCycleLR(o, 1.0, 10, anneal_strategy="cosine"), "anneal_strategy"),
        (lambda o: optim.OneCycleLR(optimizer_of(1.0, method=optim.Adagrad), 1.0, 10), "cycle_momentum=False"),
        (lambda o: follow(optim.OneCycleLR(o, 1.0, 10), 12), "more total_steps"),
        (lambda o: (s := optim.StepLR(o, 2), o.add_param_group({"params": nn.Parameter([1.0])}), s.step()), "groups"),
    ],
)
def test_schedules_say_what_is_wrong(make, message):
    with pytest.raises(UsageError, match=message):
        make(optimizer_of(1.0))


def test_a_schedule_refuses_the_state_of_other_groups():
    schedule = optim.StepLR(optimizer_of(1.0), 2)
    with pytest.raises(CheckpointError, match="1 groups, got 2"):
        schedule.load_state_dict(optim.StepLR(optimizer_of(1.0, 2.0), 2).state_dict())


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_cycle_of_few_steps_has_rates(total):
    for three_phase in (False, True):
        for pct_start in (0.0, 0.5, 1.0):
            o = optimizer_of(1.0, momentum=0.9)
            rates = follow(optim.OneCycleLR(o, 1.0, total, pct_start=pct_start, three_phase=three_phase), total)
            assert np.isfinite(rates).all() and (rates <= 1.0).all()


# ---- clipping


def with_gradients(*gradients):
    params = [nn.Parameter(np.zeros_like(g)) for g in gradients]
    for p, g in zip(params, gradients, strict=True):
        p.grad = tz.tensor(g)
    return params


def test_the_norm_is_that_of_all_gradients_and_is_brought_to_the_bound():
    params = [*with_gradients(np.array([3.0, 0.0]), np.array([[4.0]])), nn.Parameter([1.0])]
    assert optim.clip_grad_norm_(iter(params), 10.0).item() == 5.0
    assert params[0].grad.tolist() == [3.0, 0.0]
    assert optim.clip_grad_norm_(params, 1.0).item() == 5.0
    assert math.hypot(*params[0].grad.tolist(), params[1].grad.item()) == pytest.approx(1.0, rel=1e-6)
    assert optim.clip_grad_norm_(params[:1], 1e9, math.inf).item() == pytest.approx(0.6)
    assert optim.clip_grad_norm_(params[0], 1e9).item() == pytest.approx(0.6)
    assert optim.clip_grad_norm_([], 1.0).item() == optim.clip_grad_norm_(params[2:], 1.0).item() == 0.0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_norm_neither_overflows_nor_vanishes(scale):
    params = with_gradients(np.full(4, scale, np.float32))
    assert optim.clip_grad_norm_(params, 1.0).item() == pytest.approx(2 * scale, rel=1e-6)
    assert params[0].grad.numpy() == pytest.approx(np.full(4, min(scale, 0.5)), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_an_error_where_asked(bad):
    params = with_gradients(np.array([1.0, bad]), np.array([2.0]))
    with pytest.raises(NonFiniteError, match="left as they are"):
        optim.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[1].grad.item() == 2.0
    with np.errstate(invalid="ignore"):
        assert not math.isfinite(optim.clip_grad_norm_(params, 1.0).item())
    assert math.isnan(params[0].grad.numpy()[1])
    with pytest.raises(UsageError, match="norm_type"):
        optim.clip_grad_norm_(params, 1.0, norm_type=0)


class OnDevice(np.ndarray):
    """Counts how often its values are looked at, which a device would have to be waited for."""

    looks = 0
    __module__ = "numpy"

    def _look(self):
        OnDevice.looks += 1
        return self.view(np.ndarray)

    def __float__(self):
        return float(self._look())

    def __bool__(self):
        return bool(self._look())

    def item(self):
        return self._look().item()

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return np.asarray(array).view(OnDevice)

    def __array_function__(self, function, types, args, kwargs):
        return np.asarray(super().__array_function__(function, types, args, kwargs)).view(OnDevice)


@pytest.mark.parametrize(("max_norm", "checked"), [(1.0, False), (1.0, True), (1e9, False)])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_clipping_waits_for_a_device_only_to_raise(max_norm, checked, norm_type):
    params = with_gradients(*(np.full(3, float(k)) for k in range(1, 6)))
    for p in params:
        p.grad._data = p.grad._data.view(OnDevice)
    OnDevice.looks = 0
    optim.clip_grad_norm_(params, max_norm, norm_type, error_if_nonfinite=checked)
    assert OnDevice.looks == checked


def test_clipped_values_and_clipped_gradients_are_marked_as_written():
    (p,) = with_gradients(np.array([-3.0, 0.5, 3.0]))
    versions = [p.grad.version[0]]
    optim.clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [-1.0, 0.5, 1.0]
    versions.append(p.grad.version[0])
    optim.clip_grad_norm_([p], 0.1)
    versions.append(p.grad.version[0])
    assert len(set(versions)) == 3


# ---- decay groups


def test_biases_norms_and_embeddings_are_not_decayed():
    rng = np.random.default_rng(0)
    model = nn.Module()
    model.table = nn.Embedding(5, 4, rng=rng)
    model.blocks = [nn.Linear(4, 4, rng=rng), nn.LayerNorm((2, 4)), nn.Linear(4, 4, bias=False, rng=rng)]
    model.scale = nn.Parameter(2.0)
    model.head = nn.Linear(4, 5, rng=rng)
    model.head.weight = model.table.weight
    decayed, rest = optim.decay_groups(model, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(model.blocks[0].weight), id(model.blocks[2].weight)]
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    (only,) = optim.decay_groups(model.blocks[2], 0.1, exempt=(nn.Linear,))
    assert only["weight_decay"] == 0.0
    optimizer = optim.AdamW(optim.decay_groups(model, 0.5), lr=0.1)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    for p in model.parameters():
        p.grad = tz.zeros(p.shape)
    optimizer.step()
    after = model.state_dict()
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert moved == ["blocks.0.weight", "blocks.2.weight"]
    assert np.allclose(after["blocks.0.weight"], 0.95 * before["blocks.0.weight"])


# ---- averages


class Small(nn.Module):
    def __init__(self):
        self.w, self.b = nn.Parameter([[1.0, 2.0]]), nn.Parameter([0.5])
        self.mean, self.count = nn.Buffer([0.0]), nn.Buffer([0])

    def move(self, rng):
        for x in (self.w, self.b, self.mean):
            x.data[...] = rng.standard_normal(x.shape)
            x.mark_written()
        self.count.data[...] += 1


def test_ema_is_the_recursion_from_the_start():
    model, rng = Small(), np.random.default_rng(1)
    ema, expected = optim.EMA(model, 0.9), model.w.numpy().astype(float)
    for _ in range(20):
        model.move(rng)
        ema.update()
        expected = 0.9 * expected + 0.1 * model.w.numpy()
    average = ema.state_dict()["average"]
    assert np.allclose(average["w"], expected, atol=1e-6)
    assert average["mean"] == model.mean.numpy() and average["count"] == 20


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_corrected_ema_is_the_weighted_mean_of_what_it_has_seen(decay):
    model, rng = Small().to("float64"), np.random.default_rng(2)
    ema, seen = optim.EMA(model, decay, bias_correction=True, average_buffers=True), []
    for t in range(1, 20):
        model.move(rng)
        ema.update()
        seen.append(np.concatenate([x.numpy().ravel() for x in (model.w, model.b, model.mean)]))
        weights = decay ** np.arange(t - 1.0, -1, -1)
        average = ema.state_dict()["average"]
        values = np.concatenate([average[name].ravel() for name in ("w", "b", "mean")])
        assert np.allclose(values, weights @ np.array(seen) / weights.sum(), rtol=0, atol=1e-12)
        if t == 1:
            assert np.array_equal(values, seen[0])


def test_applied_averages_are_taken_off_again_bitwise_and_stay_in_the_optimizers_buffer():
    model, rng = Small(), np.random.default_rng(3)
    optimizer, ema = optim.SGD(model.parameters(), lr=1.0), optim.EMA(model, 0.5)
    model.move(rng)
    ema.update()
    view, own = model.w.data, {name: x.copy() for name, x in model.state_dict().items()}
    loss = (model.w * model.w).sum()
    with ema.applied():
        assert np.array_equal(model.w.numpy(), ema.state_dict()["average"]["w"])
        assert not np.array_equal(model.w.numpy(), own["w"])
    with pytest.raises(ZeroDivisionError), ema.applied():
        raise ZeroDivisionError
    assert all(np.array_equal(x, own[name]) for name, x in model.state_dict().items())
    with pytest.raises(tz.errors.GradientError):
        loss.backward()  # recorded before the values were exchanged
    assert model.w.data is view
    model.w.grad = tz.ones((1, 2))
    optimizer.step()
    assert np.array_equal(model.w.numpy(), own["w"] - 1)


def test_averages_go_to_another_model_and_survive_saving_and_conversion():
    model, rng = Small(), np.random.default_rng(4)
    ema = optim.EMA(model, 0.9, bias_correction=True)
    for _ in range(3):
        model.move(rng)
        ema.update()
    twin = Small()
    twin.load_state_dict(model.state_dict())
    copy = optim.EMA(twin, 0.9, bias_correction=True)
    copy.load_state_dict(ema.state_dict())
    model.move(np.random.default_rng(5))
    twin.move(np.random.default_rng(5))
    ema.update()
    copy.update()
    assert repr(ema.state_dict()) == repr(copy.state_dict())
    target = Small()
    ema.copy_to(target)
    assert np.array_equal(target.w.numpy(), ema.state_dict()["average"]["w"]) and target.count.item() == 4
    before = ema.state_dict()["average"]["w"]
    model.to("float64")
    ema.update()
    after = ema.state_dict()["average"]["w"]
    assert after.dtype == "float64"
    d = 0.9 * (1 - 0.9**4) / (1 - 0.9**5)
    assert np.allclose(after, model.w.numpy() + d * (before - model.w.numpy()), atol=1e-7)


def test_ema_says_what_does_not_fit():
    ema = optim.EMA(Small())
    with pytest.raises(UsageError, match="decay"):
        optim.EMA(Small(), 1.0)
    with pytest.raises(UsageError, match="differ in"):
        ema.copy_to(nn.Module())
    state = ema.state_dict()
    for name, value in (("w", np.zeros(3)), ("more", np.zeros(1))):
        with pytest.raises(CheckpointError, match=name):
            ema.load_state_dict(state | {"average": state["average"] | {name: value}})
