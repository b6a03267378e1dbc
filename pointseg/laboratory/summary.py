"""What several tables say together: the gain of center collapse by budget and frequency law."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointseg.laboratory.methods import BASELINE, COLLAPSE
from pointseg.laboratory.table import GAINS, SCORE_COLUMNS, align, format_gain
from pointseg.output.gain_plot import GainPoint, draw_gains

Table = Mapping[str, Any]


def describe_campaign(tables: Mapping[str, Table], command: str) -> dict[str, Any]:
    """All tables, by the names of their comparisons, and the call."""
    return {"command": command, "comparisons": dict(tables)}


def find_row(table: Table, method: str) -> Mapping[str, Any] | None:
    """The row of a method; None where the table has none."""
    return next((row for row in table["rows"] if row["method"] == method), None)


def tables_with_gain(tables: Sequence[Table]) -> list[Table]:
    """Those that say what center collapse gains over cross-entropy, by law and then by budget.

    Of several with the same law and budget, the first: they have the same runs.
    """
    able = [table for table in tables if (row := find_row(table, COLLAPSE)) and any(row["gain"].values())]
    laws = list(dict.fromkeys(table["law"] for table in able))
    first: dict[tuple[int, int], Table] = {}
    for table in able:
        first.setdefault((laws.index(table["law"]), table["passes"]), table)
    return [first[key] for key in sorted(first)]


def format_summary(tables: Sequence[Table]) -> str:
    """In Markdown, for each law: what cross-entropy reaches at each budget, and what center collapse adds to it."""
    able = tables_with_gain(tables)
    lines = ["# What center collapse adds to cross-entropy", ""]
    if able:
        lines += [f"The {able[0]['split']} split; in points, paired by seed; in brackets the 95 % interval over seeds."]
    for law in dict.fromkeys(table["law"] for table in able):
        of_law = [table for table in able if table["law"] == law]
        lines += ["", f"## {law}", "", f"`{BASELINE}` reaches", "", *align(_rows_of_baseline(of_law))]
        lines += ["", f"`{COLLAPSE}` adds", "", *align(_rows_of_gain(of_law))]
    return "\n".join(lines)


def _rows_of_baseline(tables: Sequence[Table]) -> list[list[str]]:
    keys = ("train_voxel_accuracy", *GAINS)
    cells = [["passes", "seeds", *_titles(keys)]]
    for table in tables:
        row = find_row(table, BASELINE)
        assert row is not None, "something is compared with it"
        cells.append([str(table["passes"]), str(len(row["runs"])), *(_percent(row["mean"][key]) for key in keys)])
    return cells


def _rows_of_gain(tables: Sequence[Table]) -> list[list[str]]:
    cells = [["passes", *_titles(GAINS)]]
    for table in tables:
        row = find_row(table, COLLAPSE)
        assert row is not None, "tables_with_gain said so"
        cells.append([str(table["passes"]), *(format_gain(row["gain"][key]) for key in GAINS)])
    return cells


def draw_summary(path: Path, tables: Sequence[Table]) -> None:
    """The gain against the budget, a line a law; no picture where no table says it.

    Raises:
        UsageError: matplotlib is not installed.
    """
    rows = [(table, find_row(table, COLLAPSE)) for table in tables_with_gain(tables)]
    points = [GainPoint(table["law"], table["passes"], row["gain"]) for table, row in rows if row is not None]
    if points:
        draw_gains(path, points, "gain of center collapse")


def _titles(keys: Sequence[str]) -> list[str]:
    titles = {column.key: column.title for column in SCORE_COLUMNS}
    return [titles[key] if key != "train_voxel_accuracy" else "train voxels" for key in keys]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
