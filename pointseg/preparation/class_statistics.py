"""How often each class occurs in a prepared tree: its points, objects and scenes, by split."""

from typing import Any

import numpy as np

from pointseg.preparation.inspection import TreeInspection
from pointseg.taxonomy import GROUPS, Taxonomy

COUNTED = ("points", "objects", "scenes")


def summarize_inspection(tree: TreeInspection) -> list[str]:
    """Counts a split, then head, common and tail: how many classes occur, their share of points, scenes a class."""
    taxonomy = grouped_taxonomy(tree)
    rows = histogram_rows(tree, taxonomy)
    width = max(6, *(len(split) for split in tree.splits))
    lines = [f"{'split':<{width}} {'scenes':>7} {'points':>14}"]
    head = f"{'split':<{width}} {'group':<7} {'classes seen':>13} {'points':>14} {'objects':>9} {'scenes a class':>15}"
    groups = [head]
    for split in tree.splits:
        scenes = [scene for scene in tree.scenes if scene.split == split]
        lines.append(f"{split:<{width}} {len(scenes):>7} {sum(scene.num_points for scene in scenes):>14,}")
        if not any(scene.points for scene in scenes):
            continue
        for group in GROUPS if taxonomy.groups else ("all",):
            members = [row for row in rows if row.get("group", group) == group]
            if not members:
                continue
            seen = sum(row[f"{split}_points"] > 0 for row in members)
            points, objects = (sum(row[f"{split}_{what}"] for row in members) for what in ("points", "objects"))
            median = float(np.median([row[f"{split}_scenes"] for row in members]))
            groups.append(
                f"{split:<{width}} {group:<7} {f'{seen} of {len(members)}':>13} {points:>14,} {objects:>9,} "
                f"{median:>15.1f}"
            )
    if taxonomy.groups_are_counted:
        lines.append("head, common and tail: thirds of the classes by their points in train, since the table has none")
    return [*lines, *(groups if len(groups) > 1 else [])]


def grouped_taxonomy(tree: TreeInspection) -> Taxonomy:
    """The finest classes of a tree, in groups by points in training where their table has none and there is a train."""
    taxonomy = tree.taxonomies[0]
    points = sum(s.points[taxonomy.key] for s in tree.scenes if s.split == "train" and taxonomy.key in s.points)
    return taxonomy.with_counted_groups(points.tolist()) if isinstance(points, np.ndarray) else taxonomy


def histogram_rows(tree: TreeInspection, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """One row a class: label, id, name, group, and points, objects and scenes in each split."""
    id_name = "scannet_id" if taxonomy.is_benchmark else "class_id"
    rows: list[dict[str, Any]] = [
        {"label": label, id_name: int(taxonomy.class_ids[label]), "name": name}
        | ({"group": taxonomy.groups[label]} if taxonomy.groups else {})
        for label, name in enumerate(taxonomy.class_names)
    ]
    for split in tree.splits:
        labelled = [s for s in tree.scenes if s.split == split and taxonomy.key in s.points]
        zero = np.zeros((1, taxonomy.num_classes), dtype=np.int64)
        points = np.concatenate([zero, *(s.points[taxonomy.key][None] for s in labelled)])
        objects = np.concatenate([zero, *(s.objects[taxonomy.key][None] for s in labelled)])
        for label, row in enumerate(rows):
            row[f"{split}_points"] = int(points[:, label].sum())
            row[f"{split}_objects"] = int(objects[:, label].sum())
            row[f"{split}_scenes"] = int((points[:, label] > 0).sum())
    return rows


def encode_inspection(tree: TreeInspection) -> dict[str, Any]:
    """All that was found, for ``--json``."""
    taxonomies = tree.taxonomies if tree.taxonomies[0].is_benchmark else (grouped_taxonomy(tree),)
    return {
        "root": str(tree.root),
        "problems": tree.problems,
        "notes": tree.notes,
        "splits": {
            split: {
                "num_scenes": sum(s.split == split for s in tree.scenes),
                "num_points": sum(s.num_points for s in tree.scenes if s.split == split),
            }
            for split in tree.splits
        },
        "classes": {taxonomy.key: histogram_rows(tree, taxonomy) for taxonomy in taxonomies},
    }
