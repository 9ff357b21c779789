"""Writes flows.npz: RealNVP in PyTorch, written by index instead of by mask. Run: python tests/goldens/make_flows.py

"state/NAME" are the networks' parameters, "x" (16, 3) the points; "z", "log_det" and "log_prob" what the flow makes of
them, and "grad/NAME" the gradients of the mean negative log-likelihood. All in float64.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

DIM, HIDDEN, COUPLINGS, MAX_LOG_SCALE = 3, 8, 3, 4.0


def realnvp(state: dict[str, Any], x: Any) -> dict[str, Any]:
    """The twin of tinygrad_zoo's RealNVP, from its networks' parameters by name."""
    import torch

    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in state.items() if ".net." in name}
    z = torch.tensor(x)
    n, dim = z.shape
    log_det = torch.zeros(n, dtype=z.dtype)
    for k in range(len(leaves) // 6):
        kept = [i for i in range(dim) if i % 2 == k % 2]
        changed = [i for i in range(dim) if i % 2 != k % 2]
        h = torch.zeros_like(z)
        h[:, kept] = z[:, kept]
        for layer in (0, 2, 4):
            name = f"transforms.{k}.net.{layer}"
            h = torch.nn.functional.linear(h, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
            h = torch.relu(h) if layer < 4 else h
        s = MAX_LOG_SCALE * torch.tanh(h[:, changed] / MAX_LOG_SCALE)
        new = z.clone()
        new[:, changed] = z[:, changed] * torch.exp(s) + h[:, [dim + i for i in changed]]
        z, log_det = new, log_det + s.sum(1)
    log_prob = -0.5 * (z * z).sum(1) - 0.5 * dim * math.log(2 * math.pi) + log_det
    (-log_prob.mean()).backward()
    made = {"z": z, "log_det": log_det, "log_prob": log_prob, **{f"grad/{k}": v.grad for k, v in leaves.items()}}
    return {name: value.detach().numpy() for name, value in made.items()}


def main() -> None:
    rng = np.random.default_rng(0)
    layers = {0: (HIDDEN, DIM), 2: (HIDDEN, HIDDEN), 4: (2 * DIM, HIDDEN)}
    state = {}
    for k in range(COUPLINGS):
        for layer, shape in layers.items():
            state[f"transforms.{k}.net.{layer}.weight"] = rng.normal(0, 0.5, shape)
            state[f"transforms.{k}.net.{layer}.bias"] = rng.normal(0, 0.5, shape[0])
    x = rng.standard_normal((16, DIM))
    golden = {"x": x, **{f"state/{name}": value for name, value in state.items()}, **realnvp(state, x)}
    np.savez_compressed(Path(__file__).with_name("flows.npz"), **golden)


if __name__ == "__main__":
    main()
