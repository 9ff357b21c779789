"""The training loop: what a run leaves behind, resuming to the last bit, and how it stops."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kill_resume
import tiny_recipe
import tinygrad_zoo as tz
from tiny_recipe import STEPS, TINY, Crash, kept, train, with_step
from tinygrad_zoo import backend
from tinygrad_zoo.data import batch_indices
from tinygrad_zoo.errors import CaptureError, CheckpointError, NonFiniteError
from tinygrad_zoo.kernels import jit
from tinygrad_zoo.recipe import Bar
from tinygrad_zoo.training import Interrupted, fit, load_checkpoint

FILES = ["checkpoint.safetensors", "config.json", "figure.png", "metrics.jsonl", "result.json"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("reference") / "run"
    train(out)
    return out


# ---- what a run leaves behind
def test_the_run_folder(reference: Path) -> None:
    assert sorted(path.name for path in reference.iterdir()) == FILES
    config = json.loads((reference / "config.json").read_text())
    assert (config["recipe"], config["row"], config["seed"]) == ("tiny", "T99", 0)
    assert config["config"] == TINY.config.as_dict()
    assert config["device"] == tz.tensor(0.0).device
    assert config["versions"]["numpy"] == np.__version__ and config["versions"]["tinygrad_zoo"] == tz.__version__


def test_samples_of_a_system_that_generates(reference: Path, tmp_path: Path) -> None:
    """Drawn by a generator of their own, so that looking at a run does not change it; none, no file."""

    def samples(state: Any) -> dict[str, Any]:
        assert not state.training and not tz.is_grad_enabled()
        return {"x": tz.tensor(state.rng.random(3)), "labels": np.arange(3)}

    for name in ("a", "b"):
        fit(dataclasses.replace(TINY, samples=samples), out=tmp_path / name, progress=False)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted([*FILES, "samples.npz"])
    first, second = (np.load(tmp_path / name / "samples.npz") for name in ("a", "b"))
    assert (
        first["x"].shape == (3,) and np.array_equal(first["x"], second["x"]) and first["labels"].tolist() == [0, 1, 2]
    )
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()


def test_metrics_are_one_sorted_object_a_step_without_times(reference: Path) -> None:
    text = (reference / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(list(line) == ["loss", "lr", "step"] for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert text == "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def test_the_checkpoint_has_one_metadata_key_and_sorted_names(reference: Path) -> None:
    import safetensors

    with safetensors.safe_open(reference / "checkpoint.safetensors", framework="numpy") as file:
        assert list(file.metadata()) == ["tinygrad_zoo"]
        text, names = file.metadata()["tinygrad_zoo"], list(file.keys())
        assert file.get_tensor("model.0.weight").shape == (4, 3)
    assert text == json.dumps(json.loads(text), sort_keys=True)
    assert not {"time", "seconds", "date"} & set(text.replace('"', " ").split())
    assert sorted(names) == names and "optimizers.adam.state.0.exp_avg" in names
    saved = load_checkpoint(reference / "checkpoint.safetensors").rest
    assert (saved["recipe"], saved["seed"], saved["step"]) == ("tiny", 0, STEPS)
    assert saved["config"] == TINY.config.as_dict() and saved["schedules"]["cosine"]
    assert saved["metrics"] == {
        key: value
        for key, value in json.loads((reference / "metrics.jsonl").read_text().splitlines()[-1]).items()
        if key != "step"
    }


def test_two_runs_are_byte_equal_and_another_seed_is_not(reference: Path, tmp_path: Path) -> None:
    first, again = train(tmp_path / "a", checkpoint_every=3), train(tmp_path / "b", checkpoint_every=100)
    assert kept(tmp_path / "a") == kept(tmp_path / "b") == kept(reference)
    assert first.metrics == again.metrics
    train(tmp_path / "c", seed=1)
    assert kept(tmp_path / "c")[0] != kept(reference)[0]


def test_the_figure_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(tmp_path / name, tiny_recipe.RECIPE)
    first, second = ((tmp_path / name / "figure.png").read_bytes() for name in ("a", "b"))
    assert first == second and first.startswith(b"\x89PNG")


def test_the_result(tmp_path: Path) -> None:
    result = train(tmp_path / "run", overrides={"lr": "0.1"}, seed=3)
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["metrics"] == result.metrics and written["baseline"] == result.baseline
    assert (written["recipe"], written["seed"], written["steps"], written["holds"]) == ("tiny", 3, STEPS, True)
    assert written["settings"] == "changed" and written["seconds"] > written["training_seconds"] > 0
    table = result.table()
    for part in ("Linear regression (T99)", "test_mse", "mean of the training part", "beaten by", "test_mse ≤ 100"):
        assert part in table
    assert "met, with other settings than the recipe's" in table and f"{STEPS} steps in" in table


def test_a_missed_bar_and_an_unbeaten_baseline_are_said(tmp_path: Path) -> None:
    hard = dataclasses.replace(TINY, bar=Bar(metric="test_mse", at_most=-1.0), baseline=lambda data: {"oracle": 0.0})
    table = train(tmp_path / "run", hard).table()
    assert "MISSED" in table and "NOT beaten" in table


def test_batches_are_those_of_the_seed_and_step(tmp_path: Path) -> None:
    seen = []
    recipe = with_step(lambda state, batch, metrics: seen.append((state.step, batch)) or metrics)  # type: ignore[func-returns-value]
    train(tmp_path / "run", recipe, seed=4)
    x, _ = tiny_recipe.data(TINY.config, np.random.default_rng(0)).train
    assert [step for step, _ in seen] == list(range(STEPS))
    for step, batch in seen:
        assert [type(part) for part in batch] == [tz.Tensor, tz.Tensor]
        assert np.array_equal(batch[0].numpy(), x[batch_indices(len(x), 8, 4, step)])


def test_looking_at_a_run_does_not_draw_from_its_generator(reference: Path, tmp_path: Path) -> None:
    draws = []
    for steps in (2, 5):
        result = train(tmp_path / str(steps), steps=steps)
        draws.append(result.metrics["draw"])
    assert draws[0] == draws[1] == json.loads((reference / "result.json").read_text())["metrics"]["draw"]


def test_long_runs_log_about_a_thousand_lines(tmp_path: Path) -> None:
    cheap = dataclasses.replace(TINY, step=lambda state, batch: {"loss": 1.0})
    train(tmp_path / "run", cheap, steps=2503, checkpoint_every=5000)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(2, 2503, 2), 2503]


def test_secondary_metrics_that_are_not_finite_are_null(tmp_path: Path) -> None:
    train(tmp_path / "run", with_step(lambda state, batch, metrics: {**metrics, "extra": float("inf")}))
    assert '"extra": null' in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_metrics_are_read_when_they_are_logged(tmp_path: Path) -> None:
    """Reading one waits for the device; only the recipe's own is needed at every step."""
    read = {"loss": 0, "extra": 0}

    class Metric:
        def __init__(self, name: str) -> None:
            self.name = name

        def __float__(self) -> float:
            read[self.name] += 1
            return 1.0

    cheap = dataclasses.replace(TINY, step=lambda state, batch: {name: Metric(name) for name in read})
    train(tmp_path / "run", cheap, steps=3000, checkpoint_every=3000)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 1000 and all(line["extra"] == 1.0 for line in lines)
    assert read == {"loss": 3000, "extra": 1000 + 1}  # and once for the checkpoint


# ---- resume
@pytest.mark.parametrize("at", range(STEPS))
def test_resume_is_bitwise_from_every_point(at: int, reference: Path, tmp_path: Path) -> None:
    def crash(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == at:  # the update is done, the step is not
            raise Crash
        return metrics

    with pytest.raises(Crash):
        train(tmp_path / "run", with_step(crash), checkpoint_every=3)
    train(tmp_path / "run", resume=True, checkpoint_every=4)
    assert kept(tmp_path / "run") == kept(reference)


def test_kill_9_at_random_moments_then_resume_is_byte_equal(tmp_path: Path) -> None:
    steps, every, seed = 300, 37, 5
    seconds = kill_resume.undisturbed("tiny_recipe", tmp_path / "reference", steps, every, seed)
    killed = kill_resume.trial(
        "tiny_recipe", tmp_path / "run", steps, every, seed, kills=4, seconds=seconds, rng=random.Random(0)
    )
    assert len(killed) == 4
    assert kept(tmp_path / "run") == kept(tmp_path / "reference")


def test_resuming_a_finished_run_changes_nothing(reference: Path, tmp_path: Path) -> None:
    first = train(tmp_path / "run")
    again = train(tmp_path / "run", resume=True)
    assert kept(tmp_path / "run") == kept(reference) and again.metrics == first.metrics


def test_resume_without_a_checkpoint_starts_from_scratch_and_says_so(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", resume=True, progress=True)
    assert "no checkpoint, starting from scratch" in capsys.readouterr().err
    assert kept(tmp_path / "run") == kept(reference)


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        (TINY, {"seed": 1}, "seed is 0 there and 1 here"),
        (
            TINY,
            {"overrides": {"lr": 0.5, "bias": False}},
            "lr is 0.05 there and 0.5 here; bias is True there and False",
        ),
        (TINY, {"steps": 20}, "steps is 12 there and 20 here"),
        (TINY, {"device": "cupy"}, "device is 'cpu' there and 'cupy:0' here"),
        (dataclasses.replace(TINY, name="other"), {}, "recipe is 'tiny' there and 'other' here"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    recipe: Any, settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "run", device="cpu")
    if "device" in settings:  # which few machines have: the arrays stay on the host
        monkeypatch.setattr(backend, "resolve", lambda device: {"cupy": "cupy:0"}.get(device, device))
        monkeypatch.setattr(backend, "to_device", lambda array, device: array)
    before = kept(tmp_path / "run")
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path / "run", recipe, resume=True, **settings)
    assert kept(tmp_path / "run") == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run")

    def build(config: Any, data: Any, rng: Any) -> Any:
        parts = tiny_recipe.build(config, data, rng)
        return dataclasses.replace(parts, extras={})

    with pytest.raises(CheckpointError, match=r"has extras \['average'\], the recipe builds \[\]"):
        train(tmp_path / "run", dataclasses.replace(TINY, build=build), resume=True)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]  # one bit of one number


def forged(content: bytes) -> bytes:
    return content.replace(b'\\"step\\": 12', b'\\"step\\": 11')


@pytest.mark.parametrize("damage", [truncated, flipped, forged, lambda content: b"", lambda content: b"text" * 99])
def test_a_damaged_checkpoint_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    train(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    with pytest.raises(CheckpointError, match="is damaged"):
        train(tmp_path / "run", resume=True)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "run").mkdir()
    save_file({"x": np.zeros(3)}, tmp_path / "run" / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of a run"):
        train(tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is shorter than when the checkpoint was saved"), (b"?" * 5000, "is damaged")]
)
def test_metrics_that_do_not_fit_the_checkpoint_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path / "run", resume=True)


def test_state_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"members": {1, 2}}

    def build(config: Any, data: Any, rng: Any) -> Any:
        return dataclasses.replace(
            tiny_recipe.build(config, data, rng), extras={"average": tiny_recipe.Average(), "odd": Odd()}
        )

    with pytest.raises(CheckpointError, match=r"extras\.odd\.members: .* not set"):
        train(tmp_path / "run", dataclasses.replace(TINY, build=build))


# ---- capture
@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run there, not captured."""
    out = tmp_path_factory.mktemp("cpu") / "run"
    train(out, device="cpu")
    return out


def assert_alike(run: Path, other: Path) -> None:
    """The same run, to rounding: sums of a captured step are added up in another order."""
    lines, others = (
        [json.loads(text) for text in (x / "metrics.jsonl").read_text().splitlines()] for x in (run, other)
    )
    assert [line["step"] for line in lines] == [line["step"] for line in others]
    for line, expected in zip(lines, others, strict=True):
        assert line == pytest.approx(expected, rel=1e-5)
    saved, expected = (load_checkpoint(x / "checkpoint.safetensors") for x in (run, other))
    for name, array in expected.tensors.items():
        np.testing.assert_allclose(saved.tensors[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    assert all(saved.rest[key] == expected.rest[key] for key in ("step", "rng", "schedules", "config"))


def test_a_captured_run_is_the_same_and_says_what_it_was(on_the_cpu: Path, tmp_path: Path) -> None:
    result = train(tmp_path / "run", capture=True, device="cpu")
    assert_alike(tmp_path / "run", on_the_cpu)
    assert (tmp_path / "run" / "config.json").read_bytes() == (on_the_cpu / "config.json").read_bytes()
    program = json.loads((tmp_path / "run" / "result.json").read_text())["program"]
    assert (program["recorded"], program["replayed"], program["programs"]) == (2, STEPS - 2, 1)
    assert (program["native"] > 0) == jit.enabled() and program["python"]["Optimizer.step"] == 2
    python = sum(program["python"].values())
    assert f"{program['native']} native steps, {python} calls of Python" in result.table()
    assert "program" not in json.loads((on_the_cpu / "result.json").read_text())


@pytest.mark.parametrize("captured", [(False, True), (True, False), (True, True)], ids=str)
def test_a_run_may_be_captured_from_any_point(captured: tuple[bool, bool], on_the_cpu: Path, tmp_path: Path) -> None:
    first, then = captured
    stop = tz.effect(lambda state: os.kill(os.getpid(), signal.SIGINT) if state.step == 6 else None)
    with pytest.raises(Interrupted, match="stopped after step 7 of 12, checkpoint saved") as stopped:
        train(
            tmp_path / "run",
            with_step(lambda state, batch, metrics: stop(state) or metrics),
            capture=first,
            device="cpu",
        )
    assert ("--capture" in str(stopped.value)) == first
    train(tmp_path / "run", resume=True, capture=then, device="cpu")
    assert_alike(tmp_path / "run", on_the_cpu)


def test_a_step_that_cannot_be_captured_names_the_line(tmp_path: Path) -> None:
    def read(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        return {**metrics, "read": metrics["loss"].item()}

    with pytest.raises(CaptureError, match=r"test_training\.py:\d+ takes a value out of the step by item\(\)"):
        train(tmp_path / "run", with_step(read), capture=True, device="cpu")
    counting = with_step(lambda state, batch, metrics: {**metrics, "number": state.step})
    with pytest.raises(CaptureError, match=r"its result holds the numbers .*'number': \d.*, where they were"):
        train(tmp_path / "other", counting, capture=True, device="cpu")


def test_a_run_is_captured_on_a_device(tmp_path: Path) -> None:
    for name in ("eager", "captured"):
        result = train(tmp_path / name, capture=name == "captured", device="cupysim")
    assert_alike(tmp_path / "captured", tmp_path / "eager")
    program = json.loads((tmp_path / "captured" / "result.json").read_text())["program"]
    assert program["graphs"] > 0 and program["replayed"] == STEPS - 2
    assert f"{program['native']} steps in {program['graphs']} graphs" in result.table()


def test_each_phase_of_a_step_has_a_program(tmp_path: Path) -> None:
    def scaled(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        return {**metrics, "third": metrics["loss"] * (state.step % 3)}

    recipe = dataclasses.replace(with_step(scaled), phase=lambda state: state.step % 3)
    for name in ("eager", "captured"):
        train(tmp_path / name, recipe, capture=name == "captured", device="cpu")
    assert_alike(tmp_path / "captured", tmp_path / "eager")
    program = json.loads((tmp_path / "captured" / "result.json").read_text())["program"]
    assert (program["recorded"], program["replayed"], program["programs"]) == (6, STEPS - 6, 3)
    with pytest.raises(CaptureError, match="the step does something else in every call"):
        train(tmp_path / "without", with_step(scaled), capture=True, device="cpu")


def test_a_captured_step_that_is_no_longer_finite_is_explained(tmp_path: Path) -> None:
    def spoil(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        return {**metrics, "loss": tz.log(tz.each_step(lambda: -1.0 if state.step == 8 else 1.0) * tz.ones(()))}

    with pytest.raises(
        NonFiniteError, match="tiny: loss or a parameter is no longer finite at step 9: forward: log made"
    ):
        train(tmp_path / "run", with_step(spoil), capture=True, device="cpu")


# ---- stopping
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    signum: signal.Signals, reference: Path, tmp_path: Path
) -> None:
    def press(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 6:
            os.kill(os.getpid(), signum)
        return metrics

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match="stopped after step 7 of 12, checkpoint saved; to go on: ") as stopped:
        train(tmp_path / "my run", with_step(press))
    assert f"tinygrad-zoo train tiny --resume --out '{tmp_path / 'my run'}'" in str(stopped.value)
    assert stopped.value.signum == signum and isinstance(stopped.value, KeyboardInterrupt)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert load_checkpoint(tmp_path / "my run" / "checkpoint.safetensors").rest["step"] == 7
    train(tmp_path / "my run", resume=True)
    assert kept(tmp_path / "my run") == kept(reference)


def test_the_command_to_go_on_repeats_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    press = with_step(lambda state, batch, metrics: os.kill(os.getpid(), signal.SIGINT) or metrics)  # type: ignore[func-returns-value]
    with pytest.raises(Interrupted) as stopped:
        fit(press, seed=2, steps=9, overrides={"note": "a b"}, progress=False)
    command = "tinygrad-zoo train tiny --resume --seed 2 --set steps=9 --set 'note=a b'"
    assert str(stopped.value).endswith(command)
    with pytest.raises(Interrupted) as stopped:
        fit(press, out="here", device="cpu", progress=False)
    assert str(stopped.value).endswith("tinygrad-zoo train tiny --resume --device cpu --out here")


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    def press(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second signal was lost")

    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tmp_path / "run", with_step(press))
    assert not isinstance(stopped.value, Interrupted)


def test_a_run_in_a_thread_needs_no_signals(reference: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(tmp_path / "run",))
    thread.start()
    thread.join()
    assert kept(tmp_path / "run") == kept(reference)


def test_a_nan_names_the_op_that_made_it_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    def spoil(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 7:
            return {**metrics, "loss": tz.log(tz.tensor(-1.0)) + metrics["loss"]}
        return metrics

    recipe = with_step(spoil)
    with pytest.raises(NonFiniteError, match="loss or a parameter is no longer finite at step 8") as stopped:
        train(tmp_path / "run", recipe)
    assert "forward: log made 1 NaN or Inf" in str(stopped.value)
    assert f"{Path(__file__).name}:" in str(stopped.value)  # the user's line
    assert "is the last good one" in str(stopped.value)
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").rest["step"] == 5


def test_a_nan_before_the_first_checkpoint(tmp_path: Path) -> None:
    recipe = with_step(lambda state, batch, metrics: {"loss": tz.sqrt(tz.tensor(-1.0))})
    with pytest.raises(NonFiniteError, match=r"sqrt made 1 NaN or Inf .* \(no checkpoint was due yet\)"):
        train(tmp_path / "run", recipe)
    train(tmp_path / "run")  # nothing was there to lose


def test_a_nan_in_a_gradient_is_traced_to_its_own_step(tmp_path: Path) -> None:
    """The loss of step 3 is finite, its gradient is not: step 4 is where it shows."""

    def spoil(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 2:
            weight = next(iter(state.model.parameters()))
            state.optimizers["adam"].zero_grad()
            tz.sum(tz.sqrt(weight * 0.0)).backward()  # 0 * inf
            state.optimizers["adam"].step()
        return metrics

    with pytest.raises(NonFiniteError, match=r"no longer finite at step 3: backward: .* in the gradient of sqrt"):
        train(tmp_path / "run", with_step(spoil))


def test_parameters_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    def spoil(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        if state.step == 9:  # just before the checkpoint of step 10, and no op made it
            parameter = next(iter(state.model.parameters()))
            parameter.data[...] = np.inf
            parameter.mark_written()
        return metrics

    with pytest.raises(NonFiniteError, match="at step 10: no op made it, so the update did"):
        train(tmp_path / "run", with_step(spoil))
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").rest["step"] == 5


def test_a_nan_that_does_not_come_again_is_said_to_be_so(tmp_path: Path) -> None:
    calls: list[int] = []

    def spoil(state: Any, batch: Any, metrics: dict[str, Any]) -> dict[str, Any]:
        calls.append(state.step)
        return {**metrics, "loss": float("nan")} if calls.count(2) == 1 and state.step == 2 else metrics

    with pytest.raises(NonFiniteError, match="not a function of its state"):
        train(tmp_path / "run", with_step(spoil))


# ---- progress
def test_progress_is_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    train(tmp_path / "run", progress=True)
    shown = capsys.readouterr().err
    assert "tiny:" in shown and "12/12" in shown and "loss " in shown


def test_progress_is_ten_lines_elsewhere_and_none_if_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "a", progress=True, steps=20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("tiny: step 20 of 20, loss ")
    train(tmp_path / "b")
    assert capsys.readouterr() == ("", "")
