"""What several tables say together: the gain of center collapse by budget and frequency law."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointseg.laboratory.methods import BASELINE, COLLAPSE
from pointseg.laboratory.table import GAINS, align, format_gain
from pointseg.output.gain_plot import GainPoint, draw_gains

Table = Mapping[str, Any]


def describe_campaign(tables: Mapping[str, Table], command: str) -> dict[str, Any]:
    """All tables, by the names of their comparisons, and the call."""
    return {"command": command, "comparisons": dict(tables)}


def find_row(table: Table, method: str) -> Mapping[str, Any] | None:
    """The row of a method; None where the table has none."""
    return next((row for row in table["rows"] if row["method"] == method), None)


def tables_with_gain(tables: Sequence[Table]) -> list[Table]:
    """Those that say what center collapse gains over cross-entropy, by law and then by budget."""
    able = [table for table in tables if (row := find_row(table, COLLAPSE)) and any(row["gain"].values())]
    laws = list(dict.fromkeys(table["law"] for table in able))
    return sorted(able, key=lambda table: (laws.index(table["law"]), table["passes"]))


def format_summary(tables: Sequence[Table]) -> str:
    """In Markdown: a line for each budget and law: what cross-entropy reaches, and what center collapse adds to it."""
    cells = [["rooms", "passes", "train voxels", *(f"{key} of {BASELINE}" for key in GAINS), *GAINS]]
    for table in tables_with_gain(tables):
        baseline, collapse = find_row(table, BASELINE), find_row(table, COLLAPSE)
        assert baseline is not None and collapse is not None, "tables_with_gain said so"
        reached = [_percent(baseline["mean"][key]) for key in ("train_voxel_accuracy", *GAINS)]
        gains = [format_gain(collapse["gain"][key]) for key in GAINS]
        cells.append([table["law"], str(table["passes"]), *reached, *gains])
    return "\n".join(["# What center collapse adds to cross-entropy", "", *align(cells, num_kept=2)])


def draw_summary(path: Path, tables: Sequence[Table]) -> None:
    """The gain against the budget, a line a law; no picture where no table says it.

    Raises:
        UsageError: matplotlib is not installed.
    """
    rows = [(table, find_row(table, COLLAPSE)) for table in tables_with_gain(tables)]
    points = [GainPoint(table["law"], table["passes"], row["gain"]) for table, row in rows if row is not None]
    if points:
        draw_gains(path, points, "gain of center collapse")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
