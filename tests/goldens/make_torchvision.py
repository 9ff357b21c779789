"""Writes torchvision.npz: what torchvision makes of drawn images, offsets and boxes, with gradients, in float64.

Run in an environment of its own, since torchvision brings a PyTorch of its own:
    python -m venv VENV && VENV/bin/pip install torchvision numpy && VENV/bin/python tests/goldens/make_torchvision.py

"CASE/0", "CASE/1", … are the arguments that are arrays, "CASE/settings" the rest as JSON, "CASE/out" the value and
"CASE/grad/0", … the gradients of Σ out · "CASE/weight". `tests/test_roi.py` and `tests/test_deform.py` read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RNG = np.random.default_rng(0)


def boxes(count: int, images: int, size: float) -> np.ndarray:
    """Of an image so wide: some reach out of it, some are points, some end before they begin."""
    corners = RNG.uniform(-0.3 * size, 1.3 * size, (count, 4))
    corners[: count // 2, 2:] = corners[: count // 2, :2] + RNG.uniform(0, 0.7 * size, (count // 2, 2))
    corners[0, 2:] = corners[0, :2]
    corners[1:4] = [[1.0, 2.0, size - 1, size - 2], [2.5, 0.5, 6.5, 4.5], [-0.5, -2.5, 4.5, 2.5]]  # halves
    return np.concatenate([RNG.integers(0, images, (count, 1)), corners], axis=1)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def deformable() -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    """Version 1 and 2, weight groups, offset groups; offsets on whole numbers, on the border, far outside."""
    cases = [
        ("plain", 2, 3, 4, 1, 1, (3, 3), {"padding": 1}),
        ("groups", 2, 4, 6, 2, 2, (3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
        ("offset groups", 1, 6, 2, 1, 3, (1, 2), {"stride": 1, "padding": 2}),
        ("many groups", 2, 6, 6, 3, 2, (2, 2), {"dilation": 2, "padding": 1}),
    ]
    for name, n, c, k, groups, sets, kernel, settings in cases:
        size = (7, 6)
        pairs = {key: tuple(np.broadcast_to(settings.get(key, key != "padding"), 2)) for key in _DEFAULTS}
        places = [
            (size[a] + 2 * int(pairs["padding"][a]) - int(pairs["dilation"][a]) * (kernel[a] - 1) - 1)
            // int(pairs["stride"][a])
            + 1
            for a in range(2)
        ]
        offset = 1.5 * drawn(n, 2 * sets * kernel[0] * kernel[1], *places)
        offset.flat[::7] = np.round(offset.flat[::7])
        offset.flat[3::11] *= 20
        x, weight = drawn(n, c, *size), drawn(k, c // groups, *kernel)
        yield name, [x, offset, weight, drawn(k)], settings
        mask = RNG.random((n, sets * kernel[0] * kernel[1], *places))
        yield f"{name}, mask", [x, offset, weight, drawn(k), mask], settings


_DEFAULTS = ("stride", "padding", "dilation")


def main() -> None:
    import torch
    import torchvision
    from torchvision import ops

    golden: dict[str, Any] = {}

    def keep(name: str, function: Any, arrays: list[Any], settings: dict[str, Any], fixed: int = 99) -> None:
        """With gradients of the arrays before number `fixed`."""
        tensors = [torch.tensor(a, requires_grad=i < fixed) for i, a in enumerate(arrays)]
        out = function(*tensors, **settings)
        golden.update({f"{name}/{i}": a for i, a in enumerate(arrays)})
        golden[f"{name}/settings"], golden[f"{name}/out"] = json.dumps(settings), out.numpy(force=True)
        if out.is_floating_point() and out.requires_grad:
            weight = drawn(*out.shape)
            out.backward(torch.tensor(weight))
            golden[f"{name}/weight"] = weight
            golden.update({f"{name}/grad/{i}": t.grad.numpy() for i, t in enumerate(tensors) if t.requires_grad})

    def deform(x: Any, offset: Any, weight: Any, bias: Any, mask: Any = None, **settings: Any) -> Any:
        return ops.deform_conv2d(x, offset, weight, bias, mask=mask, **settings)

    for name, arrays, settings in deformable():
        keep(f"deform_conv2d/{name}", deform, arrays, settings)
    x, rois = drawn(2, 3, 8, 9), boxes(12, 2, 9)
    for size, scale in ((2, 1.0), ((3, 2), 0.5), ((1, 4), 1.0)):
        settings = {"output_size": size, "spatial_scale": scale}
        given = rois * np.array([1] + [1 / scale] * 4)
        keep(f"roi_pool/{size}", ops.roi_pool, [x, given], settings, 1)
        maps = drawn(2, 2 * int(np.prod(np.broadcast_to(size, 2))), 8, 9)
        keep(f"ps_roi_pool/{size}", ops.ps_roi_pool, [maps, given], settings, 0)
        inside = given.copy()  # its gradient, unlike its value, knows the last row and column
        inside[:, 1:] = np.clip(given[:, 1:], 0, 6 / scale)
        keep(f"ps_roi_pool/{size}, inside", ops.ps_roi_pool, [maps, inside], settings, 1)
        for ratio in (-1, 1, 3):
            sampled = {**settings, "sampling_ratio": ratio}
            sound = given[given[:, 3] > given[:, 1] + 0.5]  # else it divides by no samples
            sound = sound[sound[:, 4] > sound[:, 2] + 0.5]
            keep(f"ps_roi_align/{size}, {ratio}", ops.ps_roi_align, [maps, sound], sampled, 1)
            for aligned in (False, True):
                kept = given[(given[:, 3:] >= given[:, 1:3]).all(axis=1)] if aligned else given  # else it raises
                settings_of = {**sampled, "aligned": aligned}
                keep(f"roi_align/{size}, {ratio}, {aligned}", ops.roi_align, [x, kept], settings_of, 1)
    for i, threshold in enumerate((0.1, 0.3, 0.5, 0.7)):
        corners = RNG.integers(0, 12, (40, 2)).astype(float)
        many = np.concatenate([corners, corners + RNG.integers(1, 8, (40, 2))], axis=1)
        scores, labels = RNG.integers(0, 10, 40) / 10, RNG.integers(0, 3, 40)
        keep(f"nms/{i}", ops.nms, [many, scores], {"iou_threshold": threshold}, 0)
        keep(f"batched_nms/{i}", ops.batched_nms, [many, scores, labels], {"iou_threshold": threshold}, 0)
        others = [many[:7], RNG.uniform(0, 12, (5, 2))]
        others[1] = np.concatenate([others[1], others[1] + RNG.uniform(0.5, 6, (5, 2))], axis=1)
        keep(f"box_iou/{i}", ops.box_iou, others, {})
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **golden)
    cases = sum(key.endswith("/out") for key in golden)
    print(f"{cases} cases, torchvision {torchvision.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
