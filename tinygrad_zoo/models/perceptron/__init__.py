"""The perceptron: units that fire or do not, the rule by which one learns, and what a bias is."""

from .bias import fold_bias, threshold_sweep
from .logic import mcculloch_pitts, xor
from .rule import Perceptron, Pocket, hard_margin

__all__ = ["Perceptron", "Pocket", "fold_bias", "hard_margin", "mcculloch_pitts", "threshold_sweep", "xor"]
