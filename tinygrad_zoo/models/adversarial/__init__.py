"""Generators that learn from a second network, which tells their samples from data."""

from .ring import Adversaries

__all__ = ["Adversaries"]
