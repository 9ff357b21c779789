"""Writes optim.npz, what torch's optimizers and schedules make of fixed gradients: python tests/goldens/make_optim.py

"cases" is a JSON list of [optimizer, options]; "start.i" are two parameters and "grads.i" their gradients, step by
step; "case.k.i" is parameter i after all steps of case k. "schedules" is a JSON list of [schedule, options], and
"rates.k" the learning rates of schedule k.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": [0.5, 0.9], "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "weight_decay": 0.1, "momentum": 0.9, "centered": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
]
SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "anneal_strategy": "linear", "three_phase": True}),
]
SHAPES = [(2, 3), (4,)]
STEPS, RATES = 12, 30


def main() -> None:
    import torch

    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    grads = [rng.standard_normal((STEPS, *shape)) for shape in SHAPES]
    arrays = {f"start.{i}": x for i, x in enumerate(start)} | {f"grads.{i}": x for i, x in enumerate(grads)}
    for k, (name, options) in enumerate(CASES):
        params = [torch.tensor(x, requires_grad=True) for x in start]
        optimizer = getattr(torch.optim, name)(params, **options)
        for step in range(STEPS):
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.tensor(g[step])
            optimizer.step()
        arrays |= {f"case.{k}.{i}": p.detach().numpy() for i, p in enumerate(params)}
    for k, (name, options) in enumerate(SCHEDULES):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.2, momentum=0.9)
        schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
        rates = []
        for _ in range(RATES):
            rates += schedule.get_last_lr()
            optimizer.step()
            schedule.step()
        arrays[f"rates.{k}"] = np.array(rates)
    texts = {"cases": json.dumps(CASES), "schedules": json.dumps(SCHEDULES)}
    np.savez_compressed(Path(__file__).with_name("optim.npz"), allow_pickle=False, **arrays, **texts)


if __name__ == "__main__":
    main()
