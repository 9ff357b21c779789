"""`python -m benchmarks.twins NAME`: all steps of a system's twin; prints its seconds as JSON."""

import argparse
import json
import time

from . import training


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twins")
    parser.add_argument("name", metavar="NAME", help="a recipe's name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    step, steps = training(options.name, options.seed)
    began = time.perf_counter()
    values = [step() for _ in range(steps)]
    seconds = time.perf_counter() - began
    print(json.dumps({"system": options.name, "seconds": seconds, "first": values[0], "last": values[-1]}))


if __name__ == "__main__":
    main()
