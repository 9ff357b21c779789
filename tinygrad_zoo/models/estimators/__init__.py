"""Gradients of expectations at work: a density fitted by its own samples, a classifier that is told rewards alone."""

from .gaussian_fit import Gaussian

__all__ = ["Gaussian"]
