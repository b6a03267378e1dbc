"""The classes of a data set."""

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

IGNORE = -1
_GOLDEN_RATIO = 0.618034
GROUPS = ("head", "common", "tail")


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

    def label_from_class_id(self, class_id: np.ndarray) -> np.ndarray:
        """Map ids of any integer dtype to labels, int64, same shape; ids that are no class become IGNORE."""
        class_id = np.asarray(class_id)
        order = np.argsort(self.class_ids)
        position = np.minimum(np.searchsorted(self.class_ids, class_id, sorter=order), self.num_classes - 1)
        label = order[position]
        return np.where(self.class_ids[label] == class_id, label, IGNORE).astype(np.int64)

    def class_id_from_label(self, label: np.ndarray) -> np.ndarray:
        """Map labels to ids, int32, same shape; IGNORE becomes :attr:`no_class_id`."""
        label = np.asarray(label)
        if label.size and (label.min() < IGNORE or label.max() >= self.num_classes):
            raise ValueError(f"labels are {label.min()}..{label.max()}, expected {IGNORE}..{self.num_classes - 1}")
        return np.append(self.class_ids, np.int32(self.no_class_id))[label]

    def group_mask(self, group: str) -> np.ndarray:
        """(K,) bool: the classes of ``head``, ``common`` or ``tail``."""
        if self.groups is None:
            raise ValueError(f"{self.name} has no head/common/tail groups")
        return np.array([g == group for g in self.groups])

    def with_counted_groups(self, points: Sequence[int]) -> "Taxonomy":
        """These classes, in three groups of as many classes each by their points in training.

        Classes that have their groups keep them, and those of a benchmark that has none stay without.

        Args:
            points: (K,) labelled points of each class; the most frequent third is head.
        """
        if self.groups is not None or self.is_benchmark:
            return self
        rank = np.argsort(np.argsort(-np.asarray(points), kind="stable"))
        groups = tuple(GROUPS[r * len(GROUPS) // self.num_classes] for r in rank.tolist())
        return replace(self, groups=groups, groups_are_counted=True)

    def as_table(self) -> str:
        """The text of ``classes.tsv`` (:mod:`pointseg.taxonomy.table`)."""
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
