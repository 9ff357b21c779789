"""The training loop where something is in its way: folders, disks, settings, missing extras."""

from __future__ import annotations

import dataclasses
import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny_recipe import TINY, Crash, kept, train, with_step
from tinygrad_zoo import errors
from tinygrad_zoo.errors import CheckpointError, MissingDependencyError, UsageError
from tinygrad_zoo.training import fit, last_result, load_checkpoint


def test_a_folder_in_use_is_never_overwritten(tmp_path: Path) -> None:
    train(tmp_path / "run")
    before = kept(tmp_path / "run")
    with pytest.raises(UsageError, match="is not empty: continue the run in it with --resume, or choose another --out"):
        train(tmp_path / "run")
    assert kept(tmp_path / "run") == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        train(tmp_path / "thesis")


def test_default_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_result("tiny") is None
    for seed, name in enumerate(["tiny", "tiny-2", "tiny-3"]):
        assert fit(TINY, seed=seed, progress=False).out == Path("runs") / name
    assert last_result("tiny")["seed"] == 2  # type: ignore[index]
    assert fit(TINY, seed=2, progress=False, resume=True).out == Path("runs/tiny-3")

    def crash(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 5:
            raise Crash
        return metrics

    with pytest.raises(Crash):
        fit(with_step(crash), progress=False)
    with pytest.raises(UsageError, match=r"runs/tiny-4 holds an unfinished run: continue it with --resume, or choose"):
        fit(TINY, progress=False)
    assert last_result("tiny")["seed"] == 2  # type: ignore[index]
    assert fit(TINY, progress=False, resume=True).out == Path("runs/tiny-4")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        train(tmp_path / "file")
    with pytest.raises(UsageError, match=r"cannot write to .*: Not a directory; choose another folder, --out"):
        train(tmp_path / "file" / "run")
    with pytest.raises(UsageError, match="cannot write to /proc/"):
        train(Path("/proc/no/such/place"))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def full(source: Path, target: Path) -> Path:
        if target.name == "checkpoint.safetensors" and target.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CheckpointError, match="No space left on device; what was there before is untouched"):
        train(tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").rest["step"] == 5
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 0.5}, "seed must be an integer"),
        ({"seed": True}, "seed must be an integer"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be >= 1"),
        ({"overrides": {"batch_size": 1000}}, "batch_size=1000 exceeds the 32 examples"),
        ({"overrides": {"learning_rate": 1}}, "no setting 'learning_rate'"),
    ],
)
def test_bad_settings_leave_no_folder(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_bad_device_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.DeviceError, match="no device 'tpu'"):
        train(tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


def test_a_baseline_that_fails_is_seen_before_training(tmp_path: Path) -> None:
    def baseline(data: Any) -> Any:
        raise Crash

    def step(state: Any, batch: Any) -> Any:
        raise AssertionError("trained in vain")

    with pytest.raises(Crash):
        train(tmp_path / "run", dataclasses.replace(TINY, baseline=baseline, step=step))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_where_another_run_trains_is_left_alone(resume: bool, tmp_path: Path) -> None:
    def second(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 3:
            files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
            with pytest.raises(UsageError, match=r"another run is training in .*; choose another --out"):
                train(tmp_path / "run", seed=0 if resume else 1, resume=resume)
            assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files
        return metrics

    train(tmp_path / "run", with_step(second))
    train(tmp_path / "alone")
    assert kept(tmp_path / "run") == kept(tmp_path / "alone")


def test_a_folder_filled_while_a_run_prepares_is_left_alone(tmp_path: Path) -> None:
    def baseline(data: Any) -> dict[str, float]:
        train(tmp_path / "run")
        return {"none": 0.0}

    with pytest.raises(UsageError, match="is not empty"):
        train(tmp_path / "run", dataclasses.replace(TINY, baseline=baseline), seed=1)


def test_a_step_without_its_metric_is_refused(tmp_path: Path) -> None:
    for returned in ({"nll": 0.0}, {"loss": 0.0, "step": 1.0}):
        recipe = dataclasses.replace(TINY, step=lambda state, batch, returned=returned: returned)
        with pytest.raises(UsageError, match="step must return 'loss' and no 'step', got"):
            train(tmp_path / "run", recipe)


@pytest.mark.parametrize("module", ["safetensors", "matplotlib", "tqdm"])
def test_a_missing_extra_is_named_before_training(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf'{module} .* pip install "tinygrad_zoo\[zoo\]"'):
        train(tmp_path / "run", progress=True)
    assert not (tmp_path / "run").exists()
