"""Generators that learn from a second network, which tells their samples from data."""

from .base import GAN

__all__ = ["GAN"]
