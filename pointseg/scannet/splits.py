"""The split lists: which scene belongs to train, val or test. Those of the benchmark are in ``split_lists``."""

from pathlib import Path

from pointseg.errors import DataError, UsageError
from pointseg.scans.tree import SPLITS

_PUBLISHED_LISTS = Path(__file__).parent / "split_lists"


def split_list_path(folder: Path, split: str) -> Path:
    """Where the list of a split lies in a folder of lists."""
    return folder / f"scannetv2_{split}.txt"


def find_split_dir(raw: Path, given: Path | None) -> Path:
    """The folder with the split lists: ``given``, else ``raw/splits`` if it has lists, else the benchmark's.

    Raises:
        UsageError: ``given`` is no folder.
    """
    if given is not None:
        if not given.is_dir():
            raise UsageError(f"{given}: is no folder; give the folder with scannetv2_train.txt, _val and _test")
        return given
    of_raw = raw / "splits"
    return of_raw if any(split_list_path(of_raw, split).is_file() for split in SPLITS) else _PUBLISHED_LISTS


def read_split(folder: Path, split: str) -> list[str]:
    """Scene names of one split, in the order of its list.

    Raises:
        UsageError: the split is not known or its list is missing.
        DataError: the list names a scene twice, or a scene that another list names too.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is not known; choose one of {', '.join(SPLITS)}")
    scenes = _read_list(split_list_path(folder, split))
    for other in SPLITS:
        path = split_list_path(folder, other)
        shared = set(scenes) & set(_read_list(path)) if other != split and path.is_file() else set()
        if shared:
            raise DataError(f"{path}: {min(shared)} is in {split} too; a scene belongs to one split, mend the lists")
    return scenes


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Scene names of all three splits. Raises as :func:`read_split`."""
    return {split: read_split(folder, split) for split in SPLITS}


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such list; give the folder with the lists by --splits") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; put one scene name a line") from None
    scenes = [line.strip() for line in lines if line.strip()]
    seen = set()
    for scene in scenes:
        if scene in seen:
            raise DataError(f"{path}: names {scene} twice; delete one of the lines")
        if scene.startswith(".") or "/" in scene or "\\" in scene:
            raise DataError(f"{path}: {scene!r} is no scene name; put one scene name a line")
        seen.add(scene)
    return scenes
