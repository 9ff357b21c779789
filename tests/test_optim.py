"""Rows E1 and E2: the formulas of Adam and AdamW, what they imply in closed form, and the faults that must show."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.errors import DTypeError, UsageError

METHODS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad]
LR, BETAS, EPS, DECAY = 0.05, (0.8, 0.95), 1e-3, 0.3


def parameter(values, dtype="float64"):
    return tz.tensor(np.array(values, dtype), requires_grad=True)


def train(optimizer, params, gradients):
    """One step for each row of `gradients`, which has an array, or None, for each parameter."""
    for row in gradients:
        for p, g in zip(params, row, strict=True):
            p.grad = None if g is None else tz.tensor(np.asarray(g, p.dtype))
        optimizer.step()


# ---- E1 and E2 written out for one number, and a history with everything that optimizers get wrong


def equations(start, gradients, decoupled):
    """E1 (with L2) or E2 (decoupled) for one number; a step without a gradient does not exist."""
    theta, m, v, t = start, 0.0, 0.0, 0
    for g in gradients:
        if g is None:
            continue
        t += 1
        g = g if decoupled else g + DECAY * theta
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g**2
        m_hat, v_hat = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
        theta = theta - LR * (m_hat / (math.sqrt(v_hat) + EPS) + (DECAY * theta if decoupled else 0.0))
    return theta


def check_adam(method, decoupled):
    """Three parameters: always a gradient, sometimes none, and one that joins later; saved and reloaded half-way."""
    rng = np.random.default_rng(4)
    start = rng.standard_normal(3)
    history = [[float(g) for g in row] for row in rng.standard_normal((20, 3))]
    for step, row in enumerate(history):
        row[1] = None if step in (0, 5, 6, 13) else row[1]
        row[2] = None if step < 7 else row[2]
    params = [parameter([x]) for x in start]
    options = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}
    optimizer = method(params, **options)
    train(optimizer, params, [[None if g is None else [g] for g in row] for row in history[:10]])
    params = [parameter(p.numpy()) for p in params]
    saved, optimizer = optimizer.state_dict(), method(params, **options)
    optimizer.load_state_dict(saved)
    train(optimizer, params, [[None if g is None else [g] for g in row] for row in history[10:]])
    for i, p in enumerate(params):
        expected = equations(start[i], [row[i] for row in history], decoupled)
        assert abs(p.item() - expected) <= 1e-12, f"parameter {i}: {p.item()}, expected {expected}"


class Faulty(optim.Adam):
    """Adam or AdamW with one fault; without one it is right."""

    fault = ""

    def _update(self, run, group):
        fault = self.fault
        run.t += 1
        self.clock = getattr(self, "clock", 0) + 1
        t = self.clock if fault == "one t for all" else run.t
        lr, decay = group["lr"], group["weight_decay"]
        p, m, v, before = run.data, run.slot("exp_avg"), run.slot("exp_avg_sq"), run.data.copy()
        decoupled = self.decoupled and fault != "Adam+L2 called AdamW"
        g = run.grad if decoupled else run.grad + decay * p
        m[:] = BETAS[0] * m + (1 - BETAS[0]) * g
        v[:] = BETAS[1] * v + (1 - BETAS[1]) * g * g
        unbiased = fault != "no bias correction"
        m_hat = m / (1 - BETAS[0] ** t if unbiased else 1)
        v_hat = v / (1 - BETAS[1] ** t if unbiased else 1)
        p -= lr * m_hat / (np.sqrt(v_hat + EPS) if fault == "eps inside the root" else np.sqrt(v_hat) + EPS)
        if decoupled:
            decayed = p if fault == "decay after the update" else before
            p -= (1.0 if fault == "decay not scaled by lr" else lr) * decay * decayed

    def step(self):
        if self.fault == "None advances the state":
            for p in self.param_groups[0]["params"]:
                if p.grad is None:
                    p.grad = tz.zeros(p.shape, dtype="float64")
        super().step()

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict | ({"state": {}} if self.fault == "state lost on reload" else {}))


ADAM_FAULTS = [
    *("no bias correction", "eps inside the root", "one t for all"),
    *("None advances the state", "state lost on reload"),
]
ADAMW_FAULTS = [*ADAM_FAULTS, "Adam+L2 called AdamW", "decay after the update", "decay not scaled by lr"]


def test_adam_is_e1_and_adamw_is_e2():
    check_adam(optim.Adam, decoupled=False)
    check_adam(optim.AdamW, decoupled=True)
    for decoupled in (False, True):  # the harness below is right where it has no fault
        check_adam(type("Right", (Faulty,), {"decoupled": decoupled}), decoupled)


@pytest.mark.parametrize(
    ("decoupled", "fault"), [*((False, fault) for fault in ADAM_FAULTS), *((True, fault) for fault in ADAMW_FAULTS)]
)
def test_each_fault_is_noticed(decoupled, fault):
    with pytest.raises(AssertionError, match="parameter"):
        check_adam(type("Wrong", (Faulty,), {"decoupled": decoupled, "fault": fault}), decoupled)


# ---- closed forms


@pytest.mark.parametrize("method", [optim.Adam, optim.AdamW])
def test_the_first_step_is_lr_times_the_sign(method):
    gradient = np.array([1e-3, -7.0, 1e6, -2e-2])
    p = parameter(np.zeros(4))
    train(method([p], lr=0.1, eps=1e-12), [p], [[gradient]])
    assert np.allclose(p.numpy(), -0.1 * np.sign(gradient), rtol=1e-8, atol=0)
    p = parameter(np.zeros(4))
    train(method([p], lr=0.1), [p], [[gradient]])
    assert np.allclose(p.numpy(), -0.1 * gradient / (np.abs(gradient) + 1e-8), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_loss_adamw_decays_geometrically_and_adam_moves_by_the_sign(dtype):
    start = np.array([2.0, -3.0, 0.5], dtype)
    p = parameter(start, dtype)
    train(optim.AdamW([p], lr=0.1, weight_decay=0.5), [p], [[np.zeros(3)]] * 30)
    factor, expected = start.dtype.type(1 - 0.1 * 0.5), start.copy()
    for _ in range(30):
        expected = factor * expected
    assert np.array_equal(p.numpy(), expected)
    assert np.allclose(expected, 0.95**30 * start, rtol=1e-5 if dtype == "float32" else 1e-14)
    for decay in (1e-3, 1.0):
        p = parameter(start, dtype)
        train(optim.Adam([p], lr=0.01, weight_decay=decay, eps=1e-12), [p], [[np.zeros(3)]])
        assert np.allclose(p.numpy(), start - 0.01 * np.sign(start), rtol=1e-5)


def displacement(method, gradients, decay):
    """What weight decay changed after all steps."""
    ends = []
    for weight_decay in (decay, 0.0):
        p = parameter([1.0, -2.0, 3.0])
        train(method([p], lr=0.01, weight_decay=weight_decay, eps=1e-12), [p], gradients)
        ends.append(p.numpy())
    return ends[0] - ends[1]


def test_a_large_loss_drowns_l2_but_not_decoupled_decay():
    rng = np.random.default_rng(5)
    rows = [[rng.standard_normal(3)] for _ in range(10)]
    large = [[1e6 * g for g in row] for row in rows]
    assert np.allclose(displacement(optim.AdamW, large, 0.1), displacement(optim.AdamW, rows, 0.1), rtol=1e-6, atol=0)
    small, drowned = displacement(optim.Adam, rows, 0.1), displacement(optim.Adam, large, 0.1)
    assert (np.abs(small) > 1e-4).all() and (np.abs(drowned) < 1e-4 * np.abs(small)).all()


def test_adam_finds_the_minimum_of_rosenbrock():
    theta = parameter([-1.5, 2.0])
    optimizer = optim.Adam([theta], lr=1e-2)
    for _ in range(5000):
        x, y = theta[0], theta[1]
        value = (1 - x) ** 2 + 100 * (y - x**2) ** 2
        if value.item() <= 1e-6:
            break
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() <= 1e-6


def test_adamw_decays_every_weight_alike_on_ill_scaled_data_and_adam_does_not():
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    x = (table.data - table.data.mean(0)) / table.data.std(0)
    x, y = tz.tensor(np.concatenate([x, 100 * x[:, :1]], axis=1)), tz.tensor(table.target.astype(np.float64))
    spread = {}
    for method in (optim.Adam, optim.AdamW):
        w = parameter(np.random.default_rng(6).standard_normal(31))
        optimizer = method([w], lr=0.01, weight_decay=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            tz.binary_cross_entropy_with_logits(x @ w, y).backward()
            optimizer.step()
        before, state, ends = w.numpy().copy(), optimizer.state_dict(), []
        for weight_decay in (0.1, 0.0):  # the same step with and without the decay
            copy = parameter(before)
            twin = method([copy])
            twin.load_state_dict(state)
            twin.param_groups[0]["weight_decay"] = weight_decay
            train(twin, [copy], [[w.grad.numpy()]])
            ends.append(copy.numpy())
        ratio = np.abs(ends[0] - ends[1]) / np.abs(before)
        spread[method.__name__] = float(ratio.max() / ratio.min()) - 1
    print("spread of the decay over the weights:", spread)
    assert spread["AdamW"] <= 1e-12 and spread["Adam"] > 9


def test_rmsprop_adagrad_and_sgd_by_hand():
    p = parameter([1.0])
    train(optim.SGD([p], lr=0.1, momentum=0.5, dampening=0.5, weight_decay=0.1), [p], [[[1.0]], [[1.0]]])
    second = 1.0 - 0.1 * 1.1
    assert p.item() == pytest.approx(second - 0.1 * (0.5 * 1.1 + 0.5 * (1 + 0.1 * second)), rel=1e-15)
    p = parameter([0.0])
    train(optim.Adagrad([p], lr=0.1, lr_decay=1.0, initial_accumulator_value=9.0), [p], [[[4.0]], [[12.0]]])
    assert p.item() == pytest.approx(-0.1 * 4 / 5 - 0.1 / 2 * 12 / 13, rel=1e-9)
    p = parameter([0.0])
    train(optim.RMSprop([p], lr=0.1, alpha=0.75, centered=True, momentum=0.5), [p], [[[4.0]], [[0.0]]])
    first = 4 / math.sqrt(4.0 - 1.0)
    assert p.item() == pytest.approx(-0.1 * first - 0.1 * 0.5 * first, rel=1e-8)


# ---- what every optimizer promises


def options_of(method):
    """Two sets of options that use all the state there is."""
    return {
        optim.SGD: [{}, {"momentum": 0.9, "nesterov": True}],
        optim.RMSprop: [{}, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}],
        optim.Adagrad: [{"initial_accumulator_value": 0.1}, {"lr_decay": 0.1}],
    }.get(method, [{}, {"amsgrad": True, "weight_decay": 0.1}])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumed_from_its_state_is_bitwise_the_same(method, dtype):
    rng = np.random.default_rng(7)
    history = [[None if step % 5 == i else rng.standard_normal(4 + i) for i in range(3)] for step in range(12)]
    for options in options_of(method):
        eps = {"eps": 1e-3} if method is not optim.SGD else {}
        options = {"lr": 0.01, **options, **eps}
        params = [parameter(np.ones(4 + i), dtype) for i in range(3)]
        optimizer = method(params, **options)
        train(optimizer, params, history[:6])
        saved = optimizer.state_dict()
        middle = [p.numpy().copy() for p in params]
        train(optimizer, params, history[6:])
        resumed = [parameter(x, dtype) for x in middle]
        second = method(resumed, lr=99.0, **eps)
        second.load_state_dict(saved)
        train(second, resumed, history[6:])
        assert [p.numpy().tobytes() for p in resumed] == [p.numpy().tobytes() for p in params]
        assert all(np.isfinite(p.numpy()).all() and p.dtype == dtype for p in params)
        first, last = optimizer.state_dict(), second.state_dict()
        assert repr(first) == repr(last)


@pytest.mark.parametrize("method", METHODS)
def test_a_parameter_without_a_gradient_is_not_touched(method):
    for options in options_of(method):
        params = [parameter([1.0, 2.0]), parameter([3.0])]
        optimizer = method(params, **{"lr": 0.1, "weight_decay": 0.1, **options})
        versions = [p.version[0] for p in params]
        train(optimizer, params, [[np.ones(2), None]] * 3)
        assert params[1].item() == 3.0 and params[0].numpy()[0] < 1.0
        assert 1 not in optimizer.state_dict()["state"]
        assert params[0].version[0] != versions[0] and params[1].version[0] == versions[1]
        optimizer.zero_grad()
        before = params[0].numpy().copy()
        optimizer.step()
        assert np.array_equal(before, params[0].numpy()) and all(p.grad is None for p in params)


@pytest.mark.parametrize("method", METHODS)
def test_groups_have_their_own_options_and_maximize_climbs(method):
    a, b, c = parameter([1.0]), parameter([1.0]), parameter([1.0])
    optimizer = method([{"params": a}, {"params": [b], "lr": 0.5, "name": "fast"}], lr=0.1)
    optimizer.add_param_group({"params": (c,), "maximize": True})
    optimizer.param_groups[0]["lr"] = 0.0
    train(optimizer, [a, b, c], [[[1.0], [1.0], [1.0]]])
    assert a.item() == 1.0 and b.item() < 1.0 < c.item()
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.5, 0.1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.Adam([]), UsageError, "no parameters"),
        (lambda: optim.Adam([{"params": []}]), UsageError, "no parameters"),
        (lambda: optim.Adam(parameter([1.0])), DTypeError, "expected a list"),
        (lambda: optim.Adam({"params": [parameter([1.0])]}), DTypeError, "expected a list"),
        (lambda: optim.Adam([np.ones(3)]), DTypeError, "got ndarray"),
        (lambda: optim.Adam([{"lr": 0.1}]), DTypeError, 'a dict with "params"'),
        (lambda: optim.Adam([parameter([1.0]) * 2]), UsageError, "mul made this tensor"),
        (lambda: optim.Adam([tz.tensor([1])]), DTypeError, "floating-point"),
        (lambda: optim.Adam([{"params": [parameter([1.0])], "momentum": 0.9}]), UsageError, "no option 'momentum'"),
        (lambda: optim.Adam([parameter([1.0])], lr=-1.0), UsageError, "lr >= 0"),
        (lambda: optim.Adam([parameter([1.0])], lr=math.nan), UsageError, "lr >= 0"),
        (lambda: optim.Adam([parameter([1.0])], betas=(0.9, 1.0)), UsageError, "betas"),
        (lambda: optim.Adam([parameter([1.0])], eps=-1e-8), UsageError, "eps >= 0"),
        (lambda: optim.AdamW([{"params": parameter([1.0]), "weight_decay": -1}]), UsageError, "weight_decay >= 0"),
        (lambda: optim.SGD([parameter([1.0])], nesterov=True), UsageError, "nesterov"),
        (lambda: optim.SGD([parameter([1.0])], momentum=0.9, dampening=0.1, nesterov=True), UsageError, "nesterov"),
    ],
)
def test_what_cannot_be_optimized_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_faulty_group_leaves_the_optimizer_as_it_was():
    p = parameter([1.0])
    optimizer = optim.SGD([p], lr=0.1)
    for group in ({"params": [p]}, {"params": [parameter([1.0])], "lr": -1.0}):
        with pytest.raises(UsageError):
            optimizer.add_param_group(group)
    train(optimizer, [p], [[[1.0]]])
    assert p.item() == 0.9 and len(optimizer.param_groups) == 1
    assert repr(optimizer) == "SGD(1 parameters, lr=0.1)"


def test_all_neighbours_are_updated_by_one_call(monkeypatch):
    calls = []
    update = optim.Adam._update
    monkeypatch.setattr(optim.Adam, "_update", lambda self, run, group: (calls.append(run), update(self, run, group)))
    params = [parameter(np.ones(i + 1)) for i in range(6)]
    optimizer = optim.Adam(params)
    row = [np.ones(i + 1) for i in range(6)]
    train(optimizer, params, [row] * 3)
    assert len(calls) == 3 and len({id(run) for run in calls}) == 1  # one run, kept from step to step
    assert calls[0].data.size == 21
    calls.clear()
    train(optimizer, params, [[None if i == 2 else g for i, g in enumerate(row)]])
    assert [len(run.params) for run in calls] == [2, 3]
    calls.clear()
    train(optimizer, params, [row])
    assert [len(run.params) for run in calls] == [2, 1, 3]  # the third is a step behind
    steps = [state["step"] for state in optimizer.state_dict()["state"].values()]
    assert steps == [5, 5, 4, 5, 5, 5]


def test_a_module_in_place_of_its_parameters_is_refused() -> None:
    model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    with pytest.raises(DTypeError, match=r"SGD: params is a Linear: write model\.parameters\(\)"):
        optim.SGD(model, lr=0.1)
    with pytest.raises(DTypeError, match="SGD: params is a int: write a list of tensors"):
        optim.SGD(3, lr=0.1)
