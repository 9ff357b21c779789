"""Prints the coefficients of kernels/polynomial.py: minimax polynomials, by the exchange algorithm of Remez (1934).

The best polynomial of a degree is the one whose weighted error reaches its largest size, with changing signs, at
degree + 2 points. Given such points, the coefficients and that size solve a linear system; then the points move to
where the error of that polynomial is largest, until it is equally large everywhere. `--check` says instead how far
those of the kernel are from the best: the last digits of a coefficient depend on where the grid has its points.

Run: python tests/goldens/make_polynomials.py [--check]   (needs mpmath)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import groupby
from typing import Any

import mpmath as mp

mp.mp.dps = 40
GRID = 1500


def minimax(function: Callable[..., Any], weight: Callable[..., Any], degree: int, low: Any, high: Any) -> list[Any]:
    """The coefficients, from degree 0 on, that make the largest weight · |polynomial - function| smallest."""
    low, high = mp.mpf(low), mp.mpf(high)
    count = degree + 2
    grid = [low + (high - low) * i / GRID for i in range(GRID + 1)]
    values, weights = [function(x) for x in grid], [weight(x) for x in grid]
    at = [round(GRID / 2 * float(1 - mp.cos(mp.pi * i / (count - 1)))) for i in range(count)]
    coefficients: list[Any] = []
    for _ in range(30):
        system = mp.matrix(
            [[grid[i] ** k for k in range(degree + 1)] + [(-1) ** n / weights[i]] for n, i in enumerate(at)]
        )
        solved = mp.lu_solve(system, mp.matrix([values[i] for i in at]))
        coefficients = [solved[k] for k in range(degree + 1)]
        errors = [w * (mp.polyval(coefficients[::-1], x) - y) for x, y, w in zip(grid, values, weights, strict=True)]
        runs = [list(run) for _, run in groupby(range(GRID + 1), key=lambda i: errors[i] > 0)]
        peaks = [max(run, key=lambda i: abs(errors[i])) for run in runs]
        while len(peaks) > count:  # keep the largest that still change signs
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        sizes = [abs(errors[i]) for i in peaks]
        if len(peaks) < count or max(sizes) < 1.001 * min(sizes):
            break
        at = peaks
    return coefficients


def exponential(r: Any) -> Any:
    """(eʳ - 1 - r) / r²"""
    return mp.expm1(r) / r**2 - 1 / r if r else mp.mpf(1) / 2


def logarithm(square: Any) -> Any:
    """(atanh(s) / s - 1) / s² for s² = square."""
    s = mp.sqrt(square)
    return (mp.atanh(s) / s - 1) / square if square else mp.mpf(1) / 3


def tail(shift: float, far: float) -> Callable[..., Any]:
    """Φ(-a) exp(a²/2) / w for w = 1 / (a + shift), of the place t of w between its ends, -1 and 1."""
    low, high = 1 / mp.mpf(far + shift), 1 / mp.mpf(shift)

    def function(t: Any) -> Any:
        w = (low + high) / 2 + t * (high - low) / 2
        a = 1 / w - shift
        return mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2) / w

    return function


REDUCED = mp.log(2) / 2 * mp.mpf("1.001")  # a little beyond what rounding n to the nearest leaves
# name: of float32 and of float64 the function, the weight of its errors, the degree, and the interval; of exp, an
# interval that is not quite symmetric, about whose middle the best polynomial of odd degree is not unique.
WANTED: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "exp": (
        (exponential, lambda r: abs(r) + mp.mpf("0.02"), 4, -REDUCED, REDUCED),
        (exponential, lambda r: abs(r) + mp.mpf("0.02"), 9, -REDUCED, REDUCED * mp.mpf("1.0003")),
    ),
    "log1p": (
        (logarithm, lambda square: square + mp.mpf("0.005"), 3, 0, mp.mpf(1) / 9),
        (logarithm, lambda square: square + mp.mpf("0.005"), 8, 0, mp.mpf(1) / 9),
    ),
    "normal": tuple(
        (function := tail(shift, far), lambda t, function=function: 1 / function(t), degree, -1, 1)
        for shift, far, degree in ((3.5, 13.27, 9), (5.5, 37.656, 21))
    ),
}


def largest_error(coefficients: Any, function: Any, weight: Any, low: Any, high: Any) -> Any:
    points = [low + (high - low) * mp.mpf(i) / (2 * GRID) for i in range(2 * GRID + 1)]
    return max(abs(weight(x) * (mp.polyval(list(coefficients)[::-1], x) - function(x))) for x in points)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare those of the kernel with the best ones")
    check = parser.parse_args().check
    for name, both in WANTED.items():
        for i, (function, weight, degree, low, high) in enumerate(both):
            found = minimax(function, weight, degree, low, high)
            best = largest_error(found, function, weight, low, high)
            dtype = ("float32", "float64")[i]
            if not check:
                print(f"{name}, {dtype}, error {mp.nstr(best, 3)}:\n    ({', '.join(mp.nstr(c, 17) for c in found)})")
                continue
            from tinygrad_zoo.kernels.polynomial import TABLE

            ours = largest_error(TABLE[name][i], function, weight, low, high)
            print(f"{name}, {dtype}: error {mp.nstr(ours, 3)}, the best {mp.nstr(best, 3)}")
            if ours > mp.mpf("1.2") * best + mp.mpf(2) ** -52:  # their coefficients are rounded
                raise SystemExit(f"{name}, {dtype}: not the best polynomial of degree {degree}")


if __name__ == "__main__":
    main()
