"""The panels over training show what was logged; runs without a history have no line."""

from pathlib import Path

import numpy as np
import pytest

from pointseg.output.plots import ClassFigures, RunFigures, draw_analysis
from pointseg.output.plots_over_training import (
    PANELS,
    draw_over_training,
    draw_panel,
    draw_single_values,
    panels_with_values,
)

pytest.importorskip("matplotlib")


def _history(num_rows: int = 3, grouped: bool = True) -> dict:
    suffixes = ("", "_head", "_common", "_tail") if grouped else ("",)
    names = [panel.name + suffix for panel in PANELS if panel.kind == "collapse" for suffix in suffixes]
    steps = range(10, 10 * num_rows + 1, 10)
    rows = [{"step": step, **{name: 1 / step + index for index, name in enumerate(names)}} for step in steps]
    groups = {"head": 0.5, "common": 0.25, "tail": None} if grouped else {"head": None, "common": None, "tail": None}
    return {"collapse": rows, "val": [{"step": step, "miou": step / 100, **groups} for step in steps]}


def _axes():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


def test_a_panel_has_a_line_for_all_classes_and_for_each_group_of_each_run() -> None:
    history = _history()
    axes = _axes()
    draw_panel(axes, PANELS[0], [history, _history(num_rows=20)])
    lines = axes.get_lines()[:-1]  # the last is the value at collapse
    assert len(lines) == 8
    thick = [line for line in lines if line.get_color() == "black"]
    assert [line.get_linestyle() for line in thick] == ["--", "-"]
    assert thick[0].get_xdata().tolist() == [10, 20, 30]
    np.testing.assert_allclose(thick[0].get_ydata(), [row["within_class_variability"] for row in history["collapse"]])


def test_the_last_panel_is_miou_in_percent_and_what_is_not_defined_has_no_line() -> None:
    axes = _axes()
    draw_panel(axes, PANELS[-1], [_history()])
    head, common, whole = (line.get_ydata().tolist() for line in axes.get_lines())
    assert (head, common, whole) == ([50, 50, 50], [25, 25, 25], [10, 20, 30])


def test_a_gap_stays_a_gap() -> None:
    history = _history()
    history["collapse"][1]["alignment"] = None
    axes = _axes()
    draw_panel(axes, next(panel for panel in PANELS if panel.name == "alignment"), [history])
    thick = next(line for line in axes.get_lines() if line.get_color() == "black")
    assert np.isnan(thick.get_ydata()).tolist() == [False, True, False]
    assert axes.get_ylim()[1] >= 1  # the value at collapse is in the picture


def test_all_panels_have_one_range_of_steps() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    drawn = draw_over_training(figure, figure.add_gridspec(2, 3), [None, _history(num_rows=7)], 3)
    assert len(drawn) == len(PANELS)
    assert len({axes.get_xlim() for axes in drawn}) == 1
    assert drawn[0].get_xlim()[1] >= 70


@pytest.mark.parametrize("num_runs", [1, 2])
def test_the_figure_has_the_panels_of_what_was_measured(
    num_runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all measures, of those of validation alone, and of none, the row being left out."""
    from matplotlib.figure import Figure

    titles: list[list[str]] = []
    save = Figure.savefig

    def note_titles(self: Figure, *args: object, **kwargs: object) -> None:
        titles.append([axes.get_title() for axes in self.axes])
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note_titles)
    classes = ClassFigures(["a", "b", "c"], ["head", "common", "tail"], np.array([1, 100, 10]), "points")
    validated = {"collapse": [], "val": [{"step": 1, "miou": 0.5}]}
    for history in (None, {"collapse": [], "val": []}, validated, _history(num_rows=1), _history()):
        run = RunFigures("run", np.arange(3), np.eye(3), np.eye(3), np.array([0.1, 0.2, 0.3]))
        last = RunFigures("last", np.arange(3), np.eye(3), np.eye(3), np.array([0.1, 0.2, 0.3]), history)
        draw_analysis(tmp_path / "figure.png", [run, last][-num_runs:], classes)
        shown = [panel for panel in PANELS if panel.title in titles[-1]]
        assert shown == panels_with_values([history])
    assert panels_with_values([None, validated]) == [PANELS[-1]]
    assert panels_with_values([None, _history()]) == list(PANELS)


def test_what_was_measured_once_is_a_dot_for_each_group_with_its_value_and_the_step() -> None:
    axes = _axes()
    draw_single_values(axes, PANELS[-1], [_history(num_rows=1)])
    dots = {tuple(round(float(x), 6) for x in (*line.get_xdata(), *line.get_ydata())) for line in axes.get_lines()}
    assert dots == {(0, 10), (1, 50), (2, 25)}  # the tail has no value
    assert [label.get_text() for label in axes.get_xticklabels()] == ["all", "head", "common"]
    assert [text.get_text() for text in axes.texts] == ["10.0", "50.0", "25.0"]
    assert axes.get_xlabel() == "measured once, at step 10"
    assert axes.get_ylim()[0] == 0


def test_of_two_runs_that_measured_once_the_first_is_hollow() -> None:
    from matplotlib.figure import Figure

    first, second = _history(num_rows=1, grouped=False), _history(num_rows=1, grouped=False)
    second["val"][0]["step"] = 700
    figure = Figure()
    drawn = draw_over_training(figure, figure.add_gridspec(2, 3), [first, second], 3)
    assert drawn[-1].get_xlabel() == "measured once, at step 10 and 700"
    assert [line.get_markerfacecolor() for line in drawn[-1].get_lines()] == ["white", "black"]


def test_a_run_that_measured_once_is_a_dot_among_the_lines_of_another() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    drawn = draw_over_training(figure, figure.add_gridspec(2, 3), [_history(num_rows=1), _history(num_rows=9)], 3)
    lines = [line for line in drawn[-1].get_lines() if line.get_color() == "black"]
    assert [len(line.get_xdata()) for line in lines] == [1, 9]
    assert lines[0].get_marker() == "o"
    assert lines[0].get_markerfacecolor() == "white"
    assert drawn[-1].get_xlabel() == "step"
