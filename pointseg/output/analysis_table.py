"""An analysis as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointseg.output.evaluation_tables import percent
from pointseg.taxonomy import GROUPS

_WIDTH = 44
MEASURES = (
    ("within_class_variability", "NC1 within-class: tr Σk / tr ΣB", "0"),
    ("nc1", "NC1 within-class: tr(ΣW ΣB⁺) / K", "0"),
    ("centers_equiangularity", "NC2 centers: equiangularity (std of cos)", "0"),
    ("centers_separation", "NC2 centers: separation (|cos + 1/(K-1)|)", "0"),
    ("centers_norm_variation", "NC2 centers: std of norms / mean", "0"),
    ("classifier_equiangularity", "NC2 classifier: equiangularity", "0"),
    ("classifier_separation", "NC2 classifier: separation", "0"),
    ("classifier_norm_variation", "NC2 classifier: std of norms / mean", "0"),
    ("classifier_all_equiangularity", "NC2 all classifier rows: equiangularity", "0"),
    ("classifier_all_separation", "NC2 all classifier rows: separation", "0"),
    ("classifier_all_norm_variation", "NC2 all classifier rows: std of norms / mean", "0"),
    ("alignment", "NC3 alignment: cos(center, classifier row)", "1"),
    ("duality_distance", "NC3 distance: centers to classifier", "0"),
)
"""Measure, what it is called, its value at collapse."""


def format_analyses(analyses: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Measures by group, and mIoU by class frequency; several runs below each other in each row.

    Args:
        analyses: as ``summarize_analysis`` returns them, and their ``history``; of the same taxonomy.
        names: of the runs.
    """
    groups = list(analyses[0]["measures"]["num_classes"])
    marks = [""] if len(names) == 1 else [chr(ord("A") + index) for index in range(len(names))]
    lines = []
    for mark, name, analysis in zip(marks, names, analyses, strict=True):
        scenes, voxels = analysis["evaluation"]["num_scenes"], analysis["num_voxels"]
        lines.append(f"{mark + '  ' if mark else ''}{name}: {scenes} scenes, {voxels:,} labelled voxels")
    lines += ["", _row("", "", groups, "at collapse")]
    lines += _block("classes present", marks, [_counts(a, groups) for a in analyses], "")
    lines += _block("mIoU, %", marks, [_mean_ious(a, groups) for a in analyses], "")
    for measure, title, ideal in MEASURES:
        rows = [[format_measure(a["measures"][measure][group]) for group in groups] for a in analyses]
        lines += _block(title, marks, rows, ideal)
    return "\n".join([*lines, *_frequency_lines(analyses, marks), *_history_lines(analyses, marks)])


def _frequency_lines(analyses: Sequence[Mapping[str, Any]], marks: Sequence[str]) -> list[str]:
    bands = analyses[0]["frequency_bands"]
    if not bands:
        return []
    lines = ["", _row(f"mIoU by {analyses[0]['frequency_unit']}", "", ["classes", *(f"{m} %" for m in marks)], "")]
    for index, band in enumerate(bands):
        title = f"{band['from']:,} to {band['below'] - 1:,}" if band["from"] else "none"
        values = [f"{100 * analysis['frequency_bands'][index]['miou']:.1f}" for analysis in analyses]
        lines.append(_row(f"  {title}", "", [str(band["num_classes"]), *values], ""))
    return lines


def _history_lines(analyses: Sequence[Mapping[str, Any]], marks: Sequence[str]) -> list[str]:
    """One line for each run that has nothing to show over training."""
    lines = [
        f"{mark + ': ' if mark else ''}no measures over training; train with train.measure_collapse_every above 0"
        for mark, analysis in zip(marks, analyses, strict=True)
        if not analysis["history"]["collapse"]
    ]
    return ["", *lines] if lines else []


def _block(title: str, marks: Sequence[str], rows: Sequence[Sequence[str]], ideal: str) -> list[str]:
    """One line a run; only the first has the title."""
    return [
        _row(title if index == 0 else "", mark, row, ideal if index == 0 else "")
        for index, (mark, row) in enumerate(zip(marks, rows, strict=True))
    ]


def _row(title: str, mark: str, cells: Sequence[str], ideal: str) -> str:
    return f"{title:<{_WIDTH}} {mark:<2}{''.join(f'{cell:>9}' for cell in cells)}{ideal:>13}".rstrip()


def _counts(analysis: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    return [str(analysis["measures"]["num_classes"][group]) for group in groups]


def _mean_ious(analysis: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    evaluation = analysis["evaluation"]
    return [percent(evaluation[group if group in GROUPS else "miou"]) for group in groups]


def format_measure(value: float | None) -> str:
    """A measure of collapse with three decimals, or by its power of ten; ``-`` where it is not known."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2e}"
