"""The report of a preparation: what is in the tree, and what is not and why. Each kind of source adds to it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pointseg
from pointseg.preparation.jobs import SceneKey
from pointseg.preparation.prepared_source import read_source
from pointseg.preparation.text_files import write_if_other
from pointseg.scans.tree import REPORT_NAME, scene_folders
from pointseg.taxonomy import Taxonomy

Facts = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Split -> scene -> the facts in its ``source.json``."""


def read_sources(root: Path, splits: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Split -> scene -> its ``source.json``, of all scenes that we prepared and that are in the tree."""
    return {
        split: {
            folder.name: source for folder in scene_folders(root, split) if (source := read_source(folder)) is not None
        }
        for split in splits
    }


def facts_of(sources: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Facts:
    """The facts in the sources of :func:`read_sources`."""
    return {split: {scene: source["facts"] for scene, source in rows.items()} for split, rows in sources.items()}


def describe_tree(
    root: Path,
    facts: Facts,
    taxonomies: Sequence[Taxonomy],
    *,
    lists: Mapping[str, list[str]],
    scans_of_split: Mapping[str, set[str]],
    failures: Mapping[SceneKey, str],
    settings: Mapping[str, Any],
    unlisted: Sequence[str],
    pending: Mapping[SceneKey, str],
) -> dict[str, Any]:
    """What every report says; the same for the same tree.

    Args:
        root: the prepared tree.
        facts: of its scenes, by :func:`facts_of`.
        taxonomies: the classes that they have labels of.
        lists: split -> scenes of its list.
        scans_of_split: split -> scenes that the source has for it.
        failures: (split, scene) -> why it could not be prepared.
        settings: what the preparation was called with.
        unlisted: scenes of the source that are in no list.
        pending: (split, scene) -> who has still to prepare it.

    Returns:
        JSON-ready. ``stale`` are the scenes that should not be in the tree: why, in words, and in ``listed_in`` the
        split whose list they are in, if any.
    """
    return {
        "pointseg": pointseg.__version__,
        "settings": dict(settings),
        "splits": {split: _describe_split(len(lists[split]), facts[split], taxonomies) for split in lists},
        "failed": [{"split": split, "scene": scene, "reason": why} for (split, scene), why in sorted(failures.items())],
        "pending": [{"split": split, "scene": scene, "shard": who} for (split, scene), who in sorted(pending.items())],
        "missing": {split: sorted(set(lists[split]) - scans_of_split[split]) for split in lists},
        "unlisted": list(unlisted),
        "stale": _find_stale(root, lists, scans_of_split, failures, pending),
    }


def encode_report(report: Mapping[str, Any]) -> str:
    """The report as the text of its file."""
    return json.dumps(report, indent=1) + "\n"


def write_report(root: Path, report: Mapping[str, Any]) -> None:
    """Write the report into the tree, only if it says something else than the one that is there."""
    write_if_other(root / REPORT_NAME, encode_report(report))


def summarize_splits(report: Mapping[str, Any], taxonomy: Taxonomy) -> list[str]:
    """A table of the splits, a line each."""
    seen = f"classes of {taxonomy.num_classes}"
    width = max(6, *(len(split) for split in report["splits"]))
    lines = [f"{'split':<{width}} {'listed':>7} {'prepared':>9} {'points':>13} {'annotated':>10} {seen:>15}"]
    for split, row in report["splits"].items():
        annotated = f"{row['annotated_share']:.1%}" if row["classes"] else "-"
        num_classes = sum(scenes > 0 for scenes in row["classes"][taxonomy.key]["scenes"]) if row["classes"] else "-"
        lines.append(
            f"{split:<{width}} {row['num_listed']:>7} {len(row['scenes']):>9} {row['num_points']:>13,} "
            f"{annotated:>10} {num_classes:>15}"
        )
    return lines


def summarize_stale(report: Mapping[str, Any]) -> list[str]:
    """A line on scenes that should not be in the tree, if there are any."""
    if not report["stale"]:
        return []
    first = report["stale"][0]
    return [
        f"stale in the tree: {len(report['stale'])} scenes, first {first['split']}/{first['scene']}, "
        f"which {first['why']}; delete those you don't want"
    ]


def count_unknown(facts: Facts, key: str, unit: str) -> dict[str, dict[str, int]]:
    """What the table of classes lacks, from the facts ``key``: name -> its number of ``unit``, and of scenes."""
    counts: dict[str, dict[str, int]] = {}
    for scenes in facts.values():
        for scene_facts in scenes.values():
            for name, number in scene_facts.get(key, {}).items():
                row = counts.setdefault(name, {unit: 0, "scenes": 0})
                row[unit] += number
                row["scenes"] += 1
    return dict(sorted(counts.items()))


def _describe_split(
    num_listed: int, facts: Mapping[str, Mapping[str, Any]], taxonomies: Sequence[Taxonomy]
) -> dict[str, Any]:
    suffixes = {taxonomy.key: taxonomy.segment.removeprefix("segment") for taxonomy in taxonomies}
    labelled = [f for f in facts.values() if all(f"points{suffix}" in f for suffix in suffixes.values())]
    classes = {}
    for taxonomy in taxonomies:
        labels = [str(label) for label in range(taxonomy.num_classes)]
        points, objects = (f"{what}{suffixes[taxonomy.key]}" for what in ("points", "objects"))
        classes[taxonomy.key] = {
            "points": [sum(f[points].get(label, 0) for f in labelled) for label in labels],
            "objects": [sum(f[objects].get(label, 0) for f in labelled) for label in labels],
            "scenes": [sum(label in f[points] for f in labelled) for label in labels],
        }
    num_labelled_points = sum(f["num_points"] for f in labelled)
    annotated = sum(classes[taxonomies[0].key]["points"])
    return {
        "num_listed": num_listed,
        "scenes": sorted(facts),
        "num_points": sum(f["num_points"] for f in facts.values()),
        "num_objects": sum(f["num_objects"] for f in labelled),
        "annotated_share": annotated / num_labelled_points if num_labelled_points else None,
        "classes": classes if labelled else None,
    }


def _find_stale(
    root: Path,
    lists: Mapping[str, list[str]],
    scans_of_split: Mapping[str, set[str]],
    failures: Mapping[SceneKey, str],
    pending: Mapping[SceneKey, str],
) -> list[dict[str, str | None]]:
    split_of_scene = {scene: split for split, scenes in lists.items() for scene in scenes}
    stale: list[dict[str, str | None]] = []
    for split in lists:
        for folder in scene_folders(root, split):
            scene = folder.name
            # Rooms of two areas of S3DIS have one name: each is in the list of its own area.
            listed_in = split if scene in lists[split] else split_of_scene.get(scene)
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
            stale.append({"split": split, "scene": scene, "why": why, "listed_in": listed_in})
    return stale
