"""``classes.tsv``: a table of classes, which people write and runs keep.

Columns ``id`` and ``name``; optional ``r g b`` (0..255), ``group`` (head, common or tail) or ``group_by_points`` (the
same, where nobody chose them: thirds of the classes by their points in training), and ``annotated_objects``. A row is a
label, from 0. Lines that are empty or begin with # don't count, and neither do other columns.
"""

import csv
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointseg.errors import DataError, UsageError
from pointseg.taxonomy.classes import Taxonomy, choose_colors

CLASS_TABLE = "classes.tsv"
"""Name of the table of a prepared tree of own classes, and of a run."""
_SEGMENT_OF_BENCHMARK = {"scannet200": "segment200", "scannet20": "segment20"}
NAMES = tuple(_SEGMENT_OF_BENCHMARK)
"""The benchmarks."""

_Byte = Annotated[int, Field(ge=0, le=255)]
_Group = Literal["head", "common", "tail"]


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
        text = path.read_text(encoding="utf-8-sig")
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
    reader = csv.DictReader((line for _, line in lines), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [column.strip() for column in reader.fieldnames or ()]
    missing = [column for column in ("id", "name") if column not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(f"{where}: has no column {missing[0]!r} (found: {found}); separate the columns by tabs")
    reader.fieldnames = header
    rows = [_parse_row(row, f"{where}:{number}") for (number, _), row in zip(lines[1:], reader, strict=True)]
    if len(rows) < 2:
        raise DataError(f"{where}: has {len(rows)} classes; a network needs two or more")
    _refuse_repeated(rows, [f"{where}:{number}" for number, _ in lines[1:]])
    colors: Sequence[tuple[int | None, ...]] = [(row.r, row.g, row.b) for row in rows]
    if any(None in color for color in colors):
        if any(color != (None, None, None) for color in colors):
            raise DataError(f"{where}: has colours of some classes or channels alone; give r, g and b of all, or none")
        colors = choose_colors(len(rows))
    groups = tuple(row.group or row.group_by_points for row in rows)
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


def _parse_row(row: dict[str, str | None], where: str) -> _Row:
    if None in row or None in row.values():
        raise DataError(f"{where}: has another number of columns than the first line; mend the row")
    try:
        return _Row.model_validate({column: text for column, text in row.items() if text})
    except ValidationError as error:
        first = error.errors()[0]
        column, text = first["loc"][0], row.get(str(first["loc"][0]))
        raise DataError(f"{where}: {column} is {text!r}: {first['msg'].lower()}; mend the row") from None


def _refuse_repeated(rows: Sequence[_Row], places: Sequence[str]) -> None:
    first: dict[tuple[str, object], str] = {}
    for row, place in zip(rows, places, strict=True):
        for column, value in (("id", row.id), ("name", row.name)):
            if (column, value) in first:
                line = first[column, value].rpartition(":")[2]
                raise DataError(f"{place}: has the {column} {value} of line {line}; each class needs its own")
            first[column, value] = place
