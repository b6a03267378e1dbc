"""Figures are drawn for any number of classes, ordered by frequency; what can't be drawn is refused before any work."""

import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.output.plots import (
    ClassFigures,
    RunFigures,
    check_plot_path,
    draw_analysis,
    draw_cosines,
    order_by_frequency,
    smooth_iou,
)

pytest.importorskip("matplotlib")


def _draw_run(name: str, present: list[int], num_classes: int, seed: int = 0) -> RunFigures:
    rng = np.random.default_rng(seed)
    cosines = [np.corrcoef(rng.normal(size=(len(present), 8))).reshape(len(present), -1) for _ in range(2)]
    iou = np.full(num_classes, np.nan)
    iou[present] = rng.random(len(present))
    return RunFigures(name, np.array(present), *cosines, iou)


def _classes(num_classes: int, grouped: bool = True) -> ClassFigures:
    groups = ["head", "common", "tail"] * num_classes
    frequency = (2 ** np.arange(num_classes) % 1000).astype(np.int64)
    frequency[-1] = 0
    names = [f"class {k}" for k in range(num_classes)]
    return ClassFigures(names, groups[:num_classes] if grouped else None, frequency, "points")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_figure_is_written_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"figure{suffix}"
    draw_analysis(path, [_draw_run("one", [0, 2, 5, 6], 8)], _classes(8))
    signature = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(signature)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("present", "num_classes", "grouped"), [([3], 20, True), (list(range(60)), 60, True), (list(range(20)), 20, False)]
)
def test_two_runs_of_few_or_many_classes_are_drawn(
    tmp_path: Path, present: list[int], num_classes: int, grouped: bool
) -> None:
    """One class, too many to name, no groups; the second run lacks a class that the first one has."""
    runs = [_draw_run("a", present, num_classes), _draw_run("b", present[1:] or present, num_classes, seed=1)]
    draw_analysis(tmp_path / "figure.png", runs, _classes(num_classes, grouped))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_rows_and_columns_are_ordered_by_frequency() -> None:
    """The cell (0, 1) of the picture is the cosine of the most and the second most frequent class."""
    from matplotlib.figure import Figure

    run, classes = _draw_run("a", [1, 3, 4, 6], 8), _classes(8)
    order = order_by_frequency(run.present, classes.frequency)
    assert run.present[order].tolist() == [6, 4, 3, 1]
    axes = Figure().add_subplot()
    shown = draw_cosines(axes, run.center_cosines, run.present, classes).get_array()
    assert shown[0, 1] == run.center_cosines[3, 2]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["class 6", "class 4", "class 3", "class 1"]


def test_the_curve_is_the_mean_of_neighbours_in_frequency() -> None:
    frequency = np.array([1000.0, 10, 1, 100, 10_000, 5, 100_000])
    iou = np.array([0.3, 0.1, 0.0, 0.2, 0.4, np.nan, 0.8])
    middle, mean = smooth_iou(frequency, iou)
    np.testing.assert_allclose(middle, [10, 100, 1000, 10_000])
    np.testing.assert_allclose(mean, [0.1, 0.2, 0.3, 0.5])
    assert len(smooth_iou(frequency[:6], iou[:6])[0]) == 0


def test_what_can_not_be_drawn_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"figure\.txt: a plot ends in \.png, \.pdf, \.svg"):
        check_plot_path("figure.txt")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"png: plotting it needs matplotlib; type: pip install 'pointseg\[viz\]'"):
        check_plot_path("figure.png")


def test_more_than_two_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one or two runs, got 3"):
        draw_analysis(tmp_path / "x.png", [_draw_run("a", [0, 1], 8)] * 3, _classes(8))


def test_names_are_drawn_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two ``$`` make no formula, bytes that are no text no crash, and signs that the font lacks no Python warning."""
    names = ["$a$", "cost $\\frac$ x", r"b\$c$", "椅子", "d", "e"]
    classes = replace(_classes(6), names=names, frequency_unit="points of $x_1$")
    runs = [_draw_run("x$\\foo$", list(range(6)), 6), _draw_run("b\udcff", list(range(6)), 6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_analysis(tmp_path / "figure.svg", runs, classes)
    texts = re.findall(r"<text[^>]*>([^<]*)", (tmp_path / "figure.svg").read_text(encoding="utf-8"))
    assert {*names, "x$\\foo$", "b?"} <= set(texts)
    assert any("points of $x_1$" in text for text in texts)
    (line,) = capsys.readouterr().err.splitlines()
    assert "the font of the plot lacks signs" in line
