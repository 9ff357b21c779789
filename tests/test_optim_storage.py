"""Flat storage: parameters become views of their optimizer's buffer, and what happens when somebody moves them."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.errors import CheckpointError, GradientError, ShapeError, UsageError


def parameter(values, dtype="float32"):
    return nn.Parameter(np.asarray(values, dtype))


def mlp(seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(3, 5, rng=rng), nn.Tanh(), nn.Linear(5, 2, rng=rng))


def descend(model, *optimizers, steps=1, seed=1):
    """Steps of each optimizer, in turn, on a fixed loss."""
    x = tz.tensor(np.random.default_rng(seed).standard_normal((7, 3)), dtype=next(model.parameters()).dtype)
    for _ in range(steps):
        for optimizer in optimizers:
            model.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()


def values(model):
    return [p.numpy().copy() for p in model.parameters()]


def base(p):
    return p.data.base


def test_parameters_become_views_of_one_buffer_with_their_values():
    params = [parameter(np.arange(6.0).reshape(2, 3)), parameter(7.0), parameter(np.zeros((0, 4))), parameter([8.0])]
    versions = [p.version[0] for p in params]
    before = [p.numpy().copy() for p in params]
    optim.Adam(params)
    assert all(base(p) is base(params[0]) is not None for p in params)
    assert base(params[0]).tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert all(np.array_equal(p.numpy(), x) and p.shape == x.shape for p, x in zip(params, before, strict=True))
    assert versions == [p.version[0] for p in params]


def test_a_graph_recorded_before_construction_is_still_right():
    w = parameter([[1.0, 2.0], [3.0, 4.0]])
    transposed, x = w.T, tz.tensor([[1.0, -1.0]])
    loss = ((x @ transposed) ** 2 * w.sum()).sum()
    optimizer = optim.SGD([w], lr=0.1)
    loss.backward(create_graph=True)
    other = parameter([[1.0, 2.0], [3.0, 4.0]])
    ((x @ other.T) ** 2 * other.sum()).sum().backward()
    assert np.array_equal(w.grad.numpy(), other.grad.numpy())
    optimizer.step()
    assert np.allclose(w.numpy(), other.numpy() - 0.1 * other.grad.numpy())


def test_a_backward_that_still_needs_the_old_values_raises():
    w = parameter([2.0])
    optimizer = optim.SGD([w], lr=0.1)
    first, second = (w * w).sum(), (w * w).sum()
    first.backward()
    optimizer.step()
    with pytest.raises(GradientError, match="written after the forward"):
        second.backward()


def test_gradients_of_any_layout_are_gathered_and_left_alone():
    w, b = parameter(np.zeros((3, 4))), parameter(np.zeros(4))
    optimizer = optim.SGD([w, b], lr=1.0)
    g = np.arange(12.0, dtype=np.float32)
    w.grad = tz.as_tensor(g.reshape(4, 3).T)
    b.grad = tz.as_tensor(np.arange(8, dtype=np.float32)[::-2])
    kept = w.grad.numpy().copy()
    optimizer.step()
    assert np.array_equal(w.numpy(), -g.reshape(4, 3).T) and b.tolist() == [-7, -5, -3, -1]
    assert np.array_equal(w.grad.numpy(), kept) and not np.shares_memory(w.grad.numpy(), base(w))


@pytest.mark.parametrize("method", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_contiguous_gradients_are_read_where_they_lie_and_let_go_of(method, monkeypatch):
    params = [parameter(np.ones((3, 4))), parameter(np.ones(5)), parameter(np.ones(2))]
    optimizer, reference = method(params, lr=0.5), [parameter(np.ones(p.shape)) for p in params]
    copying, joined = method(reference, lr=0.5), []

    def join(arrays, axis, out):
        joined.append(len(arrays))
        return np.concatenate(arrays, axis=axis, out=out)

    monkeypatch.delattr(optimizer._flats[0][0], "join")
    monkeypatch.setattr(copying._flats[0][0], "join", join)
    rng = np.random.default_rng(0)
    for step in range(3):
        for p, q in zip(params, reference, strict=True):
            p.grad = tz.tensor(rng.standard_normal(p.shape), dtype="float32")
            q.grad = tz.as_tensor(p.grad.numpy())
        q.grad._data = np.repeat(q.grad._data, 2)[::2]  # the last one is strided, so all are joined
        if step == 1:  # two runs
            params[1].grad = reference[1].grad = None
        optimizer.step()
        copying.step()
    assert joined == [3, 1, 3 if method is optim.SGD else 1]  # SGD counts no steps, so it has one run again
    assert [p.numpy().tobytes() for p in params] == [q.numpy().tobytes() for q in reference]
    gone = weakref.ref(params[0].grad._data)
    optimizer.zero_grad()
    assert gone() is None


def test_a_gradient_in_another_dtype_is_converted():
    w = parameter([1.0, 2.0])
    optimizer = optim.SGD([w], lr=1.0)
    w.grad = tz.tensor([0.5, 0.25])
    w.grad.data = w.grad.data.astype(np.float64)
    optimizer.step()
    assert w.tolist() == [0.5, 1.75] and w.dtype == "float32"


def test_assigned_data_is_taken_back_with_its_value():
    w, b = parameter([1.0, 2.0]), parameter([3.0])
    optimizer = optim.SGD([w, b], lr=1.0)
    given = np.array([10.0, 20.0], np.float32)
    w.data = given
    w.grad, b.grad = tz.tensor([1.0, 1.0]), tz.tensor([1.0])
    optimizer.step()
    assert w.tolist() == [9, 19] and b.tolist() == [2] and given.tolist() == [10, 20]
    assert base(w) is base(b)


def test_exchanged_parameters_stay_exchanged():
    a, b = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    optimizer = optim.SGD([a, b], lr=1.0)
    a.data, b.data = b.data, a.data
    a.grad = tz.tensor([1.0, 1.0])
    optimizer.step()
    assert a.tolist() == [2, 3] and b.tolist() == [1, 2]


def test_a_parameter_of_another_shape_is_refused():
    w = parameter([1.0, 2.0])
    optimizer = optim.SGD([w])
    w.data = np.zeros(3, np.float32)
    with pytest.raises(ShapeError, match="make a new optimizer"):
        optimizer.step()


def test_loading_a_module_writes_into_the_buffer():
    model, other = mlp(0), mlp(1)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    views = [p.data for p in model.parameters()]
    model.load_state_dict(other.state_dict())
    assert all(p.data is view for p, view in zip(model.parameters(), views, strict=True))
    descend(model, optimizer)
    descend(other, optim.Adam(other.parameters(), lr=0.1))
    assert all(np.array_equal(a, b) for a, b in zip(values(model), values(other), strict=True))


def test_a_module_converted_between_steps_takes_its_state_along():
    model, reference = mlp(), mlp().to("float64")
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    right = optim.Adam(reference.parameters(), lr=0.01)
    descend(model, optimizer, steps=3)
    model.to("float64")
    descend(reference, right, steps=3)
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        q.data = p.data.copy()
    descend(model, optimizer, steps=3)
    descend(reference, right, steps=3)
    state = optimizer.state_dict()["state"]
    assert all(s["step"] == 6 and s["exp_avg"].dtype == "float64" for s in state.values())
    for a, b in zip(values(model), values(reference), strict=True):
        assert a.dtype == "float64" and np.allclose(a, b, rtol=0, atol=1e-5)
    assert len({id(base(p)) for p in model.parameters()}) == 1


def test_parameters_of_several_dtypes_train_side_by_side():
    mixed = [parameter([1.0], "float32"), parameter([1.0], "float64"), parameter([1.0], "float32")]
    optimizer = optim.AdamW(mixed, lr=0.1)
    for _ in range(3):
        for p in mixed:
            p.grad = tz.tensor(np.full(1, 0.5, p.dtype))
        optimizer.step()
    assert base(mixed[0]) is base(mixed[2]) is not base(mixed[1])
    assert [p.dtype.name for p in mixed] == ["float32", "float64", "float32"]
    assert mixed[0].item() == mixed[2].item() == pytest.approx(mixed[1].item(), abs=1e-6)
    assert sorted(optimizer.state_dict()["state"]) == [0, 1, 2]


def test_two_optimizers_over_the_same_parameters_take_turns():
    model = mlp()
    pair = optim.SGD(model.parameters(), lr=0.1, momentum=0.9), optim.Adam(model.parameters(), lr=0.01)
    descend(model, *pair, steps=4)
    reference = mlp()
    p = [q.numpy().astype(np.float32) for q in reference.parameters()]
    buffers, m, v = ([np.zeros_like(x) for x in p] for _ in range(3))
    for t in range(1, 5):
        for which in range(2):
            for q, x in zip(reference.parameters(), p, strict=True):
                q.data = x
            descend(reference)
            reference.zero_grad()
            x = tz.tensor(np.random.default_rng(1).standard_normal((7, 3)), dtype="float32")
            (reference(x) ** 2).mean().backward()
            for i, q in enumerate(reference.parameters()):
                g = q.grad.numpy()
                if which == 0:
                    buffers[i] = 0.9 * buffers[i] + g
                    p[i] = p[i] - 0.1 * buffers[i]
                else:
                    m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
                    p[i] = p[i] - 0.01 * (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    assert all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(values(model), p, strict=True))


def test_tied_weights_are_one_parameter():
    shared = parameter([1.0, 2.0])
    model = nn.Module()
    model.encoder, model.decoder = [shared], {"w": shared}
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    (model.encoder[0].sum() + 3 * model.decoder["w"].sum()).backward()
    optimizer.step()
    assert shared.tolist() == [-3, -2] and len(optimizer.param_groups[0]["params"]) == 1


def test_a_parameter_given_twice_or_sharing_memory_is_refused():
    p, q = parameter([1.0, 2.0, 3.0]), parameter([4.0])
    for params in ([p, q, p], [{"params": [p]}, {"params": [q, p]}]):
        with pytest.raises(UsageError, match="given twice"):
            optim.SGD(params)
    twin, column, other = parameter([0.0] * 3), parameter([0.0, 0.0]), parameter([0.0])
    twin.data = p.data
    matrix = np.zeros((2, 2), np.float32)
    column.data, other.data = matrix[:, 0], matrix[:1, 1]
    with pytest.raises(UsageError, match="share memory"):
        optim.SGD([q, p, twin])
    optim.SGD([p, q, column, other])  # interleaved, but apart


def test_state_is_a_copy_and_its_groups_are_json():
    w = parameter([1.0])
    optimizer = optim.Adam([{"params": [w], "name": "only"}], lr=0.1, amsgrad=True)
    assert optimizer.state_dict()["state"] == {}
    w.grad = tz.tensor([1.0])
    optimizer.step()
    saved = optimizer.state_dict()
    text = json.dumps(saved["param_groups"])
    before = {name: np.array(value) for name, value in saved["state"][0].items()}
    optimizer.step()
    assert all(np.array_equal(before[name], value) for name, value in saved["state"][0].items())
    assert sorted(before) == ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"]
    fresh = optim.Adam([parameter([1.0])])
    fresh.load_state_dict({"state": {"0": saved["state"][0]}, "param_groups": json.loads(text)})
    assert fresh.param_groups[0]["betas"] == (0.9, 0.999) and fresh.param_groups[0]["name"] == "only"
    assert fresh.state_dict()["state"][0]["step"] == 1


@pytest.mark.parametrize("fault", ["groups", "shape", "optimizer"])
def test_a_state_that_does_not_fit_changes_nothing(fault):
    def stepped(method, *shapes):
        params = [parameter(np.ones(shape)) for shape in shapes]
        optimizer = method(params, lr=0.5)
        for p in params:
            p.grad = tz.ones(p.shape)
        optimizer.step()
        return optimizer

    optimizer = stepped(optim.Adam, 2, 3)
    wrong = {"groups": (optim.Adam, 2), "shape": (optim.Adam, 2, 4), "optimizer": (optim.SGD, 2, 3)}[fault]
    saved, before = stepped(*wrong).state_dict(), repr(optimizer.state_dict())
    with pytest.raises(CheckpointError, match=r"expected|another optimizer"):
        optimizer.load_state_dict(saved)
    assert repr(optimizer.state_dict()) == before


@pytest.mark.parametrize(
    ("options", "slot", "message"),
    [
        ({"betas": (2, 3)}, "exp_avg", "betas"),
        ({"lr": -1.0}, "exp_avg", "lr >= 0"),
        ({"lr": "fast"}, "exp_avg", "'>=' not supported"),
        ({}, "momentum", "0.momentum: there are exp_avg, exp_avg_sq, max_exp_avg_sq"),
    ],
)
def test_a_state_that_no_optimizer_can_have_changes_nothing(options, slot, message):
    p = parameter([1.0, 2.0])
    optimizer = optim.Adam([{"params": [p]}, {"params": [parameter([3.0])]}])
    p.grad = tz.ones(2)
    optimizer.step()
    before, saved = repr(optimizer.state_dict()), optimizer.state_dict()
    saved["param_groups"][0]["eps"] = 1e-3
    saved["param_groups"][1] |= options
    saved["state"][0] |= {slot: np.ones(2, np.float32)}
    with pytest.raises(CheckpointError, match=message):
        optimizer.load_state_dict(saved)
    assert repr(optimizer.state_dict()) == before


def test_an_eps_that_rounds_to_0_is_refused_whenever_it_does():
    half, single = (tz.tensor([1.0], dtype=dtype, requires_grad=True) for dtype in ("float16", "float32"))
    for method in (optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        with pytest.raises(UsageError, match=r"eps=1e-(08|10) rounds to 0 in float16; write eps=1e-4"):
            method([single, half])
        method([half], eps=1e-4)
        method([half], eps=0.0)
    optimizer = optim.Adam([half], eps=1e-4)
    with pytest.raises(CheckpointError, match="rounds to 0 in float16"):
        optimizer.load_state_dict(optim.Adam([single]).state_dict())
    optimizer = optim.Adam([single])
    single.data = single.data.astype(np.float16)
    with pytest.raises(UsageError, match="rounds to 0 in float16"):
        optimizer.step()


def test_loading_replaces_state_that_the_saved_run_did_not_have():
    a, b = parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([a, b], lr=0.1, momentum=0.9)
    fresh = optimizer.state_dict()
    for p in (a, b):
        p.grad = tz.tensor([1.0])
    optimizer.step()
    optimizer.load_state_dict(fresh)
    assert optimizer.state_dict()["state"] == {}
    before = a.item()
    optimizer.step()
    assert a.item() == pytest.approx(before - 0.1, abs=1e-7)  # as a first step


def test_a_gradient_left_behind_on_another_device_is_named(monkeypatch):
    from tinygrad_zoo.errors import DeviceError
    from tinygrad_zoo.optim import flat

    w = parameter([1.0])
    optimizer = optim.SGD([w])
    w.grad = tz.tensor([1.0])
    w.data = np.ones(1, np.float32)
    left = w.grad
    monkeypatch.setattr(flat, "kind_of", lambda x: (x.dtype, "cpu" if x is left else "cupy:0"))
    with pytest.raises(DeviceError, match="zero_grad"):
        optimizer.step()
