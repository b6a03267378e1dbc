"""What a network says of a scan, as one object for programs and people."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from pointseg.data.points import check_parts
from pointseg.engine.inference.pointwise import Allocate, PointArrays, Wanted
from pointseg.engine.inference.segmenter import Segmenter
from pointseg.metrics.class_shares import count_classes, count_ids, name_shares
from pointseg.scans.scan_input import ScanInput
from pointseg.taxonomy import IGNORE, Taxonomy


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What is said of each of the N points of a scan, in the order of its file.

    A point without a place (its coordinates are not finite) gets no class: its label is -1, its id
    ``taxonomy.no_class_id`` and its name empty, and all else is zero.
    """

    scan: str
    """Name of the scan."""
    taxonomy: Taxonomy
    """The classes."""
    labels: np.ndarray
    """(N,) int64: 0..K-1, the rows of ``taxonomy``."""
    confidence: np.ndarray
    """(N,) float32, 0..1: the probability of the label."""
    probabilities: np.ndarray | None = None
    """(N, K) float16, columns in the order of labels; None where not asked for."""
    features: np.ndarray | None = None
    """(N, D) float16, the network's last features, which its classifier sees; None where not asked for."""
    remarks: tuple[str, ...] = ()
    """What a person should know of how the scan was read, a line each."""

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) int32 class_ids: what the files hold, too."""
        return self.taxonomy.class_id_from_label(self.labels)

    @cached_property
    def names(self) -> np.ndarray:
        """(N,) str objects: the class of each point."""
        return np.array([*self.taxonomy.class_names, ""], dtype=object)[self.labels]

    @cached_property
    def shares(self) -> dict[str, float]:
        """Class -> its share of the points that have one, for classes that have points; the most frequent first."""
        total = sum(self._points_of_class.values())
        return {name: points / total for name, points in self._points_of_class.items()}

    @cached_property
    def _points_of_class(self) -> dict[str, int]:
        return count_classes(count_ids(self.ids), self.taxonomy)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        parts = [
            f"{len(self):,} point{'s' * (len(self) != 1)}",
            f"{len(self.shares)} of {self.taxonomy.num_classes} classes",
        ]
        if num_without := int((self.labels == IGNORE).sum()):
            parts.append(f"{num_without:,} without a place")
        has_label = self.labels != IGNORE
        if has_label.any():
            parts.append(f"confidence {self.confidence[has_label].mean():.2f} on average")
        for name in ("probabilities", "features"):
            if (array := getattr(self, name)) is not None:
                parts.append(f"{name} {array.shape}")
        head = f"Prediction({self.scan}: {', '.join(parts)}"
        return "\n  ".join([head, ", ".join(name_shares(self._points_of_class)), *self.remarks]) + ")"


def infer_scan(
    segmenter: Segmenter, scan: ScanInput, tta: str, wanted: Wanted, allocate: Allocate | None = None
) -> Prediction:
    """Predict a scan that was read.

    Args:
        segmenter: the network.
        scan: as :func:`pointseg.scans.scan_input.read_scan_input` returns it.
        tta: as :meth:`Segmenter.infer_scene`, which says what is raised, too.
        wanted: with the confidence.
        allocate: where the arrays are; None: in memory.
    """
    check_parts(scan.scene, segmenter.config.data.features, str(scan.file.path))
    row = None if scan.has_place.all() else torch.from_numpy(np.flatnonzero(scan.has_place))
    arrays = PointArrays(len(scan.has_place), row, allocate)
    segments = None
    if segmenter.votes:
        from pointseg.engine.inference.scan_segments import find_segments

        segments = find_segments(scan)
    wanted = wanted._replace(confidence=True)
    output = segmenter.infer_scene(scan.scene, tta, wanted, arrays=arrays, segments=segments)
    assert output.confidence is not None, "it was asked for"
    return Prediction(
        scan=scan.scene.name,
        taxonomy=segmenter.taxonomy,
        labels=output.label.numpy(),
        confidence=output.confidence.numpy(),
        probabilities=None if output.probabilities is None else output.probabilities.numpy(),
        features=None if output.features is None else output.features.numpy(),
        remarks=tuple(scan.remarks),
    )
