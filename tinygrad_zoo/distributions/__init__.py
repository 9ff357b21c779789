"""Probability distributions: densities and samples that gradients flow through."""

from .base import Distribution, Independent
from .normal import MultivariateNormal, Normal

__all__ = ["Distribution", "Independent", "MultivariateNormal", "Normal"]
