"""Anderson's irises (1935), shipped inside scikit-learn: what the perceptrons of this folder learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import require

SPECIES = ("setosa", "versicolor", "virginica")
FEATURES = ("sepal length", "sepal width", "petal length", "petal width")  # in cm


def iris(*features: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Flowers (150, features) in float64, all four by default, and their species (150,), numbers into SPECIES.

    >>> iris("petal length")[0].shape, iris()[0].shape
    ((150, 1), (150, 4))
    """
    loaded = require("sklearn.datasets", "zoo").load_iris()
    columns = [FEATURES.index(name) for name in features or FEATURES]
    return np.ascontiguousarray(loaded.data[:, columns]), loaded.target.astype(np.int64)
