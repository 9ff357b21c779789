"""Ops written in ops: their gradient comes of the body, in every mode of the walk."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients

DRAW = np.random.default_rng(0)
LOGITS, TARGETS = DRAW.standard_normal((6, 4)), DRAW.random((6, 4))
SIGNS = DRAW.choice([-1, 1], 6)


def test_a_composite_op_gives_its_gradient_in_every_way() -> None:
    """Raw, recorded, and with a graph, to inputs of which some need none, one given twice, and through a checkpoint."""
    x, y = (tz.tensor(a, requires_grad=True) for a in (LOGITS, TARGETS))
    signs = tz.tensor(SIGNS)

    def loss(a: Any, b: Any) -> Any:
        return ops.cosine_embedding_loss(a, b, signs, margin=-0.5)

    expected = [g.numpy() for g in gradients([loss(x, y)], [x, y], [tz.tensor(np.array(1.0))], create_graph=True)]
    raw = gradients([loss(x, y)], [x, y], [tz.tensor(np.array(1.0))])
    with tz.detect_anomaly():
        recorded = gradients([loss(x, y)], [x, y], [tz.tensor(np.array(1.0))])
    through = gradients([tz.checkpoint(loss, x, y)], [x, y], [tz.tensor(np.array(1.0))])
    for found in (raw, recorded, through):
        for g, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(g.numpy(), e, rtol=1e-12, atol=1e-15)
    (alone,) = gradients([loss(x, y.detach())], [x], [tz.tensor(np.array(1.0))])
    np.testing.assert_allclose(alone.numpy(), expected[0], rtol=1e-12)
    together = gradients([ops.triplet_margin_loss(x, x, y)], [x], [tz.tensor(np.array(1.0))])[0].numpy()
    apart = tz.tensor(LOGITS, requires_grad=True)
    both = gradients([ops.triplet_margin_loss(x, apart, y)], [x, apart], [tz.tensor(np.array(1.0))])
    np.testing.assert_allclose(together, both[0].numpy() + both[1].numpy(), atol=1e-14)
