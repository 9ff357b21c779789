"""Writes nn.npz: a small network of PyTorch's layers with each loss. Run: python tests/goldens/make_nn.py

"state/NAME" is its state under PyTorch's names, "index" (5, 3) its input, "out" (5, 3, 4) its output in training; for
each loss "LOSS/value" and "LOSS/grad/NAME" are the loss and the gradient of every parameter; "after/NAME" is the state
after one forward pass a loss, and "evaluated" the output in evaluation then. All in float64.
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
        nn.BatchNorm1d(3, momentum=0.3),
        nn.LayerNorm(6),
        nn.Linear(6, 5),
        nn.GELU(),
        nn.Linear(5, 5, bias=False),
        nn.SiLU(),
        nn.GroupNorm(1, 3),
        nn.RMSNorm(5),
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        nn.Linear(5, 4),
    ).double()


def main() -> None:
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    net = network()
    golden: dict[str, Any] = {f"state/{name}": x.numpy().copy() for name, x in net.state_dict().items()}
    golden["index"] = rng.integers(0, 7, (5, 3))
    golden["index"][0] = 2  # the padding
    golden["labels"] = rng.integers(0, 4, (5, 3))
    golden["targets"] = rng.random((5, 3, 4))
    labels, targets = torch.from_numpy(golden["labels"]), torch.from_numpy(golden["targets"])
    signs, weight = torch.from_numpy(np.where(golden["targets"] > 0.5, 1.0, -1.0)), targets[0, 0]

    def rows(x: Any) -> Any:
        return x.reshape(15, 4)

    losses = {
        "cross_entropy": lambda out: nn.CrossEntropyLoss(label_smoothing=0.1)(rows(out), labels.reshape(15)),
        "nll": lambda out: nn.NLLLoss(weight)(nn.LogSoftmax(-1)(rows(out)), labels.reshape(15)),
        "multi_margin": lambda out: nn.MultiMarginLoss(2, 0.5, weight)(rows(out), labels.reshape(15)),
        "mse": lambda out: nn.MSELoss()(out, targets),
        "l1": lambda out: nn.L1Loss()(out, targets),
        "smooth_l1": lambda out: nn.SmoothL1Loss(beta=0.5)(out, targets),
        "huber": lambda out: nn.HuberLoss(delta=0.5)(out, targets),
        "gaussian_nll": lambda out: nn.GaussianNLLLoss(full=True)(out, targets, targets + 0.1),
        "poisson_nll": lambda out: nn.PoissonNLLLoss(full=True)(out, 4 * targets),
        "bce": lambda out: nn.BCEWithLogitsLoss(reduction="sum")(out, targets),
        "bce_of_probabilities": lambda out: nn.BCELoss()(out.sigmoid(), targets),
        "multilabel_soft_margin": lambda out: nn.MultiLabelSoftMarginLoss()(rows(out), rows(targets)),
        "kl_div": lambda out: nn.KLDivLoss(reduction="batchmean")(nn.LogSoftmax(-1)(out), targets),
        "soft_margin": lambda out: nn.SoftMarginLoss()(out, signs),
        "hinge_embedding": lambda out: nn.HingeEmbeddingLoss()(out, signs),
        "margin_ranking": lambda out: nn.MarginRankingLoss(0.2)(out, targets, signs),
        "triplet": lambda out: nn.TripletMarginLoss(swap=True)(out, targets, signs),
        "cosine_embedding": lambda out: nn.CosineEmbeddingLoss()(rows(out), rows(targets), rows(signs)[:, 0]),
    }
    for name, loss_of in losses.items():
        net.zero_grad()
        out = net(torch.from_numpy(golden["index"]))
        loss = loss_of(out)
        loss.backward()
        golden |= {"out": out.detach().numpy(), f"{name}/value": loss.detach().numpy()}
        golden |= {f"{name}/grad/{key}": x.grad.numpy().copy() for key, x in net.named_parameters()}
    golden |= {f"after/{name}": x.numpy() for name, x in net.state_dict().items()}
    golden["evaluated"] = net.eval()(torch.from_numpy(golden["index"])).detach().numpy()
    np.savez_compressed(Path(__file__).with_name("nn.npz"), **golden)


if __name__ == "__main__":
    main()
