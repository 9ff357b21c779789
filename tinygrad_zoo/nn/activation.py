"""The activation functions as modules; their formulas, papers and derivatives are those of the op named."""

from __future__ import annotations

from .. import ops
from .op_module import OpModule


class ReLU(OpModule, op=ops.relu): ...


class LeakyReLU(OpModule, op=ops.leaky_relu): ...


class ELU(OpModule, op=ops.elu): ...


class Tanh(OpModule, op=ops.tanh): ...


class Sigmoid(OpModule, op=ops.sigmoid): ...


class Softplus(OpModule, op=ops.softplus): ...


class SiLU(OpModule, op=ops.silu): ...


class GELU(OpModule, op=ops.gelu): ...


class Softmax(OpModule, op=ops.softmax): ...


class LogSoftmax(OpModule, op=ops.log_softmax): ...
