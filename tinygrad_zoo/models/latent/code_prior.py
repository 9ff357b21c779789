"""What new digits are drawn from: a model of the codes of a VQ-VAE (arXiv 1711.00937), given the class.

The codes of an image are 16 whole numbers in raster order, and a second model learns how likely each is after those
before it, p(s | y) = Π p(s_i | s_<i, y): a stack of masked convolutions (PixelCNN, arXiv 1606.05328) or a Transformer
(as in arXiv 2012.09841), to which the class is the first token. The first steps of a run train the VQ-VAE alone. Then
it is frozen, and all others train the prior on its codes: were both trained at once, the codes could agree to be easy
to foretell and say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from ... import nn, ops, optim, plotting
from ...creation import zeros
from ...data import Split, digits
from ...distributions import Categorical
from ...errors import UsageError
from ...grad_mode import no_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, as_tensor, tensor
from ..autoregressive.pixelcnn import PixelCNN
from ..language.decoder import Decoder
from .recognition import recognised
from .vqvae import SIDE, VQVAE, coloured, colours

Kind: TypeAlias = Literal["pixelcnn", "transformer"]
K, CLASSES = 32, 10


class CodeCNN(nn.Module):
    """Codes (N, *shape), classes (N,) → logits (N, *shape, K) of each code, by masked convolutions of those before."""

    def __init__(
        self, K: int, shape: tuple[int, int], classes: int, width: int, layers: int, rng: np.random.Generator
    ) -> None:
        self.K = K
        self.pixels = PixelCNN(*shape, levels=K, channels=width, blocks=layers, classes=classes, rng=rng)

    def forward(self, codes: Any, y: Any) -> Any:
        dtype = self.pixels.first.weight.dtype
        planes = ops.one_hot(codes, self.K).moveaxis(-1, 1).astype(dtype=dtype)  # (N, K, *shape)
        return self.pixels(planes, y).moveaxis(1, -1)


class CodeTransformer(nn.Module):
    """The same by attention: the class is the first token, of those numbered from K."""

    def __init__(
        self, K: int, shape: tuple[int, int], classes: int, width: int, layers: int, dropout: float,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.K = K
        self.decoder = Decoder(
            K + classes, d=width, heads=4, blocks=layers, length=shape[0] * shape[1], dropout=dropout, rng=rng
        )

    def forward(self, codes: Any, y: Any) -> Any:
        tokens = ops.cat([y[:, None] + self.K, codes.reshape(len(codes), -1)[:, :-1]], axis=1)  # (N, codes)
        return self.decoder(tokens)[..., : self.K].reshape(*codes.shape, self.K)


class CodePrior(nn.Module):
    """p(s | y) of code maps s (N, *shape) of 0 … K - 1 and classes y (N,), `kind` "pixelcnn" or "transformer".

    `shape` is (height, width) of a map, `width` that of the network; `dropout` is the Transformer's.

    >>> rng = np.random.default_rng(0)
    >>> prior = CodePrior("pixelcnn", K=32, shape=(4, 4), classes=10, width=8, layers=2, rng=rng)
    >>> codes = prior.sample(tz.arange(10), rng=rng)
    >>> codes.shape, prior.log_prob(codes, tz.arange(10)).shape
    ((10, 4, 4), (10,))
    """

    def __init__(
        self, kind: Kind, *, K: int, shape: tuple[int, int], classes: int, width: int, layers: int,
        dropout: float = 0.0, rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:  # fmt: skip
        self.shape = shape
        if kind == "pixelcnn":
            self.net: nn.Module = CodeCNN(K, shape, classes, width, layers, rng)
        elif kind == "transformer":
            self.net = CodeTransformer(K, shape, classes, width, layers, dropout, rng)
        else:
            raise UsageError(f'CodePrior: kind must be "pixelcnn" or "transformer", got {kind!r}')

    def forward(self, codes: Any, y: Any) -> Any:
        """Logits of each code given those before it and the class: (N, *shape, K)."""
        return self.net(as_tensor(codes), as_tensor(y))

    def log_probs(self, codes: Any, y: Any) -> Any:
        """log p(s_i | s_<i, y), (N, *shape), in nats."""
        return Categorical(logits=self(codes, y)).log_prob(codes)

    def log_prob(self, codes: Any, y: Any) -> Any:
        """log p(s | y), (N,)."""
        return self.log_probs(codes, y).sum(axis=(1, 2))

    def sample(self, y: Any, *, rng: np.random.Generator) -> Any:
        """A code map for each class of y, one code after the other: (N,) → (N, *shape)."""
        with no_grad():
            y = as_tensor(y)
            codes = zeros(len(y), *self.shape, dtype="int64", device=y.device)
            for i, j in np.ndindex(self.shape):
                logits = self(codes[:, : i + 1], y)[:, i, j]  # rows below are not seen
                codes.data[:, i, j] = Categorical(logits=logits).sample(rng=rng).data
            return codes


class TwoStages(nn.Module):
    """A VQ-VAE, and the prior of its codes."""

    def __init__(self, vqvae: VQVAE, prior: CodePrior) -> None:
        self.vqvae, self.prior = vqvae, prior


# ---- digits
@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 2000
    batch_size: int = 64
    first: float = 0.6  # the share of the steps that train the VQ-VAE
    kind: Kind = "transformer"
    lr: float = 2e-3
    weight_decay: float = 0.1
    width: int = 64
    layers: int = 2
    dropout: float = 0.2


def data(config: Settings, rng: np.random.Generator) -> Split:
    (train, labels), (test, classes) = digits().parts().values()
    return Split(train=(train[:, None], labels), test=(test[:, None], classes))  # pixels (N, 1, 8, 8), labels (N,)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[TwoStages]:
    vqvae = VQVAE(K, d=16, width=32, rng=rng)
    sizes: Any = {"width": config.width, "layers": config.layers, "dropout": config.dropout}
    prior = CodePrior(config.kind, K=K, shape=(SIDE, SIDE), classes=CLASSES, **sizes, rng=rng)
    optimizers = {
        "vqvae": optim.Adam(vqvae.parameters(), lr=config.lr),
        "prior": optim.AdamW(prior.parameters(), lr=config.lr, weight_decay=config.weight_decay),
    }
    first = max(1, round(config.first * config.steps))
    schedules = {
        "vqvae": optim.CosineAnnealingLR(optimizers["vqvae"], first),
        "prior": optim.CosineAnnealingLR(optimizers["prior"], max(1, config.steps - first)),
    }
    return Parts(model=TwoStages(vqvae, prior), optimizers=optimizers, schedules=schedules)


def stage_of(state: State[Settings, TwoStages]) -> str:
    """What is being trained."""
    return "vqvae" if state.step < state.config.first * state.config.steps else "prior"


def step(state: State[Settings, TwoStages], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 1, 8, 8), (N,)
    model, stage = state.model, stage_of(state)
    optimizer = state.optimizers[stage]
    optimizer.zero_grad()
    if stage == "vqvae":
        again, _, commitment = model.vqvae(x)
        found = {"mse": ops.mse_loss(again, x)}
        loss = found["mse"] + commitment
    else:
        with no_grad():
            codes = model.vqvae.encode(x)  # (N, 4, 4)
        loss = -model.prior.log_probs(codes, y).mean()
        found = {"nll": loss}
    loss.backward()
    optimizer.step()
    state.schedules[stage].step()
    return {"loss": loss, **found}


def drawn(state: State[Settings, TwoStages], n: int) -> tuple[Any, Any, Any]:
    """n new digits of each class (10 n, 8, 8), their codes (10 n, 4, 4), and their classes."""
    y = np.repeat(np.arange(CLASSES), n)
    codes = state.model.prior.sample(tensor(y, device=state.device), rng=state.rng)
    return state.model.vqvae.decode(codes).numpy()[:, 0], codes.numpy(), y


def coded(state: State[Settings, TwoStages]) -> tuple[Any, Any, float]:
    """The codes of test digits, log p of each, (N, 4, 4), and the mean of -log p by frequency in training, 1 added."""
    train, test, labels = (tensor(x, device=state.device) for x in (state.data.train[0], *state.data.test))
    codes, known = state.model.vqvae.encode(test), state.model.vqvae.encode(train)
    counts = np.bincount(known.numpy().reshape(-1), minlength=K) + 1
    unigram = float(-np.log(counts / counts.sum())[codes.numpy()].mean())
    return codes, state.model.prior.log_probs(codes, labels).numpy(), unigram


def evaluate(state: State[Settings, TwoStages]) -> dict[str, float]:
    """Nats a test code, by the prior and by frequency; how codes draw; how many of 300 new digits are read as meant."""
    codes, log_probs, unigram = coded(state)
    images, _, y = drawn(state, 30)
    return {
        "test_nll": -float(log_probs.mean()),
        "unigram_nll": unigram,
        "test_mse": float(((state.model.vqvae.decode(codes).numpy() - state.data.test[0]) ** 2).mean()),
        "perplexity": float(state.model.vqvae.quantizer.perplexity_of(codes)),
        "recognised": recognised(state.data.train, images, y),
    }


def baseline(data: Split) -> Mapping[str, float]:
    """All codes alike, in nats a code; what frequencies save is measured on the run's own codes."""
    return {"uniform codes": float(np.log(K))}


def figure(state: State[Settings, TwoStages], path: Path) -> None:
    """The second stage's curve; new digits, a row a class; codes and what is drawn from them; what each code costs."""
    tested, log_probs, unigram = coded(state)
    images, codes, y = drawn(state, 9)
    fig, (curve, new, made, costs) = plotting.figure(4, size=4.2)
    plotting.curve_panel(curve, state.history, "nll", title=f"nats a code, of test digits {-log_probs.mean():.2f}")
    curve.axvspan(0, state.config.first * state.config.steps, color=plotting.GREY, alpha=0.3, linewidth=0)
    curve.text(0, np.log(K) / 2, " here the VQ-VAE trains")
    for name, value, side in (("uniform", np.log(K), "bottom"), ("by frequency", unigram, "top")):
        curve.axhline(value, color="grey", linestyle=":", linewidth=1)
        curve.annotate(name, (0, value), va=side, fontsize=7)
    curve.set(ylim=(0, 1.1 * np.log(K)))
    share = 100 * recognised(state.data.train, images, y)
    plotting.images_panel(new, images.clip(0, 1), 9, title=f"new digits: {share:.0f} % read as meant")
    tints = colours(np.argsort(-np.bincount(tested.numpy().reshape(-1), minlength=K)))
    grey = images[::9, :, :, None].repeat(3, axis=-1).clip(0, 1)  # (10, 8, 8, 3): one of each class
    pairs = np.stack([coloured(codes[::9], tints), grey]).reshape(2, 2, 5, 8, 8, 3).swapaxes(0, 1)
    plotting.images_panel(made, pairs.reshape(20, 8, 8, 3), 5, title="drawn codes, and digits from them")
    image = costs.imshow(-log_probs.mean(axis=0), cmap="magma", vmin=0)
    fig.colorbar(image, ax=costs, shrink=0.7)
    costs.set(title="nats a code, by place", xticks=[], yticks=[])
    plotting.save(fig, path)


def samples(state: State[Settings, TwoStages]) -> dict[str, Any]:
    return dict(zip(("x", "codes", "y"), drawn(state, 20), strict=True))


RECIPE = Recipe(
    name="code_prior",
    row="G6",
    family="latent",
    title="New digits from a model of a VQ-VAE's codes",
    paper="arXiv 1711.00937",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    phase=stage_of,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_nll", at_most=2.9, seeds=3, also=(Bar(metric="recognised", at_least=0.45, seeds=3),)),
    figure=figure,
    samples=samples,
)
