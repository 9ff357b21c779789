"""Normalizing flows: densities by invertible maps to a simple one."""

from .real_nvp import RealNVP
from .transforms import AffineCoupling, Flow, Permutation, Reverse, Transform

__all__ = ["AffineCoupling", "Flow", "Permutation", "RealNVP", "Reverse", "Transform"]
