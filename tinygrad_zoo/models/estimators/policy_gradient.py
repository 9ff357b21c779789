"""Digits learnt from rewards alone, by the score-function gradient (REINFORCE, Williams, Machine Learning 8, 1992).

A linear policy sees a digit and names a class a ~ π(a | x); it is told whether that was right, reward 1 or 0, and never
what would have been. Accuracy, which has no gradient, is thereby raised as it is: ∇ E r = E[r ∇ log π(a | x)]. Two
policies learn side by side from as many tries a digit. One weighs each try by its reward; the other by the reward less
the baseline of least variance, b* = E[r s²] / E[s²] with s = ∇ log π, for which it spends one try of five. The mean
reward, which one might take, is near b* at first and far above it later: a policy that is mostly right has long scores
where it errs. As its baseline the mean reward would then be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import gradient_estimators as estimators
from ... import nn, ops, optim, plotting
from ...data import Split, digits
from ...distributions import Categorical
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

METHODS = ("baseline", "plain")
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1500
    batch_size: int = 64
    lr: float = 0.01
    tries: int = 5  # a digit


def data(config: Settings, rng: np.random.Generator) -> Split:
    return digits(flat=True)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    seed = int(rng.integers(2**32))  # one for both: they start equal
    pixels = data.train[0].shape[1]
    model = nn.ModuleDict({name: nn.Linear(pixels, CLASSES, rng=np.random.default_rng(seed)) for name in METHODS})
    optimizers = {name: optim.Adam(model[name].parameters(), lr=config.lr) for name in METHODS}
    schedules = {name: optim.CosineAnnealingLR(adam, config.steps) for name, adam in optimizers.items()}
    return Parts(model=model, optimizers=optimizers, schedules=schedules)


def reward(label: Any) -> Callable[[Any], Any]:
    """1 for the right class, 0 for another: all that a policy is told."""
    return lambda action: (action == label).to("float32")


def probed(actions: Categorical, label: Any, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rewards of one try a digit, and the length of its score ∇ log π in the logits, onehot(a) - π: (N,) each."""
    a = actions.sample(rng=rng)
    scores = ops.one_hot(a, num_classes=CLASSES) - actions.probs.detach()  # (N, 10)
    return reward(label)(a), ops.norm(scores, axis=-1)


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    """One update of each. The metrics are the probabilities that they give the right class, which they do not see, b*,
    and the second moment of one try's gradient in the logits with it, with the mean reward, and without."""
    x, label = batch  # (N, 64), (N,)
    metrics = {}
    for name, optimizer in state.optimizers.items():
        policy: Any = state.model[name]
        actions, b, tries = Categorical(logits=policy(x)), 0.0, state.config.tries
        if name == "baseline":
            rewards, lengths = probed(actions, label, state.rng)
            b, tries = estimators.optimal_baseline(rewards, lengths), tries - 1
            for what, base in (("plain", 0.0), ("mean", rewards.mean()), ("best", b)):
                metrics[f"noise_{what}"] = ops.square((rewards - base) * lengths).mean()
            metrics["best_baseline"] = b
        gain = estimators.score_function(reward(label), actions, tries, baseline=b, rng=state.rng)
        optimizer.zero_grad()
        (-gain.mean()).backward()
        optimizer.step()
        state.schedules[name].step()
        metrics[name] = Categorical(logits=policy(x).detach()).log_prob(label).exp().mean()
    return metrics


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """Accuracy of the likeliest class of the test digits."""
    with_b, without = (float((_guesses(state, name) == state.data.test[1]).mean()) for name in METHODS)
    return {"accuracy": with_b, "accuracy_plain": without}


def _guesses(state: State[Settings, nn.ModuleDict], name: str) -> Any:
    policy: Any = state.model[name]
    return ops.argmax(policy(tensor(state.data.test[0], device=state.device)), axis=-1).numpy()


def baseline(data: Split) -> Mapping[str, float]:
    label = data.test[1]
    return {"the commonest class": float((label == np.bincount(data.train[1]).argmax()).mean())}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """How often each is right; what is taken for what; the best baseline, and the noise with it and with others."""
    accuracy, label = evaluate(state)["accuracy"], state.data.test[1]
    fig, (curves, confusion, best, noise) = plotting.figure(
        4, size=3.8, title=f"accuracy {accuracy:.3f}, from rewards alone"
    )
    plotting.curve_panel(curves, state.history, *METHODS, title="probability of the right class")
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(counts, (label, _guesses(state, "baseline")), 1)
    plotting.matrix_panel(confusion, counts, title="test digits", xlabel="named", ylabel="is")
    plotting.curve_panel(best, state.history, "best_baseline", "baseline", title="b*, and the mean reward")
    noises = ("noise_plain", "noise_mean", "noise_best")
    plotting.curve_panel(noise, state.history, *noises, title="E (r - b)² s² of b = 0, E r and b*")
    noise.set(yscale="log", ylim=(1e-3, None))
    plotting.save(fig, path)


RECIPE = Recipe(
    name="policy_gradient",
    row="G4",
    family="estimators",
    title="Digits learnt from rewards alone",
    paper="Williams 1992",
    config=Settings(),
    metric="baseline",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="accuracy", at_least=0.85, seeds=3),
    figure=figure,
)
