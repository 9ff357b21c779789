"""Graphs as SVG: well-formed, complete, readable; figures: deterministic, without pyplot."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, plotting
from tinygrad_zoo.errors import DTypeError, MissingDependencyError, ShapeError, UsageError
from tinygrad_zoo.plotting import draw_graph

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> list[tuple[str, list[str], tuple[float, float, float, float]]]:
    """Kind, lines and (x, y, width, height) of every box."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class"):
            rect = group.find(f"{SVG}rect")
            assert rect is not None
            x, y, width, height = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            lines = [span.text or "" for span in group.iter(f"{SVG}tspan")]
            found.append((group.get("class", ""), lines, (x, y, width, height)))
    return found


def arrows(svg: str) -> int:
    return len(re.findall("marker-end", svg))


def leaf(*shape: int) -> tz.Tensor:
    return tz.tensor(np.ones(shape, np.float32), requires_grad=True)


def chain(length: int) -> tz.Tensor:
    x = leaf(2)
    for _ in range(length):
        x = tz.tanh(x)
    return x


def test_ops_and_leaves_are_boxes_with_shapes() -> None:
    x, w, b = tz.ones((5, 3)), leaf(4, 3), leaf(4)
    svg = draw_graph(tz.sum(tz.linear(x, w, b) * 2.0), names={"weight": w, "bias": b})
    assert sorted((kind, *lines) for kind, lines, _ in boxes(svg)) == [
        ("constant", "2"),
        ("input", "tensor", "(5, 3) float32"),
        ("leaf", "bias", "(4,) float32", "requires_grad"),
        ("leaf", "weight", "(4, 3) float32", "requires_grad"),
        ("op", "linear", "(5, 4) float32"),
        ("op", "mul", "(5, 4) float32"),
        ("op", "sum", "() float32"),
    ]
    assert arrows(svg) == 3 + 2 + 1


def test_what_is_shared_is_drawn_once_and_used_twice() -> None:
    x = leaf(3)
    y = tz.exp(x)
    svg = draw_graph(y * y + x)
    assert [lines[0] for _, lines, _ in boxes(svg)].count("exp") == 1
    assert len(boxes(svg)) == 4 and arrows(svg) == 1 + 2 + 2


def test_several_outputs_are_numbered() -> None:
    first, second = tz.split(leaf(4), 2)
    svg = draw_graph(first * second)
    assert ">[0]<" in svg and ">[1]<" in svg


def test_a_leaf_alone_and_names_that_need_escaping() -> None:
    x = leaf(2)
    svg = draw_graph(x, names={"a<b>&'\"": x})
    ((kind, lines, _),) = boxes(svg)
    assert (kind, lines) == ("leaf", ["a<b>&'\"", "(2,) float32", "requires_grad"])


def network() -> tuple[tz.Tensor, dict[str, Any]]:
    rng = np.random.default_rng(0)
    model = nn.Sequential(*(nn.Linear(3, 3, rng=rng) for _ in range(4)))
    h = x = tz.ones((2, 3))
    for layer in model:
        h = tz.tanh(layer(h)) + x  # an edge from the input to every layer
    return tz.mean(h), dict(model.named_parameters())


def many_leaves() -> Any:
    return sum(tz.exp(leaf(k + 1)).sum() for k in range(12))


@pytest.mark.parametrize("make", [lambda: chain(60), lambda: network()[0], many_leaves])
def test_boxes_overlap_nowhere_and_data_flows_down(make: Any) -> None:
    drawn = boxes(draw_graph(make()))
    for (_, _, (x, y, w, h)), (_, _, (x2, y2, w2, h2)) in combinations(drawn, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    root = ElementTree.fromstring(draw_graph(make()))
    assert all(x >= 0 and x + w <= float(root.get("width", 0)) for _, _, (x, _, w, _) in drawn)
    assert all(y >= 0 and y + h <= float(root.get("height", 0)) for _, _, (_, y, _, h) in drawn)
    for path in root.iter(f"{SVG}path"):
        if path.get("d", "").count(","):
            points = [tuple(map(float, p.split(","))) for p in re.findall(r"[-\d.]+,[-\d.]+", path.get("d", ""))]
            assert len(points) < 4 or points[0][1] < points[-1][1]


def test_the_drawing_is_a_function_of_the_graph(tmp_path: Path) -> None:
    loss, names = network()
    again, other_names = network()
    svg = draw_graph(loss, tmp_path / "graph.svg", names=names)
    assert draw_graph(again, names=other_names) == svg == (tmp_path / "graph.svg").read_text("utf-8")
    assert all(f">{name}<" in svg for name in names)


def test_a_large_graph_is_refused_with_its_size(tmp_path: Path) -> None:
    deep = chain(5000)
    with pytest.raises(
        UsageError, match=r"this graph has 5001 boxes, more than max_nodes=200.* or write max_nodes=5001"
    ):
        draw_graph(deep, tmp_path / "graph.svg")
    assert not (tmp_path / "graph.svg").exists()
    assert len(boxes(draw_graph(chain(250), max_nodes=251))) == 251


def test_only_tensors_have_graphs() -> None:
    with pytest.raises(DTypeError, match="expected a Tensor, got ndarray"):
        draw_graph(np.ones(2))  # type: ignore[arg-type]


# ---- figures
def every_panel(path: Path) -> None:
    fig, axes = plotting.figure((2, 3), size=1.2, title="everything")
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 2))
    extent = (-3.0, 3.0, -2.0, 2.0)
    plotting.scatter_panel(axes[0], points, np.arange(50) % 3, title="points", extent=extent)
    plotting.scatter_panel(axes[0], points[:5])
    plotting.density_panel(axes[1], lambda z: -0.5 * (z**2).sum(1), extent, resolution=20)
    plotting.grid_panel(axes[2], lambda z: np.tanh(z), extent, lines=5, resolution=20)
    plotting.curve_panel(axes[3], [{"step": k, "a": 1 / k, "b": 2.0} for k in range(1, 90)], "a", "b")
    plotting.matrix_panel(axes[4], np.eye(3), xlabel="predicted", ylabel="true")
    plotting.images_panel(axes[5], rng.random((7, 4, 5)), columns=3, captions=["first", "second"])
    assert [text.get_text() for text in axes[5].texts] == ["first", "second"]
    plotting.save(fig, path)


def test_figures_are_deterministic_png_files(tmp_path: Path) -> None:
    every_panel(tmp_path / "a.png")
    every_panel(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_importing_loads_no_matplotlib_and_drawing_no_pyplot() -> None:
    code = "import sys; from tinygrad_zoo import plotting; assert 'matplotlib' not in sys.modules; plotting.figure(1); "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_wrong_shapes_are_refused() -> None:
    _, (ax,) = plotting.figure(1)
    with pytest.raises(ShapeError, match=r"scatter_panel: expected points \(n >= 1, 2\), got \(3, 4\)"):
        plotting.scatter_panel(ax, np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="matrix_panel"):
        plotting.matrix_panel(ax, np.zeros(3))
    with pytest.raises(ShapeError, match="images_panel"):
        plotting.images_panel(ax, np.zeros((0, 2, 2)), 1)
    with pytest.raises(UsageError, match="at least one panel"):
        plotting.figure(0)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_zoo\[zoo\]"):
        plotting.figure(1)
