"""Optimizers, schedules and clipping against torch, float64: every option in every combination, to 1e-12."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import optim
from tinygrad_zoo.errors import NonFiniteError
from tinygrad_zoo.kernels import dispatch

torch = oracles.load("torch")

ADAM = {
    "lr": [0.01],
    "betas": [(0.9, 0.999), (0.5, 0.9)],
    "eps": [1e-8, 1e-3],
    "weight_decay": [0.0, 0.3],
    "amsgrad": [False, True],
    "maximize": [False, True],
}
OPTIONS = {
    "SGD": {
        "lr": [0.01],
        "momentum": [0.0, 0.9],
        "dampening": [0.0, 0.3],
        "weight_decay": [0.0, 0.3],
        "nesterov": [False, True],
        "maximize": [False, True],
    },
    "Adam": ADAM,
    "AdamW": ADAM,
    "RMSprop": {
        "lr": [0.01],
        "alpha": [0.99, 0.5],
        "eps": [1e-8, 1e-2],
        "weight_decay": [0.0, 0.3],
        "momentum": [0.0, 0.9],
        "centered": [False, True],
        "maximize": [False, True],
    },
    "Adagrad": {
        "lr": [0.1],
        "lr_decay": [0.0, 0.1],
        "weight_decay": [0.0, 0.3],
        "initial_accumulator_value": [0.0, 0.5],
        "eps": [1e-10, 1e-3],
        "maximize": [False, True],
    },
}
SHAPES = [(3, 4), (5,), (), (2, 1, 2)]
LATE = 3  # this parameter joins in a group of its own
STEPS = 50
GROUPS = [(1, 0.1), (2, 0.2)]  # sizes and rates of the groups that schedules drive


def combinations(name):
    """All options of an optimizer that go together."""
    for values in itertools.product(*OPTIONS[name].values()):
        options = dict(zip(OPTIONS[name], values, strict=True))
        if not options.get("nesterov") or (options["momentum"] and not options["dampening"]):
            yield options


def compare(name, options):
    """50 steps beside torch: gradients that are sometimes None, a group that joins later, rates that change."""
    rng = np.random.default_rng(1)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    theirs = [torch.tensor(x, requires_grad=True) for x in start]
    ours = [tz.tensor(x, requires_grad=True) for x in start]
    pair = getattr(torch.optim, name)(theirs[:LATE], **options), getattr(optim, name)(ours[:LATE], **options)
    for step in range(STEPS):
        if step == 20:
            for optimizer, params in zip(pair, (theirs, ours), strict=True):
                optimizer.add_param_group({"params": params[LATE:], "lr": 0.05})
        for i, shape in enumerate(SHAPES):
            gradient = None if step % 7 == i else rng.standard_normal(shape)
            theirs[i].grad = None if gradient is None else torch.tensor(gradient)
            ours[i].grad = None if gradient is None else tz.tensor(gradient)
        for optimizer in pair:
            optimizer.param_groups[0]["lr"] = options["lr"] * (1 + step % 3)
            optimizer.step()
        worst = max(np.abs(a.numpy() - b.detach().numpy()).max() for a, b in zip(ours, theirs, strict=True))
        assert worst <= 1e-12, f"{name}({options}) is off by {worst} at step {step}"


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OPTIONS)
def test_every_combination_of_options_equals_torch(name):
    cases = list(combinations(name))
    assert len(cases) >= 20
    for options in cases:
        compare(name, options)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OPTIONS)
def test_the_array_formulas_equal_torch(name, monkeypatch):
    monkeypatch.setattr(dispatch, "module", lambda package: None)
    for options in list(combinations(name))[::5]:
        compare(name, options)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OPTIONS)
def test_names_order_and_defaults_are_torchs(name):
    here, there = [tz.tensor([1.0])], [torch.ones(1)]
    ours = getattr(optim, name)(here).defaults
    theirs = getattr(torch.optim, name)(there).defaults
    assert ours == {key: theirs[key] for key in ours}
    positional = [0.5, (0.1, 0.2), 0.3, 0.4, True] if name.startswith("Adam") else [0.5, 0.4, 0.3, 0.2, 0.1]
    positional = positional if name != "SGD" else [0.5, 0.4, 0.0, 0.3, True]
    ours, theirs = (getattr(o, name)(p, *positional).defaults for o, p in ((optim, here), (torch.optim, there)))
    assert ours == {key: theirs[key] for key in ours}


@pytest.mark.oracle("torch")
def test_momentum_that_changes_while_it_trains_equals_torch():
    options = {"lr": 0.1, "momentum": 0.0, "dampening": 0.4}
    theirs, ours = torch.zeros(3, dtype=torch.float64, requires_grad=True), tz.zeros(3, dtype="float64")
    pair = torch.optim.SGD([theirs], **options), optim.SGD([ours], **options)
    rng = np.random.default_rng(2)
    for step in range(12):
        gradient = rng.standard_normal(3)
        theirs.grad, ours.grad = torch.tensor(gradient), tz.tensor(gradient)
        for optimizer in pair:
            optimizer.param_groups[0]["momentum"] = 0.0 if step % 8 < 4 else 0.9
            optimizer.step()
    assert np.abs(ours.numpy() - theirs.detach().numpy()).max() <= 1e-12


def schedules(module, optimizer, warmup):
    """Schedules of ours or of torch with equal arguments, by name."""
    half = [lambda step: 0.5**step, lambda step: 1 / (1 + step)]
    yield "LambdaLR", lambda: module.LambdaLR(optimizer(), half)
    yield "LambdaLR shared", lambda: module.LambdaLR(optimizer(), half[0])
    yield "StepLR", lambda: module.StepLR(optimizer(), 7, 0.3)
    yield "StepLR defaults", lambda: module.StepLR(optimizer(), 10)
    yield "CosineAnnealingLR", lambda: module.CosineAnnealingLR(optimizer(), 13, 0.01)
    yield "CosineAnnealingLR defaults", lambda: module.CosineAnnealingLR(optimizer(), 60)
    cycles = {
        "pct_start": [0.1, 0.3, 0.45],
        "anneal_strategy": ["cos", "linear"],
        "cycle_momentum": [False, True],
        "three_phase": [False, True],
    }
    for values in itertools.product(*cycles.values()):
        options = dict(zip(cycles, values, strict=True))
        length = {"epochs": 6, "steps_per_epoch": 10} if options["three_phase"] else {"total_steps": 60}
        options |= {"max_lr": [0.3, 0.5], "base_momentum": 0.8, "max_momentum": [0.9, 0.95], **length}
        yield f"OneCycleLR {options}", lambda options=options: module.OneCycleLR(optimizer(), **options)
    yield "OneCycleLR defaults", lambda: module.OneCycleLR(optimizer(), 0.3, 60)
    yield "warm-up", lambda: warmup(optimizer(), 10, lambda o: module.CosineAnnealingLR(o, 30))
    yield "warm-up to one cycle", lambda: warmup(optimizer(), 5, lambda o: module.OneCycleLR(o, 0.4, 58))


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_schedules_equal_torch(name):
    lr_scheduler = torch.optim.lr_scheduler

    options = {"momentum": 0.9} if name == "SGD" else {}

    def ours():
        return getattr(optim, name)([{"params": [tz.zeros(n)], "lr": lr} for n, lr in GROUPS], **options)

    def theirs():
        return getattr(torch.optim, name)([{"params": [torch.zeros(n)], "lr": lr} for n, lr in GROUPS], **options)

    def our_warmup(optimizer, steps, after):
        return optim.LinearWarmup(optimizer, steps, after(optimizer), start_factor=0.2)

    def their_warmup(optimizer, steps, after):
        first = lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=steps)
        return lr_scheduler.SequentialLR(optimizer, [first, after(optimizer)], milestones=[steps])

    pairs = zip(schedules(optim, ours, our_warmup), schedules(lr_scheduler, theirs, their_warmup), strict=True)
    for (label, make_ours), (_, make_theirs) in pairs:
        a, b = make_ours(), make_theirs()
        for step in range(60):
            if label != "warm-up to one cycle" or step >= 5:  # torch sets its first rates when the cycle is made
                assert np.allclose(a.get_last_lr(), b.get_last_lr(), rtol=0, atol=1e-12), (label, step)
                for ga, gb in zip(a.optimizer.param_groups, b.optimizer.param_groups, strict=True):
                    key = "momentum" if name == "SGD" else "betas"
                    assert np.allclose(ga[key], gb[key], rtol=0, atol=1e-12), (label, step, key)
            b.optimizer.step()
            a.step()
            b.step()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("norm_type", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 3.0, 1e6])
def test_clip_grad_norm_equals_torch(norm_type, max_norm):
    rng = np.random.default_rng(3)
    ours = [tz.tensor(np.zeros(shape), requires_grad=True) for shape in SHAPES]
    theirs = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES]
    for a, b in list(zip(ours, theirs, strict=True))[1:]:  # the first has none
        gradient = rng.standard_normal(a.shape)
        a.grad, b.grad = tz.tensor(gradient), torch.tensor(gradient)
    norm = optim.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item()
    assert norm.item() == pytest.approx(expected, rel=1e-13)
    for a, b in list(zip(ours, theirs, strict=True))[1:]:
        assert np.allclose(a.grad.numpy(), b.grad.numpy(), rtol=0, atol=1e-12)
    optim.clip_grad_value_(ours, 0.02)
    torch.nn.utils.clip_grad_value_(theirs, 0.02)
    for a, b in list(zip(ours, theirs, strict=True))[1:]:
        assert np.allclose(a.grad.numpy(), b.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_clip_grad_norm_of_much_equals_torch(norm_type, dtype):
    rng = np.random.default_rng(4)
    shapes = [(300, 200), (7,), (), (150_001,)]
    for strided in (False, True):
        gradients = [rng.standard_normal((*shape, 2)).astype(dtype)[..., 0] for shape in shapes]
        ours = [tz.tensor(np.zeros(shape, dtype), requires_grad=True) for shape in shapes]
        theirs = [torch.zeros(shape, dtype=getattr(torch, dtype), requires_grad=True) for shape in shapes]
        for a, b, g in zip(ours, theirs, gradients, strict=True):
            a.grad, b.grad = tz.tensor(g), torch.tensor(g)
            a.grad._data = g if strided else a.grad._data
        norm = optim.clip_grad_norm_(ours, 1.5, norm_type)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm_type)
        assert norm.item() == pytest.approx(expected.item(), rel=1e-6 if dtype == "float32" else 1e-13)
        for a, b in zip(ours, theirs, strict=True):
            assert np.allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5 if dtype == "float32" else 1e-12, atol=0)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_is_torchs(bad):
    gradient = np.array([1.0, bad, -2.0], np.float32)
    for checked in (True, False):
        p, q = tz.tensor([0.0] * 3, requires_grad=True), torch.zeros(3, requires_grad=True)
        p.grad, q.grad = tz.tensor(gradient), torch.tensor(gradient)
        if checked:
            with pytest.raises(NonFiniteError):
                optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
            with pytest.raises(RuntimeError):
                torch.nn.utils.clip_grad_norm_([q], 1.0, error_if_nonfinite=True)
        else:
            norm, expected = optim.clip_grad_norm_([p], 1.0), torch.nn.utils.clip_grad_norm_([q], 1.0)
            assert np.array_equal(norm.numpy(), expected.numpy(), equal_nan=True)
        assert np.array_equal(p.grad.numpy(), q.grad.numpy(), equal_nan=True)


def test_goldens_made_by_torch():
    golden = np.load(Path(__file__).parent / "goldens" / "optim.npz")
    grads = [golden["grads.0"], golden["grads.1"]]
    for k, (name, options) in enumerate(json.loads(str(golden["cases"]))):
        params = [tz.tensor(golden[f"start.{i}"], requires_grad=True) for i in range(2)]
        optimizer = getattr(optim, name)(params, **options)
        for step in range(len(grads[0])):
            for p, g in zip(params, grads, strict=True):
                p.grad = tz.tensor(g[step])
            optimizer.step()
        for i, p in enumerate(params):
            assert np.abs(p.numpy() - golden[f"case.{k}.{i}"]).max() <= 1e-12, (name, options)
    for k, (name, options) in enumerate(json.loads(str(golden["schedules"]))):
        schedule = getattr(optim, name)(optim.SGD([tz.zeros(1)], lr=0.2, momentum=0.9), **options)
        for rate in golden[f"rates.{k}"]:
            assert abs(schedule.get_last_lr()[0] - rate) <= 1e-12, (name, options)
            schedule.step()
