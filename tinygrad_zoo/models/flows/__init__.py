"""Normalizing flows: densities by invertible maps to a simple one."""

from .couplings import AdditiveCoupling, AffineCoupling, channel_mask, checkerboard_mask
from .glow import Glow
from .glow_blocks import ActNorm, ChannelCoupling, InvertibleConv1x1, Split2d, Squeeze2d
from .nice import NICE
from .planar import PlanarFlow, RadialFlow
from .preprocessing import Whitening, dequantize
from .real_nvp import RealNVP
from .transforms import Compose, Flow, Inverse, Permutation, Reverse, Scaling, Transform

__all__ = [
    "NICE",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "ChannelCoupling",
    "Compose",
    "Flow",
    "Glow",
    "Inverse",
    "InvertibleConv1x1",
    "Permutation",
    "PlanarFlow",
    "RadialFlow",
    "RealNVP",
    "Reverse",
    "Scaling",
    "Split2d",
    "Squeeze2d",
    "Transform",
    "Whitening",
    "channel_mask",
    "checkerboard_mask",
    "dequantize",
]
