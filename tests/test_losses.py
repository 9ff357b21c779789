"""Losses as modules: closed forms, settings, and torch.nn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import losses
from tinygrad_zoo.errors import UsageError

torch = oracles.load("torch")

DRAW = np.random.default_rng(0)
LOGITS, LABELS = DRAW.standard_normal((6, 4)), np.array([0, 3, 1, 1, -100, 2])
TARGETS, WEIGHT = DRAW.random((6, 4)), DRAW.random(4) + 0.5

CASES: list[tuple[str, dict[str, Any], Any]] = [
    *(("MSELoss", {"reduction": how}, TARGETS) for how in ("mean", "sum", "none")),
    *(("CrossEntropyLoss", {"reduction": how}, LABELS) for how in ("mean", "sum", "none")),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.2}, LABELS),
    ("CrossEntropyLoss", {"ignore_index": 1}, np.maximum(LABELS, 0)),
    ("CrossEntropyLoss", {}, TARGETS / TARGETS.sum(1, keepdims=True)),
    *(("BCEWithLogitsLoss", {"reduction": how}, TARGETS) for how in ("mean", "sum", "none")),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()}, TARGETS),
]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("name", "settings", "target"), CASES)
def test_against_torch(name: str, settings: dict[str, Any], target: Any) -> None:
    theirs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
    mine, torchs = tz.tensor(LOGITS, requires_grad=True), torch.tensor(LOGITS, requires_grad=True)
    loss = getattr(losses, name)(**settings)(mine, tz.tensor(target))
    expected = getattr(torch.nn, name)(**theirs)(torchs, torch.from_numpy(target))
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), torchs.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_closed_forms() -> None:
    logits = tz.tensor(np.zeros((3, 5)))
    assert losses.CrossEntropyLoss()(logits, tz.tensor([0, 1, 4])).item() == pytest.approx(np.log(5))
    ones = tz.tensor(np.ones((3, 5)))
    assert losses.BCEWithLogitsLoss(reduction="sum")(logits, ones).item() == pytest.approx(15 * np.log(2))
    assert losses.MSELoss("sum")(logits, 2 * ones).item() == 60


def test_a_class_weight_is_a_buffer_and_moves_with_the_loss() -> None:
    loss = losses.CrossEntropyLoss(weight=[1.0, 2.0])
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    assert loss.to("float64").weight.dtype.name == "float64"
    assert repr(loss) == "CrossEntropyLoss(reduction='mean', label_smoothing=0)"


@pytest.mark.parametrize("name", losses.__all__)
def test_bad_settings_raise_when_the_loss_is_made(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: reduction='average'"):
        getattr(losses, name)(reduction="average")
    if name == "CrossEntropyLoss":
        with pytest.raises(UsageError, match=r"label_smoothing <= 1, got 1\.1"):
            losses.CrossEntropyLoss(label_smoothing=1.1)
