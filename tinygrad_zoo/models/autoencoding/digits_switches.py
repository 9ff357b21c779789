"""Two auto-encoders of digits, one unpooling to where the maxima were (Zeiler & Fergus 2014, arXiv 1311.2901).

Max pooling keeps the largest of four pixels and forgets which one it was. Its indices, the switches, tell: max
unpooling puts each value of the coarse image back into the place that the encoder's maximum came from, and zeros
elsewhere. The other decoder has no switches and puts it into the top left corner of its block, a bed of nails. Both are
trained on the same batches from equal parameters; the ratio of their errors is what the switches are worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...creation import ones
from ...data import Split, digits
from ...errors import UsageError
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]
PLACES = ("switches", "nails")


def corners(indices: Any) -> Any:
    """For the indices of a pooling by 2 x 2, (N, C, H, W), those of the top left corners: a bed of nails.

    >>> corners(tz.tensor([[[[5, 3], [9, 14]]]])).tolist()
    [[[[0, 2], [8, 10]]]]
    """
    height, width = indices.shape[2:]
    corner = 4 * width * np.arange(height)[:, None] + 2 * np.arange(width)  # 2 h · (2 W) + 2 w
    return tensor(np.broadcast_to(corner, indices.shape), device=indices.device)


class AutoEncoder(nn.Module):
    """(N, 1, 8, 8) → (N, 1, 8, 8) through `code` numbers, and the switches unless `places` is "nails".

    >>> model = AutoEncoder(8, places="switches", rng=np.random.default_rng(0))
    >>> x = tz.zeros(5, 1, 8, 8)
    >>> code, fine, coarse = model.encode(x)
    >>> code.shape, fine.shape, coarse.shape, model(x).shape
    ((5, 8), (5, 16, 4, 4), (5, 32, 2, 2), (5, 1, 8, 8))
    """

    def __init__(self, code: int, *, places: str, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        if places not in PLACES:
            raise UsageError(f"AutoEncoder: places must be one of {', '.join(PLACES)}, got {places!r}")
        self.places = places
        self.narrow, self.wide = nn.Conv2d(1, 16, 3, padding=1, rng=rng), nn.Conv2d(16, 32, 3, padding=1, rng=rng)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.squeeze, self.expand = nn.Linear(32 * 2 * 2, code, rng=rng), nn.Linear(code, 32 * 2 * 2, rng=rng)
        self.narrower, self.drawn = nn.Conv2d(32, 16, 3, padding=1, rng=rng), nn.Conv2d(16, 1, 3, padding=1, rng=rng)

    def encode(self, x: Any) -> tuple[Any, Any, Any]:
        """The code, and the switches of the first and of the second pooling."""
        x, fine = self.pool(ops.relu(self.narrow(x)))  # (N, 16, 4, 4)
        x, coarse = self.pool(ops.relu(self.wide(x)))  # (N, 32, 2, 2)
        return self.squeeze(x.reshape(len(x), 32 * 2 * 2)), fine, coarse

    def decode(self, code: Any, fine: Any, coarse: Any) -> Any:
        if self.places == "nails":
            fine, coarse = corners(fine), corners(coarse)
        x = ops.relu(self.expand(code)).reshape(len(code), 32, 2, 2)
        x = ops.relu(self.narrower(self.unpool(x, coarse)))  # (N, 16, 4, 4)
        return self.drawn(self.unpool(x, fine))  # (N, 1, 8, 8)

    def forward(self, x: Any) -> Any:
        return self.decode(*self.encode(x))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 300
    batch_size: int = 64
    lr: float = 5e-3
    code: int = 8


def data(config: Settings, rng: np.random.Generator) -> Split:
    (train, _), (test, _) = digits().parts().values()
    return Split(train=(train[:, None],), test=(test[:, None],))  # pixels (N, 1, 8, 8) in [0, 1]


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    seed = int(rng.integers(2**32))  # one for both: they start equal
    models = {name: AutoEncoder(config.code, places=name, rng=np.random.default_rng(seed)) for name in PLACES}
    optimizers = {name: optim.Adam(model.parameters(), lr=config.lr) for name, model in models.items()}
    schedules = {name: optim.CosineAnnealingLR(adam, config.steps) for name, adam in optimizers.items()}
    return Parts(model=nn.ModuleDict(models), optimizers=optimizers, schedules=schedules)


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 1, 8, 8)
    losses = {}
    for name, optimizer in state.optimizers.items():
        optimizer.zero_grad()
        losses[name] = ops.mse_loss(state.model[name](x), x)
        losses[name].backward()
        optimizer.step()
        state.schedules[name].step()
    return losses


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """The mean squared errors on the test digits; `ratio` is that with switches to that without."""
    x = tensor(state.data.test[0], device=state.device)
    errors = {name: float(ops.mse_loss(state.model[name](x), x)) for name in PLACES}
    return {**{f"test_{name}": error for name, error in errors.items()}, "ratio": errors["switches"] / errors["nails"]}


def baseline(data: Split) -> Mapping[str, float]:
    """The other decoder, trained beside this one: 1 by the definition of the ratio."""
    return {"bed of nails": 1.0}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """Training curves, test digits as each decoder draws them, and where each unpools the first digit's channels to."""
    (test,) = state.data.test
    x = tensor(test, device=state.device)
    drawn = {"as they are": test, **{name: state.model[name](x).numpy() for name in PLACES}}
    fig, (curves, *panels, pointed, nailed) = plotting.figure((2, 3))
    plotting.curve_panel(curves, state.history, *PLACES, title="mean squared error of batches")
    for panel, (name, images) in zip(panels, drawn.items(), strict=True):
        title = name if images is test else f"{name}: {((images - test) ** 2).mean():.4f}"
        plotting.images_panel(panel, images[:20, 0].clip(0, 1), 5, title=title)
    model: Any = state.model["switches"]
    fine = model.encode(x[:1])[1]
    for panel, indices, title in ((pointed, fine, "switches of a digit"), (nailed, corners(fine), "a bed of nails")):
        marks = ops.max_unpool2d(ones(*fine.shape, device=state.device), indices, kernel_size=2)  # (1, 16, 8, 8)
        plotting.images_panel(panel, marks.numpy()[0], 4, title=f"{title}, a channel each")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="digits_switches",
    row="C4",
    family="autoencoding",
    title="Digits drawn by unpooling with switches",
    paper="arXiv 1311.2901",
    config=Settings(),
    metric="switches",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="ratio", at_most=0.8, seeds=3),
    figure=figure,
)
