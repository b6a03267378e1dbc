"""Which scans a folder holds, what they are called, and in which split they lie."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pointseg.errors import DataError, UsageError, regular_file
from pointseg.formats.reading import READERS
from pointseg.labelled.label_source import BESIDE, labels_beside
from pointseg.preparation.split_lists import is_scene_name
from pointseg.scans.predicted_files import predicted_files
from pointseg.scans.tree import SPLITS

COMPANIONS = (".mtl", ".bin", ".png", ".jpg", ".jpeg")
"""Suffixes of the files that a scan may need beside it, and that are no scans themselves."""
_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# What may stand between and around the numbers of a table of points.
_PARTS_OF_A_LINE = str.maketrans(',;"', "   ")


@dataclass(frozen=True)
class FoundScans:
    """The scans of a folder."""

    path_of_scene: dict[str, dict[str, Path]]
    """Split -> scene -> its file. Scans outside ``train``, ``val`` and ``test`` have the split ``""``."""
    other_files: dict[str, int]
    """Suffix -> number of the files that are no scans."""
    num_predicted: int = 0
    """Number of the files that ``predict`` wrote, which are no scans either."""

    @property
    def has_splits(self) -> bool:
        """Whether scans lie in ``train``, ``val`` or ``test``."""
        return any(self.path_of_scene[split] for split in SPLITS)


def find_scans(source: Path, out: Path) -> FoundScans:
    """All scans below a folder, links followed; hidden files, the tree that is made and own predictions are left out.

    A scene is called as its file without the suffix; in a folder of its own, below ``train``, ``val`` and ``test``, as
    both with ``_`` between. So its name does not depend on which other scans there are.

    Raises:
        UsageError: there is no such folder, it has no scan or is ``out``, two files would be one scene, or a name
            can't be one.
    """
    if not source.is_dir():
        what = "is no folder" if source.exists() else "there is no such folder"
        raise UsageError(f"{source}: {what}; give the folder with the scans")
    if source.resolve() == out.resolve():
        raise UsageError(f"{out}: is the folder of the scans; choose another folder by --out")
    path_of_scene: dict[str, dict[str, Path]] = {split: {} for split in ("", *SPLITS)}
    others: Counter[str] = Counter()
    label_files: set[Path] = set()
    paths = set(_walk(source, out.resolve()))
    predicted = {f / name for f in {path.parent for path in paths} for name in predicted_files(f)} & paths
    for path in sorted(paths - predicted):
        suffix = path.suffix.lower()
        if path.name.lower().endswith(BESIDE):
            label_files.add(path)
            continue
        if suffix in COMPANIONS:
            continue
        if suffix not in READERS or (suffix == ".txt" and not _begins_with_points(path)):
            others[suffix or path.name] += 1
            continue
        *folders, _ = path.relative_to(source).parts
        split = folders.pop(0) if folders and folders[0] in SPLITS else ""
        name = "_".join([*folders, path.stem])
        if not is_scene_name(name):
            why = (
                "has a blank at an end" if name != name.strip() else "has a sign that the name of a folder may not have"
            )
            raise UsageError(f"{path}: its name can't be that of a scene: {name!r} {why}; rename it")
        if name in path_of_scene[split]:
            raise UsageError(f"{path}: would be the same scene as {path_of_scene[split][name]}; rename or move one")
        path_of_scene[split][name] = path
    found = FoundScans(path_of_scene, dict(others), len(predicted))
    if not any(path_of_scene.values()):
        what = f"has no scans but {len(predicted)} files of predict" if predicted else "has no scans"
        raise UsageError(f"{source}: {what}; give a folder with files of {', '.join(READERS)}")
    _refuse_scenes_of_two_splits(found)
    if not found.has_splits:
        _refuse_folders_like_splits(source, found.path_of_scene[""].values())
    scans = [path for paths in path_of_scene.values() for path in paths.values()]
    if lost := sorted(label_files.difference(*map(labels_beside, scans))):
        stem = lost[0].name.lower().removesuffix(BESIDE[0]).removesuffix(BESIDE[1])
        raise UsageError(f"{lost[0]}: there is no scan {stem} beside it; call it as its scan, or move it away")
    return found


def _refuse_folders_like_splits(source: Path, paths: Iterable[Path]) -> None:
    """Test scans would be trained on where ``Train``, ``Val`` and ``Test`` are only folders of any name.

    Raises:
        UsageError: a scan lies in a folder that is called like a split, and is none.
    """
    for path in paths:
        for folder in path.relative_to(source).parents:
            if (split := _SPLIT_OF_WORD.get(folder.name.lower())) is None:
                continue
            remedy = f"rename it to {split}" if folder.name != split else f"give {source / folder.parent}"
            if folder.name != split and folder.parent != Path():
                remedy += f" and give {source / folder.parent}"
            raise UsageError(
                f"{source / folder}: is called like a split, and is none: those are train, val and test, right below "
                f"the folder that is given; {remedy}, or call the folder otherwise"
            )


def _begins_with_points(path: Path) -> bool:
    """Whether a text may be a table of points: many beside scans are none. What can't be read is left to fail."""
    try:
        with open(regular_file(path), "rb") as file:
            lines = file.read(1 << 12).decode("utf-8", errors="replace").splitlines()
    except (OSError, DataError):
        return True
    return any(_has_three_numbers(line) for line in lines)


def _has_three_numbers(line: str) -> bool:
    words = line.translate(_PARTS_OF_A_LINE).split()[:3]
    try:
        return len([float(word) for word in words]) == 3
    except ValueError:
        return False


def _walk(source: Path, out: Path) -> Iterator[Path]:
    seen = set()  # a link to a folder above would never end
    for folder, folders, files in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or Path(real) == out:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _refuse_scenes_of_two_splits(found: FoundScans) -> None:
    split_of_scene: dict[str, str] = {}
    for split, paths in found.path_of_scene.items():
        for name, path in paths.items():
            if name in split_of_scene:
                first = found.path_of_scene[split_of_scene[name]][name]
                raise UsageError(f"{path}: is called as {first}, of another split; rename or move one")
            split_of_scene[name] = split
