"""`python -m benchmarks NAME [--json] [--pairs N] [--peers a,b] [--cases c,d]`."""

import argparse
import importlib
import sys

from .harness import BenchmarkError

MODULES = {
    "matmul": "matmul",
    "conv": "conv",
    "deform": "deform",
    "roi": "roi",
    "fused": "fused",
    "attention": "attention",
    "resample": "resample",
    "algorithms": "algorithms",
    "optim": "optim",
    "gpu": "gpu",
    "step": "step",
    "capture": "capture",
    "zoo": "zoo",
    "cold": "cold",
    "import": "import_time",
    "memory": "memory",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmark; every benchmark's module has `main(as_json=, pairs=, peers=, cases=) -> status`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed and memory against other libraries."
    )
    parser.add_argument("name", choices=sorted(MODULES), metavar="NAME", help=", ".join(sorted(MODULES)))
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of timed blocks a peer, at least 5")
    parser.add_argument("--peers", metavar="a,b", help='only these peers; "self" runs ours against itself')
    parser.add_argument("--cases", metavar="c,d", help="only these cases")
    options = parser.parse_args(arguments)
    peers, cases = (None if text is None else text.split(",") for text in (options.peers, options.cases))
    module = importlib.import_module(f".{MODULES[options.name]}", __package__)
    try:
        status: int = module.main(as_json=options.json, pairs=options.pairs, peers=peers, cases=cases)
    except BenchmarkError as error:
        parser.error(str(error))
    return status


if __name__ == "__main__":
    sys.exit(main())
