"""Which scenes of an import are train and which val: as the folders say, or a share, kept in ``ROOT/splits``."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pointseg.errors import DataError, regular_file
from pointseg.labelled.scan_folder import FoundScans
from pointseg.preparation.split_lists import read_list, refuse_shared
from pointseg.preparation.text_files import write_if_other
from pointseg.scans.tree import REPORT_NAME, SPLITS, scene_folders


def refuse_unknown_names(found: FoundScans, root: Path) -> None:
    """Refuse names in the lists of the tree that no scene ever had: a slip of who edited them would vanish unseen.

    Scans may be moved away, and their scenes deleted: what the tree holds, and what its report names, is no slip.

    Raises:
        DataError: a list names what is no scan, no scene of the tree and none of the report of an import before; or as
            :func:`read_lists`.
    """
    lists = read_lists(root)
    scans = set().union(*found.path_of_scene.values())
    scenes = scans | {folder.name for split in SPLITS for folder in scene_folders(root, split)}
    known = scenes | _reported_scenes(root)
    for split, names in lists.items():
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(scenes), n=1)
                hint = f"the nearest is {near[0]}; mend the line" if near else "mend the line, or delete it"
                place = f"{list_path(root, split)}:{_line_number(list_path(root, split), name)}"
                raise DataError(f"{place}: {name} is no scene; {hint}")


def _line_number(path: Path, name: str) -> int:
    """From 1, as editors count."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return 1 + [line.strip() for line in lines].index(name)


def _reported_scenes(root: Path) -> set[str]:
    """The scenes that the lists had when the report was written; none where there is no report that can be read."""
    try:
        report = json.loads(regular_file(root / REPORT_NAME).read_text(encoding="utf-8"))
        prepared = {scene for row in report["splits"].values() for scene in row["scenes"]}
        missing = {scene for scenes in report["missing"].values() for scene in scenes}
        return prepared | missing | {row["scene"] for row in report["failed"]}
    except (OSError, DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def choose_splits(found: FoundScans, root: Path, val_share: float) -> dict[str, list[str]]:
    """Split -> its scenes, sorted.

    Scans in ``train``, ``val`` and ``test`` belong there. Where no scan lies in a ``val``, a share of those in
    ``train``, or of all, becomes it. Who was in a list of the tree before stays there, so that a scan that was learned
    from never becomes one to validate on: of the new ones as many become val as the share lacks. A hash of the name
    chooses them.

    Args:
        found: the scans.
        root: the prepared tree, with the lists of an import before.
        val_share: of the scenes to be divided, 0 <= share < 1; at least one becomes val if it is above 0 and there are
            two.

    Raises:
        DataError: a list of the tree is bad, or names a scene that another names too.
    """
    earlier = read_lists(root)
    lists = {split: set(found.path_of_scene[split]) for split in SPLITS}
    if not lists["val"]:
        pool = lists["train"] | (set(found.path_of_scene[""]) if not found.has_splits else set())
        kept_test = pool & set(earlier["test"]) - lists["test"]
        pool -= kept_test
        val, known = pool & set(earlier["val"]), pool & (set(earlier["val"]) | set(earlier["train"]))
        wanted = _num_wanted(len(pool), val_share)
        val |= set(sorted(pool - known, key=_rank)[: max(0, wanted - len(val))])
        lists["test"] |= kept_test
        lists["val"], lists["train"] = val, pool - val
    here = set().union(*found.path_of_scene.values())
    for split, scenes in earlier.items():
        # Scans may be put away once they are prepared.
        lists[split] |= {scene for scene in scenes if scene not in here and (root / split / scene).is_dir()}
    return {split: sorted(scenes) for split, scenes in lists.items()}


def describe_lists(found: FoundScans, root: Path, lists: Mapping[str, list[str]], val_share: float) -> list[str]:
    """A line for each way in which the lists are not what a person may expect who edited them, or gave a share.

    Args:
        found: the scans.
        root: the prepared tree, with the lists and the scenes of an import before.
        lists: of :func:`choose_splits`, not written yet.
        val_share: as there.

    Raises:
        DataError: as there.
    """
    split_before = {scene: split for split, scenes in read_lists(root).items() for scene in scenes}
    lines = []
    for split, scene in ((split, scene) for split, scenes in lists.items() for scene in scenes):
        # Who is prepared there was there before, and the lists were edited since.
        if not split_before or not (root / split / scene).is_dir() or split_before.get(scene) == split:
            continue
        if scene not in split_before:
            lines.append(
                f"{list_path(root, split)}: {scene} was in no list, and is in this again; to leave it out, move its "
                f"scan away and delete {root / split / scene}"
            )
        elif path_here := found.path_of_scene[split].get(scene):
            before = split_before[scene]
            lines.append(f"{path_here}: is {split} by its folder, not {before} as a list said; move the file instead")
    num_val, num_all = len(lists["val"]), len(lists["val"]) + len(lists["train"])
    wanted = _num_wanted(num_all, val_share)
    is_near = wanted / 2 <= num_val <= 2 * wanted  # scenes come and go, and stay where they were
    if not found.path_of_scene["val"] and not is_near:
        lines.append(
            f"{list_path(root, 'val')}: has {num_val} of {num_all} scenes, where --val-share {val_share:g} would be "
            f"{wanted}: who was in a list before stays there; move names between it and train.txt to change that"
        )
    return lines


def _num_wanted(num_scenes: int, val_share: float) -> int:
    return max(1, round(val_share * num_scenes)) if val_share > 0 and num_scenes > 1 else 0


def write_lists(root: Path, lists: Mapping[str, list[str]]) -> None:
    """Write ``ROOT/splits/<split>.txt``, a scene a line; a list that says the same stays. Raises: OSError."""
    for split, scenes in lists.items():
        write_if_other(list_path(root, split), "".join(f"{scene}\n" for scene in scenes))


def read_lists(root: Path) -> dict[str, list[str]]:
    """The lists of a tree; empty where it has none.

    Raises:
        DataError: a list is bad, or a scene stands in two of them.
    """
    paths = {split: list_path(root, split) for split in SPLITS}
    lists = {split: read_list(path) if path.is_file() else [] for split, path in paths.items()}
    refuse_shared({paths[split]: scenes for split, scenes in lists.items()})
    return lists


def list_path(root: Path, split: str) -> Path:
    """Where the list of a split lies in a tree."""
    return root / "splits" / f"{split}.txt"


def _rank(scene: str) -> bytes:
    return hashlib.sha256(f"0:{scene}".encode()).digest()
