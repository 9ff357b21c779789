"""What the flows on digits share: dequantised pixels, the step, the NLL a pixel, and the Gaussian of full covariance.

A density of the pixels that knows no more than their means and covariances is hard to beat: a flow has to find what is
beyond second moments. All densities are of x = (d + u) / 17 with d in 0..16, so their NLLs can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import ops
from ...data import Split, digits
from ...distributions import MultivariateNormal
from ...recipe import Batch, Config, State
from ...tensor import Tensor, tensor
from .preprocessing import dequantize

SIDE, LEVELS = 8, 17
SHAPE, DIM = (1, SIDE, SIDE), SIDE * SIDE


def data(config: Config, rng: np.random.Generator) -> Split:
    """Train: counts 0..16 in rows (N, 64), to be dequantised anew in each step. Test: dequantised once."""
    (train, _), (test, _) = digits(pixels="raw", flat=True).parts().values()
    return Split(train=(train,), test=(dequantize(test, LEVELS, rng).numpy(),))


def dequantized(data: Split) -> NDArray[Any]:
    """One dequantisation of the training pixels (N, 64), to fit what is not trained in steps."""
    pixels: NDArray[Any] = dequantize(data.train[0], LEVELS, np.random.default_rng(1)).numpy()
    return pixels


def baseline(data: Split) -> Mapping[str, float]:
    gaussian = MultivariateNormal.fit(dequantized(data))
    return {"Gaussian of full covariance": -float(gaussian.log_prob(tensor(data.test[0], "float64")).mean()) / DIM}


def step(state: State[Any, Any], batch: Batch) -> dict[str, Tensor]:
    """One step up the mean of log p(x) of pixels with new noise; in nats a pixel, and in bits a pixel of the counts."""
    (counts,) = batch  # (N, 64)
    optimizer = state.optimizers["adamw"]
    optimizer.zero_grad()
    loss = -ops.mean(state.model.log_prob(dequantize(counts, LEVELS, state.rng))) / DIM
    loss.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"nll": loss, "bits": bits(loss)}


def nll(state: State[Any, Any]) -> float:
    """Of the test pixels, in nats a pixel."""
    return -float(state.model.log_prob(tensor(state.data.test[0], device=state.device)).mean()) / DIM


def bits(nll: Any) -> Any:
    """The bound on the counts' code length, in bits a pixel, that an NLL of nats a pixel gives.

    >>> round(bits(-math.log(17)), 6), round(bits(0.0), 2)  # all in one cell; no knowledge at all
    (0.0, 4.09)
    """
    return (nll + math.log(LEVELS)) / math.log(2)


def images(x: Any) -> NDArray[Any]:
    """Rows (n, 64) of a Tensor or array as images (n, 8, 8) of grey values in [0, 1]."""
    pixels: NDArray[Any] = tensor(x).numpy()
    return pixels.reshape(-1, SIDE, SIDE).clip(0, 1)
