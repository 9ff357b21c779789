"""Writes nn.npz: a small network of PyTorch's layers with each loss. Run: python tests/goldens/make_nn.py

"state/NAME" is its state under PyTorch's names, "index" (5, 3) its input, "out" (5, 3, 4) its output; for each loss
"LOSS/value" and "LOSS/grad/NAME" are the loss and the gradient of every parameter. All in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def network() -> Any:
    """PyTorch's network: `tests/test_nn.py` builds ours line by line like it."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(7, 6, padding_idx=2),
        nn.LayerNorm(6),
        nn.Linear(6, 5),
        nn.GELU(),
        nn.Linear(5, 5, bias=False),
        nn.SiLU(),
        nn.Linear(5, 4),
    ).double()


def main() -> None:
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    net = network()
    golden: dict[str, Any] = {f"state/{name}": x.numpy() for name, x in net.state_dict().items()}
    golden["index"] = rng.integers(0, 7, (5, 3))
    golden["index"][0] = 2  # the padding
    golden["labels"] = rng.integers(0, 4, (5, 3))
    golden["targets"] = rng.random((5, 3, 4))
    labels, targets = torch.from_numpy(golden["labels"]), torch.from_numpy(golden["targets"])
    losses = {
        "cross_entropy": lambda out: nn.CrossEntropyLoss(label_smoothing=0.1)(out.reshape(15, 4), labels.reshape(15)),
        "mse": lambda out: nn.MSELoss()(out, targets),
        "bce": lambda out: nn.BCEWithLogitsLoss(reduction="sum")(out, targets),
    }
    for name, loss_of in losses.items():
        net.zero_grad()
        out = net(torch.from_numpy(golden["index"]))
        loss = loss_of(out)
        loss.backward()
        golden |= {"out": out.detach().numpy(), f"{name}/value": loss.detach().numpy()}
        golden |= {f"{name}/grad/{key}": x.grad.numpy().copy() for key, x in net.named_parameters()}
    np.savez_compressed(Path(__file__).with_name("nn.npz"), **golden)


if __name__ == "__main__":
    main()
