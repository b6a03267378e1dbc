"""A run's measures over training, as lines of ``metrics.jsonl``: written flat, read back in order."""

import json
from typing import Any

from pointseg.engine.run_directory import RunDirectory

Row = dict[str, float | None]
"""``step``, and names to values."""

KINDS = ("collapse", "val")
"""The kinds of lines that a history consists of."""


def read_history(directory: RunDirectory) -> dict[str, list[Row]]:
    """What validation logged during training.

    Returns:
        ``collapse`` (the measures, under the names of ``collapse.metrics.flatten_measures``) and ``val`` (``miou``,
        ``head`` and so on), each a list of rows in the order of their ``step``, empty where nothing was logged. A
        line that a crash cut off is left out; a number that is not finite is None.
    """
    history: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    if not directory.metrics_path.is_file():
        return history
    for line in directory.metrics_path.read_text(encoding="utf-8").splitlines():
        row = _parse(line)
        if row is not None and row.get("kind") in KINDS and "step" in row:
            history[row["kind"]].append({name: value for name, value in row.items() if name != "kind"})
    return {kind: sorted(rows, key=lambda row: row["step"] or 0) for kind, rows in history.items()}


def _parse(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line, parse_constant=lambda _: None)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
