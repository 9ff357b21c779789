"""A pytest plugin: plants the fault of CUDA_FAULT (file below kernels, old, new, as JSON) in what is compiled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tinygrad_zoo.kernels import cuda

KERNELS = Path(cuda.__file__).parent


def planted(file: str, old: str, new: str) -> Any:
    """`Path.read_text`, in which that file reads otherwise."""
    path, read = (KERNELS / file).resolve(), Path.read_text
    assert path.read_text("utf-8").count(old) == 1, "plant it anew"

    def changed(self: Path, *arguments: Any, **settings: Any) -> str:
        text = read(self, *arguments, **settings)
        return text.replace(old, new) if self.resolve() == path else text

    return changed


if "CUDA_FAULT" in os.environ:
    Path.read_text = planted(*json.loads(os.environ["CUDA_FAULT"]))  # type: ignore[method-assign]
