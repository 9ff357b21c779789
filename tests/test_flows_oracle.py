"""Flows against PyTorch and normflows with the same weights, RealNVP against zuko's trained equally."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
from goldens.make_flows import MAX_LOG_SCALE, realnvp
from tinygrad_zoo import nn
from tinygrad_zoo.data import batches
from tinygrad_zoo.models.flows import (
    NICE,
    Glow,
    InvertibleConv1x1,
    PlanarFlow,
    RadialFlow,
    RealNVP,
    Transform,
    channel_mask,
    checkerboard_mask,
)
from tinygrad_zoo.models.flows.real_nvp import RECIPE
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
zuko = oracles.load("zuko")
normflows = oracles.load("normflows")


def drawn(transform: Any, spread: float = 0.4) -> Any:
    """In float64, every parameter anew."""
    draw = np.random.default_rng(4)
    for x in transform.to("float64").parameters():
        nn.init.normal_(x, 0.0, spread, rng=draw)
    return transform


def close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy().reshape(ours.shape), rtol=1e-9, atol=1e-9)


def same(ours: Transform, x: Any, z: Any, log_det: Any, leaves: dict[str, Any]) -> None:
    """What our transform makes of x is torch's z and log_det, and so are the gradients of its parameters."""
    for value, expected in zip(ours(x), (z, log_det), strict=True):
        close(value, expected)
    ours_z, ours_log_det = ours(x)
    (ours_z.tanh().sum() - (ours_log_det * ours_log_det).sum()).backward()
    (torch.tanh(z).sum() - (log_det * log_det).sum()).backward()
    parameters = dict(ours.named_parameters())
    assert parameters.keys() == leaves.keys()
    for name, leaf in leaves.items():
        close(parameters[name].grad, leaf.grad)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("dim", "hidden", "couplings"), [(2, 16, 6), (5, 8, 3)])
def test_same_weights_same_outputs_and_gradients(dim: int, hidden: int, couplings: int) -> None:
    draw = np.random.default_rng(4)
    model = RealNVP(dim, hidden, couplings, rng=draw).to("float64")
    for x in model.parameters():
        nn.init.normal_(x, 0.0, 0.4, rng=draw)
    assert all(t.max_log_scale == MAX_LOG_SCALE for t in model.transforms)
    points = draw.standard_normal((32, dim))
    expected = realnvp(model.state_dict(), points)
    z, log_det = model(points)
    log_prob = model.log_prob(points)
    for name, value in {"z": z, "log_det": log_det, "log_prob": log_prob}.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-9, atol=1e-9)
    (-log_prob.mean()).backward()
    for name, x in model.named_parameters():
        np.testing.assert_allclose(x.grad.numpy(), expected[f"grad/{name}"], rtol=1e-9, atol=1e-9)


@pytest.mark.oracle("torch", "normflows")
def test_a_planar_flow_of_normflows() -> None:
    ours = drawn(PlanarFlow(3, rng=np.random.default_rng(0)), spread=1.0)
    theirs = normflows.flows.Planar((3,)).double()
    x = np.random.default_rng(5).standard_normal((16, 3))
    with torch.no_grad():
        for name, leaf in theirs.named_parameters():
            leaf.copy_(torch.tensor(getattr(ours, name).numpy().reshape(leaf.shape)))
    same(ours, x, *theirs(torch.tensor(x)), dict(theirs.named_parameters()))


@pytest.mark.oracle("torch", "normflows")
def test_a_radial_flow_of_normflows() -> None:
    ours = drawn(RadialFlow(3, rng=np.random.default_rng(0)), spread=1.0)
    theirs = normflows.flows.Radial((3,)).double()
    x = np.random.default_rng(5).standard_normal((16, 3))
    log_alpha = torch.tensor(ours.log_alpha.numpy(), requires_grad=True)
    leaves = {name: torch.tensor(getattr(ours, name).numpy(), requires_grad=True) for name in ("center", "beta")}
    made = torch.func.functional_call(
        theirs, {"alpha": log_alpha.exp()[None], "beta": leaves["beta"][None], "z_0": leaves["center"][None]},
        torch.tensor(x),
    )  # fmt: skip
    same(ours, x, *made, {**leaves, "log_alpha": log_alpha})


@pytest.mark.oracle("torch", "normflows")
def test_an_invertible_convolution_of_normflows() -> None:
    shape = (4, 3, 2)
    ours = drawn(InvertibleConv1x1(shape, rng=np.random.default_rng(0)))
    theirs = normflows.flows.Invertible1x1Conv(4, use_lu=True).double()
    names = {"L": "lower", "U": "upper", "log_S": "log_s", "P": "permutation", "sign_S": "sign", "eye": "one"}
    theirs.load_state_dict({name: torch.tensor(getattr(ours, own).numpy()) for name, own in names.items()})
    x = np.random.default_rng(5).standard_normal((6, 24))
    z, log_det = theirs.inverse(torch.tensor(x.reshape(6, *shape)))  # from data: theirs is the other way round
    leaves = {names[name]: leaf for name, leaf in theirs.named_parameters()}
    same(ours, x, z.reshape(6, 24), log_det.expand(6), leaves)
    ours_x = ours.inverse(x)
    close(ours_x, theirs(torch.tensor(x.reshape(6, *shape)))[0])


def mlp(h: Any, leaves: dict[str, Any], name: str) -> Any:
    for layer in (0, 2, 4):
        h = torch.nn.functional.linear(h, leaves[f"{name}.{layer}.weight"], leaves[f"{name}.{layer}.bias"])
        h = torch.relu(h) if layer < 4 else h
    return h


def parameters(model: nn.Module) -> dict[str, Any]:
    return {name: torch.tensor(x.numpy(), requires_grad=True) for name, x in model.named_parameters()}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("prior", ["logistic", "gaussian"])
def test_nice_of_torch(prior: str) -> None:
    """Written by index in place of masks, the logistic prior as the paper has it."""
    dim, count = 5, 4
    ours = drawn(NICE(dim, 8, count, prior, rng=np.random.default_rng(0)))
    x, leaves = np.random.default_rng(5).standard_normal((16, dim)), parameters(ours)
    z = torch.tensor(x)
    for k in range(count):
        kept = [i for i in range(dim) if i % 2 == k % 2]
        changed = [i for i in range(dim) if i % 2 != k % 2]
        h = torch.zeros_like(z)
        h[:, kept] = z[:, kept]
        new = z.clone()
        new[:, changed] += mlp(h, leaves, f"transforms.{k}.net")[:, changed]
        z = new
    log_scale = leaves[f"transforms.{count}.log_scale"]
    z = z * torch.exp(log_scale)
    if prior == "gaussian":
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    else:
        u = z * math.pi / math.sqrt(3)  # of variance 1
        log_prior = -torch.log1p(torch.exp(u)) - torch.log1p(torch.exp(-u)) + math.log(math.pi / math.sqrt(3))
    log_prob = log_prior.sum(1) + log_scale.sum()
    np.testing.assert_allclose(ours.log_prob(x).numpy(), log_prob.detach().numpy(), rtol=2e-7)  # the prior's scale
    ours.to("float64")
    same(ours, x, z, log_scale.sum().expand(16), leaves)


def convolutions(h: Any, leaves: dict[str, Any], name: str) -> Any:
    for layer, padding in ((0, 1), (2, 0), (4, 1)):
        weight, bias = leaves[f"{name}.net.{layer}.weight"], leaves[f"{name}.net.{layer}.bias"]
        h = torch.nn.functional.conv2d(h, weight, bias, padding=padding)
        h = torch.relu(h) if layer < 4 else h
    return h


def glow(model: Glow, x: Any, leaves: dict[str, Any]) -> tuple[Any, Any]:
    """Glow of two levels in PyTorch, images (N, C, H, W) throughout, the 1x1 convolution by slogdet of W."""
    log_det = torch.zeros(len(x), dtype=x.dtype)
    buffers = {name: torch.tensor(value.numpy()) for name, value in model.named_buffers()}

    def steps(x: Any, prefix: str, count: int, log_det: Any) -> tuple[Any, Any]:
        x = torch.pixel_unshuffle(x, 2)
        places = x.shape[2] * x.shape[3]
        for k in range(count):
            norm, conv, coupling = (f"{prefix}{3 * k + i}" for i in (1, 2, 3))
            scale = leaves[f"{norm}.log_scale"][..., None]
            x = (x - leaves[f"{norm}.loc"][..., None]) * torch.exp(scale)
            lower = torch.tril(leaves[f"{conv}.lower"], -1) + torch.eye(x.shape[1])
            diagonal = torch.diag(buffers[f"{conv}.sign"] * torch.exp(leaves[f"{conv}.log_s"]))
            weight = buffers[f"{conv}.permutation"] @ lower @ (torch.triu(leaves[f"{conv}.upper"], 1) + diagonal)
            x = torch.nn.functional.conv2d(x, weight[..., None, None])
            log_det = log_det + places * (scale.sum() + torch.linalg.slogdet(weight)[1])
            kept, changed = x.chunk(2, dim=1)
            s, t = convolutions(kept, leaves, coupling).chunk(2, dim=1)
            s = 2 * torch.tanh(s / 2)
            x, log_det = torch.cat([kept, (changed + t) * torch.exp(s)], 1), log_det + s.sum((1, 2, 3))
        return x, log_det

    x, log_det = steps(x, "transforms.", 2, log_det)
    kept, done = x.chunk(2, dim=1)
    prior = torch.nn.functional.conv2d(
        kept, leaves["transforms.7.prior.weight"], leaves["transforms.7.prior.bias"], padding=1
    )
    s, mean = prior.chunk(2, dim=1)
    s = 2 * torch.tanh(s / 2)
    log_det = log_det - s.sum((1, 2, 3))
    deep, log_det = steps(kept, "transforms.7.rest.transforms.", 2, log_det)
    return torch.cat([deep.flatten(1), ((done - mean) * torch.exp(-s)).flatten(1)], 1), log_det


@pytest.mark.oracle("torch")
def test_glow_of_torch() -> None:
    ours = drawn(Glow((1, 4, 4), 3, 2, 2, rng=np.random.default_rng(0)))
    x, leaves = np.random.default_rng(5).standard_normal((6, 16)), parameters(ours)
    z, log_det = glow(ours, torch.tensor(x.reshape(6, 1, 4, 4)), leaves)
    same(ours, x, z, log_det, leaves)


@pytest.mark.oracle("torch", "normflows")
def test_masks_of_normflows() -> None:
    for mask, mode, shape in ((checkerboard_mask, "checkerboard_inv", (1, 3, 4)), (channel_mask, "channel", (4, 3, 2))):
        places = torch.arange(float(math.prod(shape))).reshape(1, *shape)
        (kept, _), _ = normflows.flows.reshape.Split(mode)(places)
        assert np.array_equal(np.flatnonzero(mask(shape)), kept.flatten().sort()[0].numpy())


def zuko_nll(seed: int) -> float:
    """The test NLL of zuko's RealNVP: the recipe's data, batches, network sizes, optimizer and schedule."""
    config = RECIPE.config
    split = RECIPE.data(config, np.random.default_rng(0))
    torch.manual_seed(seed)
    flow = zuko.flows.RealNVP(2, transforms=config.n_coupling, hidden_features=(config.hidden, config.hidden))
    optimizer = torch.optim.Adam(flow.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for (x,) in batches(split.train, config.batch_size, seed=seed, steps=config.steps):
        optimizer.zero_grad()
        loss = -flow().log_prob(torch.from_numpy(x)).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float(-flow().log_prob(torch.from_numpy(split.test[0])).mean())


@pytest.mark.train
@pytest.mark.oracle("torch", "zuko")
def test_within_a_hair_of_zuko_trained_equally(tmp_path: Path) -> None:
    seeds, threads = range(RECIPE.bar.seeds), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        theirs = [zuko_nll(seed) for seed in seeds]
    finally:
        torch.set_num_threads(threads)
    ours = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False).metrics["test_nll"] for seed in seeds]
    assert max(a - b for a, b in zip(ours, theirs, strict=True)) <= 0.08
    assert max(theirs) <= 1.98  # else the comparison says nothing
