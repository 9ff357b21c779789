"""The optimizers: names, argument order, defaults and semantics are PyTorch's; kernels/optimizer has the formulas.

`maximize=True` ascends. Scalars are rounded once to the parameters' dtype: in float16 the default eps would be 0, so it
must be given there.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..errors import UsageError
from ..kernels import optimizer as kernels
from .flat import Run
from .optimizer import Optimizer, Params


class SGD(Optimizer):
    """p ← p − lr·d, where d = g + λp; momentum: b ← μb + (1−dampening)d (b ← d at first), d = b, or d + μb if nesterov.

    >>> from tinygrad_zoo import tensor
    >>> p = tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    tensor([0.8], requires_grad=True)
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise UsageError("SGD: nesterov=True needs momentum > 0 and dampening = 0")

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        lr, weight_decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
        if momentum == 0:  # no state, so nothing counts the steps
            kernels.sgd(run.data, run.pieces, lr=lr, weight_decay=weight_decay)
            return
        run.t += 1
        kernels.sgd(
            run.data,
            run.pieces,
            run.slot("momentum_buffer"),
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            dampening=group["dampening"] if run.t > 1 else 0.0,
            nesterov=group["nesterov"],
        )


class Adam(Optimizer):
    """m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², p ← p − lr·m̂/(√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ); arXiv 1412.6980.

    `weight_decay` λ is L2 regularisation: g + λp stands for g, so the decay is divided by √v̂ too (AdamW's is not).
    `amsgrad` uses the largest v so far. t is each parameter's own count of steps.

    >>> from tinygrad_zoo import tensor
    >>> p = tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = Adam([p], lr=0.1)
    >>> (p * tensor([2.0, -30.0])).sum().backward()
    >>> optimizer.step()
    >>> p.numpy().round(6)  # lr·sign(g)
    array([0.9, 1.1], dtype=float32)
    """

    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        run.t += 1
        beta1, beta2 = group["betas"]
        kernels.adam(
            run.data,
            run.pieces,
            run.slot("exp_avg"),
            run.slot("exp_avg_sq"),
            run.slot("max_exp_avg_sq") if group["amsgrad"] else None,
            t=run.t,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=self.decoupled,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← (1 − lr·λ)p − lr·m̂/(√v̂ + ε), moments from g alone; arXiv 1711.05101.

    The decay is taken off the value before the step and scales with the learning rate, as in PyTorch (the paper's λ is
    our lr·λ). `decay_groups` leaves biases, norms and embeddings out of it.

    >>> from tinygrad_zoo import tensor
    >>> p = tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([p], lr=0.1, weight_decay=0.5)
    >>> (0 * p).sum().backward()
    >>> optimizer.step()
    >>> p  # no gradient: decay alone
    tensor([0.95], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """s ← αs + (1−α)d², p ← p − lr·d/(√s + ε), where d = g + λp (Hinton's lecture 6e, 2012).

    `centered` subtracts the square of the running mean of d under the root (where rounding takes that below 0, it is
    0: PyTorch gives NaN there); `momentum`: b ← μb + d/(√s + ε), p ← p − lr·b.

    >>> from tinygrad_zoo import tensor
    >>> p = tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([p], lr=0.01)
    >>> (3 * p).sum().backward()
    >>> optimizer.step()
    >>> p
    tensor([0.9], requires_grad=True)
    """

    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        run.t += 1
        kernels.rmsprop(
            run.data,
            run.pieces,
            run.slot("square_avg"),
            run.slot("grad_avg") if group["centered"] else None,
            run.slot("momentum_buffer") if group["momentum"] > 0 else None,
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
        )


class Adagrad(Optimizer):
    """s ← s + d², p ← p − lr/(1 + (t−1)·lr_decay) · d/(√s + ε), where d = g + λp (Duchi, Hazan, Singer 2011).

    >>> from tinygrad_zoo import tensor
    >>> p = tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([p], lr=0.1)
    >>> (3 * p).sum().backward()
    >>> optimizer.step()
    >>> p
    tensor([0.9], requires_grad=True)
    """

    slots = ("sum",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        run.t += 1
        total = run.slot("sum")
        if run.t == 1:
            total.fill(group["initial_accumulator_value"])
        kernels.adagrad(
            run.data,
            run.pieces,
            total,
            lr=group["lr"] / (1 + (run.t - 1) * group["lr_decay"]),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
