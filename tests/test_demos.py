"""`tinygrad-zoo algorithms NAME`: every demo draws what it says, into the file that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinygrad_zoo import cli, demos, errors


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(demos.DEMOS))
def test_a_demo_writes_a_png_and_prints_its_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["algorithms", name]) == 0
    caption, path = capsys.readouterr().out.splitlines()
    drawn = Path(path).read_bytes()
    assert path == f"{name}.png" and drawn.startswith(b"\x89PNG") and caption
    assert cli.main(["algorithms", name, "--out", "deep/er/picture.png"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "deep/er/picture.png"
    assert Path("deep/er/picture.png").read_bytes() == drawn


def test_without_a_name_the_demos_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["algorithms"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "what", "it", "shows"]
    assert [row.split()[0] for row in rows] == ["heap", "median", "spanning-tree", "traversal"]
    assert all(row.endswith(".") for row in rows)


def test_an_unknown_name_gives_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["algorithms", "sorting"]) == 2
    assert "'sorting' is no demo; demos: heap, median, spanning-tree, traversal" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_a_file_that_cannot_be_written_is_an_error() -> None:
    Path("file").touch()
    with pytest.raises(errors.UsageError, match=r"cannot write file/x\.png: "):
        demos.run("heap", Path("file/x.png"))


def test_what_is_drawn_is_what_the_structures_hold() -> None:
    fig, caption = demos.heap()
    labels = [text.get_text() for text in fig.axes[0].texts]
    assert sorted(map(int, labels)) == sorted([*range(10), 11, 12, *range(12)]) and "[0, 1, 3" in caption
    assert len(fig.axes[0].lines) == 11
    fig, _ = demos.traversal()
    for ax, expected in zip(fig.axes, ("abdegcf", "dbgeacf", "dgebfca", "abcdefg"), strict=True):
        texts = [text.get_text() for text in ax.texts]
        pairs = dict(zip(texts[1::2], texts[::2], strict=True))
        assert "".join(pairs[str(i)] for i in range(1, 8)) == expected, ax.get_title()
    fig, caption = demos.spanning_tree()
    lines = fig.axes[0].lines
    lengths = [float(np.hypot(*np.diff(line.get_xydata(), axis=0)[0])) for line in lines]
    dashed = [length for line, length in zip(lines, lengths, strict=True) if line.get_linestyle() == "--"]
    assert len(lines) == 74 and sorted(lengths)[-2:] == sorted(dashed) and f"{sum(lengths):.2f}" in caption
    fig, _ = demos.median()
    stream, running, sliding = (line.get_ydata() for line in fig.axes[0].lines)
    assert running[-1] == np.median(stream) and sliding[-1] == np.median(stream[-41:])
