"""The report of a preparation of ScanNet's raw scans."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointseg.errors import and_more
from pointseg.preparation.tree_report import (
    count_unknown,
    describe_tree,
    facts_of,
    read_sources,
    summarize_splits,
    summarize_stale,
)
from pointseg.scans.tree import REPORT_NAME, SPLITS
from pointseg.taxonomy import NAMES, load_taxonomy

_MOST_WARNINGS = 5


def build_report(
    root: Path,
    *,
    lists: Mapping[str, list[str]],
    scans_of_split: Mapping[str, set[str]],
    failures: Mapping[tuple[str, str], str],
    settings: Mapping[str, Any],
    classes_without_category: list[str],
    pending: Mapping[tuple[str, str], str] | None = None,
) -> dict[str, Any]:
    """Everything worth knowing of a prepared tree, from the ``source.json`` of its scenes; the same for the same tree.

    Args:
        root: the prepared tree.
        lists: split -> scenes of its list.
        scans_of_split: split -> scenes that the raw data has for it.
        failures: (split, scene) -> why it could not be prepared.
        settings: what the preparation was called with.
        classes_without_category: classes that the label map does not know.
        pending: (split, scene) -> the shard, as ``2/8``, that has not prepared it yet. The report of the last shard has
            none, and says the same as that of a preparation in one piece.

    Returns:
        ``splits`` (split -> counts, scene names, and points, objects and scenes of each class), ``failed``,
        ``pending`` (a shard has still to prepare it), ``missing`` (listed, not in the raw data), ``unlisted`` (in the
        raw data, in no list), ``stale`` (in the tree, though the raw data no longer puts them there),
        ``unknown_labels``, ``without_axis_alignment``, ``doubts`` (``split/scene`` -> what looks as if a file were
        another scan's, or why nothing can be learned from it), settings.
    """
    facts = facts_of(read_sources(root, SPLITS))
    report = describe_tree(
        root,
        facts,
        [load_taxonomy("scannet200"), load_taxonomy("scannet20")],
        lists={split: lists[split] for split in SPLITS},
        scans_of_split=scans_of_split,
        failures=failures,
        settings=settings,
        unlisted=_find_unlisted(lists, scans_of_split),
        pending=pending or {},
    )
    without = sorted(s for scenes in facts.values() for s, f in scenes.items() if f.get("alignment") == "absent")
    return report | {
        "unknown_labels": count_unknown(facts, "unknown_labels", "objects"),
        "without_axis_alignment": without,
        "classes_without_category": classes_without_category,
        "doubts": {f"{split}/{s}": doubts for split in facts for s, f in facts[split].items() if (doubts := _doubt(f))},
    }


def summarize_report(report: Mapping[str, Any]) -> list[str]:
    """The report in a few lines for people; failures are not among them."""
    lines = summarize_splits(report, load_taxonomy("scannet200"))
    if report["pending"]:
        shards = sorted({row["shard"] for row in report["pending"]}, key=lambda shard: int(shard.partition("/")[0]))
        names = ", ".join(shards[:8]) + and_more(shards, 8)
        lines.append(
            f"not prepared yet: {len(report['pending'])} scenes, of the shards {names}; "
            "the report is complete when these have run"
        )
    missing = {split: len(scenes) for split, scenes in report["missing"].items() if scenes}
    if missing:
        counts = ", ".join(f"{number} {split}" for split, number in missing.items())
        lines.append(f"not in the raw data: {counts} scenes of the lists")
    if report["unknown_labels"]:
        worst = sorted(report["unknown_labels"].items(), key=lambda item: (-item[1]["objects"], item[0]))
        names = ", ".join(f"{name!r} ({row['objects']} objects)" for name, row in worst[:5])
        lines.append(f"not in the label map, ignored in training: {len(worst)} labels: {names}{and_more(worst, 5)}")
    if report["without_axis_alignment"]:
        lines.append(f"without axisAlignment, left as scanned: {len(report['without_axis_alignment'])} scenes")
    lost = report["classes_without_category"]
    if lost:
        lines.append(
            f"warning: no row of the label map leads to {len(lost)} of the 200 classes "
            f"({', '.join(lost[:5])}{and_more(lost, 5)}): it may be cut; ScanNet published a newer one with ScanNet200"
        )
    return lines + summarize_stale(report)


def find_lost_classes(report: Mapping[str, Any]) -> list[str]:
    """Classes of the benchmarks that scans are annotated with and the label map has no row for.

    A table that was published has a row for every category of its scans: the end of this one is missing.
    """
    names = {name for benchmark in NAMES for name in load_taxonomy(benchmark).class_names}
    return [name for name in report["unknown_labels"] if name in names]


def list_warnings(report: Mapping[str, Any]) -> list[str]:
    """A line for each scene whose files may not be its own, the first five."""
    lines = [f"{scene}: {doubt}" for scene, doubts in report["doubts"].items() for doubt in doubts]
    if len(lines) > _MOST_WARNINGS:
        lines[_MOST_WARNINGS:] = [f"{len(lines) - _MOST_WARNINGS} more such lines: see doubts in {REPORT_NAME}"]
    return lines


def _doubt(facts: Mapping[str, Any]) -> list[str]:
    doubts = list(facts.get("doubts", ()))
    if "points200" in facts and not facts["points200"] and not facts["points20"]:
        doubts.append("none of its vertices is labelled")
    return doubts


def _find_unlisted(lists: Mapping[str, list[str]], scans_of_split: Mapping[str, set[str]]) -> list[str]:
    """Raw scene folders that no list asks for, as ``scans/<scene>`` or ``scans_test/<scene>``."""
    annotated = scans_of_split["train"] - set(lists["train"]) - set(lists["val"])
    test = scans_of_split["test"] - set(lists["test"])
    return [f"scans/{scene}" for scene in sorted(annotated)] + [f"scans_test/{scene}" for scene in sorted(test)]
