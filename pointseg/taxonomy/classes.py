"""The classes of a data set, and ``classes.tsv``, the table of them that people write and runs keep.

Columns ``id`` and ``name``; optional ``r g b`` (0..255), ``group`` (head, common or tail) or ``group_by_points`` (the
same, where nobody chose them: thirds of the classes by their points in training), and ``annotated_objects``. A row is a
label, from 0. Lines that are empty or begin with # don't count, and neither do other columns.
"""

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointseg.errors import DataError, UsageError, regular_file

IGNORE = -1
_GOLDEN_RATIO = 0.618034
GROUPS = ("head", "common", "tail")
CLASS_TABLE = "classes.tsv"
"""Name of the table of a prepared tree of own classes, and of a run."""
_SEGMENT_OF_BENCHMARK = {"scannet200": "segment200", "scannet20": "segment20"}
NAMES = tuple(_SEGMENT_OF_BENCHMARK)
"""The benchmarks."""
_MOST_SHOWN = 200  # characters of a cell, in an error

_Byte = Annotated[int, Field(ge=0, le=255)]
_Group = Literal["head", "common", "tail"]


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """K classes in label order."""

    name: str
    class_names: tuple[str, ...]
    class_ids: np.ndarray
    """(K,) int32, unique: what files hold."""
    colors: np.ndarray
    """(K, 3) uint8, for pictures."""
    groups: tuple[str, ...] | None = None
    """(K,) of head/common/tail; None where the table has no such groups."""
    groups_are_counted: bool = False
    """Whether the groups are thirds of the classes by their points in training, since the table has none."""
    annotated_objects: np.ndarray | None = None
    """(K,) int64, objects annotated in the real data set: the long tail. None where not known."""
    segment: str = "segment"
    """Name of the array of a prepared scene that holds labels of these classes."""

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def is_benchmark(self) -> bool:
        """Whether these are the classes of a ScanNet benchmark."""
        return self.segment != "segment"

    @property
    def key(self) -> str:
        """What a report calls these classes: the benchmark's name, or ``own``."""
        return self.name if self.is_benchmark else "own"

    @property
    def no_class_id(self) -> int:
        """The id that files hold where nothing is known: 0, or -1 where 0 is the id of a class."""
        return -1 if 0 in self.class_ids else 0

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a class or the order of the classes changes; stamped on checkpoints."""
        rows = "\n".join(f"{i}\t{name}" for i, name in zip(self.class_ids, self.class_names, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    @cached_property
    def ids_fingerprint(self) -> str:
        """Changes when the ids or their order do, and with them the labels; a name may change without that."""
        return hashlib.sha256(repr(self.class_ids.tolist()).encode()).hexdigest()[:16]

    @property
    def fingerprints(self) -> frozenset[str]:
        """What a scene with labels of these classes may say of its table: scans say ids alone, data sets names too."""
        return frozenset((self.fingerprint, self.ids_fingerprint))

    def label_from_class_id(self, class_id: np.ndarray) -> np.ndarray:
        """Map ids of any integer dtype to labels, int64, same shape; ids that are no class become IGNORE."""
        class_id = np.asarray(class_id)
        order = np.argsort(self.class_ids)
        position = np.minimum(np.searchsorted(self.class_ids, class_id, sorter=order), self.num_classes - 1)
        label = order[position]
        return np.where(self.class_ids[label] == class_id, label, IGNORE).astype(np.int64)

    def class_id_from_label(self, label: np.ndarray) -> np.ndarray:
        """Map labels to ids, int32, same shape; IGNORE becomes :attr:`no_class_id`.

        Raises:
            ValueError: a label is neither a class nor IGNORE.
        """
        label = np.asarray(label)
        if label.size and (label.min() < IGNORE or label.max() >= self.num_classes):
            raise ValueError(f"labels are {label.min()}..{label.max()}, expected {IGNORE}..{self.num_classes - 1}")
        return np.append(self.class_ids, np.int32(self.no_class_id))[label]

    def group_mask(self, group: str) -> np.ndarray:
        """(K,) bool: the classes of ``head``, ``common`` or ``tail``.

        Raises:
            ValueError: it is another group, or the classes have none.
        """
        if group not in GROUPS:
            raise ValueError(f"expected a group of {', '.join(GROUPS)}, got {group!r}")
        if self.groups is None:
            raise ValueError(f"{self.name} has no head/common/tail groups")
        return np.array([g == group for g in self.groups])

    def with_counted_groups(self, points: Sequence[int]) -> "Taxonomy":
        """These classes, in three groups of as many classes each by their points in training.

        Classes that were given groups keep them, and those of a benchmark that has none stay without; groups that were
        counted on other scenes are counted anew.

        Args:
            points: (K,) labelled points of each class; the most frequent third is head.
        """
        if self.is_benchmark or (self.groups is not None and not self.groups_are_counted):
            return self
        rank = np.argsort(np.argsort(-np.asarray(points), kind="stable"))
        groups = tuple(GROUPS[r * len(GROUPS) // self.num_classes] for r in rank.tolist())
        return replace(self, groups=groups, groups_are_counted=True)

    def as_table(self) -> str:
        """The text of ``classes.tsv``."""
        columns: dict[str, Sequence[object]] = {"id": self.class_ids.tolist(), "name": self.class_names}
        columns |= {channel: self.colors[:, index].tolist() for index, channel in enumerate("rgb")}
        if self.groups is not None:
            columns["group_by_points" if self.groups_are_counted else "group"] = self.groups
        if self.annotated_objects is not None:
            columns["annotated_objects"] = self.annotated_objects.tolist()
        rows = [columns.keys(), *zip(*columns.values(), strict=True)]
        return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def choose_colors(num_classes: int) -> list[tuple[int, int, int]]:
    """Colours for K classes that have none, 0..255: hues by the golden ratio, so that neighbours differ."""
    saturations, values = (0.55, 0.8, 0.65), (0.95, 0.75, 0.6)
    hsv = [(i * _GOLDEN_RATIO % 1, saturations[i % 3], values[i // 3 % 3]) for i in range(num_classes)]
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*color)) for color in hsv]  # type: ignore[misc]


class _Row(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    id: int = Field(ge=0, lt=2**31)
    name: str = Field(min_length=1)
    r: _Byte | None = None
    g: _Byte | None = None
    b: _Byte | None = None
    group: _Group | None = None
    group_by_points: _Group | None = None
    annotated_objects: int | None = Field(default=None, ge=0)


def load_taxonomy(name: str) -> Taxonomy:
    """The classes of ``scannet200`` or ``scannet20``, or of the table at a path.

    Raises:
        UsageError: there is no such benchmark, nor such a file.
        DataError: the file is no table of classes.
    """
    if name in NAMES:
        return _load_benchmark(name)
    if not name.endswith(".tsv"):
        raise UsageError(
            f"taxonomy {name!r} is not known; choose one of {', '.join(NAMES)}, or give the path of a table of classes "
            "(.tsv)"
        )
    return read_class_table(Path(name))


@cache
def _load_benchmark(name: str) -> Taxonomy:
    text = resources.files(__package__).joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return parse_class_table(text, name, f"{name}.tsv", _SEGMENT_OF_BENCHMARK[name])


def read_class_table(path: Path) -> Taxonomy:
    """Read a table; its name is the file's, or of a ``classes.tsv`` the folder's.

    Raises:
        UsageError: there is no such file.
        DataError: it is no such table; the line says which row is wrong, and how.
    """
    try:
        text = regular_file(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such table of classes; write one with the columns id and name") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as a table of text ({error}); write one in UTF-8") from None
    name = path.resolve().parent.name if path.stem == "classes" else path.stem
    return parse_class_table(text, name, str(path))


def parse_class_table(text: str, name: str, where: str, segment: str = "segment") -> Taxonomy:
    """The classes of a table's text.

    Args:
        text: of the file.
        name: of the taxonomy.
        where: what to call the table in an error.
        segment: the array of a prepared scene that holds labels of these classes.

    Raises:
        DataError: it is no such table.
    """
    numbered = enumerate(text.splitlines(), start=1)
    lines = [(number, line) for number, line in numbered if line.strip() and not line.startswith("#")]
    header = [column.strip() for _, line in lines[:1] for column in line.split("\t")]
    missing = [column for column in ("id", "name") if column not in header]
    if missing:
        found = _shorten(", ".join(header)) or "nothing"
        raise DataError(
            f"{where}: has no column {missing[0]!r} (found: {found}); its first line has to be id<tab>name, and tabs "
            "separate the columns"
        )
    rows = [_parse_row(header, line.split("\t"), f"{where}:{number}") for number, line in lines[1:]]
    if len(rows) < 2:
        raise DataError(f"{where}: has {len(rows)} classes; a network needs two or more")
    _refuse_repeated(rows, [f"{where}:{number}" for number, _ in lines[1:]])
    colors: Sequence[tuple[int | None, ...]] = [(row.r, row.g, row.b) for row in rows]
    if any(None in color for color in colors):
        if any(color != (None, None, None) for color in colors):
            raise DataError(f"{where}: has colours of some classes or channels alone; give r, g and b of all, or none")
        colors = choose_colors(len(rows))
    groups = tuple(row.group or row.group_by_points for row in rows)
    if None in groups and any(groups):
        raise DataError(f"{where}: has groups of some classes alone; give a group of all, or none")
    counts = [row.annotated_objects for row in rows]
    return Taxonomy(
        name=name,
        class_names=tuple(row.name for row in rows),
        class_ids=np.array([row.id for row in rows], dtype=np.int32),
        colors=np.array(colors, dtype=np.uint8),
        groups=None if None in groups else groups,  # type: ignore[arg-type]
        groups_are_counted=None not in groups and "group" not in header,
        annotated_objects=None if None in counts else np.array(counts),
        segment=segment,
    )


def _parse_row(header: Sequence[str], cells: Sequence[str], where: str) -> _Row:
    if len(cells) != len(header):
        raise DataError(f"{where}: has another number of columns than the first line; mend the row")
    row = dict(zip(header, cells, strict=True))
    try:
        return _Row.model_validate({column: text for column, text in row.items() if text})
    except ValidationError as error:
        first = error.errors()[0]
        column = str(first["loc"][0])
        shown = repr(_shorten(row.get(column, "")))
        raise DataError(f"{where}: {column} is {shown}: {first['msg'].lower()}; mend the row") from None


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _refuse_repeated(rows: Sequence[_Row], places: Sequence[str]) -> None:
    first: dict[tuple[str, object], str] = {}
    for row, place in zip(rows, places, strict=True):
        for column, value in (("id", row.id), ("name", row.name)):
            if (column, value) in first:
                line = first[column, value].rpartition(":")[2]
                raise DataError(f"{place}: has the {column} {value} of line {line}; each class needs its own")
            first[column, value] = place
