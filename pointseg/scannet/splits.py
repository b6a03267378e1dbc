"""The split lists: which scene belongs to train, val or test. Those of the benchmark are in ``split_lists``."""

from pathlib import Path

from pointseg.errors import DataError, UsageError
from pointseg.preparation.split_lists import read_list, refuse_shared
from pointseg.scans.tree import SPLITS

PUBLISHED_LISTS = Path(__file__).parent / "split_lists"


def split_list_path(folder: Path, split: str) -> Path:
    """Where the list of a split lies in a folder of lists."""
    return folder / f"scannetv2_{split}.txt"


def find_split_dir(raw: Path, given: Path | None) -> Path:
    """The folder with the split lists: ``given``, else ``raw/splits`` if there is one, else the benchmark's.

    Raises:
        UsageError: ``given`` is no folder, or ``raw/splits`` has lists of other names.
    """
    if given is not None:
        if not given.is_dir():
            raise UsageError(f"{given}: is no folder; give the folder with scannetv2_train.txt, _val and _test")
        return given
    of_raw = raw / "splits"
    if any(split_list_path(of_raw, split).is_file() for split in SPLITS):
        return of_raw
    if lists := sorted(of_raw.glob("*.txt")):
        raise UsageError(
            f"{of_raw}: has {lists[0].name}, and not scannetv2_train.txt, _val and _test; rename the lists, or give a "
            "folder with --splits"
        )
    return PUBLISHED_LISTS


def read_split(folder: Path, split: str) -> list[str]:
    """Scene names of one split, in the order of its list.

    Raises:
        UsageError: the split is not known or its list is missing.
        DataError: the list is bad, or it names a scene that another list names too.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is not known; choose one of {', '.join(SPLITS)}")
    path = split_list_path(folder, split)
    try:
        scenes = read_list(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such list; give the folder with the lists by --splits") from None
    for scene in scenes:
        if "#" in scene or scene.endswith(".txt"):
            raise DataError(f"{path}: {scene!r} is no scene of ScanNet; put one scene name a line, and nothing else")
    for other in (split_list_path(folder, name) for name in SPLITS if name != split):
        if other.is_file():
            refuse_shared({path: scenes, other: read_list(other)})
    return scenes


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Scene names of all three splits. Raises as :func:`read_split`."""
    return {split: read_split(folder, split) for split in SPLITS}
