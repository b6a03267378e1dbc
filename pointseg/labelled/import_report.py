"""The report of an import, and what of it people are told."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointseg.errors import and_more
from pointseg.labelled.label_source import plain_name
from pointseg.preparation.jobs import SceneKey
from pointseg.preparation.tree_report import (
    count_unknown,
    describe_tree,
    facts_of,
    read_sources,
    summarize_splits,
    summarize_stale,
)
from pointseg.scans.tree import SPLITS
from pointseg.taxonomy import CLASS_TABLE, Taxonomy

_NUMBER = re.compile(r"\b\d[\d,.]*(?:e[-+]?\d+)?")
_REMEDIES = {
    "normal": "--estimate-normals makes them from neighbouring points, or export the scans with faces or normals",
    "color": "--fill-color R,G,B gives them one colour, or export the scans with colours",
}


def build_report(
    root: Path,
    taxonomy: Taxonomy,
    *,
    lists: Mapping[str, list[str]],
    scans_of_split: Mapping[str, set[str]],
    failures: Mapping[SceneKey, str],
    settings: Mapping[str, Any],
    unlisted: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything worth knowing of an imported tree.

    Arguments and result as :func:`pointseg.preparation.tree_report.describe_tree`. Besides: ``unknown_ids`` (ids in
    the scans that the table lacks: points and scenes), ``classes_without_points`` (names, over all splits),
    ``labels_from`` (where labels were: number of scenes), ``label_fields`` (the properties that they were in),
    ``uneven`` (a part that some scenes have and others not: those without), ``other_table`` (scenes whose labels are
    of another table of classes than the tree's), and ``notes`` (text: the scenes that it holds for).
    """
    sources = read_sources(root, tuple(lists))
    facts = facts_of(sources)
    report = describe_tree(
        root,
        facts,
        [taxonomy],
        lists=lists,
        scans_of_split=scans_of_split,
        failures=failures,
        settings=settings,
        unlisted=unlisted,
        pending={},
    )
    classes = [row["classes"][taxonomy.key]["points"] for row in report["splits"].values() if row["classes"]]
    totals = [sum(of_class) for of_class in zip(*classes, strict=True)] or [0] * taxonomy.num_classes
    scenes = {f"{split}/{scene}": f for split, of_split in facts.items() for scene, f in of_split.items()}
    notes: dict[str, list[str]] = {}
    for scene, f in scenes.items():
        for note in f.get("notes", ()):
            notes.setdefault(note, []).append(scene)
    uneven = {
        part: [scene for scene, f in scenes.items() if part not in f.get("parts", (part,))]
        for part in ("color", "normal")
    }
    return report | {
        "unknown_ids": count_unknown(facts, "unknown_ids", "points"),
        "classes_without_points": [n for n, total in zip(taxonomy.class_names, totals, strict=True) if total == 0],
        "labels_from": dict(Counter(f["labels_from"] for f in scenes.values() if f.get("labels_from"))),
        "label_fields": sorted({f["label_field"] for f in scenes.values() if f.get("label_field")}),
        "uneven": {part: without for part, without in uneven.items() if 0 < len(without) < len(scenes)},
        "other_table": [
            f"{split}/{scene}"
            for split, of_split in sources.items()
            for scene, source in of_split.items()
            if (split, scene) not in failures and source["made_from"].get("classes") not in taxonomy.fingerprints
        ],
        "notes": notes,
    }


def summarize_report(report: Mapping[str, Any], taxonomy: Taxonomy) -> list[str]:
    """The report in a few lines for people; problems are not among them."""
    lines = summarize_splits(report, taxonomy)
    if report["labels_from"]:
        places = ", ".join(f"{place} ({n} scenes)" for place, n in sorted(report["labels_from"].items()))
        lines.append(f"labels: {places}")
    unknown = sorted(report["unknown_ids"].items(), key=lambda item: (-item[1]["points"], item[0]))
    if unknown:
        names = ", ".join(f"{i} ({row['points']:,} points in {row['scenes']} scenes)" for i, row in unknown[:5])
        lines.append(f"ids that the table of classes lacks, ignored in training: {names}{and_more(unknown, 5)}")
    without = report["classes_without_points"]
    if without:
        lines.append(f"classes without a point: {', '.join(without[:8])}{and_more(without, 8)}")
    missing = [(split, scene) for split, scenes in report["missing"].items() for scene in scenes]
    kept = sum(scene in report["splits"][split]["scenes"] for split, scene in missing)
    if kept:
        lines.append(f"no longer in the source, kept in the tree: {kept} scenes")
    if len(missing) > kept:
        lines.append(f"listed, but not in the source: {len(missing) - kept} scenes")
    return lines + _summarize_notes(report["notes"]) + summarize_stale(report)


def _summarize_notes(notes: Mapping[str, list[str]]) -> list[str]:
    """A line for all notes that differ in numbers alone, with those of the first scene."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(_NUMBER.sub("0", note), []).append(note)
    lines = []
    for first, *others in list(alike.values())[:8]:
        scenes = list(dict.fromkeys(scene for note in (first, *others) for scene in notes[note]))
        own = ", with numbers of their own" if others else ""
        more = f" (and {len(scenes) - 1} more scenes{own})" if scenes[1:] else ""
        lines.append(f"note: {scenes[0]}: {first}{more}")
    if len(alike) > 8:
        lines.append(f"note: {len(alike) - 8} more notes are in the report")
    return lines


def find_problems(report: Mapping[str, Any], taxonomy: Taxonomy, source: Path, root: Path) -> list[str]:
    """A line for all that keeps the tree from being trained on, but for scenes that failed."""
    problems = []
    if report["unlisted"]:
        names = ", ".join(report["unlisted"][:3]) + and_more(report["unlisted"], 3)
        problems.append(
            f"{source}: {len(report['unlisted'])} scans lie outside {', '.join(SPLITS)} ({names}); move them into one"
        )
    fields = report["label_fields"]
    if len(set(map(plain_name, fields))) > 1:
        problems.append(
            f"{source}: the labels of some scans are in property {' and of others in '.join(map(repr, fields))}, in "
            "which one number may mean different classes; name one of them by --label-field"
        )
    for part, scenes in report["uneven"].items():
        problems.append(
            f"{root / scenes[0]}: has no {part}, as {len(scenes)} scenes, while others have; {_REMEDIES[part]}"
        )
    # In both splits it would be learned from and validated on.
    problems += [
        f"{root / row['split'] / row['scene']}: {row['why']}, and was made before it moved there; delete it"
        for row in report["stale"]
        if row["listed_in"] not in (None, row["split"])
    ]
    if others := report["other_table"]:
        problems.append(
            f"{root / others[0]}: has the labels of another table of classes than {root / CLASS_TABLE}, as "
            f"{len(others)} scenes, and its scan is not in {source}; put the scan back and run the import again, or "
            "move the scene out of the tree"
        )
    labelled = [row["classes"][taxonomy.key] for row in report["splits"].values() if row["classes"]]
    if labelled and not any(sum(row["points"]) for row in labelled):
        ids = ", ".join(list(report["unknown_ids"])[:8]) + and_more(report["unknown_ids"], 8)
        problems.append(
            f"{root}: no point has a class of {root / CLASS_TABLE}, there is nothing to train on; the scans have the "
            f"ids {ids}: mend the table, or name another property by --label-field"
        )
    return problems
