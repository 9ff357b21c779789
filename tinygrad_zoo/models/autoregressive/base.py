"""Distributions of n bits as products of conditionals: p(x) = Π p(xᵢ | the bits that come before i).

A table of p holds 2ⁿ - 1 numbers. The chain rule leaves nothing out; what makes a model small is how the conditionals
are computed. All of them answer the same three questions: how likely is x (`log_prob`, exact), what does the model
imagine (`sample`, one bit after the other), and what depends on what (`dependence`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops
from ...backend import on_host
from ...creation import zeros
from ...errors import ShapeError, UsageError
from ...grad_mode import no_grad
from ...tensor import Tensor, as_tensor
from ...transforms import jacobian
from ...variable import looked_at


def checked_order(who: str, n: int, order: Sequence[int] | None) -> NDArray[np.int64]:
    """`order` as an array, by default 0..n-1; UsageError where it does not hold each bit once.

    >>> checked_order("FVSBN", 3, None)
    array([0, 1, 2])
    """
    chosen = list(range(n)) if order is None else [int(i) for i in order]
    if n < 1 or sorted(chosen) != list(range(n)):
        raise UsageError(f"{who}: expected an order with each of 0..{n - 1} once, got {chosen}")
    return np.array(chosen, np.int64)


def log_probs_of_bits(logits: Any, x: Any) -> Any:
    """log p of each bit, (N, n), by its logit."""
    return -ops.binary_cross_entropy_with_logits(logits, x, reduction="none")


def fill(x: Tensor, uniform: Any, order: NDArray[np.int64], logits: Callable[[Tensor], Any]) -> None:
    """Write into x (N, n), one bit after the other in `order`, whether a uniform number is below its probability."""
    for i in order.tolist():
        x.data[:, i] = uniform[:, i] < ops.sigmoid(logits(x)[:, i]).data


class Autoregressive(nn.Module):
    """p(x) = Π σ(aᵢ)^xᵢ (1 - σ(aᵢ))^(1 - xᵢ), the logit aᵢ a function of the bits that stand before i in `order`."""

    order: NDArray[np.int64]

    @abstractmethod
    def forward(self, x: Any) -> Any:
        """The logits (N, n) of bits (N, n)."""

    def log_probs(self, x: Any) -> Any:
        """log p(xᵢ | what comes before), (N, n). Raises ShapeError, or UsageError for what is no bit (on the host)."""
        x = self._bits(x)
        return log_probs_of_bits(self(x), x)

    def log_prob(self, x: Any) -> Any:
        """log p(x), (N, n) → (N,), in nats. Errors are those of `log_probs`."""
        return self.log_probs(x).sum(axis=1)

    def sample(self, n: int, *, rng: np.random.Generator) -> Any:
        """n draws (n, bits), without gradient: as many passes as there are bits."""
        with no_grad():
            x, uniform = self._blank(n, rng)
            fill(x, uniform, self.order, self)
            return x

    def dependence(self, x: Any) -> NDArray[Any]:
        """|∂ logit of bit i / ∂ xⱼ|, (n, n), of one row of bits: below the diagonal alone, in the model's order."""
        gradients: Any = jacobian(lambda row: self(row.reshape(1, -1))[0])(self._rows(x)[0])
        return np.asarray(np.abs(gradients.numpy()))

    def settings(self) -> str:
        order = self.order.tolist()
        return f"{len(order)}" if order == sorted(order) else f"{len(order)}, order={order}"

    def _rows(self, x: Any) -> Tensor:
        """`x` as a Tensor (N, n) in the dtype of the parameters."""
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != len(self.order):
            raise ShapeError(f"{type(self).__name__}: expected bits (N, {len(self.order)}), got {x.shape}")
        rows: Tensor = ops.astype(x, dtype=self._like.dtype)
        return rows

    def _bits(self, x: Any) -> Tensor:
        """`_rows`, of bits alone."""
        rows = self._rows(x)
        values = looked_at(rows)
        if on_host(values) and not ((values == 0) | (values == 1)).all():
            raise UsageError(f"{type(self).__name__}: expected bits, 0 or 1: write (x > threshold).astype(x.dtype)")
        return rows

    def _blank(self, n: int, rng: np.random.Generator) -> tuple[Tensor, Any]:
        """Zeros (n, bits), and uniform numbers in that shape: u < p is a bit that is 1 with probability p."""
        like, shape = self._like, (n, len(self.order))
        key = ops.draw_key(nn.init.generator(f"{type(self).__name__}.sample", rng), like.device)
        uniform = ops.standard_uniform(key, shape=shape, dtype=like.dtype)
        return zeros(*shape, dtype=like.dtype, device=like.device), uniform

    @property
    def _like(self) -> Tensor:
        return next(iter(self.parameters()))
