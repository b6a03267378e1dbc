"""The picture of the long tail: what is drawn is what was counted, the most frequent class first."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.output.class_frequency_plot import (
    FrequencyChart,
    draw_class_frequency,
    draw_rank_plot,
    rank_classes,
    round_to_two_digits,
)
from pointseg.output.plot_style import GROUP_COLORS

pytest.importorskip("matplotlib")

COUNTS = np.array([20, 0, 5000, 20, 7])
GROUPS = ["common", "tail", "head", "common", "tail"]


def _frequency(**counts: np.ndarray) -> FrequencyChart:
    return FrequencyChart("Five classes", [f"class {k}" for k in range(5)], GROUPS, counts)


def test_classes_that_occur_are_ranked_and_ties_keep_their_order() -> None:
    assert rank_classes(COUNTS).tolist() == [2, 0, 3, 4]


def test_a_panel_shows_each_class_at_its_rank_and_count_in_the_colour_of_its_group() -> None:
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_rank_plot(axes, "points", COUNTS, _frequency(points=COUNTS))
    (dots,) = axes.collections
    assert dots.get_offsets().tolist() == [[1, 5000], [2, 20], [3, 20], [4, 7]]
    assert [to_hex(color).upper() for color in dots.get_facecolors()] == [
        GROUP_COLORS[group] for group in ("head", "common", "common", "tail")
    ]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    texts = [text.get_text() for text in axes.texts]
    assert {"rarest to most frequent 1 : 710", "not drawn: 1 that do not occur"} <= set(texts)
    assert "head: median 5,000, 99.1% of all" in texts
    assert "tail: median 4, 0.1% of all" in texts
    assert {"class 2", "class 4"} <= set(texts)  # the first and the last


def test_scenes_of_classes_do_not_add_up() -> None:
    """A scene has many classes, so a group has no share of them."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_rank_plot(axes, "scenes", COUNTS, _frequency(scenes=COUNTS))
    assert not any("of all" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_figure_is_written_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tail{suffix}"
    one_class = np.array([0, 0, 3, 0, 0])
    draw_class_frequency(path, _frequency(points=COUNTS, objects=0 * COUNTS, scenes=one_class))
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".svg": b"<?xml"}[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tail.png: there is nothing to plot, no class occurs"):
        draw_class_frequency(tmp_path / "tail.png", _frequency(points=0 * COUNTS))
    with pytest.raises(UsageError, match="a plot ends in"):
        draw_class_frequency(tmp_path / "tail.jpg", _frequency(points=COUNTS))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "rounded"), [(1, 1), (98.6, 99), (714.3, 710), (52_341, 52_000), (9_960, 10_000)])
def test_rounding(number: float, rounded: int) -> None:
    assert round_to_two_digits(number) == rounded


def test_names_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    """Two ``$`` make no formula; the powers of ten along the axes are still such."""
    frequency = replace(_frequency(points=COUNTS), names=["a", "b", "cost $\\frac$ x", "d", "$e$"], title="$\\foo$")
    draw_class_frequency(tmp_path / "tail.svg", frequency)
    texts = re.findall(r"<text[^>]*>([^<]*)", (tmp_path / "tail.svg").read_text(encoding="utf-8"))
    assert {"cost $\\frac$ x", "$e$", "$\\foo$"} <= set(texts)
    assert not any("mathdefault" in text for text in texts)
