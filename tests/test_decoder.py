"""The decoder of the language models: what it may see, its settings, and how it goes on."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.language import decoder
from tinygrad_zoo.models.language.decoder import Decoder, continued, loss_of, mean_loss

ATTENTIONS, FEEDFORWARDS = get_args(decoder.Attention), get_args(decoder.FeedForward)
V, T = 7, 12


def made(**settings: Any) -> Decoder:
    settings = {"d": 24, "heads": 2, "blocks": 2, "length": T, **settings}
    return Decoder(V, **settings, rng=np.random.default_rng(0))


def tokens(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, V, shape)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_place_sees_those_before_it_and_no_other(attention: str) -> None:
    model, seen = made(attention=attention).to("float64"), tokens(2, T)
    logits = model(seen).numpy()
    for place in range(T):
        other = seen.copy()
        other[:, place] = (other[:, place] + 1) % V
        moved = np.abs(model(other).numpy() - logits).max(axis=(0, 2))
        assert moved[:place].max(initial=0) < 1e-12
        assert moved[place:].min() > 1e-6  # itself, and all that come later
    assert np.allclose(model(seen[:, :5]).numpy(), logits[:, :5], atol=1e-12)


@pytest.mark.parametrize("feedforward", FEEDFORWARDS)
@pytest.mark.parametrize("attention", ["flash", "elu"])
def test_a_gradient_reaches_every_parameter_and_the_loss_falls(attention: str, feedforward: str) -> None:
    model = made(attention=attention, feedforward=feedforward)
    windows = tz.tensor(tokens(3, T + 1))
    optimizer = tz.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(model, windows)
        loss.backward()
        for name, p in model.named_parameters():
            assert p.grad is not None and np.isfinite(p.grad.numpy()).all() and (p.grad.numpy() != 0).any(), name
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1


def test_every_feedforward_block_has_as_many_parameters() -> None:
    counts = {
        name: sum(p.size for p in made(feedforward=name, expansion=expansion).parameters())
        for expansion in (2, 4)
        for name in FEEDFORWARDS
    }
    assert len(set(counts.values())) == 1
    d, outside = 24, (V + T) * 24 + 2 * 24 + V * 24
    assert counts["gelu"] == outside + 2 * (4 * d * d + 2 * 4 * d * d + 4 * d)


def test_flash_and_formula_are_one_function_and_the_others_are_not() -> None:
    seen = tokens(2, T)
    logits = {attention: made(attention=attention).to("float64")(seen).numpy() for attention in ATTENTIONS}
    assert np.allclose(logits["flash"], logits["formula"], rtol=0, atol=1e-12)
    assert all(np.abs(logits["flash"] - logits[name]).max() > 1e-4 for name in ("elu", "cosine"))


def test_the_loss_is_the_mean_cost_of_the_next_token() -> None:
    model, windows = made(), tokens(5, T + 1)
    chances = ops.softmax(model(windows[:, :-1])).numpy()
    costs = [-np.log(chances[n, t, windows[n, t + 1]]) for n in range(5) for t in range(T)]
    assert float(loss_of(model, tz.tensor(windows))) == pytest.approx(np.mean(costs), rel=1e-5)
    assert mean_loss(model, windows, "numpy", rows=2) == pytest.approx(np.mean(costs), rel=1e-5)


def test_sequences_go_on_as_the_model_has_it() -> None:
    model = made()
    model.head.weight.data *= 300  # so sure that one token is drawn
    start = tokens(4, 3)
    found = continued(model, start, 2 * T, np.random.default_rng(2))
    assert found.shape == (4, 3 + 2 * T) and np.array_equal(found[:, :3], start)
    for n in range(4):
        for t in range(3, 3 + 2 * T):
            logits = model(found[n : n + 1, max(0, t - T) : t]).numpy()[0, -1]
            assert logits[found[n, t]] >= logits.max() - 15


def test_tokens_are_drawn_by_their_chances() -> None:
    model, start = made(), np.zeros((20_000, 1), np.int64)
    chances = ops.softmax(model(start[:1])).numpy()[0, -1]
    drawn = continued(model, start, 1, np.random.default_rng(3))[:, 1]
    counts = np.bincount(drawn, minlength=V) / len(drawn)
    assert np.abs(counts - chances).max() < 5 * np.sqrt(0.25 / len(drawn))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="13 tokens are more than its positions, length=12"):
        made()(tokens(1, T + 1))
    with pytest.raises(UsageError, match="d=24 is not a multiple of heads=5"):
        made(heads=5)
