"""A run's measures over training, as lines of ``metrics.jsonl``: written flat, read back in order."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pointseg.commands import complain
from pointseg.runs.directory import RunDirectory

Row = dict[str, float | None]
"""``step``, and names to values."""

KINDS = ("collapse", "val")
"""The kinds of lines that validation writes."""


def read_history(directory: RunDirectory, kinds: Sequence[str] = KINDS) -> dict[str, list[Row]]:
    """What was logged during training.

    Args:
        directory: of the run.
        kinds: of the lines that are wanted: ``collapse`` (the measures, under the names of
            ``collapse.metrics.flatten_measures``), ``val`` (``miou``, ``head`` and so on) and ``train`` (``loss``,
            ``lr`` and so on).

    Returns:
        kind -> a list of rows in the order of their ``step``, empty where nothing was logged. A line that a crash cut
        off is left out, and others that are none of training's, too, with a line on stderr; a number that is not
        finite is None.
    """
    history: dict[str, list[Row]] = {kind: [] for kind in kinds}
    if not directory.metrics_path.is_file():
        return history
    lines = directory.metrics_path.read_bytes().splitlines(keepends=True)
    rows = [parse_metrics(line) for line in lines]
    num_odd = sum(row is None and line.endswith(b"\n") for row, line in zip(rows, lines, strict=True))
    if num_odd:
        complain(f"{directory.metrics_path}: {num_odd} of {len(lines)} lines are no metrics of training; left out")
    for row in rows:
        if row is not None and row["kind"] in history:
            history[row["kind"]].append({name: value for name, value in row.items() if name != "kind"})
    return {kind: sorted(rows, key=lambda row: row["step"] or 0) for kind, rows in history.items()}


def parse_metrics(line: bytes) -> dict[str, Any] | None:
    """``kind``, ``step`` and numbers, finite or None, of a line of ``metrics.jsonl``; None where it is another line."""
    try:
        row = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):  # ValueError: no JSON, no UTF-8, or more digits than Python reads
        return None
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str) or type(row.get("step")) is not int:
        return None
    values = {name: value for name, value in row.items() if name != "kind"}
    if not all(value is None or type(value) in (int, float) for value in values.values()):
        return None
    return {"kind": row["kind"], **{name: _finite(value) for name, value in values.items()}}


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= sys.float_info.max else None
