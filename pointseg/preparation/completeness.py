"""Which scenes a prepared tree lacks, and what is in it that should not be: held against its report and the lists."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointseg.atomic import TEMPORARY_PREFIX
from pointseg.errors import and_more, regular_file
from pointseg.preparation.jobs import SceneKey
from pointseg.scans.tree import REPORT_NAME, SOURCE_NAME, SPLITS, describe_other_table, prepare_command


@dataclass(frozen=True)
class Table:
    """A table that scenes get their labels from."""

    kind: str
    """What a line calls it: ``label map``."""
    path: Path
    key: str
    """In ``made_from`` of a ``source.json``: the fingerprint of the table that the scene was made with."""
    fingerprints: frozenset[str]
    """That of the table as it is now; another one means other labels."""


@dataclass(frozen=True)
class Gaps:
    """Which scenes are not in a tree as they should be."""

    problems: list[str]
    """A scene has one line at most."""
    notes: list[str]
    """A line for a split that is left out, and what else is worth knowing."""
    scenes: frozenset[SceneKey]
    """Those that have a line among the problems."""


def find_leftovers(root: Path, splits: Sequence[str]) -> list[str]:
    """A line for each file and folder that an interrupted write has left."""
    places = [root, *(root / split for split in splits)]
    return [
        f"{path}: is left of an interrupted write; when no preparation is running, delete {path}"
        for place in places
        for path in sorted(place.glob(f"{TEMPORARY_PREFIX}*"))
    ]


def find_gaps(
    root: Path,
    scenes: Sequence[SceneKey],
    tables_of_scene: Mapping[SceneKey, Mapping[str, Any]],
    find_tables: Callable[[Path, Mapping[str, Any]], Sequence[Table]],
    lists: Mapping[str, Sequence[str]] | None = None,
) -> Gaps:
    """Hold the scenes that there are against the tree's report and the lists.

    Args:
        root: the prepared tree.
        scenes: those that are in it.
        tables_of_scene: of those with a ``source.json``, its ``made_from``, with the fingerprints of the tables.
        find_tables: those tables as they are now, from root and settings of the report, as far as it can be told.
        lists: split -> the scenes that have to be there; None: those of the report.
    """
    here = set(scenes)
    problems: list[str] = []
    notes: list[str] = []
    line_of_scene: dict[SceneKey, str] = {}
    report_path = root / REPORT_NAME
    if report_path.exists():
        try:
            report = _Report(root, json.loads(regular_file(report_path).read_text(encoding="utf-8")))
            problems += report.unlisted
            notes += report.find_notes(here)
            line_of_scene = report.find_problems(here, tables_of_scene, find_tables)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            problems.append(f"{report_path}: is broken ({reason}); run: {prepare_command(root)}")
    elif tables_of_scene:
        problems.append(f"{report_path}: is missing, the preparation has not ended; run: {prepare_command(root)}")
    elif lists is None:
        notes.append(
            f"{report_path} is missing: whether scenes are missing can't be told (the tree is another program's); "
            "give the lists by --splits"
        )
    if lists is not None:
        notes += [f"no {split} scenes" for split in lists if not _has_split(here, split)]
        line_of_scene = {**_compare_with_lists(root, here, lists), **line_of_scene}
    problems += [line for _, line in sorted(line_of_scene.items())]
    problems += _find_repeated(root, here, {name for _, name in line_of_scene})
    return Gaps(problems, notes, frozenset(line_of_scene))


class _Report:
    """The report of a preparation, by scene."""

    def __init__(self, root: Path, report: Mapping[str, Any]) -> None:
        self._root = root
        self._command = prepare_command(root)
        self._prepared = {(split, scene) for split, row in report["splits"].items() for scene in row["scenes"]}
        self._missing = {(split, scene) for split, scenes in report["missing"].items() for scene in scenes}
        self._failed = {(row["split"], row["scene"]): row["reason"] for row in report["failed"]}
        # Reports of before there were shards have none.
        self._pending = {(row["split"], row["scene"]): row["shard"] for row in report.get("pending", ())}
        self._stale = {(row["split"], row["scene"]): row["why"] for row in report["stale"]}
        self._settings = report["settings"]
        self._doubts = report.get("doubts", {})
        self._unlisted = report["unlisted"]

    @property
    def unlisted(self) -> list[str]:
        """One line for all raw scenes that are in no list, if there are any."""
        names = ", ".join(self._unlisted[:3]) + and_more(self._unlisted, 3)
        line = (
            f"{self._root}: {len(self._unlisted)} scenes of the raw data are in no split list ({names}); "
            f"move them away, or list them, and run: {self._command}"
        )
        return [line] if self._unlisted else []

    def find_notes(self, here: Set[SceneKey]) -> list[str]:
        """What looked wrong in scenes, whole splits that were not in the raw data, and scenes no longer there."""
        notes = [f"{scene}: {doubt}" for scene, doubts in self._doubts.items() for doubt in doubts]
        for split in sorted({of for of, _ in self._missing}):
            num_missing = sum(of == split for of, _ in self._missing)
            if num_missing and not _has_split(here, split):
                notes.append(f"no {split} scenes: the {num_missing} of its list were not in the raw data")
        kept = sorted(self._missing & here)
        if kept:
            notes.append(f"{len(kept)} scenes are no longer in the raw data, first {'/'.join(kept[0])}")
        return notes

    def find_problems(
        self,
        here: Set[SceneKey],
        tables_of_scene: Mapping[SceneKey, Mapping[str, Any]],
        find_tables: Callable[[Path, Mapping[str, Any]], Sequence[Table]],
    ) -> dict[SceneKey, str]:
        """A line for each scene that is not in the tree as it should be."""
        tables = find_tables(self._root, self._settings)
        found = {}
        for key in self._prepared | self._missing | self._failed.keys() | self._pending.keys() | here:
            problem = self._describe(key, here)
            if problem is None and key in here and key not in tables_of_scene:
                problem = f"has lost its {SOURCE_NAME}; delete {self._root.joinpath(*key)} and run: {self._command}"
            made_with = tables_of_scene.get(key, {})
            for table in tables:
                if problem is None and made_with.get(table.key) not in (None, *table.fingerprints):
                    problem = describe_other_table(table.kind, table.path, self._command)
            if problem is not None:
                found[key] = f"{self._root.joinpath(*key)}: {problem}"
        return found

    def _describe(self, key: SceneKey, here: Set[SceneKey]) -> str | None:
        """What is wrong with whether the scene is there; None: nothing."""
        split = key[0]
        delete = f"delete {self._root.joinpath(*key)}"
        if key in self._failed:
            return f"could not be prepared: {self._failed[key]}; then run: {self._command}"
        if key in self._pending:
            return f"is not prepared yet; run: {self._command} --shard {self._pending[key]}"
        if key in self._missing:
            # Who left out a whole split meant it; who has half of it did not.
            if key in here or not _has_split(here, split):
                return None
            return f"is in the list, but not in the raw data; download it and run: {self._command}"
        if key in self._stale:
            return f"{self._stale[key]}; {delete}" if key in here else None
        if key not in here:
            return f"was prepared and is gone; run: {self._command}"
        if key not in self._prepared:
            return f"is in no list of the preparation; {delete}, or list it, and run: {self._command}"
        return None


def _compare_with_lists(root: Path, here: Set[SceneKey], lists: Mapping[str, Sequence[str]]) -> dict[SceneKey, str]:
    listed = {(split, scene) for split, scenes in lists.items() for scene in scenes}
    split_of_scene = {scene: split for split, scene in listed}
    lines = {}
    for split, scene in listed - here:
        if _has_split(here, split):
            lines[split, scene] = f"is in the list of {split}, but not in the tree; run: {prepare_command(root)}"
    for split, scene in here - listed:
        where = f"belongs to {split_of_scene[scene]}" if scene in split_of_scene else "is in no split list"
        lines[split, scene] = f"{where}; delete {root / split / scene}"
    return {key: f"{root.joinpath(*key)}: {line}" for key, line in lines.items()}


def _has_split(here: Set[SceneKey], split: str) -> bool:
    return any(of == split for of, _ in here)


def _find_repeated(root: Path, here: Set[SceneKey], known: Set[str]) -> list[str]:
    """Scenes in two splits. Of the ``known`` ones there is a line already, which says in which of them it is wrong."""
    # Folders of other names, as S3DIS's areas, have rooms of the same names.
    counts = Counter(name for split, name in here if split in SPLITS)
    return [
        f"{root}: {name} is in {' and '.join(split for split in SPLITS if (split, name) in here)}; "
        "a scene belongs to one split, delete the wrong one"
        for name in sorted(name for name, number in counts.items() if number > 1 and name not in known)
    ]
