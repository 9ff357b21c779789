"""A Gaussian fitted to another by its own samples, one at a time (Kingma & Welling 2013, arXiv 1312.6114).

The divergence KL(q ‖ p) = E_q[log q(z) - log p(z)] is an expectation under the very parameters that are to change. Two
estimates of its gradient from a single z ~ q are at work side by side, on equal settings. The pathwise one writes
z = μ + σ ε and follows the gradient of log q - log p through z. The score-function one (Williams 1992) knows values
alone: it raises the probability of a z that was good. Both are right on average; how far a single estimate is from the
average decides how soon the fit arrives. For f = z² under N(μ, 1) the variances of the derivative in μ are known:
4, and μ⁴ + 14 μ² + 15. In f = log q - log p, q is held fixed, for its own score is 0 on average and would be nothing
but noise (arXiv 1703.09194): at q = p every single gradient is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import gradient_estimators as estimators
from ... import nn, ops, optim, plotting
from ...data import Split
from ...distributions import Normal, kl_divergence
from ...grad_mode import enable_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

TARGET = (1.5, 0.6)  # mean and standard deviation of p
AT, DRAWS = 2.0, 100_000  # where the variances are compared, and from how many estimates
METHODS = ("pathwise", "score_function")


class Gaussian(nn.Module):
    """q = N(μ, σ²) with σ = log(1 + exp ρ), which is positive whatever ρ becomes; it starts as N(0, 1).

    >>> q = Gaussian()()
    >>> q.mean.item(), round(q.stddev.item(), 6)
    (0.0, 1.0)
    """

    def __init__(self) -> None:
        self.loc = nn.Parameter(np.zeros((), np.float32))
        self.rho = nn.Parameter(np.log(np.expm1(np.ones((), np.float32))))

    def forward(self) -> Normal:
        return Normal(self.loc, ops.softplus(self.rho))


def excess(q: Normal, p: Normal) -> Callable[[Any], Any]:
    """f(z) = log q(z) - log p(z), a function of z alone: q is held fixed."""
    fixed = Normal(q.loc.detach(), q.scale.detach())
    return lambda z: fixed.log_prob(z) - p.log_prob(z)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 2000
    batch_size: int = 1  # the target
    lr: float = 0.02


def data(config: Settings, rng: np.random.Generator) -> Split:
    """No samples of p: its density is known."""
    target = np.array([TARGET], np.float32)
    return Split(train=(target,), test=(target,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    model = nn.ModuleDict({name: Gaussian() for name in METHODS})
    optimizers = {name: optim.Adam(model[name].parameters(), lr=config.lr) for name in METHODS}
    schedules = {name: optim.CosineAnnealingLR(adam, config.steps) for name, adam in optimizers.items()}
    return Parts(model=model, optimizers=optimizers, schedules=schedules)


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    """One sample each, and one update; the metrics are the exact divergences, which no gradient comes from."""
    (target,) = batch  # (1, 2)
    p, exact = Normal(target[0, 0], target[0, 1]), {}
    for name, optimizer in state.optimizers.items():
        q: Normal = state.model[name]()
        optimizer.zero_grad()
        getattr(estimators, name)(excess(q, p), q, rng=state.rng).backward()
        optimizer.step()
        state.schedules[name].step()
        exact[name] = kl_divergence(q, p)
    return exact


def derivatives(method: str, loc: float, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """n single-sample estimates of d/dμ E z² = 2μ at μ = loc, σ = 1: of a batch of n equal Gaussians."""
    with enable_grad():
        means = tensor(np.full(n, loc), requires_grad=True)
        getattr(estimators, method)(ops.square, Normal(means, np.ones(())), rng=rng).sum().backward()
    found: NDArray[np.float64] = means.grad.numpy()
    return found


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """`error` is the larger of |μ - μ*| and |σ - σ*|; `variance_ratio` that of the two estimators for f = z²."""
    errors = {name: max(_errors(state.model[name]())) for name in METHODS}
    path, score = (derivatives(name, AT, DRAWS, state.rng).var() for name in METHODS)
    return {
        "error": errors["pathwise"],
        "score_function_error": errors["score_function"],
        "variance_ratio": float(score / path),
    }


def _errors(q: Normal) -> tuple[float, float]:
    return abs(float(q.loc) - TARGET[0]), abs(float(q.scale) - TARGET[1])


def baseline(data: Split) -> Mapping[str, float]:
    """What both start from."""
    return {"N(0, 1)": max(_errors(Normal(0.0, 1.0)))}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """The densities; how the exact divergences fall; the variances of both estimators, measured and in closed form."""
    colours = dict(zip(METHODS, (plotting.BLUE, plotting.ORANGE), strict=True))
    found = evaluate(state)
    ratio = f"at μ = {AT:g} the variance is {found['variance_ratio']:.0f} times less by the path"
    fig, (densities, falling, variances) = plotting.figure(3, size=3.8, title=f"error {found['error']:.1e}; {ratio}")
    x = np.linspace(-3, 5, 400)
    densities.fill_between(
        x, Normal(*TARGET).log_prob(tensor(x)).exp().numpy(), color=plotting.GREY, alpha=0.6, label="p"
    )
    for name in METHODS:
        densities.plot(
            x, state.model[name]().log_prob(tensor(x)).exp().numpy(), color=colours[name], label=f"q, {name}"
        )
        steps = [line["step"] for line in state.history]
        falling.plot(steps, [line[name] for line in state.history], color=colours[name], linewidth=0.8, label=name)
    densities.set(title="the target and the fits", xlabel="z", ylabel="density")
    falling.set(
        title="KL(q ‖ p) of single-sample steps", xlabel="step", ylabel="nats", yscale="log", ylim=(1e-10, None)
    )
    means = np.linspace(0, 3, 7)
    curves = {"pathwise": 4 + 0 * means, "score_function": means**4 + 14 * means**2 + 15}
    for name, exact in curves.items():
        measured = [derivatives(name, mean, DRAWS // 10, state.rng).var() for mean in means]
        variances.plot(means, exact, color=colours[name], label=f"{name}, exact")
        variances.plot(means, measured, "o", color=colours[name], label=f"{name}, measured")
    variances.set(title="variance of d/dμ E z², N(μ, 1)", xlabel="μ", ylabel="variance", yscale="log")
    for panel in (densities, falling, variances):
        panel.legend(frameon=False, fontsize=8)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="gaussian_fit",
    row="G2",
    family="estimators",
    title="A Gaussian fitted by reparameterised samples",
    paper="arXiv 1312.6114",
    config=Settings(),
    metric="pathwise",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="error", at_most=0.03, seeds=3, also=(Bar(metric="variance_ratio", at_least=10, seeds=3),)),
    figure=figure,
)
