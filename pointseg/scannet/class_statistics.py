"""How often each class occurs in a prepared tree: its points, objects and scenes, by split."""

from typing import Any

import numpy as np

from pointseg.scannet.inspection import TreeInspection
from pointseg.scans.tree import SPLITS
from pointseg.taxonomy import GROUPS, NAMES, load_taxonomy

COUNTED = ("points", "objects", "scenes")


def summarize_inspection(tree: TreeInspection) -> list[str]:
    """Counts a split, then head, common and tail: how many classes occur, their share of points, scenes a class."""
    rows = histogram_rows(tree, "scannet200")
    lines = [f"{'split':<6} {'scenes':>7} {'points':>14}"]
    groups = [f"{'split':<6} {'group':<7} {'classes seen':>13} {'points':>14} {'objects':>9} {'scenes a class':>15}"]
    for split in SPLITS:
        scenes = [scene for scene in tree.scenes if scene.split == split]
        lines.append(f"{split:<6} {len(scenes):>7} {sum(scene.num_points for scene in scenes):>14,}")
        if not any(scene.points for scene in scenes):
            continue
        for group in GROUPS:
            members = [row for row in rows if row["group"] == group]
            seen = sum(row[f"{split}_points"] > 0 for row in members)
            points, objects = (sum(row[f"{split}_{what}"] for row in members) for what in ("points", "objects"))
            median = float(np.median([row[f"{split}_scenes"] for row in members]))
            groups.append(
                f"{split:<6} {group:<7} {f'{seen} of {len(members)}':>13} {points:>14,} {objects:>9,} {median:>15.1f}"
            )
    return [*lines, *(groups if len(groups) > 1 else [])]


def histogram_rows(tree: TreeInspection, taxonomy_name: str) -> list[dict[str, Any]]:
    """One row a class: label, scannet_id, name, group, and points, objects and scenes in each split."""
    taxonomy = load_taxonomy(taxonomy_name)
    rows: list[dict[str, Any]] = [
        {"label": label, "scannet_id": int(taxonomy.class_ids[label]), "name": name}
        | ({"group": taxonomy.groups[label]} if taxonomy.groups else {})
        for label, name in enumerate(taxonomy.class_names)
    ]
    for split in SPLITS:
        labelled = [s for s in tree.scenes if s.split == split and taxonomy_name in s.points]
        zero = np.zeros((1, taxonomy.num_classes), dtype=np.int64)
        points = np.concatenate([zero, *(s.points[taxonomy_name][None] for s in labelled)])
        objects = np.concatenate([zero, *(s.objects[taxonomy_name][None] for s in labelled)])
        for label, row in enumerate(rows):
            row[f"{split}_points"] = int(points[:, label].sum())
            row[f"{split}_objects"] = int(objects[:, label].sum())
            row[f"{split}_scenes"] = int((points[:, label] > 0).sum())
    return rows


def encode_inspection(tree: TreeInspection) -> dict[str, Any]:
    """All that was found, for ``--json``."""
    return {
        "root": str(tree.root),
        "problems": tree.problems,
        "notes": tree.notes,
        "splits": {
            split: {
                "num_scenes": sum(s.split == split for s in tree.scenes),
                "num_points": sum(s.num_points for s in tree.scenes if s.split == split),
            }
            for split in SPLITS
        },
        "classes": {name: histogram_rows(tree, name) for name in NAMES},
    }
