"""What became of each class, and of each scene, as tables of at most 100 columns."""

from collections.abc import Mapping
from typing import Any

_NAME_WIDTH, _SCENE_WIDTH = 30, 60


def format_classes(classes: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a class of the ground truth, most points first.

    Args:
        classes: as ``metrics.describe_classes`` returns them.
    """
    present = {name: row for name, row in classes.items() if row["points"] > 0}
    num_points = sum(row["points"] for row in present.values())
    lines = [f"{'class':<{_NAME_WIDTH}}{'points':>13}{'share':>8}{'IoU':>8}  {'%':>5} mostly taken for"]
    for name, row in sorted(present.items(), key=lambda item: -item[1]["points"]):
        other = row["mostly_taken_for"]
        taken = "    -" if other is None else f"{100 * other['share']:5.1f} {shorten(other['name'], _NAME_WIDTH)}"
        share = f"{100 * row['points'] / num_points:8.2f}"
        lines.append(
            f"{shorten(name, _NAME_WIDTH):<{_NAME_WIDTH}}{row['points']:>13,}{share}{percent(row['iou']):>8}  {taken}"
        )
    if absent := {name: row for name, row in classes.items() if row["points"] == 0 and row["predicted"] > 0}:
        most = max(absent, key=lambda name: absent[name]["predicted"])
        lines.append(
            f"not in the ground truth, but predicted: {len(absent)} classes, most of all {shorten(most, _NAME_WIDTH)}"
        )
    lines.append("In percent: of all points; IoU; and of the points of the class, those taken for the one named.")
    return "\n".join(lines)


def format_scenes(scenes: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a scene, the lowest mIoU first.

    Args:
        scenes: as ``evaluate_scenes`` returns them.
    """
    lines = [f"{'scene':<{_SCENE_WIDTH}}{'points':>13}{'mIoU':>8}{'accuracy':>10}"]
    for name, row in sorted(scenes.items(), key=lambda item: item[1]["miou"] if item[1]["miou"] is not None else -1.0):
        numbers = f"{row['num_points']:>13,}{percent(row['miou']):>8}  {percent(row['accuracy']):>8}"
        lines.append(f"{shorten(name, _SCENE_WIDTH):<{_SCENE_WIDTH}}{numbers}")
    lines.append("In percent. mIoU: over the classes in the ground truth of that scene.")
    return "\n".join(lines)


def shorten(name: str, width: int) -> str:
    """The name, or its beginning with an ellipsis where it is longer than ``width`` characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def percent(share: float | None) -> str:
    """A share in percent with one decimal, ``-`` where it is not known."""
    return "-" if share is None else f"{100 * share:.1f}"
