"""The walk and the graph it walks: length, accumulation, modes, memory and versions."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import alias, gradients, primitive
from tinygrad_zoo.errors import DTypeError, GradientError, ShapeError, TinygradZooError
from tinygrad_zoo.grad_mode import state
from tinygrad_zoo.tensor import Tensor


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counts free memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(*values: float, dtype: str = "float64") -> Tensor:
    return tz.tensor(np.array(values, dtype), requires_grad=True)


def derivative(y: Any, x: Any, create_graph: bool = True) -> Any:
    """The gradient of the sum of y."""
    (g,) = gradients([y], [x], [np.ones(y.shape, y.dtype)], create_graph=create_graph)
    return g


# ---- long chains


@pytest.mark.parametrize("length", [100_000, 300_000])
def test_long_chains_run_and_are_freed_without_recursion(length: int, no_collector: None) -> None:
    x = leaf(1.0)
    y = x
    for _ in range(length):
        y = alias(y)
    node = weakref.ref(y.node)
    (y + y).sum().backward()
    assert x.grad.item() == 2
    del y
    assert node() is None


def test_a_long_chain_has_a_second_derivative() -> None:
    x = leaf(1.0)
    y = x * x
    for _ in range(20_000):
        y = alias(y)
    assert derivative(derivative(y, x), x, create_graph=False).item() == 2


# ---- accumulation and .grad


def test_gradients_add_up_over_uses_and_over_walks() -> None:
    x = leaf(3)
    y = x * x + x * 2 + x
    y.sum().backward()
    assert x.grad.item() == 9
    y.sum().backward()
    assert x.grad.item() == 18
    x.grad = None
    (x * x).sum().backward(create_graph=True)
    (x * x).sum().backward()
    assert x.grad.item() == 12


def test_grad_owns_its_memory() -> None:
    a, b = leaf(1, 2), leaf(3, 4)
    seed = tz.tensor(np.ones(2))
    (a + b).backward(seed)
    for one, other in [(a.grad, b.grad), (a.grad, seed), (b.grad, seed)]:
        assert not np.shares_memory(one.data, other.data)
    a.grad.data[...] = 7
    assert b.grad.tolist() == seed.tolist() == [1, 1]
    kept = tz.tensor(np.ones(2))
    a.grad = kept
    (2 * a).sum().backward()
    assert a.grad.tolist() == [3, 3] and kept.tolist() == [1, 1]
    c = leaf(1, 2)
    c.sum().backward()  # the rule hands out a broadcast view
    assert c.grad.data.flags.writeable and c.grad.data.strides == (8,)
    for create_graph in (False, True):
        c.grad = None
        c.backward(seed, create_graph=create_graph)
        assert not np.shares_memory(c.grad.data, seed.data)


def test_a_tensor_that_was_not_used_keeps_grad_none() -> None:
    x, unused = leaf(1), leaf(2)
    (x * 2).sum().backward()
    assert unused.grad is None


def test_grad_takes_only_tensors_of_its_own_shape_and_dtype() -> None:
    x = leaf(1, 2)
    with pytest.raises(DTypeError, match="Tensor or None, got ndarray"):
        x.grad = np.ones(2)
    with pytest.raises(ShapeError, match=r"shape \(2,\), got \(3,\)"):
        x.grad = tz.zeros(3, dtype="float64")
    with pytest.raises(DTypeError, match="expected float64, got float32"):
        x.grad = tz.zeros(2)


def test_promotion_is_undone() -> None:
    parameter = tz.tensor([1.0, 2.0], requires_grad=True)
    (parameter * np.ones(2)).sum().backward()
    assert parameter.grad.dtype == np.float32
    parameter.grad = None
    (parameter * tz.tensor([3, 4])).sum().backward(create_graph=True)
    assert parameter.grad.dtype == np.float32 and parameter.grad.tolist() == [3, 4]
    half = tz.tensor(np.ones(2, np.float16), requires_grad=True)
    other = tz.tensor(np.ones(2), requires_grad=True)
    (half * parameter * other).sum().backward()
    assert half.grad.dtype == np.float16 and other.grad.dtype == np.float64


def test_a_seed_takes_the_dtype_of_the_output() -> None:
    seen: list[Any] = []
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: seen.append(g.dtype))
    y.backward(np.array([1.0, 2.0]))
    y.backward([1, 2])
    y.backward(tz.tensor([1, 2]), create_graph=True)
    assert seen == [np.float32] * 3 and x.grad.tolist() == [6, 12]


@pytest.mark.parametrize("shapes", [((3,), (2, 3)), ((2, 1), (1, 3)), ((), (2, 3)), ((1, 1), (4, 2, 3)), ((1,), (0,))])
@pytest.mark.parametrize("create_graph", [False, True])
def test_broadcasting_is_undone(shapes: Any, create_graph: bool, rng: np.random.Generator) -> None:
    x, y = (tz.tensor(rng.standard_normal(s), requires_grad=True) for s in shapes)
    out = x * y
    weights = rng.standard_normal(out.shape)
    gx, gy = gradients([out], [x, y], [weights], create_graph=create_graph)
    for g, t, other in ((gx, x, y), (gy, y, x)):
        assert g.shape == t.shape
        for at in np.ndindex(t.shape):
            unit = np.zeros(t.shape)
            unit[at] = 1
            assert g.data[at] == pytest.approx(float((weights * unit * other.data).sum()), abs=1e-12)


# ---- modes


def test_no_grad_and_enable_grad_nest_and_come_back_after_an_error() -> None:
    x = leaf(2)

    def recorded() -> bool:
        return (x * x).requires_grad

    with tz.no_grad():
        assert not recorded() and not tz.is_grad_enabled()
        with tz.enable_grad():
            assert recorded()
            with tz.no_grad():
                assert not recorded()
            assert recorded()
        assert not recorded()
        with pytest.raises(KeyError), tz.enable_grad():
            raise KeyError
        assert not recorded()
    assert recorded()
    mode = tz.no_grad()
    with mode, mode:
        assert not recorded()
    assert recorded()


def test_no_grad_and_enable_grad_decorate_functions() -> None:
    x = leaf(2)

    @tz.no_grad()
    def frozen(n: int) -> bool:
        """Its own doc."""
        return (x * x).requires_grad or (n > 0 and frozen(n - 1))

    @tz.enable_grad()
    def live() -> bool:
        return (x * x).requires_grad

    assert not frozen(3) and tz.is_grad_enabled()
    with tz.no_grad():
        assert live() and not tz.is_grad_enabled()
    assert frozen.__doc__ == "Its own doc."


def test_the_mode_belongs_to_the_thread() -> None:
    inside, leave = threading.Barrier(2), threading.Barrier(2)
    seen: list[bool] = []

    @tz.no_grad()
    def in_step() -> None:
        inside.wait()
        leave.wait()

    def other() -> None:
        seen.append(tz.is_grad_enabled())  # the main thread is in no_grad
        in_step()
        seen.append(tz.is_grad_enabled())

    with tz.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        in_step()  # one decorated function in two threads, each with another mode around it
        thread.join()
        assert not tz.is_grad_enabled()
    assert seen == [True, True] and tz.is_grad_enabled()


def test_backward_runs_in_threads(rng: np.random.Generator) -> None:
    results: list[Any] = [None] * 4
    values = rng.standard_normal((4, 50))

    def work(i: int) -> None:
        x = tz.tensor(values[i], requires_grad=True)
        for _ in range(20):
            (x * x).sum().backward()
        results[i] = x.grad.numpy()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result, value in zip(results, values, strict=True):
        np.testing.assert_allclose(result, 40 * value, rtol=1e-12)


def test_detach_leaves_the_graph_and_keeps_the_memory() -> None:
    x = leaf(2)
    y = x * x
    d = y.detach()
    assert d.node is None and not d.requires_grad and np.shares_memory(d.data, y.data)
    (d * x).sum().backward()
    assert x.grad.item() == 4


def test_requires_grad_can_be_set_on_floating_leaves_only() -> None:
    for data in ([1, 2], [True]):
        with pytest.raises(DTypeError, match=r"only floating-point .*tensor.to\('float32'\)"):
            tz.tensor(data, requires_grad=True)
        with pytest.raises(DTypeError):
            tz.tensor(data).requires_grad_()
    x = leaf(1)
    y = x * x
    y.requires_grad = True  # it does already
    with pytest.raises(GradientError, match=r"mul made this tensor: write tensor.detach\(\)"):
        y.requires_grad = False
    x.requires_grad = False
    assert (x * x).node is None


def test_backward_needs_a_gradient_and_a_scalar() -> None:
    with pytest.raises(GradientError, match="not computed from any that require a gradient"):
        tz.tensor(1.0).backward()
    with tz.no_grad():
        y = leaf(1).sum()
    with pytest.raises(GradientError, match="no_grad"):
        y.backward()
    with pytest.raises(GradientError, match=r"shape \(2,\) .*loss.sum\(\), loss.mean\(\)"):
        leaf(1, 2).backward()
    with pytest.raises(ShapeError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        leaf(1, 2).backward(np.ones(3))


# ---- memory


def test_a_dead_graph_is_freed_by_reference_counts(no_collector: None, rng: np.random.Generator) -> None:
    x = tz.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    refs: list[Any] = []

    def keep(y: Any) -> Any:
        refs.extend((weakref.ref(y), weakref.ref(y.node)))
        return y

    h = keep(tz.linear(x, keep(x * 2), None))
    (a, b) = tz.split(h, (1, 2))
    loss = keep(tz.layer_norm(keep(tz.concat([b, a]))).sum() + tz.cross_entropy(h, tz.tensor([0, 1, 2])))
    loss.register_hook(lambda g: g)
    first, second = (gradients([loss], [x], [np.array(1.0)], create_graph=create) for create in (False, True))
    keep(second[0])
    loss.backward()
    loss.backward(create_graph=True)
    x.grad = None
    del a, b, h, loss, first, second
    assert [r() for r in refs] == [None] * len(refs)


def test_a_logged_loss_keeps_no_more_than_its_own_graph(no_collector: None) -> None:
    x = leaf(1.0)
    log, nodes = [], []
    for _ in range(5):
        loss = (x * x).sum()
        nodes.append(weakref.ref(loss.node))
        loss.backward()
        log.append(loss.item())
    assert [n() is None for n in nodes] == [True] * 4 + [False]
    kept = loss.detach()
    del loss
    assert nodes[-1]() is None and kept.item() == 1


def test_a_failed_walk_keeps_nothing_and_leaves_the_mode_alone(no_collector: None) -> None:
    def broken(g: Any, out: Any, x: Any) -> Any:
        raise KeyError("rule")

    op = primitive(vjp=(broken,))(_identity)
    x = leaf(1.0)
    y = op(x * x)
    node = weakref.ref(y.node)
    for create_graph in (False, True):
        with pytest.raises(KeyError) as caught:
            y.sum().backward(create_graph=create_graph)
        del caught
    assert tz.is_grad_enabled() and state.node is None
    del y
    assert node() is None


def _identity(x: Any) -> Any:
    return x.copy()


def test_an_error_of_an_op_is_no_reference_cycle(no_collector: None) -> None:
    for call in (lambda x: x @ tz.zeros((3, 3)), lambda x: tz.clip(x)):
        x = leaf(1, 2)
        alive = weakref.ref(x)
        with pytest.raises(TinygradZooError) as caught:
            call(x)
        assert caught.value.__cause__ is not caught.value
        del x, caught
        assert alive() is None


# ---- versions


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_parameter_written_between_forward_and_backward_raises(create_graph: bool) -> None:
    p, x = leaf(2), leaf(3)
    for write in (lambda: setattr(p, "data", np.array([5.0])), p.mark_written):
        y = tz.mul(x, p).sum()
        write()
        with pytest.raises(GradientError, match="mul: its argument y was written after the forward"):
            y.backward(create_graph=create_graph)
    tz.mul(x, p).sum().backward(create_graph=create_graph)
    assert x.grad.item() == 5


VIEWS: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda x: x.reshape(4),
    "permute": lambda x: x.permute(1, 0),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "mT": lambda x: x.mT,
    "expand_dims": lambda x: x.expand_dims(0),
    "squeeze": lambda x: x.squeeze(),
    "broadcast_to": lambda x: x.broadcast_to((3, 2, 2)),
    "getitem": lambda x: x[0],
    "flip": lambda x: x.flip(),
    "split": lambda x: x.split(1)[1],
    "alias": alias,
    "to_device": lambda x: tz.to_device(x, device="cpu"),
    "detach": lambda x: x.detach(),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_the_version_of_their_memory(name: str) -> None:
    x = tz.tensor(np.ones((2, 2)), requires_grad=True)
    view = VIEWS[name](x)
    assert np.shares_memory(view.data, x.data)
    through_view, through_base = (x * 2).sum() * x.sum(), (view * x.sum()).sum()
    view.mark_written()
    with pytest.raises(GradientError, match="written after the forward"):
        through_view.backward()
    with pytest.raises(GradientError, match="written after the forward"):
        through_base.backward()


def test_what_is_no_view_has_a_version_of_its_own() -> None:
    x = leaf(1, 2)
    for y in (x.copy(), x * 1, x.astype("float32"), x.detach() + 0, tz.tensor(x)):
        assert y.version is not x.version and not np.shares_memory(y.data, x.data)
    z = (x.detach().copy() * x).sum()
    x.detach().copy().mark_written()
    z.backward()


def test_a_result_written_after_the_forward_raises() -> None:
    x = leaf(1.0)
    y = ops.exp(x)
    y.data[...] = 0
    y.mark_written()
    with pytest.raises(GradientError, match="exp: its result was written after the forward"):
        y.sum().backward()
    z = ops.exp(x)
    z.reshape(1, 1).detach().mark_written()  # through a view of a view
    with pytest.raises(GradientError, match="exp: its result"):
        z.sum().backward()


def test_a_result_written_before_the_second_derivative_raises() -> None:
    x = leaf(1.0)
    y = ops.exp(x)
    g = derivative(y, x)  # its graph uses y
    y.mark_written()
    with pytest.raises(GradientError, match="mul: its argument y was written after the forward"):
        g.sum().backward()


def test_accumulation_writes_into_grad() -> None:
    x, w = leaf(1.0), leaf(2.0)
    (x * x).sum().backward()
    y = (x.grad * w).sum()
    (x * x).sum().backward()
    with pytest.raises(GradientError, match="mul: its argument x was written after the forward"):
        y.backward()


def test_writing_before_the_forward_or_what_was_not_used_is_fine() -> None:
    x, other = leaf(1.0), leaf(2.0)
    x.data[...] = 3
    x.mark_written()
    y = (x * x).sum()
    other.mark_written()
    y.backward()
    assert x.grad.item() == 6
    z = (other * other).sum()
    x.grad.data[...] = 0
    x.grad.mark_written()
    z.backward()


def test_a_graph_walked_twice_gives_the_same_bits(rng: np.random.Generator) -> None:
    x = tz.tensor(rng.standard_normal((4, 3)).astype(np.float32), requires_grad=True)
    w = tz.tensor(rng.standard_normal((3, 3)).astype(np.float32), requires_grad=True)
    h = tz.tanh(tz.linear(x, w, None))
    loss = tz.cross_entropy(tz.layer_norm(h + h * x), tz.tensor([0, 1, 2, 0]))
    one = gradients([loss], [x, w, h], [np.float32(1) * np.ones(())])
    two = gradients([loss], [x, w, h], [np.float32(1) * np.ones(())])
    loss.backward()
    assert [g.data.tobytes() for g in one] == [g.data.tobytes() for g in two]
    assert [x.grad.data.tobytes(), w.grad.data.tobytes()] == [g.data.tobytes() for g in one[:2]]


def test_grad_is_the_rule_s_own_array_only_where_nobody_else_holds_it() -> None:
    kept = np.ones((2, 2))

    @primitive(vjp=(lambda g, out, x: kept,))
    def keeps_its_gradient(x: Any) -> Any:
        return x.copy()

    @primitive(vjp=(lambda g, out, x: kept[:],))
    def gives_a_view(x: Any) -> Any:
        return x.copy()

    for op in (keeps_its_gradient, gives_a_view):
        x = tz.tensor(np.zeros((2, 2)), requires_grad=True)
        op(x).sum().backward()
        assert not np.shares_memory(x.grad.data, kept)
    seen = []
    x = tz.tensor(np.zeros((2, 2)), requires_grad=True)
    x.register_hook(seen.append)
    (x * 2.0).sum().backward()
    assert not np.shares_memory(x.grad.data, seen[0].data)
