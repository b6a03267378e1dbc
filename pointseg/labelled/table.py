"""The table of classes of an import: given, kept from the import before, or made of the ids that are found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.atomic import write_text
from pointseg.errors import DataError
from pointseg.preparation.text_files import write_if_other
from pointseg.taxonomy import CLASS_TABLE, Taxonomy, parse_class_table, read_class_table

_MOST_CLASSES = 1000


def place_table(root: Path, given: Path) -> Taxonomy:
    """Copy a table into the tree as ``classes.tsv``, with its comments.

    Raises:
        UsageError: there is no such file.
        DataError: it is no table of classes.
        OSError: the tree can't be written.
    """
    read_class_table(given)
    text = given.read_text(encoding="utf-8-sig")
    write_if_other(root / CLASS_TABLE, text)
    return read_class_table(root / CLASS_TABLE)


def write_table(root: Path, taxonomy: Taxonomy) -> Taxonomy:
    """Write ``classes.tsv`` of a tree. Raises: OSError where that can't be."""
    write_text(root / CLASS_TABLE, taxonomy.as_table())
    return read_class_table(root / CLASS_TABLE)


def name_classes(ids_of_scan: Sequence[tuple[np.ndarray, bool]], where: str) -> Taxonomy:
    """A table of the ids that scans have, each named ``class <id>``.

    Negative ids are no classes. Neither is 0 where the format says so, as LAS does; elsewhere it is one, since that is
    how data sets count from 0, and whoever means "not labelled" by it deletes the row.

    Args:
        ids_of_scan: unique ids, and whether 0 means "never classified" among them.
        where: the scans, for messages.

    Raises:
        DataError: there are fewer than two ids, or too many for classes.
    """
    found: set[int] = set()
    for ids, zero_is_unclassified in ids_of_scan:
        found |= {i for i in ids.tolist() if i >= (1 if zero_is_unclassified else 0)}
    if len(found) < 2:
        names = ", ".join(map(str, sorted(found))) or "none"
        raise DataError(
            f"{where}: the labels have fewer than two classes (ids: {names}); label the scans, or choose others"
        )
    if len(found) > _MOST_CLASSES or max(found) > np.iinfo(np.int32).max:
        raise DataError(
            f"{where}: the labels have {len(found)} ids up to {max(found)}, which look like no classes; "
            "name the property that holds those by --label-field, or give a table by --classes"
        )
    rows = "".join(f"{i}\tclass {i}\n" for i in sorted(found))
    return parse_class_table(f"id\tname\n{rows}", "own", where)
