"""Whether drawn digits are read as what they were meant to be, by a classifier that knows real digits alone."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ...errors import require


def recognised(real: tuple[NDArray[Any], ...], drawn: NDArray[Any], intended: NDArray[Any]) -> float:
    """The share of `drawn` (M, …), meant as `intended` (M,), that a logistic regression reads so; it was fitted to the
    images (N, …) and labels (N,) of `real`."""
    images, labels = real
    reader = require("sklearn.linear_model", "zoo").LogisticRegression(max_iter=1000)
    reader.fit(images.reshape(len(images), -1), labels)
    return float((reader.predict(drawn.reshape(len(drawn), -1)) == intended).mean())
