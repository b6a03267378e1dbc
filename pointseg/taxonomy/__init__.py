"""Classes: the benchmarks', and those of tables that users write.

A *label* is 0..K-1, the row of the table, IGNORE = -1. A *class_id* is what files hold; of the ScanNet benchmarks it is
the scannet_id: the raw category id (1..1191) in ScanNet200, the NYU40 id in ScanNet's 20 classes.
"""

from pointseg.taxonomy.classes import (
    CLASS_TABLE,
    GROUPS,
    IGNORE,
    NAMES,
    Taxonomy,
    load_taxonomy,
    parse_class_table,
    read_class_table,
)

__all__ = [
    "CLASS_TABLE",
    "GROUPS",
    "IGNORE",
    "NAMES",
    "Taxonomy",
    "load_taxonomy",
    "parse_class_table",
    "read_class_table",
]
