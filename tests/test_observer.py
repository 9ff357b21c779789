"""The observer slot: what it sees, that watching changes no bit, and anomaly mode on top of it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.anomaly import detect_anomaly
from tinygrad_zoo.autograd import Op, fused, gradients
from tinygrad_zoo.errors import GradientError, NonFiniteError
from tinygrad_zoo.grad_mode import observe, state
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.tensor import Tensor


def leaf(*values: float) -> Tensor:
    return tz.tensor(np.array(values, "float64"), requires_grad=True)


@fused(formula=lambda x, y: x * x * y, backward=lambda g, out, x, y, needs: [2 * g * x * y, g * x * x])
def cubic(x: Any, y: Any) -> Any:
    return x * x * y


def test_the_observer_sees_forward_rules_and_accumulation() -> None:
    calls: list[tuple[str, Any]] = []

    def observer(op: Any, inputs: Any, settings: Any, outputs: Any, node: Any) -> None:
        assert all(o is None or type(o) is np.ndarray for o in outputs)  # a kernel gives None where nothing is needed
        assert node is None or (node.op is op and node.outputs is outputs)
        calls.append((op.__name__, state.node and state.node.op.__name__))

    x, y = leaf(1, 2), leaf(3, 4)
    with observe(observer):
        loss = cubic(x, y).sum() + (x * x).sum()
        assert calls == [("cubic", None), ("sum", None), ("mul", None), ("sum", None), ("add", None)]
        calls.clear()
        loss.backward()
        assert ("cubic_backward", "cubic") in calls and ("mul", "mul") in calls
        assert ("add", "mul") in calls or calls.count(("add", "cubic")) == 1  # the two paths to x
        assert [c for c, _ in calls].count("copy") == 2  # into .grad
        calls.clear()
        ops.add(x.data, y.data)  # arrays go unseen
        assert calls == []
        with pytest.raises(GradientError, match="an observer is already set"), observe(observer):
            pass
    assert state.observer is None and state.node is None
    x * y
    assert calls == []


def test_the_observer_goes_when_the_body_fails() -> None:
    with pytest.raises(KeyError), observe(lambda *call: None):
        raise KeyError
    assert state.observer is None


DIFFERENTIABLE = sorted(
    name for name, op in vars(ops).items() if isinstance(op, Op) and op.differentiable and op.samples is not None
)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_recorded_mode_equals_raw_mode_bitwise(name: str) -> None:
    op: Op = getattr(ops, name)
    assert op.samples is not None
    for case in op.samples(Draw(np.random.default_rng(3))):
        inputs, settings = case if isinstance(case, Sample) else (case, {})
        tensors = [tz.tensor(a) if hasattr(a, "dtype") else a for a in inputs]
        wanted = [t for t in tensors if isinstance(t, Tensor) and t.dtype.kind == "f"]
        for t in wanted if name != "cross_entropy" else wanted[:1]:
            t.requires_grad = True
        out = op(*tensors, **settings)
        outs = [o for o in (out if isinstance(out, tuple) else (out,)) if o.requires_grad]
        seeds = [np.random.default_rng(5).standard_normal(o.shape) for o in outs]
        raw = gradients(outs, wanted, seeds)
        with observe(lambda *call: None):
            recorded = gradients(outs, wanted, seeds)
        for a, b in zip(raw, recorded, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.node is b.node is None
                assert (a.dtype, a.shape, a.data.tobytes()) == (b.dtype, b.shape, b.data.tobytes())


# ---- anomaly mode


def line_of(text: str) -> str:
    """file:line of the caller's first line with `text`."""
    code = inspect.currentframe().f_back.f_code  # type: ignore[union-attr]
    lines, start = inspect.getsourcelines(code)
    return f"{code.co_filename}:{start + next(i for i, line in enumerate(lines) if text in line)}"


def test_anomaly_mode_names_the_op_and_the_line_of_a_forward() -> None:
    with pytest.raises(NonFiniteError) as caught, detect_anomaly():
        x = tz.tensor([1.0, 0.0])
        y = x * 2
        tz.log(y) + 1  # here
    message = str(caught.value)
    assert message.startswith("forward: log made 1 NaN or Inf of 2 values") and line_of("# here") in message
    tz.log(tz.tensor([0.0]))  # outside nothing is watched


def test_anomaly_mode_names_the_op_whose_gradient_failed_and_where_it_was_called() -> None:
    with pytest.raises(NonFiniteError) as caught, detect_anomaly():
        x = tz.tensor([4.0, 0.0], requires_grad=True)
        root = tz.sqrt(x)  # finite, its slope is not
        root.sum().backward()
    message = str(caught.value)
    assert message.startswith("backward: div made 1 NaN or Inf") and "the gradient of sqrt" in message
    assert line_of("# finite, its slope is not") in message
    assert x.grad is None and state.observer is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_anomaly_mode_lets_the_finite_pass(create_graph: bool) -> None:
    x = leaf(1, 2)
    with detect_anomaly():
        (cubic(x, x) + tz.checkpoint(lambda v: v * v, x)).sum().backward(create_graph=create_graph)
    assert x.grad.tolist() == [5, 16]
