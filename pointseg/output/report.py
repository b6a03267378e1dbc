"""Scores as a table for people."""

import textwrap
from collections.abc import Mapping
from typing import Any

from pointseg.output.evaluation_tables import percent, shorten
from pointseg.taxonomy import GROUPS, Taxonomy

_NUM_COLUMNS = 100
_NAME_WIDTH = 36


def format_evaluation(evaluation: Mapping[str, Any], taxonomy: Taxonomy, per_class: bool = True) -> str:
    """The evaluation in 100 columns at most: the means first, then each class that occurs, by IoU within its group.

    Args:
        evaluation: as ``evaluate_scenes`` returns it.
        taxonomy: of the run.
        per_class: whether to list the classes.
    """
    lines = [f"{evaluation['num_scenes']} scenes, {evaluation['num_points']:,} labelled vertices", ""]
    lines += [f"  {title:<34}{percent(evaluation[key]):>6}" for title, key in mean_rows(taxonomy)]
    if per_class:
        lines += ["", *_class_lines(evaluation["per_class"], taxonomy)]
    counted = " Groups: thirds of the classes by their points in training." if taxonomy.groups_are_counted else ""
    lines += ["", *textwrap.wrap(f"IoU in percent.{counted} Protocol: {evaluation['protocol']}.", _NUM_COLUMNS)]
    return "\n".join(lines)


def mean_rows(taxonomy: Taxonomy) -> list[tuple[str, str]]:
    """What each mean of an evaluation is called, and its key; of the groups, where the classes have any."""
    rows = [
        ("mIoU, classes in the ground truth", "miou"),
        (f"mIoU, all {taxonomy.num_classes}, absent as 0", "miou_all_classes"),
    ]
    if taxonomy.groups is not None:
        rows += [(f"mIoU {_title(group, taxonomy)}", group) for group in GROUPS]
    return [*rows, ("accuracy of vertices", "accuracy")]


def _class_lines(per_class: Mapping[str, float | None], taxonomy: Taxonomy) -> list[str]:
    """Two columns of classes, group by group."""
    lines = []
    groups = taxonomy.groups or ("classes",) * taxonomy.num_classes
    for group in dict.fromkeys(groups):
        members = [name for name, g in zip(taxonomy.class_names, groups, strict=True) if g == group]
        rated = sorted(((iou, n) for n in members if (iou := per_class[n]) is not None), reverse=True)
        lines.append(f"{_title(group, taxonomy)}: {len(rated)} of {len(members)} classes in the ground truth")
        half = -(-len(rated) // 2)
        for row in range(half):
            pair = [rated[i] for i in (row, row + half) if i < len(rated)]
            cells = [f"  {shorten(name, _NAME_WIDTH):<{_NAME_WIDTH}}{percent(iou):>6}   " for iou, name in pair]
            lines.append("".join(cells).rstrip())
    return lines


def _title(group: str, taxonomy: Taxonomy) -> str:
    return f"{group} third" if taxonomy.groups_are_counted else group
