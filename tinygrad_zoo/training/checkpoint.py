"""A run at rest: its whole state in one safetensors file, the same bytes for the same state, read without pickle."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, require
from ..recipe import Recipe, State
from .folder import write

KEY = "tinygrad_zoo"  # of the metadata


@dataclass(frozen=True)
class Saved:
    """A state at rest: the arrays by name, and everything else as JSON-able `rest` that refers to them."""

    tensors: dict[str, np.ndarray[Any, Any]]
    rest: dict[str, Any]

    @classmethod
    def of(cls, state: State[Any, Any], **rest: Any) -> Saved:
        """Copies of all that a step reads and writes."""
        tensors = {f"model.{name}": np.array(array) for name, array in state.model.state_dict().items()}
        parts: dict[str, Any] = {"rng": state.rng.bit_generator.state}
        for kind in ("optimizers", "schedules", "extras"):
            parts[kind] = {name: part.state_dict() for name, part in getattr(state, kind).items()}
        packed = {name: _pack(part, name, tensors) for name, part in parts.items()}
        return cls(tensors, {**rest, **packed, "step": state.step})

    def restore(self, state: State[Any, Any]) -> None:
        """Put it back, in place."""
        weights = {k.removeprefix("model."): v for k, v in self.tensors.items() if k.startswith("model.")}
        state.model.load_state_dict(weights)
        for kind in ("optimizers", "schedules", "extras"):
            saved, parts = _unpack(self.rest[kind], self.tensors), getattr(state, kind)
            if saved.keys() != parts.keys():
                raise CheckpointError(f"the checkpoint has {kind} {sorted(saved)}, the recipe builds {sorted(parts)}")
            for name, part in parts.items():
                part.load_state_dict(saved[name])
        state.rng.bit_generator.state = _unpack(self.rest["rng"], self.tensors)
        state.step = self.rest["step"]

    def checksum(self) -> int:
        """CRC-32 of it all."""
        crc = zlib.crc32(json.dumps({k: v for k, v in self.rest.items() if k != "crc32"}, sort_keys=True).encode())
        for name in sorted(self.tensors):
            crc = zlib.crc32(self.tensors[name].tobytes(), zlib.crc32(name.encode(), crc))
        return crc


def _pack(value: Any, path: str, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    """`value` for JSON, its arrays put into `tensors` under their path; what JSON lacks becomes {"__kind__": ...}."""
    if isinstance(value, np.ndarray | np.generic):
        tensors[path] = np.array(value, order="C")
        return {"__array__" if isinstance(value, np.ndarray) else "__scalar__": path}
    if isinstance(value, Mapping):
        packed = {str(key): _pack(item, f"{path}.{key}", tensors) for key, item in value.items()}
        if all(isinstance(key, str) for key in value):
            return packed
        if all(type(key) is int for key in value):
            return {"__integers__": packed}
    elif isinstance(value, list | tuple):
        items = [_pack(item, f"{path}.{k}", tensors) for k, item in enumerate(value)]
        return items if isinstance(value, list) else {"__tuple__": items}
    elif value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{path}: a checkpoint holds arrays, numbers, text, lists and dicts, not {type(value).__name__}"
    )


def _unpack(value: Any, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """The inverse of `_pack`."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"__array__": path}:
            return tensors[path]
        case {"__scalar__": path}:
            return tensors[path][()]
        case {"__tuple__": items}:
            return tuple(_unpack(item, tensors) for item in items)
        case {"__integers__": items}:
            return {int(key): _unpack(item, tensors) for key, item in items.items()}
    return {key: _unpack(item, tensors) for key, item in value.items()}


def save_checkpoint(
    path: Path, recipe: Recipe[Any, Any], state: State[Any, Any], metrics: Mapping[str, float], metrics_bytes: int
) -> None:
    """Write the state to `path`, whole or not at all: the same bytes for the same state."""
    saved = Saved.of(
        state,
        recipe=recipe.name,
        config=state.config.as_dict(),
        seed=state.seed,
        device=state.device,
        metrics=dict(metrics),
        metrics_bytes=metrics_bytes,
    )
    saved.rest["crc32"] = saved.checksum()
    save = require("safetensors.numpy", "zoo").save
    # One metadata key, since several are written in random order.
    content = save(dict(sorted(saved.tensors.items())), {KEY: json.dumps(saved.rest, sort_keys=True)})
    try:
        write(path, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}; what was there before is untouched") from error


def load_checkpoint(path: Path) -> Saved:
    """What `save_checkpoint` wrote. Raises CheckpointError for a file that is damaged or something else."""
    safetensors = require("safetensors", "zoo")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            rest = json.loads(file.metadata()[KEY])
            saved = Saved({name: file.get_tensor(name) for name in file.keys()}, rest)  # noqa: SIM118
            intact = saved.checksum() == rest["crc32"]
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of a run ({error}): delete it, or use a copy"
        ) from error
    if not intact:
        raise CheckpointError(f"{path} is damaged (its checksum is wrong): delete it, or use a copy")
    return saved


def check_same_run(recipe: Recipe[Any, Any], state: State[Any, Any], rest: Mapping[str, Any], folder: Path) -> None:
    """Raise CheckpointError, naming every difference, for a checkpoint of another recipe, config, seed or device."""
    here = {"recipe": recipe.name, "seed": state.seed, "device": state.device, **state.config.as_dict()}
    there = {"recipe": rest["recipe"], "seed": rest["seed"], "device": rest.get("device"), **rest["config"]}
    differences = [
        f"{key} is {there.get(key, 'absent')!r} there and {here.get(key, 'absent')!r} here"
        for key in [*here, *(key for key in there if key not in here)]
        if here.get(key) != there.get(key) or (key in here) != (key in there)
    ]
    if differences:
        raise CheckpointError(
            f"the checkpoint in {folder} is of another run: {'; '.join(differences)}. Resume with its settings, or "
            "choose another --out"
        )
