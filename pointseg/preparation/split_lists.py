"""Lists of the scenes of a split, a name a line: what holds for all of them, whatever their files are called."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from pointseg.errors import DataError, regular_file


def is_scene_name(name: str) -> bool:
    """Whether a folder of a tree and a line of a list can be called so. Hidden folders are unfinished writes."""
    is_one_word = name == name.strip() and name.isprintable() and not {"/", "\\"} & set(name)
    return name != "" and not name.startswith(".") and is_one_word


def read_list(path: Path) -> list[str]:
    """The names of a list in its order. Blank lines, and blanks around a name, don't count.

    Raises:
        DataError: it is no text, names a scene twice, or a line is no name of a scene.
        FileNotFoundError: there is no such list.
        OSError: it can't be read.
    """
    try:
        lines = regular_file(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; put one scene name a line") from None
    scenes: dict[str, None] = {}
    for scene in filter(None, map(str.strip, lines)):
        if scene in scenes:
            raise DataError(f"{path}: names {scene} twice; delete one of the lines")
        if not is_scene_name(scene):
            raise DataError(f"{path}: {scene!r} is no scene name; put one scene name a line")
        scenes[scene] = None
    return list(scenes)


def refuse_shared(lists: Mapping[Path, list[str]]) -> None:
    """Raises: DataError where a scene is in two lists, by their paths: nobody may be tested on what was learned."""
    for (first, scenes), (second, others) in combinations(lists.items(), 2):
        if shared := set(scenes) & set(others):
            raise DataError(
                f"{second}: {min(shared)} is in {first.name} too; a scene belongs to one split, mend the lists"
            )
