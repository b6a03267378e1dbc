"""What several tables say together: the gain of center collapse by budget, for each kind of rooms."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pointseg.laboratory.methods import BASELINE, COLLAPSE
from pointseg.laboratory.table import GAINS, SCORE_COLUMNS, align, format_gain
from pointseg.output.gain_plot import GainPoint, draw_gains

Table = Mapping[str, Any]


class Line(NamedTuple):
    """Tables that differ in their budget alone."""

    name: str
    """The law of their rooms; where several lines have it, with the name of the first comparison."""
    tables: list[Table]
    """By budget; each has a gain of center collapse over cross-entropy."""


def describe_campaign(tables: Mapping[str, Table], command: str) -> dict[str, Any]:
    """All tables, by the names of their comparisons, and the call."""
    return {"command": command, "comparisons": dict(tables)}


def find_row(table: Table, method: str) -> Mapping[str, Any] | None:
    """The row of a method; None where the table has none."""
    return next((row for row in table["rows"] if row["method"] == method), None)


def find_lines(tables: Mapping[str, Table]) -> list[Line]:
    """What can be compared over budgets, in the order of the tables.

    Of several tables with the same settings and budget the one that has most seeds counts: they share their runs.

    Args:
        tables: name of the comparison -> its table.
    """
    lines: dict[str, dict[int, tuple[str, Table]]] = {}
    for name, table in tables.items():
        if _num_gains(table):
            by_budget = lines.setdefault(_describe_settings(table), {})
            _, other = by_budget.get(table["passes"], (name, table))
            if other is table or _num_gains(table) > _num_gains(other):
                by_budget[table["passes"]] = (name, table)
    laws = [next(iter(by_budget.values()))[1]["law"] for by_budget in lines.values()]
    found = []
    for law, by_budget in zip(laws, lines.values(), strict=True):
        first = next(iter(by_budget.values()))[0]
        name = law if laws.count(law) == 1 else f"{law} ({first})"
        found.append(Line(name, [by_budget[passes][1] for passes in sorted(by_budget)]))
    return found


def format_summary(tables: Mapping[str, Table]) -> str:
    """In Markdown, for each line: what cross-entropy reaches at each budget, and what center collapse adds to it."""
    lines = ["# What center collapse adds to cross-entropy"]
    for number, (name, of_line) in enumerate(find_lines(tables)):
        if number == 0:
            split = of_line[0]["split"]
            lines += ["", f"The {split} split; in points, paired by seed; in brackets the 95 % interval over seeds."]
        lines += ["", f"## {name}", "", f"`{BASELINE}` reaches", "", *align(_rows_of_baseline(of_line))]
        lines += ["", f"`{COLLAPSE}` adds", "", *align(_rows_of_gain(of_line))]
    return "\n".join(lines)


def draw_summary(path: Path, tables: Mapping[str, Table]) -> bool:
    """The gain against the budget, on all rooms; lines with other settings than the first are left to the text.

    Returns:
        whether there was something to draw.

    Raises:
        UsageError: matplotlib is not installed.
    """
    shown = [table for line in find_lines(tables) for table in line.tables]
    drawn = {name: table for name, table in tables.items() if shown and table["settings"] == shown[0]["settings"]}
    points = [
        GainPoint(line.name, table["passes"], _gain_of(table)) for line in find_lines(drawn) for table in line.tables
    ]
    if points:
        draw_gains(path, points, "gain of center collapse")
    return bool(points)


def _gain_of(table: Table) -> Mapping[str, Any]:
    """Of center collapse over cross-entropy; empty where the table does not say it."""
    row = find_row(table, COLLAPSE)
    return row["gain"] if row and row["against"] == BASELINE else {}


def _num_gains(table: Table) -> int:
    """Seeds that center collapse and cross-entropy both have."""
    return max((gain["num_seeds"] for gain in _gain_of(table).values() if gain), default=0)


def _describe_settings(table: Table) -> str:
    """All that two tables have to share for their budgets to be compared."""
    return json.dumps([table["law"], table["rooms"], table["vertices"], table["settings"]])


def _rows_of_baseline(tables: Sequence[Table]) -> list[list[str]]:
    keys = ("train_voxel_accuracy", *GAINS)
    cells = [["passes", "seeds", *_titles(keys)]]
    for table in tables:
        row = find_row(table, BASELINE)
        assert row is not None, "something is compared with it"
        cells.append([str(table["passes"]), str(len(row["runs"])), *(_percent(row["mean"][key]) for key in keys)])
    return cells


def _rows_of_gain(tables: Sequence[Table]) -> list[list[str]]:
    cells = [["passes", "seeds", *_titles(GAINS)]]
    for table in tables:
        gain = _gain_of(table)
        cells.append([str(table["passes"]), str(_num_gains(table)), *(format_gain(gain[key]) for key in GAINS)])
    return cells


def _titles(keys: Sequence[str]) -> list[str]:
    titles = {column.key: column.title for column in SCORE_COLUMNS}
    return [titles[key] if key != "train_voxel_accuracy" else "train voxels" for key in keys]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
