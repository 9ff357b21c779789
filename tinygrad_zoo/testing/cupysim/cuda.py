"""The little of `cupy.cuda` that choosing a device asks for: there is one, number 0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Device:
    """A device, and a context in which it is the current one."""

    def __init__(self, device: int = 0) -> None:
        if device != 0:
            raise ValueError(f"the stand-in has one device, 0; there is no {device}")
        self.id = device

    compute_capability = "90"  # of the cards whose kernels the emulation runs

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        return None

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


runtime = SimpleNamespace(getDeviceCount=lambda: 1)
