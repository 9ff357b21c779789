"""Exact densities of bits and of whole numbers: each given those before it."""

from .base import Autoregressive
from .fvsbn import FVSBN
from .made import MADE
from .nade import NADE
from .pixelcnn import PixelCNN

__all__ = ["FVSBN", "MADE", "NADE", "Autoregressive", "PixelCNN"]
