"""Data sets and batches: NumPy arrays in and out, every draw from an explicit generator or seed."""

from .corpus import char_vocabulary, decode_chars, encode_chars, text
from .images import digits
from .loading import (
    Split,
    Statistics,
    batch_indices,
    batches,
    standardize,
    steps_per_epoch,
    train_test_split,
)
from .toy2d import (
    checkerboard,
    checkerboard_entropy,
    checkerboard_log_density,
    eight_gaussians,
    eight_gaussians_entropy,
    eight_gaussians_log_density,
    pinwheel,
    spirals,
    two_moons,
    two_moons_entropy,
    two_moons_log_density,
    two_moons_split,
)

__all__ = [
    "Split",
    "Statistics",
    "batch_indices",
    "batches",
    "char_vocabulary",
    "checkerboard",
    "checkerboard_entropy",
    "checkerboard_log_density",
    "decode_chars",
    "digits",
    "eight_gaussians",
    "eight_gaussians_entropy",
    "eight_gaussians_log_density",
    "encode_chars",
    "pinwheel",
    "spirals",
    "standardize",
    "steps_per_epoch",
    "text",
    "train_test_split",
    "two_moons",
    "two_moons_entropy",
    "two_moons_log_density",
    "two_moons_split",
]
