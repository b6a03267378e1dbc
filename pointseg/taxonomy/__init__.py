"""Classes: the benchmarks', and those of tables that users write.

A *label* is 0..K-1, the row of the table, IGNORE = -1. A *class_id* is what files hold; of the ScanNet benchmarks it is
the scannet_id: the raw category id (1..1191) in ScanNet200, the NYU40 id in ScanNet's 20 classes.
"""

from functools import cache
from importlib import resources
from pathlib import Path

from pointseg.errors import UsageError
from pointseg.taxonomy.classes import GROUPS, IGNORE, Taxonomy
from pointseg.taxonomy.table import format_class_table, parse_class_table, read_class_table

__all__ = [
    "CLASS_TABLE",
    "GROUPS",
    "IGNORE",
    "NAMES",
    "Taxonomy",
    "format_class_table",
    "load_taxonomy",
    "parse_class_table",
    "read_class_table",
]

CLASS_TABLE = "classes.tsv"
"""Name of the table of a prepared tree of own classes, and of a run."""
_SEGMENT_OF_BENCHMARK = {"scannet200": "segment200", "scannet20": "segment20"}
NAMES = tuple(_SEGMENT_OF_BENCHMARK)
"""The benchmarks."""


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
    text = resources.files(__name__).joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return parse_class_table(text, name, f"{name}.tsv", _SEGMENT_OF_BENCHMARK[name])
