"""Kills training with SIGKILL at random moments, resumes it, and compares with an undisturbed run, byte for byte.

    python tests/kill_resume.py realnvp 20 --steps 300

runs 20 trials, each killed once; `--kills` kills each of them more often. Exits with 1 where a single byte differs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ("checkpoint.safetensors", "metrics.jsonl")


def command(name: str, out: Path, steps: int, every: int, seed: int) -> list[str]:
    """A process that trains `name` into `out`, from its checkpoint if it has one."""
    return [sys.executable, __file__, "--child", name, str(out), str(steps), str(every), str(seed)]


def child(name: str, out: str, steps: str, every: str, seed: str) -> None:
    """What that process does. `name` is a registered recipe, or one of tests/: "tiny_recipe"."""
    from tinygrad_zoo.recipe import find
    from tinygrad_zoo.training import fit

    file = Path(__file__).with_name(f"{name}.py")
    recipe = importlib.import_module(name).RECIPE if file.exists() else find(name)
    fit(recipe, seed=int(seed), out=out, steps=int(steps), resume=True, progress=False, checkpoint_every=int(every))


def environment() -> dict[str, str]:
    """Ours, with the checkout importable."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def began(out: Path) -> int:
    """When the latest process began to train into `out`: it writes config.json then."""
    config = out / "config.json"
    return config.stat().st_mtime_ns if config.exists() else 0


def lines(out: Path) -> int:
    """The lines of metrics.jsonl that have reached the file."""
    return (out / "metrics.jsonl").read_bytes().count(b"\n") if (out / "metrics.jsonl").exists() else 0


def undisturbed(name: str, out: Path, steps: int, every: int, seed: int) -> float:
    """Train to the end; how many seconds the training itself took."""
    subprocess.run(command(name, out, steps, every, seed), env=environment(), check=True)
    return ((out / "checkpoint.safetensors").stat().st_mtime_ns - began(out)) / 1e9


def trial(
    name: str, out: Path, steps: int, every: int, seed: int, kills: int, seconds: float, rng: random.Random
) -> list[int]:
    """A run killed `kills` times within `seconds` of its (re)start, then finished; the steps where it was killed."""
    killed: list[int] = []
    while len(killed) < kills:
        before = began(out)
        process = subprocess.Popen(command(name, out, steps, every, seed), env=environment())
        while process.poll() is None and began(out) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, seconds / kills))
        process.kill()
        if process.wait() != -signal.SIGKILL:  # it was quicker: from the beginning
            shutil.rmtree(out)
            killed = []
            continue
        killed.append(lines(out))
    subprocess.run(command(name, out, steps, every, seed), env=environment(), check=True)
    return killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a recipe")
    parser.add_argument("trials", type=int, nargs="?", default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=37, help="steps between checkpoints")
    parser.add_argument("--kills", type=int, default=1, help="how often each trial is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the training, and of the moments of killing")
    options = parser.parse_args()
    numbers = (options.steps, options.every, options.seed)
    rng = random.Random(options.seed)
    equal = 0
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "undisturbed"
        seconds = undisturbed(options.name, reference, *numbers)
        for number in range(options.trials):
            out = Path(folder) / f"trial-{number}"
            killed = trial(options.name, out, *numbers, options.kills, seconds, rng)
            same = all((out / file).read_bytes() == (reference / file).read_bytes() for file in COMPARED)
            equal += same
            print(f"trial {number}: killed after line {killed} of metrics.jsonl, {'equal' if same else 'DIFFERENT'}")
    print(f"{equal} of {options.trials} byte-equal")
    return 0 if equal == options.trials else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
