"""Losses as modules, beside the ops of the same formula."""

from .supervised import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "MSELoss"]
