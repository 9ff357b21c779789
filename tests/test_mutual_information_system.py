"""Row L2's system: learnt critics measure the information of Gaussians, on batches that they have not seen."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.models.contrastive import mutual_information as system
from tinygrad_zoo.models.contrastive.mutual_information import CRITICS, MEASURED, RECIPE, SATURATED, Critic, truth
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_few_steps_raise_every_bound(tmp_path: Path) -> None:
    assert find("mutual_information") is RECIPE and find("L2") is RECIPE
    run = fit(RECIPE, out=tmp_path / "run", steps=25, overrides={"batch_size": 64, "lr": 0.005}, progress=False)
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    for name in CRITICS:
        if CRITICS[name][1] > 0.5:
            assert np.median([line[name] for line in lines[-9:]]) > lines[0][name] + 0.1, name
    assert run.metrics["infonce_999"] <= math.log(64) < truth(SATURATED)
    assert run.metrics["ceiling"] >= 0 and all(run.metrics[f"{name}_std"] > 0 for name in CRITICS)
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_the_correlation_and_the_truth_are_those_of_the_data() -> None:
    split = RECIPE.data(dataclasses.replace(RECIPE.config, batch_size=64), rng())
    x, noise = split.train
    for rho in MEASURED:
        y = rho * x + math.sqrt(1 - rho * rho) * noise
        joint = np.cov(np.concatenate([x, y], axis=1).T.astype(np.float64))
        halves = np.linalg.slogdet(joint[:4, :4])[1] + np.linalg.slogdet(joint[4:, 4:])[1]
        assert 0.5 * (halves - np.linalg.slogdet(joint)[1]) == pytest.approx(truth(rho), rel=0.02)


def test_the_bound_is_of_batches_that_were_not_trained_on() -> None:
    """Held-out batches are the test points, one after the other, each once."""
    config = dataclasses.replace(RECIPE.config, batch_size=32, hidden=8, embedding=4)
    split = RECIPE.data(config, rng())
    parts = RECIPE.build(config, split, rng(1))
    state: Any = type("State", (), {"data": split, "model": parts.model, "device": "cpu", "config": config})
    values = system.held_out(state, "dv_900")
    x, noise = (part[32:64] for part in split.test)
    one = system.bound_of("dv_900", parts.model["dv_900"], tz.tensor(x), tz.tensor(noise))
    assert values.shape == (40,) and values[1] == pytest.approx(one.item(), rel=1e-5)
    seen = {row.tobytes() for row in split.train[0]}
    assert not any(row.tobytes() in seen for row in split.test[0])


def test_gradients_reach_every_parameter() -> None:
    critic = Critic(8, 4, rng=rng())
    x, noise = (tz.tensor(part) for part in rng(1).standard_normal((2, 16, 4)).astype(np.float32))
    for name in ("infonce_900", "dv_900", "nwj_900"):
        critic.zero_grad()
        system.bound_of(name, critic, x, noise).backward()
        found = {key: np.abs(p.grad.numpy()).max() for key, p in critic.named_parameters()}
        assert all(value > 0 for key, value in found.items() if key not in ("g.4.bias", "h.4.bias")), found


@pytest.mark.oracle("torch")
def test_the_critic_and_its_gradients_are_those_of_torch() -> None:
    critic = Critic(8, 4, rng=rng()).to("float64")
    x, y = rng(2).standard_normal((2, 6, 4))

    def network(name: str) -> Any:
        layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)]
        made = torch.nn.Sequential(*layers).double()
        state = critic.state_dict()
        made.load_state_dict({key[2:]: torch.tensor(v) for key, v in state.items() if key.startswith(name)})
        return made

    g, h = network("g."), network("h.")
    theirs = g(torch.tensor(x)) @ h(torch.tensor(y)).T
    loss = torch.nn.functional.cross_entropy(theirs, torch.arange(6)) - math.log(6)
    loss.backward()
    scores = critic(tz.tensor(x), tz.tensor(y))
    np.testing.assert_allclose(scores.numpy(), theirs.detach().numpy(), rtol=1e-9)
    bound = tz.information.infonce_bound(scores)
    (-bound).backward()
    assert bound.item() == pytest.approx(-loss.item(), rel=1e-9)
    for name, made in (("g", g), ("h", h)):
        ours = dict(getattr(critic, name).named_parameters())
        for key, p in made.named_parameters():
            np.testing.assert_allclose(ours[key].grad.numpy(), p.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    worst = sorted(run.metrics["worst"] for run in runs)
    first = {name: round(value, 3) for name, value in runs[0].metrics.items()}
    print(f"mutual_information: max {worst[-1]:.4f} median {worst[1]:.4f}, {first}, {runs[0].baseline}, "
          f"{runs[0].seconds:.1f} s")  # fmt: skip
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert math.log(256) - 0.35 < run.metrics["infonce_999"] <= math.log(256)  # saturated
        for rho in (900, 999):  # the price of having no ceiling
            assert min(run.metrics[f"{bound}_{rho}_std"] for bound in ("dv", "nwj")) > run.metrics[f"infonce_{rho}_std"]
