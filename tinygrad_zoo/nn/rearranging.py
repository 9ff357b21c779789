"""Layers that move pixels: blocks of an image to columns, channels to pixels, and back."""

from .. import ops
from .op_module import OpModule


class Unfold(OpModule, op=ops.unfold): ...


class Fold(OpModule, op=ops.fold): ...


class PixelShuffle(OpModule, op=ops.pixel_shuffle): ...


class PixelUnshuffle(OpModule, op=ops.pixel_unshuffle): ...
