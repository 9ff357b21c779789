"""What the systems of this family share: binarised digits, how a density of them is trained, measured and drawn.

The digits are 64 bits each, x > 7.5. The ladder that every model is to climb is independent bits, then a Chow–Liu tree,
in which each bit depends on one other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import ops, plotting
from ...algorithms.chow_liu import chow_liu_tree
from ...data import Split, digits
from ...recipe import Batch, Config, State
from ...tensor import Tensor, tensor

SIDE, DRAWN = 8, 40
SMOOTHING = 0.5  # added to every count of the baselines


def data(config: Config, rng: np.random.Generator) -> Split:
    """Rows of 64 bits, in raster order."""
    (train, _), (test, _) = digits(pixels="binary", flat=True).parts().values()
    return Split(train=(train,), test=(test,))


def update(state: State[Any, Any], nll: Tensor) -> dict[str, Tensor]:
    """One update by the gradient of a batch's negative log-likelihood."""
    (optimizer,), (schedule,) = state.optimizers.values(), state.schedules.values()
    optimizer.zero_grad()
    nll.backward()
    optimizer.step()
    schedule.step()
    return {"nll": nll}


def step(state: State[Any, Any], batch: Batch) -> dict[str, Tensor]:
    """Maximum likelihood: KL(data‖model) is -E log p, less what no model can change."""
    (x,) = batch  # (N, 64)
    return update(state, -ops.mean(state.model.log_prob(x)))


def evaluate(state: State[Any, Any]) -> dict[str, float]:
    """Exact, in nats a digit; `gap` is what the training digits are likelier by."""
    train, test = (
        -float(state.model.log_prob(tensor(x, device=state.device)).mean()) for (x,) in state.data.parts().values()
    )
    return {"test_nll": test, "gap": test - train}


def baseline(data: Split) -> Mapping[str, float]:
    """The test digits under independent bits and under the best tree."""
    (train,), (test,) = data.train, data.test
    each = independent(train, test)
    rows = [x.reshape(len(x), -1) for x in (train, test)]
    tree = chow_liu_tree(rows[0], smoothing=SMOOTHING, n_values=2)
    return {"independent bits": -float(each.sum(axis=1).mean()), "Chow–Liu tree": -float(tree.log_prob(rows[1]).mean())}


def independent(train: NDArray[Any], test: NDArray[Any]) -> NDArray[np.float64]:
    """log p of each bit of the test digits (N, 64), by how often it is 1 in training."""
    train, test = (x.reshape(len(x), -1).astype(np.float64) for x in (train, test))
    p = (train.sum(axis=0) + SMOOTHING) / (len(train) + 2 * SMOOTHING)
    log_probs: NDArray[np.float64] = np.log(np.where(test == 1, p, 1 - p))
    return log_probs


def samples(state: State[Any, Any]) -> dict[str, Any]:
    return {"digits": state.model.sample(DRAWN, rng=state.rng).numpy().reshape(-1, SIDE, SIDE)}


def figure(state: State[Any, Any], path: Path) -> None:
    """The ladder, digits drawn by the model, what each pixel depends on, and what that saves."""
    model, (train,), (test,) = state.model, state.data.train, state.data.test
    x = tensor(test, device=state.device)
    ladder = {**baseline(state.data), "this model": -float(model.log_prob(x).mean())}
    fig, (rungs, drawn, depends, saved) = plotting.figure(4, size=3.6)

    bars = rungs.barh(list(ladder), list(ladder.values()), color=[plotting.GREY, plotting.GREY, plotting.BLUE])
    rungs.bar_label(bars, fmt="%.2f", padding=2)
    rungs.set(title="NLL of test digits, nats", xlabel="nats", xlim=(0, 30))
    rungs.invert_yaxis()
    rungs.set_yticks(range(len(ladder)), [name.replace(" ", "\n") for name in ladder])
    images = model.sample(DRAWN, rng=state.rng).numpy().reshape(-1, SIDE, SIDE)
    plotting.images_panel(drawn, 1 - images, 8, title="drawn by the model")

    seen = model.dependence(x[:1])
    depends.imshow(np.sqrt(seen / max(seen.max(), 1e-30)), cmap="magma")  # the root shows what is faint
    depends.set(title="pixel (row) depends on (column)", xticks=[0, 32, 63], yticks=[0, 32, 63])
    log_probs = model.log_probs(x).numpy().reshape(len(test), -1)
    gain = (log_probs - independent(train, test)).mean(axis=0).reshape(SIDE, SIDE)
    image = saved.imshow(gain, cmap="RdBu_r", vmin=-np.abs(gain).max(), vmax=np.abs(gain).max())
    fig.colorbar(image, ax=saved, shrink=0.7)
    saved.set(title="nats saved by what came before", xticks=[], yticks=[])
    plotting.save(fig, path)
