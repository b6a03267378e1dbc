"""The report of a preparation: what is in the tree, and what is not and why."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pointseg
from pointseg.scans.prepared_source import read_source
from pointseg.scans.tree import SPLITS, scene_folders
from pointseg.taxonomy import load_taxonomy


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
        ``unknown_labels``, ``without_axis_alignment``, settings.
    """
    pending = pending or {}
    sources = {
        (split, folder.name): source
        for split in SPLITS
        for folder in scene_folders(root, split)
        if (source := read_source(folder)) is not None
    }
    facts_of_split = {
        split: {scene: s["facts"] for (of, scene), s in sources.items() if of == split} for split in SPLITS
    }
    return {
        "pointseg": pointseg.__version__,
        "settings": dict(settings),
        "splits": {split: _describe_split(len(lists[split]), facts_of_split[split]) for split in SPLITS},
        "failed": [{"split": split, "scene": scene, "reason": why} for (split, scene), why in sorted(failures.items())],
        "pending": [
            {"split": split, "scene": scene, "shard": shard}
            for (split, scene), shard in sorted((pending or {}).items())
        ],
        "missing": {split: sorted(set(lists[split]) - scans_of_split[split]) for split in SPLITS},
        "unlisted": _find_unlisted(lists, scans_of_split),
        "stale": _find_stale(root, lists, scans_of_split, failures, pending),
        "unknown_labels": _count_unknown_labels(facts_of_split),
        "without_axis_alignment": sorted(
            scene for facts in facts_of_split.values() for scene, f in facts.items() if f["alignment"] == "absent"
        ),
        "classes_without_category": classes_without_category,
    }


def encode_report(report: Mapping[str, Any]) -> str:
    """The report as the text of its file."""
    return json.dumps(report, indent=1) + "\n"


def summarize_report(report: Mapping[str, Any]) -> list[str]:
    """The report in a few lines for people; failures are not among them."""
    lines = [f"{'split':<6} {'listed':>7} {'prepared':>9} {'points':>13} {'annotated':>10} {'classes of 200':>15}"]
    for split, row in report["splits"].items():
        annotated = f"{row['annotated_share']:.1%}" if row["classes"] else "-"
        num_classes = sum(scenes > 0 for scenes in row["classes"]["scannet200"]["scenes"]) if row["classes"] else "-"
        points = f"{row['num_points']:,}"
        lines.append(
            f"{split:<6} {row['num_listed']:>7} {len(row['scenes']):>9} {points:>13} {annotated:>10} {num_classes:>15}"
        )
    if report["pending"]:
        shards = sorted({row["shard"] for row in report["pending"]}, key=lambda shard: int(shard.partition("/")[0]))
        names = ", ".join(shards[:8]) + _more(shards, 8)
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
        lines.append(f"not in the label map, ignored in training: {len(worst)} labels: {names}{_more(worst, 5)}")
    if report["without_axis_alignment"]:
        lines.append(f"without axisAlignment, left as scanned: {len(report['without_axis_alignment'])} scenes")
    lost = report["classes_without_category"]
    if lost:
        lines.append(
            f"the label map lacks {len(lost)} of the 200 classes ({', '.join(lost[:3])}{_more(lost, 3)}); "
            "ScanNet published a newer one with ScanNet200"
        )
    if report["stale"]:
        first = report["stale"][0]
        lines.append(
            f"stale in the tree: {len(report['stale'])} scenes, first {first['split']}/{first['scene']}, "
            f"which {first['why']}; delete those you don't want"
        )
    return lines


def _more(items: Any, shown: int) -> str:
    return f", and {len(items) - shown} more" if len(items) > shown else ""


def _describe_split(num_listed: int, facts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    labelled = [f for f in facts.values() if "points200" in f]
    num_labelled_points = sum(f["num_points"] for f in labelled)
    classes = {}
    for name, suffix in (("scannet200", "200"), ("scannet20", "20")):
        labels = [str(label) for label in range(load_taxonomy(name).num_classes)]
        classes[name] = {
            "points": [sum(f[f"points{suffix}"].get(label, 0) for f in labelled) for label in labels],
            "objects": [sum(f[f"objects{suffix}"].get(label, 0) for f in labelled) for label in labels],
            "scenes": [sum(label in f[f"points{suffix}"] for f in labelled) for label in labels],
        }
    annotated = sum(classes["scannet200"]["points"])
    return {
        "num_listed": num_listed,
        "scenes": sorted(facts),
        "num_points": sum(f["num_points"] for f in facts.values()),
        "num_objects": sum(f["num_objects"] for f in labelled),
        "annotated_share": annotated / num_labelled_points if num_labelled_points else None,
        "classes": classes if labelled else None,
    }


def _list_scenes(value_of_scene: Mapping[tuple[str, str], str], name: str) -> list[dict[str, str]]:
    rows = sorted(value_of_scene.items())
    return [{"split": split, "scene": scene, name: value} for (split, scene), value in rows]


def _find_unlisted(lists: Mapping[str, list[str]], scans_of_split: Mapping[str, set[str]]) -> list[str]:
    """Raw scene folders that no list asks for, as ``scans/<scene>`` or ``scans_test/<scene>``."""
    annotated = scans_of_split["train"] - set(lists["train"]) - set(lists["val"])
    test = scans_of_split["test"] - set(lists["test"])
    return [f"scans/{scene}" for scene in sorted(annotated)] + [f"scans_test/{scene}" for scene in sorted(test)]


def _find_stale(
    root: Path,
    lists: Mapping[str, list[str]],
    scans_of_split: Mapping[str, set[str]],
    failures: Mapping[tuple[str, str], str],
    pending: Mapping[tuple[str, str], str],
) -> list[dict[str, str]]:
    split_of_scene = {scene: split for split, scenes in lists.items() for scene in scenes}
    stale = []
    for split in SPLITS:
        for folder in scene_folders(root, split):
            scene = folder.name
            listed_in = split_of_scene.get(scene)
            if listed_in is None:
                why = "is in no split list"
            elif listed_in != split:
                why = f"belongs to {listed_in}"
            elif scene not in scans_of_split[split]:
                why = "is not in the raw data"
            elif (split, scene) in failures:
                why = "is from an earlier run and could not be prepared again"
            elif (split, scene) in pending:
                why = "is from an earlier run and not prepared again yet"
            else:
                continue
            stale.append({"split": split, "scene": scene, "why": why})
    return stale


def _count_unknown_labels(facts_of_split: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for facts in facts_of_split.values():
        for scene_facts in facts.values():
            for label, num_objects in scene_facts.get("unknown_labels", {}).items():
                row = counts.setdefault(label, {"objects": 0, "scenes": 0})
                row["objects"] += num_objects
                row["scenes"] += 1
    return dict(sorted(counts.items()))
