"""Two auto-encoders of digits, one drawing with transposed convolutions (Dumoulin & Visin 2016, arXiv 1603.07285).

Strided convolutions squeeze 64 pixels into a code of 8 numbers, and a decoder doubles the resolution twice to draw the
digit again. One decoder does so by transposed convolutions: each pixel of the coarse image adds a learnt 4 x 4 patch to
the finer one, two pixels from its neighbour's. The other repeats every pixel, which is not learnt, and convolves what
comes out. Both are trained on the same batches from equal encoders. With a kernel that the stride does not divide, some
pixels get more patches than others and the drawing starts as a checkerboard: 4 is a multiple of 2, and 3 is not.
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


class Doubled(nn.Module):
    """Every pixel as a block of 2 x 2 of it: (N, C, H, W) → (N, C, 2 H, 2 W).

    >>> Doubled()(tz.tensor([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """

    def forward(self, x: Any) -> Any:
        return ops.repeat_interleave(ops.repeat_interleave(x, repeats=2, axis=2), repeats=2, axis=3)


def transposed(n_in: int, n_out: int, rng: np.random.Generator) -> list[nn.Module]:
    return [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, rng=rng)]


def nearest(n_in: int, n_out: int, rng: np.random.Generator) -> list[nn.Module]:
    return [Doubled(), nn.Conv2d(n_in, n_out, 3, padding=1, rng=rng)]


DECODERS = {"transposed": transposed, "nearest": nearest}


class AutoEncoder(nn.Module):
    """(N, 1, 8, 8) → (N, 1, 8, 8) through `code` numbers; `decoder` is "transposed" or "nearest".

    >>> model = AutoEncoder(8, decoder="transposed", rng=np.random.default_rng(0))
    >>> x = np.zeros((5, 1, 8, 8), np.float32)
    >>> model.encoder(x).shape, model(x).shape
    ((5, 8), (5, 1, 8, 8))
    """

    def __init__(self, code: int, *, decoder: str, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        if decoder not in DECODERS:
            raise UsageError(f"AutoEncoder: decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
        doubling = DECODERS[decoder]
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, rng=rng),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, rng=rng),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, code, rng=rng),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, 32 * 2 * 2, rng=rng),
            nn.ReLU(),
            nn.Unflatten(1, (32, 2, 2)),
            *doubling(32, 16, rng),
            nn.ReLU(),
            *doubling(16, 1, rng),
        )

    def forward(self, x: Any) -> Any:
        return self.decoder(self.encoder(x))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 800
    batch_size: int = 64
    lr: float = 5e-3
    code: int = 8


def data(config: Settings, rng: np.random.Generator) -> Split:
    (train, _), (test, _) = digits().parts().values()
    return Split(train=(train[:, None],), test=(test[:, None],))  # pixels (N, 1, 8, 8) in [0, 1]


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    seed = int(rng.integers(2**32))  # one for both: their encoders start equal
    models = {name: AutoEncoder(config.code, decoder=name, rng=np.random.default_rng(seed)) for name in DECODERS}
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
    """The mean squared errors on the test digits; `ratio` is that of the transposed decoder to the other's."""
    x = tensor(state.data.test[0], device=state.device)
    errors = {name: float(ops.mse_loss(state.model[name](x), x)) for name in DECODERS}
    return {
        **{f"test_{name}": error for name, error in errors.items()},
        "ratio": errors["transposed"] / errors["nearest"],
    }


def baseline(data: Split) -> Mapping[str, float]:
    """The other decoder, trained beside this one: 1 by the definition of the ratio."""
    return {"nearest + convolution": 1.0}


def principal_components(train: Array, test: Array, code: int) -> Array:
    """The best that an affine encoder and decoder can draw: the test images projected on `code` directions."""
    x, shape = train.reshape(len(train), -1), test.shape
    mean = x.mean(axis=0)
    directions = np.linalg.svd(x - mean, full_matrices=False)[2][:code]  # (code, D)
    centred = test.reshape(len(test), -1) - mean
    projected: Array = mean + centred @ directions.T @ directions
    return projected.reshape(shape)


def overlaps(kernel: int, rng: np.random.Generator) -> Array:
    """What an untrained transposed convolution of stride 2 makes of a grey image: mean squares over its 64 channels."""
    layer = nn.ConvTranspose2d(64, 64, kernel, stride=2, bias=False, rng=rng)
    power: Array = (layer(ones(1, 64, 8, 8)).numpy()[0] ** 2).mean(axis=0)[3:15, 3:15]  # without the border
    relative: Array = power / power.mean()
    return relative


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """Training curves, test digits as each decoder draws them and as the best affine one would, checkerboards."""
    (train,), (test,) = state.data.train, state.data.test
    code = state.config.code
    drawn = {
        "as they are": test,
        f"{code} principal components": principal_components(train, test, code),
        **{name: state.model[name](tensor(test, device=state.device)).numpy() for name in ("nearest", "transposed")},
    }
    fig, (curves, *panels, boards) = plotting.figure((2, 3))
    plotting.curve_panel(curves, state.history, *DECODERS, title="mean squared error of batches")
    for panel, (name, images) in zip(panels, drawn.items(), strict=True):
        title = name if images is test else f"{name}: {((images - test) ** 2).mean():.4f}"
        plotting.images_panel(panel, images[:20, 0].clip(0, 1), 5, title=title)
    kernels = {f"{k} x {k}": overlaps(k, state.rng) for k in (3, 4)}
    plotting.images_panel(
        boards, list(kernels.values()), 2, title="untrained kernels, stride 2", captions=list(kernels)
    )
    plotting.save(fig, path)


RECIPE = Recipe(
    name="digits_autoencoder",
    row="C5",
    family="autoencoding",
    title="Digits drawn by transposed convolutions",
    paper="arXiv 1603.07285",
    config=Settings(),
    metric="transposed",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="ratio", at_most=1.1, seeds=3),
    figure=figure,
)
