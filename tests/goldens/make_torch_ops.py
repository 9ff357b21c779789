"""Writes torch_ops.npz: PyTorch's values, gradients and second derivatives on the samples of our ops.

Run it where PyTorch is installed, after the samples of an op have changed: python tests/goldens/make_torch_ops.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def main() -> None:
    import torch_ops

    found = {
        name: np.concatenate(
            [
                np.concatenate([torch_ops.sample_numbers(s), torch_ops.flat(torch_ops.theirs(name, s))])
                for s in torch_ops.samples(name)
            ]
        )
        for name in torch_ops.TORCH
    }
    np.savez_compressed(HERE / "torch_ops.npz", **found)
    print(f"{len(found)} ops, {sum(a.size for a in found.values())} numbers, torch {torch_ops.torch.__version__}")


if __name__ == "__main__":
    main()
