"""Modules: what belongs to them, their state, and their layers against closed forms and torch.nn."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import losses, nn, ops
from tinygrad_zoo.errors import CheckpointError, DTypeError, ShapeError, UsageError

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Tangle(nn.Module):
    """Parameters in every kind of place, one of them tied."""

    def __init__(self) -> None:
        self.scale = nn.Parameter([1.0, 2.0])
        self.blocks = [nn.Linear(2, 2, rng=rng(1)), (nn.Linear(2, 2, bias=False, rng=rng(2)), nn.ReLU())]
        self.heads = {"a": nn.Linear(2, 1, rng=rng(3)), "b": nn.Identity()}
        self.offset = nn.Buffer(np.arange(2))
        self.constant = tz.ones(2)
        self.tied = self.blocks[0].weight
        self.name, self.nothing = "tangle", None

    def forward(self, x: Any) -> Any:
        return self.heads["a"](self.blocks[0](x) * self.scale + self.offset)


NAMES = ["scale", "blocks.0.weight", "blocks.0.bias", "blocks.1.0.weight", "heads.a.weight", "heads.a.bias"]


def test_parameters_are_found_by_walking_the_attributes() -> None:
    model = Tangle()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [x.size for x in model.parameters()] == [2, 4, 2, 4, 2, 1]
    assert [name for name, _ in model.named_buffers()] == ["offset"]
    assert [name for name, _ in model.named_modules()] == [
        "",
        "blocks.0",
        "blocks.1.0",
        "blocks.1.1",
        "heads.a",
        "heads.b",
    ]
    assert [type(x).__name__ for x in model.children()] == ["Linear", "Linear", "ReLU", "Linear", "Identity"]


def test_a_tied_parameter_is_one_parameter_with_two_names() -> None:
    model = Tangle()
    assert list(model.state_dict()) == [*NAMES, "offset", "tied"]
    model.tied.data[0, 0] = 7
    assert model.state_dict()["blocks.0.weight"][0, 0] == 7
    clone = copy.deepcopy(model)
    assert clone.tied is clone.blocks[0].weight and clone.tied is not model.tied


def test_containers_name_their_parts_as_pytorch_does() -> None:
    layers = [nn.Linear(2, 3, rng=rng()), nn.Tanh(), nn.Linear(3, 1, rng=rng())]
    expected = ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(nn.Sequential(*layers).state_dict()) == expected
    assert list(nn.ModuleList(layers).state_dict()) == expected
    assert list(nn.ModuleDict({"in": layers[0]}).state_dict()) == ["in.weight", "in.bias"]


def test_containers_behave_like_list_and_dict() -> None:
    first, second, third = nn.ReLU(), nn.Tanh(), nn.SiLU()
    chain = nn.Sequential(first, second)
    chain.append(third)
    assert list(chain) == [first, second, third] and len(chain) == 3 and chain[-1] is third
    assert type(chain[1:]) is nn.Sequential and list(chain[1:]) == [second, third]
    chain[0] = third
    assert list(nn.ModuleList().extend(chain)) == [third, second, third]
    named = nn.ModuleDict({"a": first})
    named["b"] = second
    assert list(named) == list(named.keys()) == ["a", "b"] and "b" in named and len(named) == 2
    assert list(named.items()) == [("a", first), ("b", second)] and list(named.values()) == [first, second]
    del named["a"]
    assert list(named) == ["b"] and named["b"] is second
    with pytest.raises(DTypeError, match="expected modules, got int"):
        nn.Sequential(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"without dots, got 'a\.b'"):
        nn.ModuleDict({"a.b": first})


def test_a_container_with_parameters_of_its_own() -> None:
    class Scaled(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(2, 2, rng=rng()))
            self.scale = nn.Parameter([2.0])

    class Named(nn.ModuleDict):
        def __init__(self) -> None:
            super().__init__({"a": Scaled()})
            self.shift = nn.Parameter([1.0])

    assert list(Named().state_dict()) == ["a.0.weight", "a.0.bias", "a.scale", "shift"]


def test_a_module_that_contains_itself_is_refused() -> None:
    model = nn.Sequential(nn.ReLU())
    model.append(model)
    with pytest.raises(UsageError, match="contains itself, as 1"):
        list(model.parameters())


def test_state_dict_copies_and_loads_in_place() -> None:
    model, other = Tangle(), Tangle()
    state = model.state_dict()
    for x in other.parameters():
        x.data[...] += 1
    memory, versions = [x.data for x in other.parameters()], [x.version[0] for x in other.parameters()]
    assert other.load_state_dict(state) == ([], [])
    for x, array, version in zip(other.parameters(), memory, versions, strict=True):
        assert x.data is array and x.version[0] > version
    for name, array in other.state_dict().items():
        assert np.array_equal(array, state[name]) and not np.shares_memory(array, model.state_dict()[name])
    state["scale"][...] = -1
    assert model.scale.tolist() == [1.0, 2.0]


def test_load_state_dict_names_every_fault_and_writes_nothing() -> None:
    model = Tangle()
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    state["blocks.0.bias"] = np.zeros(3, np.float32)
    state["offset"] = np.zeros(2)  # floats for integers
    state["more"] = state.pop("scale")
    with pytest.raises(CheckpointError) as error:
        model.load_state_dict(state)
    for fault in (
        "scale is missing",
        "more is surplus",
        "blocks.0.bias has shape (3,), expected (2,)",
        "offset is float64, expected int64",
        "strict=False",
    ):
        assert fault in str(error.value)
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    with pytest.raises(CheckpointError, match="has shape"):
        model.load_state_dict(state, strict=False)
    del state["blocks.0.bias"], state["offset"]
    keys = model.load_state_dict(state, strict=False)
    assert keys.missing == ["scale", "blocks.0.bias", "offset"] and keys.surplus == ["more"]
    assert np.array_equal(model.tied.numpy(), before["tied"] + 1) and model.scale.tolist() == [1.0, 2.0]


def test_a_backward_after_load_state_dict_raises() -> None:
    layer = nn.Sequential(nn.Linear(2, 2, rng=rng()), nn.Linear(2, 1, rng=rng()))
    loss = layer(tz.ones((1, 2))).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(tz.errors.GradientError, match="written after the forward"):
        loss.backward()


def test_to_converts_what_is_floating_and_its_gradients() -> None:
    model = Tangle()
    model(tz.ones((3, 2))).sum().backward()
    parameters = list(model.parameters())
    assert model.to("float64") is model and list(model.parameters()) == parameters
    assert {x.dtype.name for x in parameters} == {"float64"} and model.offset.dtype.name == "int64"
    assert model.scale.grad.dtype.name == "float64" and model.tied is model.blocks[0].weight
    assert model.to("cpu").scale.device == "cpu"
    with pytest.raises(DTypeError, match="floating dtype, got 'int64'"):
        model.to("int64")


def test_modes_freezing_apply_and_zero_grad() -> None:
    model = Tangle()
    assert model.training and not model.eval().training
    assert not any(x.training for x in model.modules()) and all(x.training for x in model.train().modules())
    model(tz.ones((3, 2))).sum().backward()
    assert model.scale.grad is not None
    model.zero_grad()
    assert all(x.grad is None for x in model.parameters())
    assert not any(x.requires_grad for x in model.requires_grad_(False).parameters())
    assert all(x.requires_grad for x in model.requires_grad_().parameters())
    seen: list[nn.Module] = []
    outer = nn.Sequential(nn.Sequential(nn.ReLU()))
    assert outer.apply(seen.append) is outer
    assert seen == [outer[0][0], outer[0], outer]  # children first


def test_deepcopy_is_independent() -> None:
    model = Tangle()
    clone = copy.deepcopy(model)
    clone.scale.data[...] = 0
    assert model.scale.tolist() == [1.0, 2.0] and type(clone.scale) is nn.Parameter
    assert np.array_equal(clone.blocks[0].weight.numpy(), model.blocks[0].weight.numpy())


def test_repr_is_nested_and_counts_parameters() -> None:
    model = nn.Sequential(nn.Linear(64, 128, rng=rng()), nn.Sequential(nn.GELU("tanh"), nn.Dropout(0.1, rng=rng())))
    assert repr(model).split("\n") == [
        "Sequential()  # 8,320 parameters",
        "  0: Linear(64, 128)  # 8,320 parameters",
        "  1: Sequential()",
        "    0: GELU(approximate='tanh')",
        "    1: Dropout(0.1)",
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: nn.Linear(2, 3, **k),
        lambda **k: nn.Embedding(2, 3, **k),
        lambda **k: nn.Dropout(0.5, **k),
        lambda **k: nn.init.normal_(tz.zeros(3), **k),
    ],
)
def test_a_missing_rng_is_explained(make: Any) -> None:
    make(rng=rng())
    for wrong in ({}, {"rng": 0}, {"rng": None}):
        with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
            make(**wrong)


def test_linear_starts_as_pytorchs() -> None:
    layer = nn.Linear(400, 300, rng=rng())
    for x in layer.parameters():  # U(±1/√in) has standard deviation 1/√(3 in)
        assert abs(x.numpy()).max() <= 1 / 20
        assert abs(x.numpy().std() * np.sqrt(3) * 20 - 1) < 0.1 and abs(x.numpy().mean()) < 0.005
    assert np.array_equal(layer.weight.numpy(), nn.Linear(400, 300, rng=rng()).weight.numpy())
    assert nn.Linear(2, 3, False, rng=rng()).bias is None and nn.Embedding(4, 2, 1, rng=rng()).padding_idx == 1
    with pytest.raises(UsageError, match="in_features >= 1, got 0"):
        nn.Linear(0, 2, rng=rng())


def test_the_padding_row_of_an_embedding_takes_no_gradient() -> None:
    table = nn.Embedding(4, 2, padding_idx=-2, rng=rng())
    assert table.padding_idx == 2 and table.weight.tolist()[2] == [0.0, 0.0]
    table.weight.data[2] = 5.0
    table.weight.mark_written()
    out = table(tz.tensor([[2, 1], [3, 1]]))
    assert out[0, 0].tolist() == [5.0, 5.0]  # its value counts all the same
    out.sum().backward()
    assert table.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]
    with pytest.raises(UsageError, match="padding_idx 4"):
        nn.Embedding(4, 2, padding_idx=4, rng=rng())


def test_dropout_drops_in_training_only() -> None:
    drop, x = nn.Dropout(0.25, rng=rng()), tz.ones(40_000)
    y = drop(x).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)} and abs((y == 0).mean() - 0.25) < 0.01
    assert not np.array_equal(y, drop(x).numpy())  # a key a call
    assert np.array_equal(nn.Dropout(0.25, rng=rng())(x).numpy(), y)  # from the rng it was given
    assert np.array_equal(drop.eval()(x).numpy(), x.numpy())
    state = drop.rng.bit_generator.state
    drop(x)
    assert drop.rng.bit_generator.state == state  # evaluation draws nothing
    with pytest.raises(UsageError, match=r"0 <= p <= 1, got 1\.5"):
        nn.Dropout(1.5, rng=rng())


def test_flatten_and_identity() -> None:
    x = tz.tensor(np.arange(24.0).reshape(2, 3, 2, 2))
    assert nn.Flatten()(x).shape == (2, 12) and nn.Flatten(0, 1)(x).shape == (6, 2, 2)
    assert nn.Flatten(1, -2)(x).tolist() == x.numpy().reshape(2, 6, 2).tolist()
    assert nn.Identity()(x) is x
    with pytest.raises(ShapeError, match="start_dim=2 comes after end_dim=1"):
        nn.Flatten(2, 1)(x)


@pytest.mark.parametrize("package", [nn, nn.functional, losses, tz.distributions])
def test_exports_are_explicit(package: Any) -> None:
    public = {name for name in vars(package) if not name.startswith("_")}
    public = {name for name in public if not inspect.ismodule(getattr(package, name))}
    assert public | ({"functional", "init"} if package is nn else set()) == set(package.__all__)


def test_functional_only_re_exports_ops() -> None:
    assert all(getattr(nn.functional, name) is getattr(ops, name) for name in nn.functional.__all__)


ACTIVATIONS = {
    "ReLU": {},
    "Tanh": {},
    "Sigmoid": {},
    "SiLU": {},
    "GELU": {"approximate": "tanh"},
    "Softplus": {"beta": 2.0},
    "LeakyReLU": {"negative_slope": 0.2},
    "ELU": {"alpha": 0.5},
    "Softmax": {"dim": 0},
    "LogSoftmax": {"dim": -1},
}


def test_activation_modules_pass_their_settings_on() -> None:
    x = tz.tensor(rng().standard_normal((3, 4)))
    names = {"LeakyReLU": "leaky_relu", "LogSoftmax": "log_softmax"}
    for name, settings in ACTIVATIONS.items():
        module, op = getattr(nn, name)(**settings), getattr(ops, names.get(name, name.lower()))
        assert np.array_equal(module(x).numpy(), op(x, **settings).numpy())
        named = {"dim": "axis"}
        shown = [f"{named.get(k, k)}={v!r}" for k, v in settings.items() if v != op.defaults[named.get(k, k)]]
        assert repr(module) == f"{name}({', '.join(shown)})"


def ours() -> nn.Sequential:
    """The network of tests/goldens/make_nn.py."""
    return nn.Sequential(
        nn.Embedding(7, 6, padding_idx=2, rng=rng()),
        nn.BatchNorm1d(3, momentum=0.3),
        nn.LayerNorm(6),
        nn.Linear(6, 5, rng=rng()),
        nn.GELU(),
        nn.Linear(5, 5, bias=False, rng=rng()),
        nn.SiLU(),
        nn.GroupNorm(1, 3),
        nn.RMSNorm(5),
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        nn.Linear(5, 4, rng=rng()),
    ).to("float64")


def golden_losses(labels: Any, targets: Any) -> dict[str, Any]:
    """The losses there, in their order."""
    signs, weight = tz.tensor(np.where(targets.numpy() > 0.5, 1.0, -1.0)), targets[0, 0]

    def rows(x: Any) -> Any:
        return x.reshape(15, 4)

    return {
        "cross_entropy": lambda out: losses.CrossEntropyLoss(label_smoothing=0.1)(rows(out), labels.reshape(15)),
        "nll": lambda out: losses.NLLLoss(weight)(nn.LogSoftmax(-1)(rows(out)), labels.reshape(15)),
        "multi_margin": lambda out: losses.MultiMarginLoss(2, 0.5, weight)(rows(out), labels.reshape(15)),
        "mse": lambda out: losses.MSELoss()(out, targets),
        "l1": lambda out: losses.L1Loss()(out, targets),
        "smooth_l1": lambda out: losses.SmoothL1Loss(beta=0.5)(out, targets),
        "huber": lambda out: losses.HuberLoss(delta=0.5)(out, targets),
        "gaussian_nll": lambda out: losses.GaussianNLLLoss(full=True)(out, targets, targets + 0.1),
        "poisson_nll": lambda out: losses.PoissonNLLLoss(full=True)(out, 4 * targets),
        "bce": lambda out: losses.BCEWithLogitsLoss(reduction="sum")(out, targets),
        "bce_of_probabilities": lambda out: losses.BCELoss()(out.sigmoid(), targets),
        "multilabel_soft_margin": lambda out: losses.MultiLabelSoftMarginLoss()(rows(out), rows(targets)),
        "kl_div": lambda out: losses.KLDivLoss(reduction="batchmean")(nn.LogSoftmax(-1)(out), targets),
        "soft_margin": lambda out: losses.SoftMarginLoss()(out, signs),
        "hinge_embedding": lambda out: losses.HingeEmbeddingLoss()(out, signs),
        "margin_ranking": lambda out: losses.MarginRankingLoss(0.2)(out, targets, signs),
        "triplet": lambda out: losses.TripletMarginLoss(swap=True)(out, targets, signs),
        "cosine_embedding": lambda out: losses.CosineEmbeddingLoss()(rows(out), rows(targets), rows(signs)[:, 0]),
    }


def test_a_module_of_one_op_takes_its_arguments_in_the_order_it_names() -> None:
    class Weighted(nn.OpModule, op=ops.multi_margin_loss, arguments="p weight"): ...

    module = Weighted(2, [1.0, 3.0])
    assert module.arguments == ["p", "weight"] and list(module.state_dict()) == ["weight"]
    assert repr(module) == "Weighted(p=2)"
    x, target = tz.tensor([[0.0, 0.5]]), tz.tensor([1])
    assert module(x, target).item() == ops.multi_margin_loss(x, target, 2, weight=module.weight).item()
    assert nn.OpModule.__subclasses__() and nn.GELU.arguments == ["approximate"]
    for wrong, message in (({"margin": 1.0}, "margin is no setting"), ({"p": 1}, "p is given twice")):
        with pytest.raises(UsageError, match=message):
            Weighted(2, **wrong)
    with pytest.raises(UsageError, match="at most 2 arguments"):
        Weighted(1, None, 3)


def test_golden_network_of_torch() -> None:
    golden = np.load(Path(__file__).parent / "goldens" / "nn.npz")
    net, index = ours(), tz.tensor(golden["index"])
    net.load_state_dict({name[6:]: golden[name] for name in golden if name.startswith("state/")})
    cases = golden_losses(tz.tensor(golden["labels"]), tz.tensor(golden["targets"]))
    assert set(cases) == {name.split("/")[0] for name in golden if name.endswith("/value")}
    for name, loss_of in cases.items():
        net.zero_grad()
        out = net(index)
        np.testing.assert_allclose(out.numpy(), golden["out"], rtol=0, atol=1e-12)
        loss = loss_of(out)
        loss.backward()
        np.testing.assert_allclose(loss.numpy(), golden[f"{name}/value"], rtol=1e-12)
        for key, x in net.named_parameters():
            np.testing.assert_allclose(x.grad.numpy(), golden[f"{name}/grad/{key}"], rtol=0, atol=1e-11)
    for key, value in net.state_dict().items():
        np.testing.assert_allclose(value, golden[f"after/{key}"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(net.eval()(index).numpy(), golden["evaluated"], rtol=0, atol=1e-12)


LAYERS = {
    "Linear": (lambda r: nn.Linear(4, 3, rng=r), lambda: torch.nn.Linear(4, 3)),
    "Linear without bias": (lambda r: nn.Linear(4, 3, bias=False, rng=r), lambda: torch.nn.Linear(4, 3, bias=False)),
    "LayerNorm": (lambda r: nn.LayerNorm((2, 4), eps=1e-3), lambda: torch.nn.LayerNorm((2, 4), eps=1e-3)),
    "LayerNorm without bias": (lambda r: nn.LayerNorm(4, bias=False), lambda: torch.nn.LayerNorm(4, bias=False)),
    "LayerNorm plain": (
        lambda r: nn.LayerNorm(4, elementwise_affine=False),
        lambda: torch.nn.LayerNorm(4, elementwise_affine=False),
    ),
    **{
        name: (
            lambda r, name=name, settings=settings: getattr(nn, name)(**settings),
            lambda name=name, settings=settings: getattr(torch.nn, name)(**settings),
        )
        for name, settings in ACTIVATIONS.items()
    },
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", LAYERS)
def test_layers_against_torch(name: str) -> None:
    make_ours, make_theirs = LAYERS[name]
    draw = rng(7)
    layer, theirs = make_ours(draw).to("float64"), make_theirs().double()
    for x in layer.parameters():
        nn.init.normal_(x, rng=draw)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in layer.state_dict().items()})
    x, g = draw.standard_normal((5, 2, 4)), None
    mine, torchs = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, expected = layer(mine), theirs(torchs)
    g = draw.standard_normal(out.shape)
    out.backward(g)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mine.grad.numpy(), torchs.grad.numpy(), rtol=1e-9, atol=1e-9)
    for (key, p), (their_key, q) in zip(layer.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == their_key
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.oracle("torch")
def test_embedding_against_torch() -> None:
    table, theirs = nn.Embedding(6, 3, padding_idx=1, rng=rng()), torch.nn.Embedding(6, 3, padding_idx=1)
    theirs.load_state_dict({"weight": torch.from_numpy(table.state_dict()["weight"])})
    index = np.array([[1, 2, 2], [5, 1, 0]])
    g = rng().standard_normal((2, 3, 3)).astype(np.float32)
    out, expected = table(tz.tensor(index)), theirs(torch.from_numpy(index))
    out.backward(g)
    expected.backward(torch.from_numpy(g))
    assert np.array_equal(out.numpy(), expected.detach().numpy())
    np.testing.assert_allclose(table.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6)


def test_a_tensor_does_not_take_the_place_of_a_parameter() -> None:
    layer = nn.Linear(2, 1, rng=rng())
    for name, value in (("weight", layer.weight * 2), ("bias", tz.zeros(1))):
        with pytest.raises(DTypeError, match=rf"Linear\.{name} is a Parameter, .* write module\.{name}\.data = "):
            setattr(layer, name, value)
    layer.weight, layer.bias = nn.Parameter(layer.weight * 2), None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


@pytest.mark.oracle("torch")
def test_a_state_dict_of_torch_is_loaded() -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours = nn.Sequential(nn.Linear(3, 4, rng=rng()), nn.BatchNorm1d(4))
    ours.load_state_dict(theirs.state_dict())
    x = rng().standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(x).numpy(), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
