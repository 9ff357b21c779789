"""exp, tanh, the sigmoid, log(1 + x) and the normal distribution for the inner loops of kernels.

The C library has one number a call; these are products and sums, which LLVM turns into vector code: four to ten times
as fast. Each is written once for float32 and float64, which differ in the constants of TABLE alone.

An argument is brought into a short interval, where a polynomial that is nearly the best of its degree is evaluated
(minimax: its largest error there is as small as can be; `tests/goldens/make_polynomials.py` finds the coefficients):

    exp        x = n log 2 + r with |r| <= log(2) / 2:    2ⁿ (1 + r + r² P(r))
    log(1+e)   s = e / (2 + e):                           2 atanh(s) = 2s (1 + s² P(s²))
    Φ(-a)      w = 1 / (a + shift):                       exp(-a²/2) w P(t), t = w brought to [-1, 1]

The errors are measured in tests/test_kernels_fused.py, in units in the last place of the exact value, wherever that is
a normal number: exp, log(1 + e), tanh and the sigmoid stay below 3, Φ below 8. NaN stays NaN.

The functions are compiled into the loops that call them, and without leave to reorder sums, even where the loop has it:
the order of operations is what makes them exact.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import SETTINGS


def _onto(shift: float, far: float) -> tuple[float, float]:
    """Factor and summand that bring 1 / (a + shift), for a from 0 to far, to [-1, 1]."""
    low, high = 1 / (far + shift), 1 / shift
    return 2 / (high - low), -(high + low) / (high - low)


SHIFT, FAR = (3.5, 5.5), (13.27, 37.656)
# name: of both types, or of float32 and of float64. Coefficients begin with that of degree 0.
TABLE: dict[str, Any] = {
    "exp": (
        (0.50000000590830307, 0.16666545045636911, 0.0416662883016656, 0.0083664053986294322, 0.0013946137310906658),
        (
            0.50000000000000046, 0.16666666666666685, 0.041666666666581364, 0.0083333333333145171, 0.001388888893042859,
            0.00019841269904071911, 2.4801506354601393e-5, 2.7557226262434199e-6, 2.7625688155923271e-7,
            2.511524185865172e-8,
        ),
    ),
    "log1p": (
        (0.33333237529012167, 0.2000938196676164, 0.14020417544430881, 0.13920364315755139),
        (
            0.33333333333334726, 0.19999999999073305, 0.14285714434447512, 0.11111100671122871, 0.090913012701223329,
            0.076837101764980622, 0.06779657728084165, 0.050145172386783495, 0.087465962285192911,
        ),
    ),
    "normal": (
        (
            0.87727678854156335, 0.56415563645111683, 0.24542517737333554, 0.06303346303830122, 0.0034359594367990319,
            -0.0030500196511011207, -0.00049639847109803668, 0.0002006005376276726, 3.288847151790802e-5,
            -1.408637651450364e-5,
        ),
        (
            0.87061294987954136, 0.7342940646233679, 0.53266033436173548, 0.33078873530404737, 0.17379162206213508,
            0.075467102760469356, 0.025845746135691382, 0.0062268693452173012, 0.00062994591641929562,
            -0.00021615473173431517, -0.00010232908016043926, -6.9933297920435827e-6, 6.9283007630214629e-6,
            1.7329963852283443e-6, -3.9020397201872012e-7, -2.0424138530175407e-7, 2.1496010348360693e-8,
            2.1661271273611816e-8, -1.3443156889744578e-9, -2.1409490981162221e-9, 8.1972154770351295e-11,
            1.4728237603250054e-10,
        ),
    ),
    "half": 0.5,
    "log2e": 1 / math.log(2),
    "density": 1 / math.sqrt(2 * math.pi),
    "gelu_scale": 2 * math.sqrt(2 / math.pi),
    "gelu_cubic": 0.044715,
    "round": (1.5 * 2**23, 1.5 * 2**52),  # a number plus this is a whole number plus this
    "log2": (0.693359375, 6.93147180369123816490e-01),  # of log 2, with so few digits that n times it is exact
    "log2_rest": (-2.12194440e-4, 1.90821492927058770002e-10),
    "lowest": (-104.0, -746.0),  # where exp has reached 0
    "highest": (89.0, 710.0),  # and infinity
    "flushed": (-88.0, -709.0),  # where 2ⁿ alone is no normal number any more
    "saturated": (20.0, 42.0),  # where (e - 1) / (e + 1) of e = exp has reached 1
    "far": FAR,  # where exp(-a²/2) is flushed to 0
    "shift": SHIFT,
    "stretch": (_onto(SHIFT[0], FAR[0])[0], _onto(SHIFT[1], FAR[1])[0]),
    "middle": (_onto(SHIFT[0], FAR[0])[1], _onto(SHIFT[1], FAR[1])[1]),
}  # fmt: skip


def exact(function: Any) -> Any:
    """A function that is compiled into the loops that call it, its operations in the order they are written in: it
    would inherit the loop's leave to reorder them."""
    return numba.njit(**SETTINGS, fastmath=False, forceinline=True)(function)


class _Scalar:
    """What the IR of a function of one number depends on: float32 or float64."""

    def __init__(self, kind: Any) -> None:
        self.single = kind == types.float32
        self.kind, self.type = kind, ir.FloatType() if self.single else ir.DoubleType()
        self.bits, self.mantissa, self.bias = (32, 23, 127) if self.single else (64, 52, 1023)
        self.integer = ir.IntType(self.bits)

    def of(self, name: Any) -> Any:
        """What TABLE has under a name, for this type; a number is itself."""
        found = TABLE[name] if isinstance(name, str) else name
        return found[0 if self.single else 1] if isinstance(found, tuple) else found

    def constant(self, builder: Any, value: float) -> Any:
        """A number, in memory: LLVM loads it once, before the outermost loop. A constant that it knows it would load
        again for every vector, where registers are few and a loop is within another one."""
        number = np.float32(value) if self.single else np.float64(value)
        constant = ir.Constant(self.type, float(number))
        if number == 0:
            return constant
        name = f"tinygrad_zoo.{number.tobytes().hex()}"
        place = builder.module.globals.get(name)
        if place is None:
            place = ir.GlobalVariable(builder.module, self.type, name)
            place.initializer, place.linkage = (
                constant,
                "linkonce",
            )  # one of that name may hold another number, it thinks
        loaded = builder.load(place)
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    def call(self, builder: Any, name: str, *values: Any, **settings: Any) -> Any:
        """LLVM's function of that name."""
        signature = ir.FunctionType(self.type, [self.type] * len(values))
        function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.f{self.bits}")
        return builder.call(function, values, **settings)

    def exponent(self, builder: Any, rounded: Any, plus: int) -> Any:
        """n + plus as an integer, for `rounded` = n + the constant "round"."""
        kind = np.float32 if self.single else np.float64
        bits = int(kind(self.of("round")).view(np.int32 if self.single else np.int64))
        return builder.add(builder.bitcast(rounded, self.integer), ir.Constant(self.integer, plus - bits))

    def power(self, builder: Any, exponent: Any) -> Any:
        """2 to the power of exponent - bias."""
        return builder.bitcast(builder.shl(exponent, ir.Constant(self.integer, self.mantissa)), self.type)


# ---- what Numba has no word for
@intrinsic(prefer_literal=True)
def constant(context: Any, like: Any, name: Any) -> Any:
    """The number of that name in TABLE, or a whole number, in the type of `like`."""
    scalar = _Scalar(like)
    value = scalar.of(name.literal_value)
    return like(like, name), lambda context, builder, signature, values: scalar.constant(builder, value)


@intrinsic(prefer_literal=True)
def polynomial(context: Any, x: Any, name: Any) -> Any:
    """The polynomial of that name in TABLE at x, by Horner's rule.

    A long one goes by two chains, of even and odd powers, which do not wait for each other.
    """
    scalar = _Scalar(x)
    coefficients = scalar.of(name.literal_value)

    def horner(builder: Any, x: Any, coefficients: Any) -> Any:
        *rest, total = [scalar.constant(builder, c) for c in coefficients]
        for c in reversed(rest):
            total = scalar.call(builder, "fma", total, x, c)
        return total

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if len(coefficients) <= 10:
            return horner(builder, values[0], coefficients)
        square = builder.fmul(values[0], values[0])
        odd, even = (horner(builder, square, coefficients[first::2]) for first in (1, 0))
        return scalar.call(builder, "fma", odd, values[0], even)

    return x(x, name), code


@intrinsic
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x · y + z, rounded once."""
    return x(x, x, x), lambda context, builder, signature, values: _Scalar(x).call(builder, "fma", *values)


@intrinsic
def maximum(context: Any, x: Any, y: Any) -> Any:
    """The larger one, or NaN: the largest entry of a row by it is vector code, by Python's `max` it is not."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _Scalar(x).call(builder, "maximum", *values, fastmath=("nsz",))

    return x(x, x), code


@intrinsic
def copysign(context: Any, x: Any, sign: Any) -> Any:
    """|x| with the sign of the other."""
    return x(x, x), lambda context, builder, signature, values: _Scalar(x).call(builder, "copysign", *values)


@intrinsic
def two_to(context: Any, rounded: Any) -> Any:
    """2ⁿ of n + the constant "round", for normal numbers and, where n is one less than their least, 0."""
    scalar = _Scalar(rounded)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return scalar.power(builder, scalar.exponent(builder, values[0], scalar.bias))

    return rounded(rounded), code


@intrinsic
def halves(context: Any, rounded: Any) -> Any:
    """Two powers of 2 whose product is 2ⁿ, also where that is subnormal, 0 or infinite."""
    scalar = _Scalar(rounded)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        whole = scalar.exponent(builder, values[0], 2 * scalar.bias)
        half = builder.lshr(whole, ir.Constant(scalar.integer, 1))
        powers = [scalar.power(builder, e) for e in (half, builder.sub(whole, half))]
        return context.make_tuple(builder, signature.return_type, powers)

    return types.UniTuple(rounded, 2)(rounded), code


# ---- exponentials
@exact
def _split(x: Any) -> Any:
    """n + the constant "round", and exp(r) - 1, for x = n log 2 + r."""
    rounded = fma(x, constant(x, "log2e"), constant(x, "round"))
    n = rounded - constant(x, "round")
    r = fma(-n, constant(x, "log2_rest"), fma(-n, constant(x, "log2"), x))
    return rounded, fma(r * r, polynomial(r, "exp"), r)


@exact
def exp(x: Any) -> Any:
    """eˣ, to subnormal numbers and to infinity."""
    low, high = constant(x, "lowest"), constant(x, "highest")
    x = low if x < low else x
    rounded, rest = _split(high if x > high else x)
    half, other = halves(rounded)
    return fma(rest, half, half) * other


@exact
def exp_below(x: Any) -> Any:
    """eˣ for x <= 0, and 0 where that is no normal number: what is added to 1, or to a sum of at least 1."""
    low = constant(x, "flushed")
    rounded, rest = _split(low if x < low else x)
    power = two_to(rounded)
    return fma(rest, power, power)


@exact
def expm1_below(x: Any) -> Any:
    """eˣ - 1 for x <= 0, exact near 0."""
    low = constant(x, "flushed")
    rounded, rest = _split(low if x < low else x)
    power = two_to(rounded)
    return fma(rest, power, power - constant(x, 1))


@exact
def tanh(x: Any) -> Any:
    """(e - 1) / (e + 1) for e = exp(2|x|), with the sign of x."""
    twice = abs(x) + abs(x)
    high = constant(x, "saturated")
    rounded, rest = _split(high if twice > high else twice)
    power = two_to(rounded)
    less = fma(rest, power, power - constant(x, 1))
    return copysign(less / (less + constant(x, 2)), x)


@exact
def sigmoids(x: Any) -> Any:
    """1 / (1 + e⁻ˣ), and 1 less it: both exact where they are tiny."""
    e = exp_below(-abs(x))
    share = constant(x, 1) / (constant(x, 1) + e)
    other = e * share
    return (other, share) if x < constant(x, 0) else (share, other)


@exact
def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ)"""
    e = exp_below(-abs(x))
    return (e if x < constant(x, 0) else constant(x, 1)) / (constant(x, 1) + e)


# ---- logarithm
@exact
def log1p(x: Any) -> Any:
    """log(1 + x) for 0 <= x <= 1, exact near 0."""
    s = x / (x + constant(x, 2))
    square, twice = s * s, s + s
    return fma(twice * square, polynomial(square, "log1p"), twice)


# ---- the normal distribution
@exact
def normal(x: Any) -> Any:
    """Φ(x), and exp(-x²/2); Φ is exact where it is tiny, down to normal numbers."""
    far = constant(x, "far")
    a = abs(x)
    a = far if a > far else a
    half = -constant(x, "half") * a
    rounded = fma(half * a, constant(x, "log2e"), constant(x, "round"))
    n = rounded - constant(x, "round")
    r = fma(-n, constant(x, "log2_rest"), fma(half, a, -n * constant(x, "log2")))  # half · a in all its digits
    power = two_to(rounded)
    bell = fma(fma(r * r, polynomial(r, "exp"), r), power, power)
    w = constant(x, 1) / (a + constant(x, "shift"))
    tail = w * polynomial(fma(w, constant(x, "stretch"), constant(x, "middle")), "normal") * bell
    return (tail if x < constant(x, 0) else constant(x, 1) - tail), bell
