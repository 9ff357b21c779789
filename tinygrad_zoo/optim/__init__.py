"""Optimizers, learning-rate schedules, gradient clipping and weight averaging, after PyTorch's `torch.optim`."""

from .averaging import EMA
from .clipping import clip_grad_norm_, clip_grad_value_
from .groups import branch_groups, decay_groups
from .methods import SGD, Adagrad, Adam, AdamW, RMSprop
from .optimizer import Optimizer
from .schedules import CosineAnnealingLR, LambdaLR, LinearWarmup, OneCycleLR, Schedule, StepLR

__all__ = [
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "EMA",
    "LambdaLR",
    "LinearWarmup",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "SGD",
    "Schedule",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
    "branch_groups",
    "decay_groups",
]
