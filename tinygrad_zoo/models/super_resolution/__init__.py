"""Sharper images from coarse ones."""

from .espcn import ESPCN

__all__ = ["ESPCN"]
