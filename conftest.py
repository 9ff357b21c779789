"""What every doctest knows: `np` and `tz`, as the README imports them."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _names_of_examples(doctest_namespace: dict[str, Any]) -> None:
    import numpy as np

    import tinygrad_zoo as tz

    doctest_namespace.update(np=np, tz=tz)
