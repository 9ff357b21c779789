"""From channels first to channels last: the transpose of every image's (channels, places), block by block."""

from __future__ import annotations

from numba import prange

from ..gemm.cpu import address
from ..jit import kernel
from ..vector import lanes, peek, poke, transpose


@kernel("void(const T[:, :, ::1], T[:, :, ::1], i8)", parallel=True)
def channels_last(x, out, parts):  # type: ignore[no-untyped-def]
    """out[n, p, c] = x[n, c, p]."""
    images, channels, places = x.shape
    size, like = out.itemsize, out.dtype.type(0)
    count = lanes(like)
    blocks = (places + count - 1) // count
    for part in prange(parts):
        for q in range(part * images * blocks // parts, (part + 1) * images * blocks // parts):
            n, p = q // blocks, q % blocks * count
            width = min(count, places - p)
            source = address(x) + n * x.strides[0] + p * size
            target = address(out) + n * out.strides[0] + p * out.strides[1]
            whole = channels // count * count if width == count else 0
            for c in range(0, whole, count):
                transpose(like, source + c * x.strides[1], x.strides[1], target + c * size, out.strides[1])
            for c in range(whole, channels):
                for i in range(width):
                    poke(target + i * out.strides[1] + c * size, peek(like, source + c * x.strides[1] + i * size))
