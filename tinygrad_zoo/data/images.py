"""Handwritten digits, shipped inside scikit-learn: 1,797 grey images of 8 x 8 pixels, values 0..16."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from ..errors import DTypeError, UsageError, require
from .loading import Split, train_test_split


def digits(
    *, pixels: Literal["unit", "raw", "binary"] = "unit", flat: bool = False, dtype: DTypeLike = np.float32
) -> Split:
    """Images (N, 8, 8), or (N, 64) if flat, and labels (N,) in int64: always the same stratified 1437 / 360 split.

    Pixels are x / 16 in [0, 1] ("unit"), x in 0..16 ("raw") or the bit x > 7.5 ("binary").
    Raises MissingDependencyError without scikit-learn (the extra `zoo`), UsageError for other pixels.

    >>> digits()
    Split(train=[1437: (8, 8) float32, () int64], test=[360: (8, 8) float32, () int64])
    >>> np.unique(digits(pixels="binary", flat=True).test[0]).tolist()
    [0.0, 1.0]
    """
    if not np.issubdtype(dtype, np.floating):
        raise DTypeError(f"digits need a floating dtype, got {np.dtype(dtype)}; write dtype=np.float32")
    loaded = require("sklearn.datasets", "zoo").load_digits()
    if pixels == "unit":
        images = loaded.images / 16
    elif pixels == "raw":
        images = loaded.images
    elif pixels == "binary":
        images = loaded.images > 7.5
    else:
        raise UsageError(f'pixels must be "unit", "raw" or "binary", got {pixels!r}')
    labels = loaded.target.astype(np.int64)
    images = images.reshape(len(labels), *((64,) if flat else (8, 8))).astype(dtype)
    return train_test_split((images, labels), n_test=360, rng=0, stratify=labels)
