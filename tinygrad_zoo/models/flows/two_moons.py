"""What the flows on two moons share: the data, the step, the test, the Gaussian to beat and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import ops, plotting
from ...data import Split, two_moons_entropy, two_moons_split
from ...distributions import MultivariateNormal
from ...recipe import Batch, Config, State
from ...tensor import Tensor, tensor

NOISE = 0.10


def data(config: Config, rng: np.random.Generator) -> Split:
    """Standardised points (N, 2)."""
    return two_moons_split(rng, noise=NOISE)


def step(state: State[Any, Any], batch: Batch) -> dict[str, Tensor]:
    """One step up the mean of log p(x)."""
    (x,) = batch  # (N, 2)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    nll = -ops.mean(state.model.log_prob(x))
    nll.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"nll": nll}


def evaluate(state: State[Any, Any]) -> dict[str, float]:
    """In nats, on the standardised test points; no model can have a lower NLL than the entropy."""
    (x,) = state.data.test
    nll = -float(state.model.log_prob(tensor(x, device=state.device)).mean())
    entropy = two_moons_entropy(x, NOISE, state.data.statistics)
    return {"test_nll": nll, "entropy": entropy, "gap": nll - entropy}


def baseline(data: Split) -> Mapping[str, float]:
    (train,), (test,) = data.train, data.test
    gaussian = MultivariateNormal.fit(train)
    return {"fitted Gaussian": -float(gaussian.log_prob(tensor(test, "float64")).mean())}


def samples(state: State[Any, Any]) -> dict[str, Any]:
    return {"points": state.model.sample(3000, rng=state.rng)}


def figure(state: State[Any, Any], path: Path) -> None:
    """Data, samples, the learnt density, and the grid of the latent space warped into data space."""
    model, (points,), square = state.model, state.data.test, (-2.6, 2.6, -2.6, 2.6)

    def on_device(x: Any) -> Tensor:
        return tensor(x, "float32", state.device)

    nll = -float(model.log_prob(on_device(points)).mean())
    fig, (data, drawn, density, grid) = plotting.figure(4)
    plotting.scatter_panel(data, points[:3000], title="data", extent=square)
    plotting.scatter_panel(drawn, model.sample(3000, rng=state.rng).numpy(), title="samples", extent=square)
    title = f"density: {nll:.3f} nats a point"
    plotting.density_panel(density, lambda x: model.log_prob(on_device(x)).numpy(), square, title=title)
    plotting.grid_panel(
        grid, lambda z: model.inverse(on_device(z)).numpy(), square, view=square, title="warped latent grid"
    )
    plotting.save(fig, path)
