"""Trains the character-level Transformer with each feed-forward block and writes docs/feedforward.md (row P3).

`python docs/feedforward.py [STEPS]`: one thread, a block and a seed after the other; each run is kept in the folder
`runs/feedforward` and not made again.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import statistics
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tables import table

import tinygrad_zoo as tz
from tinygrad_zoo.models.language.char_transformer import RECIPE
from tinygrad_zoo.models.language.decoder import FeedForward
from tinygrad_zoo.training import fit

PAGE = Path(__file__).with_suffix(".md")
RUNS = Path("runs/feedforward")
SEEDS = 3
BARE = dataclasses.replace(RECIPE, baseline=lambda data: {}, figure=lambda state, path: None)
BLOCKS = {
    "relu": "ReLU(x W)",
    "gelu": "GELU(x W)",
    "glu": "σ(x W) ⊗ x V",
    "bilinear": "x W ⊗ x V",
    "reglu": "ReLU(x W) ⊗ x V",
    "geglu": "GELU(x W) ⊗ x V",
    "swiglu": "SiLU(x W) ⊗ x V",
}


def reached(name: str, seed: int, steps: int) -> float:
    """The test loss of one run."""
    out = RUNS / f"{name}-{steps}-{seed}"
    if not (out / "result.json").exists():
        fit(BARE, seed=seed, steps=steps, overrides={"feedforward": name}, out=out, resume=True, progress=False)
    return float(json.loads((out / "result.json").read_text("utf-8"))["metrics"]["test_nll"])


def parameters(name: str, data: Any) -> int:
    """How many the network has."""
    config = RECIPE.config.overridden({"feedforward": name})
    return sum(p.size for p in RECIPE.build(config, data, np.random.default_rng(0)).model.parameters())


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def page(steps: int) -> str:
    """The text of docs/feedforward.md."""
    data = RECIPE.data(RECIPE.config, np.random.default_rng(0))
    rows = []
    for name, formula in BLOCKS.items():
        found = [reached(name, seed, steps) for seed in range(SEEDS)]
        rows.append((name, formula, parameters(name, data), statistics.median(found), found))
        print(name, *(f"{value:.4f}" for value in found), flush=True)
    body = table(
        ["block", "hidden units", "parameters", *(f"seed {seed}" for seed in range(SEEDS)), "median"],
        (
            [f"`{name}`", formula, f"{count:,}", *(f"{value:.4f}" for value in found), f"{median:.4f}"]
            for name, formula, count, median, found in sorted(rows, key=lambda row: row[3])
        ),
    )
    triples, config = RECIPE.baseline(data)["triples"], RECIPE.config
    return f"""# Feed-forward blocks compared

The character-level Transformer (`tinygrad-zoo train {RECIPE.name} --set feedforward=NAME`) with each feed-forward
block of arXiv 2002.05202. A gated block has two matrices in front where a plain one has one, so it gets two thirds of
the hidden units, and all networks have about as many parameters. Numbers are the test loss in nats a character, lower
is better, the best median first. Counts of three characters in a row reach {triples:.4f}, and the recipe's own
{config.steps} steps less than {RECIPE.bar.at_most}. With {SEEDS} seeds, differences below the spread of a row say
nothing.

{body}

{steps} steps of {config.batch_size} windows of {config.length} characters, d = {config.d}, {config.blocks} blocks,
lr = {config.lr:g}, float32, one thread. {processor()}, Python {platform.python_version()}, NumPy {np.__version__},
{datetime.date.today().isoformat()}. Written by `python docs/feedforward.py {steps}`.
"""


if __name__ == "__main__":
    assert tuple(BLOCKS) == get_args(FeedForward)
    tz.set_num_threads(1)
    PAGE.write_text(page(int(sys.argv[1]) if len(sys.argv) > 1 else RECIPE.config.steps), "utf-8")
