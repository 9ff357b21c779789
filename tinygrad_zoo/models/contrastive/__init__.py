"""Estimates that come from telling what belongs together from what does not."""

from .mutual_information import Critic
from .nce import Unnormalised

__all__ = ["Critic", "Unnormalised"]
