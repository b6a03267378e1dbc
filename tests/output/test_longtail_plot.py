"""The plot of methods shows what was measured, and nothing that can't be: no negative IoU, no group without a score."""

from pathlib import Path
from typing import Any

import pytest

from pointseg.errors import UsageError
from pointseg.output.gain_plot import GainPoint, draw_gains
from pointseg.output.longtail_plot import draw_column, draw_longtail

pytest.importorskip("matplotlib")
KEYS = ("miou", "head", "common", "tail")


def _row(method: str, values: dict[str, list[float | None]]) -> dict[str, Any]:
    """A row of the table: one value a seed and group."""
    runs = [dict(zip(values, figures, strict=True)) for figures in zip(*values.values(), strict=True)]
    known = {key: [v for v in figures if v is not None] for key, figures in values.items()}
    mean = {key: sum(v) / len(v) if v else None for key, v in known.items()}
    std = {key: (max(v) - min(v)) / 2**0.5 if len(v) > 1 else None for key, v in known.items()}
    return {"method": method, "runs": runs, "mean": mean, "std": std}


def _table(*rows: dict[str, Any], num_seeds: int = 2) -> dict[str, Any]:
    return {"split": "test", "num_seeds": num_seeds, "rooms": {"test": 4}, "rows": list(rows)}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def note(self: Figure, *args: object, **kwargs: object) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def test_no_axis_and_no_bar_goes_below_zero_or_above_a_hundred(tmp_path: Path, drawn: list[Any]) -> None:
    """A tail that one seed of two has learned spreads more than its mean."""
    low, high = {key: [0.0, 0.05] for key in KEYS}, {key: [0.91, 1.0] for key in KEYS}
    for values in (low, high, {key: [0.0, 0.0] for key in KEYS}):
        draw_longtail(tmp_path / "plot.png", _table(_row("cross_entropy", values)), "cross_entropy")
        for axes in drawn[-1].axes:
            assert axes.get_xlim()[0] >= 0
            assert 2 <= axes.get_xlim()[1] <= 100
            bars = [point for lines in axes.collections for path in lines.get_paths() for point in path.vertices[:, 0]]
            assert min(bars) > -1  # paths of dots are around their origin; those of bars are in percent
            assert max(bars) <= 100


@pytest.mark.parametrize("missing", [["head", "common", "tail"], ["tail"], []])
def test_a_group_without_a_score_has_no_panel(tmp_path: Path, drawn: list[Any], missing: list[str]) -> None:
    values = {key: [None, None] if key in missing else [0.5, 0.6] for key in KEYS}
    draw_longtail(tmp_path / "plot.png", _table(_row("a", values), _row("b", values)), "a")
    titles = [axes.get_title() for axes in drawn[-1].axes]
    assert titles == [{"miou": "all classes"}.get(key, key) for key in KEYS if key not in missing]
    assert all(axes.collections for axes in drawn[-1].axes)


def test_a_table_without_a_score_is_not_drawn(tmp_path: Path) -> None:
    empty = {"method": "a", "runs": [], "mean": dict.fromkeys(KEYS), "std": dict.fromkeys(KEYS)}
    with pytest.raises(UsageError, match=r"plot\.png: there is nothing to plot, no run has a score"):
        draw_longtail(tmp_path / "plot.png", _table(empty), "a")
    assert list(tmp_path.iterdir()) == []


def test_the_caption_names_the_dashed_line_where_there_is_one(tmp_path: Path, drawn: list[Any]) -> None:
    values = {key: [0.5, 0.6] for key in KEYS}
    for baseline in ("a", "other"):
        draw_longtail(tmp_path / "plot.png", _table(_row("a", values)), baseline)
    assert "dashed: a" in drawn[0].get_supxlabel()
    assert "dashed" not in drawn[1].get_supxlabel()


def test_each_seed_and_the_mean_have_a_dot_at_their_iou() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_column(axes, [_row("a", {"miou": [0.25, 0.35]})], "miou", "a")
    dots = [
        tuple(round(x, 6) for x in line.get_offsets()[:, 0]) for line in axes.collections if len(line.get_offsets())
    ]
    assert (25.0, 35.0) in dots
    assert (30.0,) in dots


def test_names_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    name, values = "a $\\frac$", {key: [0.5, 0.6] for key in KEYS}
    draw_longtail(tmp_path / "plot.svg", _table(_row(name, values), _row("b", values)), name)
    point = GainPoint(name, 5, {key: {"mean": 0.1, "low": 0.0, "high": 0.2} for key in KEYS})
    draw_gains(tmp_path / "gain.svg", [point], name)
    for path in (tmp_path / "plot.svg", tmp_path / "gain.svg"):
        assert path.read_text(encoding="utf-8").count(name) >= 2  # the row and the baseline; the line and the title
