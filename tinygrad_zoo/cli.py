"""The command line: `tinygrad-zoo list | train NAME | train --all | check [OP] | algorithms [NAME] | info | warmup`.

It is `python -m tinygrad_zoo` too.

Exit codes: 0; 1 where a check failed; 2 for an error, told in one line (`--debug` shows where it was raised); 130 after
Ctrl-C and 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from . import backend
from ._version import __version__
from .errors import MissingDependencyError, TinygradZooError, UsageError, require


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process by default.

    >>> main(["train", "no-such-system"])
    2
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "≤" shows "?"
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except TinygradZooError as error:
        if options.debug:
            raise
        print("tinygrad-zoo:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"\ntinygrad-zoo: {str(error) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(error, "signum", 2)
    except BrokenPipeError:  # the reader of `tinygrad-zoo list | head` has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(
        prog="tinygrad-zoo", description="Train the systems of tinygrad_zoo, and check its ops."
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_zoo {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", parents=[common], help="the systems, their bars and last results")
    listing.set_defaults(run=_list)

    train = commands.add_parser("train", parents=[common], help="train a system into its run folder")
    train.add_argument("name", nargs="?", metavar="NAME", help="its name or its row, as `list` shows them")
    train.add_argument("--all", action="store_true", help="every system, one after the other")
    train.add_argument(
        "--report",
        action="store_true",
        help="over the seeds of its bar, into benchmarks/results/zoo.md and zoo.json; --resume goes on",
    )
    train.add_argument("--steps", type=int, metavar="N", help="how many updates (default: the recipe's)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, batches and noise (default: 0)")
    train.add_argument(
        "--device", metavar="D", help="cpu, cupy or cupy:1; cupysim for tests (default: TINYGRAD_ZOO_BACKEND's)"
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="the run folder (default: runs/NAME, then runs/NAME-2 …)"
    )
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in the run folder")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe; may be repeated",
    )
    train.add_argument("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints (default: a 20th)")
    train.add_argument("--capture", action="store_true", help="record the step and replay it, which takes less time")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)

    check = commands.add_parser("check", parents=[common], help="check the gradients of ops on the current backend")
    check.add_argument("op", nargs="?", metavar="OP", help="one op (default: all)")
    check.add_argument("--json", action="store_true", help="one JSON object a line")
    check.set_defaults(run=_check)

    algorithms = commands.add_parser(
        "algorithms", parents=[common], help="run a classic algorithm on a small example and draw it"
    )
    algorithms.add_argument("name", nargs="?", metavar="NAME", help="which one (default: list them)")
    algorithms.add_argument("--out", type=Path, metavar="FILE", help="the PNG file (default: NAME.png)")
    algorithms.set_defaults(run=_algorithms)

    info = commands.add_parser("info", parents=[common], help="versions, devices, threads, kernels")
    info.set_defaults(run=_info)

    warmup = commands.add_parser(
        "warmup", parents=[common], help="compile all kernels now, so that nothing waits later"
    )
    warmup.set_defaults(run=_warmup)
    return parser


def _list(options: argparse.Namespace) -> int:
    from .recipe import registered
    from .training import last_result

    rows = []
    for entry in registered():
        result = last_result(entry.name)
        last = ""
        if result is not None:
            value = result["metrics"].get(entry.bar.metric)
            last = f"{'nan' if value is None else format(value, '.4f')} {'met' if result['holds'] else 'MISSED'}"
            if result["settings"] != "recipe":
                last += " (settings changed)"
        rows.append((entry.name, entry.row, entry.family, entry.title, entry.paper, entry.bar.text, last))
    _print_table(("name", "row", "family", "system", "paper", "bar", "last result"), rows)
    return 0


def _train(options: argparse.Namespace) -> int:
    from .recipe import find, registered

    if (options.name is None) != options.all:
        raise UsageError("train expects a NAME, as `tinygrad-zoo list` shows them, or --all")
    recipes = registered() if options.all else (find(options.name),)
    if options.report:
        return _report(recipes, options)
    if options.all and options.out:
        raise UsageError("--out is of one system; with --all each has its own folder, runs/NAME")
    for recipe in recipes:
        _train_one(recipe, options)
    return 0


def _report(recipes: Sequence[Any], options: argparse.Namespace) -> int:
    from .training.report import FOLDER, report

    for name in ("out", "steps", "set", "device", "checkpoint_every", "capture"):
        if getattr(options, name):
            raise UsageError(f"--report is of the recipes as they are: leave out --{name.replace('_', '-')}")
    if options.seed:
        raise UsageError("--report trains every seed of a bar: leave out --seed")
    entries = report(recipes, resume=options.resume, progress=not options.quiet)
    missed = [entry["system"] for entry in entries if not entry["met"]]
    print(f"{FOLDER / 'zoo.md'}: {len(entries) - len(missed)} of {len(entries)} bars met")
    if missed:
        print(f"MISSED: {', '.join(missed)}")
    return 0


def _train_one(recipe: Any, options: argparse.Namespace) -> None:
    from .training import fit

    overrides = {}
    for setting in options.set:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set expects KEY=VALUE, got {setting!r}")
        overrides[key.strip()] = value.strip()
    result = fit(
        recipe,
        seed=options.seed,
        out=options.out,
        steps=options.steps,
        overrides=overrides,
        resume=options.resume,
        device=options.device,
        progress=not options.quiet,
        checkpoint_every=options.checkpoint_every,
        capture=options.capture,
    )
    print(result.table())


def _check(options: argparse.Namespace) -> int:
    require("hypothesis", "check")
    from .testing import check_report

    head, widths = ("op", "backend", "order1", "order2", "examples", "worst"), (24, 8, 8, 8, 8, 0)
    report = check_report(options.op)
    if not options.json:
        print(_line(head, widths))
    count = failed = 0
    for row in report:
        count += 1
        failed += "failed" in (row["order1"], row["order2"])
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        cells = [f"{row[key]:.1e}" if isinstance(row[key], float) else str(row[key]) for key in head]
        print(_line(cells, widths), flush=True)
        if "error" in row:
            print("    " + row["error"].replace("\n", "\n    "))
    if not options.json:
        print(f"{count} checked, {failed} failed")
    return 1 if failed else 0


def _algorithms(options: argparse.Namespace) -> int:
    from . import demos

    if options.name is None:
        _print_table(("name", "what it shows"), demos.described())
        return 0
    path, caption = demos.run(options.name, options.out)
    print(caption)
    print(path)
    return 0


def _info(options: argparse.Namespace) -> int:
    import threadpoolctl

    rows = [("tinygrad_zoo", __version__), ("Python", f"{platform.python_version()} on {platform.platform()}")]
    rows += [(name, _version(name)) for name in ("numpy", "scipy", "numba")]
    rows += [
        ("default device", _default_device()),
        ("CuPy", _cupy()),
        ("CPU", f"{_cpu()}, {len(os.sched_getaffinity(0))} cores for this process"),
        *_kernels(),
    ]
    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            rows.append(("BLAS", f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"))
    rows += [
        (f"[{extra}]", ", ".join(f"{name} {_version(name)}" for name in names)) for extra, names in _EXTRAS.items()
    ]
    _print_table(("", ""), rows)
    return 0


def _kernels() -> list[tuple[str, str]]:
    from .kernels import jit, threads, warmup

    if not jit.enabled():
        return [("kernels", "turned off by TINYGRAD_ZOO_KERNELS or NUMBA_DISABLE_JIT: NumPy serves")]
    from .kernels.vector import vector_bytes

    about, (files, size) = threads.describe(), warmup.kept()
    return [
        (
            "kernels",
            f"{about['threads']} threads, threading layer: {about['layer']}, vectors of {vector_bytes()} bytes",
        ),
        ("compiled", f"{files} files, {size / 1e6:.1f} MB in {jit.cache_folder()}"),
    ]


def _warmup(options: argparse.Namespace) -> int:
    from .kernels import jit, warmup

    if not jit.enabled():
        print("kernels are turned off by TINYGRAD_ZOO_KERNELS or NUMBA_DISABLE_JIT: there is nothing to compile")
        return 0
    began, count = time.perf_counter(), len(warmup.variants())
    for _ in _with_bar(warmup.compile_all(), count, "compiling kernels"):
        pass
    seconds, folder, (files, size) = time.perf_counter() - began, jit.cache_folder(), warmup.kept()
    if not files:
        raise UsageError(f"cannot write to {folder}, so every process compiles again; set TINYGRAD_ZOO_CACHE")
    print(f"{count} kernels ready in {seconds:.1f} s: {files} files, {size / 1e6:.1f} MB in {folder}")
    return 0


def _with_bar(items: Iterable[Any], count: int, what: str) -> Iterable[Any]:
    """The items behind a progress bar; where there is no terminal, or no tqdm, a line says what goes on."""
    if sys.stderr.isatty():
        with contextlib.suppress(MissingDependencyError):
            bar: Iterable[Any] = require("tqdm", "zoo").tqdm(items, what, count, dynamic_ncols=True)
            return bar
    print(f"{what}: {count} …", file=sys.stderr, flush=True)
    return items


def _default_device() -> str:
    try:
        return backend.default_device()
    except TinygradZooError as error:
        return f"none: {error}"


_EXTRAS = {"zoo": ("matplotlib", "tqdm", "scikit-learn", "safetensors"), "check": ("hypothesis",), "mpi": ("mpi4py",)}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def _cupy() -> str:
    """Its version and what it can use, or why not."""
    try:
        backend.resolve("cupy")
        return f"{require('cupy', 'cuda13').__version__}, a CUDA device is usable"
    except TinygradZooError as error:
        return "not usable: " + " ".join(str(error).split())


def _cpu() -> str:
    """The model's name; the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [head, *rows] if any(head) else list(rows)
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    for line in lines:
        print(_line(line, widths))


def _line(cells: Sequence[Any], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
