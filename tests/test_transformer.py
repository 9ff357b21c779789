"""Attention of several heads and a transformer's layers: against torch with its weights, to the second order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.grad_mode import observe
from torch_ops import our_derivatives, their_derivatives

torch = oracles.load("torch")
E, HEADS, N, L, S = 6, 2, 3, 4, 5


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def arrays(*shapes: tuple[int, ...], first: bool = True) -> list[np.ndarray]:
    """Sequences of a batch, which is the second axis unless `first`."""
    draw = rng(1)
    made = [draw.standard_normal(shape) for shape in shapes]
    return made if first else [x.swapaxes(0, 1) for x in made]


def compare(ours: nn.Module, theirs: Any, inputs: list[np.ndarray], order: int, **masks: Any) -> None:
    """All outputs, and the gradients of the inputs and parameters."""
    draw = rng(2)
    ours.to("float64")
    for p in ours.parameters():  # biases too, which are 0 at first
        p.data = draw.standard_normal(p.shape) * 0.5
    theirs.double().load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    mine, its = (
        [tz.tensor(x, requires_grad=True) for x in inputs],
        [torch.tensor(x, requires_grad=True) for x in inputs],
    )
    known = {name: torch.as_tensor(m) if isinstance(m, np.ndarray) else m for name, m in masks.items()}
    for flag, mask in (("is_causal", "src_mask"), ("tgt_is_causal", "tgt_mask")):
        if masks.get(flag):  # a hint, to them, that needs the mask too
            known[mask] = ~torch.ones(L, L, dtype=torch.bool).tril()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        found, expected = ours(*mine, **masks), theirs(*its, **known)
        found, expected = (
            [y for y in (z if isinstance(z, tuple) else (z,)) if y is not None] for z in (found, expected)
        )
        pairs = dict(theirs.named_parameters())
        parameters = dict(ours.named_parameters())
        assert parameters.keys() == pairs.keys()
        gs = our_derivatives(found, [*mine, *parameters.values()], "float64")
        ts = their_derivatives(expected, [*its, *(pairs[name] for name in parameters)], "float64")
    groups = [[y.numpy() for y in found], *gs[:order]], [[y.detach().numpy() for y in expected], *ts[:order]]
    for a, b in zip(*groups, strict=True):
        for x, y in zip(a, b, strict=True):
            scale = max(1.0, np.abs(y).max(initial=0))
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("weights", ["none", "mean", "each"])
def test_attention_is_torchs(first, weights):
    made = {"batch_first": first, "rng": rng()}
    settings: dict[str, Any] = {"need_weights": weights != "none", "average_attn_weights": weights == "mean"}
    hidden = np.array([[False] * 5, [True, False, True, False, False], [False, False, False, False, True]])
    added = rng().standard_normal((L, S))
    each = rng().random((N * HEADS, L, S)) < 0.4
    each[..., 0] = False
    qkv = arrays((N, L, E), (N, S, E), (N, S, E), first=first)
    for masks in (
        {},
        {"key_padding_mask": hidden},
        {"attn_mask": added},
        {"attn_mask": each},
        {"attn_mask": added > 1},
    ):
        theirs = torch.nn.MultiheadAttention(E, HEADS, batch_first=first)
        compare(nn.MultiheadAttention(E, HEADS, **made), theirs, qkv, 2, **settings, **masks)
    compare(
        nn.MultiheadAttention(E, HEADS, bias=False, kdim=3, vdim=2, **made),
        torch.nn.MultiheadAttention(E, HEADS, bias=False, kdim=3, vdim=2, batch_first=first),
        arrays((N, L, E), (N, S, 3), (N, S, 2), first=first), 2, **settings,
    )  # fmt: skip
    single = nn.MultiheadAttention(E, HEADS, **made), torch.nn.MultiheadAttention(E, HEADS, batch_first=first)
    compare(*single, arrays((L, E), (S, E), (S, E)), 1, **settings)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("norm_first", "first", "bias"), [*itertools.product((False, True), repeat=3)])
def test_layers_are_torchs(norm_first, first, bias):
    settings = {"dropout": 0.0, "batch_first": first, "norm_first": norm_first, "bias": bias}
    x, memory = arrays((N, L, E), (N, S, E), first=first)
    for activation, masks in (("relu", {}), ("gelu", {"is_causal": True})):
        compare(
            nn.TransformerEncoderLayer(E, HEADS, 7, activation=activation, rng=rng(), **settings),
            torch.nn.TransformerEncoderLayer(E, HEADS, 7, activation=activation, **settings),
            [x], 2, **masks,
        )  # fmt: skip
        compare(
            nn.TransformerDecoderLayer(E, HEADS, 7, activation=activation, rng=rng(), **settings),
            torch.nn.TransformerDecoderLayer(E, HEADS, 7, activation=activation, **settings),
            [x, memory], 2, **{f"tgt_{name}": flag for name, flag in masks.items()},
        )  # fmt: skip


def ops_of(run: Any) -> set[str]:
    seen: set[str] = set()
    with observe(lambda op, *rest: seen.add(op.__name__)):
        run()
    return seen


def test_tiles_serve_unless_the_weights_are_asked_for():
    (x,) = arrays((N, L, E))
    x = tz.tensor(x.astype(np.float32))
    make = lambda **settings: nn.MultiheadAttention(E, HEADS, batch_first=True, rng=rng(), **settings)
    assert "flash_attention" in ops_of(lambda: make()(x, x, x, need_weights=False, is_causal=True))
    dropping = make(dropout=0.5)
    assert "flash_attention" in ops_of(lambda: dropping.eval()(x, x, x, need_weights=False))
    for run in (
        lambda: make()(x, x, x),
        lambda: dropping.train()(x, x, x, need_weights=False),
        lambda: make()(x, x, x, need_weights=False, attn_mask=np.zeros((L, L), bool)),
        lambda: make(implementation="formula")(x, x, x, need_weights=False),
    ):
        assert "flash_attention" not in ops_of(run)


@pytest.mark.parametrize("masked", [False, True])
def test_both_implementations_agree(masked):
    (x,) = arrays((N, L, E))
    hidden = np.array([[False] * 4, [True] * 4, [False, True, False, True]]) if masked else None
    outs = []
    for implementation in ("flash", "formula"):
        attention = nn.MultiheadAttention(E, HEADS, batch_first=True, implementation=implementation, rng=rng())
        outs.append(attention.to("float64")(x, x, x, hidden, need_weights=False, is_causal=True)[0].numpy())
    np.testing.assert_allclose(*outs, rtol=1e-12, atol=1e-14)


def test_weights_are_dropped_in_training_alone():
    (x,) = arrays((1, 40, E))
    attention = nn.MultiheadAttention(E, HEADS, dropout=0.5, batch_first=True, rng=rng()).to("float64")
    _, weights = attention(x, x, x, average_attn_weights=False)
    assert 0.4 < (weights.numpy() == 0).mean() < 0.6
    first, second = (attention(x, x, x, need_weights=False)[0].numpy() for _ in range(2))
    assert (first != second).any()
    _, weights = attention.eval()(x, x, x)
    np.testing.assert_allclose(weights.sum(axis=-1).numpy(), 1)


def test_positions_are_those_of_the_paper():
    table = nn.SinusoidalPositions(5, 9)(np.zeros((9, 5), np.float32)).numpy()
    for t, c in itertools.product(range(9), range(5)):
        angle = t / 10000 ** ((c - c % 2) / 5)
        assert table[t, c] == pytest.approx(np.cos(angle) if c % 2 else np.sin(angle), abs=1e-6)
    with pytest.raises(ShapeError, match=r"\(…, L <= 9, 5\), got \(10, 5\)"):
        nn.SinusoidalPositions(5, 9)(np.zeros((10, 5), np.float32))


def test_bad_calls_say_what_to_write():
    with pytest.raises(UsageError, match="embed_dim=5 is not a multiple of num_heads=2"):
        nn.MultiheadAttention(5, 2, rng=rng())
    with pytest.raises(UsageError, match="expected 'flash' or 'formula'"):
        nn.MultiheadAttention(4, 2, implementation="fast", rng=rng())
    with pytest.raises(UsageError, match="expected 0 <= dropout <= 1"):
        nn.MultiheadAttention(4, 2, dropout=2.0, rng=rng())
    with pytest.raises(UsageError, match="expected 'relu', 'gelu' or a function"):
        nn.TransformerEncoderLayer(4, 2, activation="tanh", rng=rng())
    attention, x = nn.MultiheadAttention(E, HEADS, rng=rng()), np.zeros((L, N, E), np.float32)
    with pytest.raises(ShapeError, match=r"a key of shape \(L, N, 6\)"):
        attention(x, x[..., :3], x)
    with pytest.raises(ShapeError, match=r"an attn_mask of shape \(4, 4\) or \(6, 4, 4\), got \(3, 4, 4\)"):
        attention(x, x, x, attn_mask=np.zeros((N, L, L)))


def test_a_layer_learns_nothing_through_hidden_keys():
    """Padding changes no output and no gradient of the rest."""
    (x,) = arrays((2, L, E))
    layer = nn.TransformerEncoderLayer(E, HEADS, 7, 0.0, batch_first=True, rng=rng()).to("float64")
    padded = np.concatenate([x, 100 * np.ones((2, 2, E))], axis=1)
    hidden = np.array([[False] * L + [True] * 2] * 2)
    gradients = []
    for inputs, mask in ((x, None), (padded, hidden)):
        layer.zero_grad()
        out = layer(inputs, src_key_padding_mask=mask)[:, :L]
        ops.sum(out * out).backward()
        gradients.append([out.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
