"""The systems written in PyTorch, eagerly: what `python -m benchmarks zoo` times ours against.

A twin is a module of its recipe's name with `build(data, config, seed)`, which returns a function that does one step of
training on a batch of arrays, rows of data.train, and returns the recipe's metric.
"""

import importlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

THREADS = 2


def names() -> list[str]:
    """The systems that have a twin."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("__"))


def training(name: str, seed: int) -> tuple[Callable[[], float], int]:
    """What does the next step of the twin, on the batches that our own would see; and how many steps there are."""
    import numpy as np
    import torch

    from tinygrad_zoo.data import batch_indices
    from tinygrad_zoo.recipe import find

    torch.set_num_threads(THREADS)
    recipe: Any = find(name)
    data = recipe.data(recipe.config, np.random.default_rng(0))
    torch.manual_seed(seed)
    step = importlib.import_module(f"{__name__}.{name}").build(data, recipe.config, seed)
    numbers = count()

    def run() -> float:
        rows = batch_indices(len(data.train[0]), recipe.config.batch_size, seed, next(numbers))
        return float(step(tuple(array[rows] for array in data.train)))

    return run, recipe.config.steps
