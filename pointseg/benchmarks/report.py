"""The rows of a benchmark, for programs and for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import torch

import pointseg
from pointseg.engine.machine import describe_code, name_device


def build_report(benchmark: str, device: torch.device, num_threads: int, rows: Sequence[Any]) -> dict[str, Any]:
    """The JSON of a benchmark; ``rows`` are dataclasses."""
    return {
        "benchmark": benchmark,
        "device": device.type,
        "device_name": name_device(device),
        "threads": num_threads,
        "pointseg": pointseg.__version__,
        "code": describe_code(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rows": [asdict(row) for row in rows],
    }


def format_report(report: Mapping[str, Any]) -> str:
    """The same as a table: a line for each row, columns named as the keys."""
    threads = f"{report['threads']} thread{'s' if report['threads'] != 1 else ''}"
    title = f"{report['benchmark']} on {report['device']} ({report['device_name']}), {threads}, torch {report['torch']}"
    header = list(report["rows"][0])
    lines = [header, *([_format_cell(row[key]) for key in header] for row in report["rows"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join([title, "", *("  ".join(map(str.rjust, line, widths)) for line in lines)])


def _format_cell(value: str | int | float | None) -> str:
    """Counts whole, measured numbers with three digits that count; what could not be measured is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".removesuffix(".")
    return str(value)
