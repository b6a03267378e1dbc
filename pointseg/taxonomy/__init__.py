"""The benchmarks' classes: contiguous labels, the ids that files use, names, groups and colours.

A *label* is 0..K-1 in the order of the table, IGNORE = -1. A *scannet_id* is what the benchmark's
files hold: the raw category id (1..1191) in ScanNet200, the NYU40 id in ScanNet's 20 classes.
"""

import csv
import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import numpy as np

from pointseg.errors import UsageError

IGNORE = -1
GROUPS = ("head", "common", "tail")
NAMES = ("scannet200", "scannet20")


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """The K classes of one benchmark, in label order."""

    name: str
    class_names: tuple[str, ...]
    scannet_ids: np.ndarray
    """(K,) int32, ascending and unique."""
    colors: np.ndarray
    """(K, 3) uint8, the colours of the benchmark's pictures."""
    groups: tuple[str, ...] | None
    """(K,) of head/common/tail; None where the benchmark has no such groups."""
    annotated_objects: np.ndarray | None
    """(K,) int64, objects annotated in the real data set: the long tail. None where not known."""

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a class or the order of the classes changes; stamped on checkpoints."""
        rows = "\n".join(f"{i}\t{name}" for i, name in zip(self.scannet_ids, self.class_names, strict=True))
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    def label_from_scannet_id(self, scannet_id: np.ndarray) -> np.ndarray:
        """Map ids of any integer dtype to labels, int64, same shape; ids that are no class become IGNORE."""
        scannet_id = np.asarray(scannet_id)
        position = np.searchsorted(self.scannet_ids, scannet_id)
        position = np.minimum(position, self.num_classes - 1)
        return np.where(self.scannet_ids[position] == scannet_id, position, IGNORE).astype(np.int64)

    def scannet_id_from_label(self, label: np.ndarray) -> np.ndarray:
        """Map labels to ids, int32, same shape; IGNORE becomes 0, the benchmark's id for unannotated."""
        label = np.asarray(label)
        if label.size and (label.min() < IGNORE or label.max() >= self.num_classes):
            raise ValueError(f"labels are {label.min()}..{label.max()}, expected {IGNORE}..{self.num_classes - 1}")
        return np.append(self.scannet_ids, np.int32(0))[label]

    def group_mask(self, group: str) -> np.ndarray:
        """(K,) bool: the classes of ``head``, ``common`` or ``tail``."""
        if self.groups is None:
            raise ValueError(f"{self.name} has no head/common/tail groups")
        return np.array([g == group for g in self.groups])


@cache
def load_taxonomy(name: str) -> Taxonomy:
    """Read ``scannet200`` or ``scannet20`` from the tables in this package.

    Raises:
        UsageError: there is no such taxonomy.
    """
    if name not in NAMES:
        raise UsageError(f"taxonomy {name!r} is not known; choose one of {', '.join(NAMES)}")
    text = resources.files(__name__).joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    has_groups = "group" in rows[0]
    return Taxonomy(
        name=name,
        class_names=tuple(row["name"] for row in rows),
        scannet_ids=np.array([int(row["scannet_id"]) for row in rows], dtype=np.int32),
        colors=np.array([[int(row[c]) for c in "rgb"] for row in rows], dtype=np.uint8),
        groups=tuple(row["group"] for row in rows) if has_groups else None,
        annotated_objects=np.array([int(row["annotated_objects"]) for row in rows]) if has_groups else None,
    )
