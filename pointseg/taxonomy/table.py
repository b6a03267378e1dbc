"""``classes.tsv``: a table of classes, which people write and runs keep.

Columns ``id`` and ``name``; optional ``r g b`` (0..255), ``group`` (head, common or tail) or ``group_by_points`` (the
same, where nobody chose them: thirds of the classes by their points in training), and ``annotated_objects``. A row is a
label, from 0. Lines that are empty or begin with # don't count.
"""

import colorsys
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, UsageError
from pointseg.taxonomy.classes import GROUPS, Taxonomy

_COLOR = ("r", "g", "b")
_GOLDEN_RATIO = 0.618034


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
    numbered = [(line, row) for line, row in enumerate(text.splitlines(), start=1) if row.strip() and row[:1] != "#"]
    rows = list(csv.DictReader((row for _, row in numbered), delimiter="\t", quoting=csv.QUOTE_NONE))
    lines = [line for line, _ in numbered][1:]
    header = list(rows[0]) if rows else numbered[0][1].split("\t") if numbered else []
    for column in ("id", "name"):
        if column not in header:
            found = ", ".join(map(str, header)) or "nothing"
            raise DataError(f"{where}: has no column {column!r} (found: {found}); separate the columns by tabs")
    if len(rows) < 2:
        raise DataError(f"{where}: has {len(rows)} classes; a network needs two or more")
    for line, row in zip(lines, rows, strict=True):
        if None in row or None in row.values():
            raise DataError(f"{where}:{line}: has another number of columns than the first line; mend the row")
    ids = [_whole_number(where, line, row, "id") for line, row in zip(lines, rows, strict=True)]
    names = [row["name"].strip() for row in rows]
    _refuse_repeated(where, lines, "id", ids)
    _refuse_repeated(where, lines, "name", names)
    return Taxonomy(
        name=name,
        class_names=tuple(names),
        class_ids=np.array(ids, dtype=np.int32),
        colors=_read_colors(where, lines, rows),
        groups=_read_groups(where, lines, rows, "group") or _read_groups(where, lines, rows, "group_by_points"),
        groups_are_counted="group" not in header and "group_by_points" in header,
        annotated_objects=_read_counts(where, lines, rows),
        segment=segment,
    )


def format_class_table(taxonomy: Taxonomy) -> str:
    """The text that :func:`parse_class_table` reads back."""
    group = "group_by_points" if taxonomy.groups_are_counted else "group"
    columns: dict[str, Sequence[object]] = {"id": taxonomy.class_ids.tolist(), "name": taxonomy.class_names}
    columns |= {c: taxonomy.colors[:, axis].tolist() for axis, c in enumerate(_COLOR)}
    if taxonomy.groups is not None:
        columns[group] = taxonomy.groups
    if taxonomy.annotated_objects is not None:
        columns["annotated_objects"] = taxonomy.annotated_objects.tolist()
    rows = [columns.keys(), *zip(*columns.values(), strict=True)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def choose_colors(num_classes: int) -> np.ndarray:
    """(K, 3) uint8: colours for classes that have none, hues by the golden ratio, so that neighbours differ."""
    saturations, values = (0.55, 0.8, 0.65), (0.95, 0.75, 0.6)
    hsv = [(i * _GOLDEN_RATIO % 1, saturations[i % 3], values[i // 3 % 3]) for i in range(num_classes)]
    return np.array([[round(255 * part) for part in colorsys.hsv_to_rgb(*color)] for color in hsv], dtype=np.uint8)


def _whole_number(where: str, line: int, row: Mapping[str, str], column: str, high: int = 2**31 - 1) -> int:
    text = row[column].strip()
    if not text.isdecimal() or len(text) > 10 or int(text) > high:
        raise DataError(f"{where}:{line}: {column} is {text!r}, expected a whole number from 0 to {high}")
    return int(text)


def _refuse_repeated(where: str, lines: Sequence[int], column: str, values: Sequence[object]) -> None:
    first: dict[object, int] = {}
    for line, value in zip(lines, values, strict=True):
        if value == "":
            raise DataError(f"{where}:{line}: has no {column}; each class needs one")
        if value in first:
            raise DataError(f"{where}:{line}: has the {column} {value} of line {first[value]}; each needs its own")
        first[value] = line


def _read_colors(where: str, lines: Sequence[int], rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    given = [column for column in _COLOR if column in rows[0]]
    if not given:
        return choose_colors(len(rows))
    if len(given) < 3:
        raise DataError(f"{where}: has the colour column {given[0]!r} without the others; give r, g and b, or none")
    return np.array(
        [[_whole_number(where, line, row, c, high=255) for c in _COLOR] for line, row in zip(lines, rows, strict=True)],
        dtype=np.uint8,
    )


def _read_groups(
    where: str, lines: Sequence[int], rows: Sequence[Mapping[str, str]], column: str
) -> tuple[str, ...] | None:
    if column not in rows[0]:
        return None
    groups = tuple(row[column].strip() for row in rows)
    for line, group in zip(lines, groups, strict=True):
        if group not in GROUPS:
            raise DataError(f"{where}:{line}: {column} is {group!r}, expected {', '.join(GROUPS)}")
    return groups


def _read_counts(where: str, lines: Sequence[int], rows: Sequence[Mapping[str, str]]) -> np.ndarray | None:
    column = "annotated_objects"
    if column not in rows[0]:
        return None
    return np.array([_whole_number(where, line, row, column) for line, row in zip(lines, rows, strict=True)])
