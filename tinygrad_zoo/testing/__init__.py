"""Property-based tests for ops: the suite's own, for ops of yours too (`pip install "tinygrad_zoo[check]"`).

Say you write the softsign, x / (1 + |x|), and forget the square in its derivative:

>>> import numpy as np, tinygrad_zoo as tz
>>> from tinygrad_zoo.testing import check_gradients, op_laws
>>> @tz.primitive(
...     vjp=(lambda g, out, x: g / (1 + tz.abs(x)),),
...     samples=lambda r: [(r.nonzero(3),)],  # off the kink of |x| at 0
...     reference=lambda x: x / (1 + np.abs(x)),
... )
... def softsign(x):
...     return x / (1 + abs(x))
>>> check_gradients(softsign, np.array([1.0, -3.0]))  # doctest: +ELLIPSIS
Traceback (most recent call last):
tinygrad_zoo.testing.gradients.GradientCheckError: softsign, x (input 0), entry (0,): the rule gives ...

The rule is wrong in its first argument x, at entry 0. With the square, `op_laws` checks the whole row from a seed:
values, gradients of both orders, dtypes, memory layouts, errors. Hypothesis searches for a seed that breaks a law:

>>> @tz.primitive(
...     vjp=(lambda g, out, x: g / (1 + tz.abs(x)) ** 2,),
...     samples=lambda r: [(r.nonzero(3),)],
...     reference=lambda x: x / (1 + np.abs(x)),
... )
... def softsign(x):
...     return x / (1 + abs(x))
>>> from hypothesis import given, settings
>>> from tinygrad_zoo.testing import seeds
>>> @settings(max_examples=5, deadline=None, database=None)
... @given(seeds())
... def test_softsign(seed):
...     op_laws(softsign, seed)
>>> test_softsign()

Any function of Tensors can be checked, not ops alone; and there are strategies for shapes, layouts and indices:

>>> from tinygrad_zoo.testing import arrays, shapes
>>> @settings(max_examples=5, deadline=None, database=None)
... @given(arrays(shapes(max_dims=2), "positive"))
... def test_entropy(p):
...     check_gradients(lambda p: -(p * tz.log(p)).sum(), p)
>>> test_entropy()
"""

from .gradients import GradientCheck, GradientCheckError, check_gradients
from .laws import Executed, LawError, op_laws
from .layouts import LAYOUTS, zero_stride
from .report import check_report, public_ops
from .strategies import arrays, axes, broadcastable_shapes, dtypes, indices, layouts, seeds, shapes

__all__ = [
    "check_gradients",
    "op_laws",
    "check_report",
    "public_ops",
    "GradientCheck",
    "Executed",
    "GradientCheckError",
    "LawError",
    "seeds",
    "shapes",
    "broadcastable_shapes",
    "arrays",
    "layouts",
    "dtypes",
    "axes",
    "indices",
    "LAYOUTS",
    "zero_stride",
]
