"""The official evaluation: one confusion matrix over all vertices of all scenes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pointseg.taxonomy import GROUPS, Taxonomy


class ConfusionMatrix:
    """Counts of (ground truth, prediction) over many scenes.

    Points whose ground truth is no class are skipped. A prediction that is no class is a miss of the
    true class, and never a false positive of another one: it has a column of its own, the last.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)
        """(K, K+1): rows ground truth, columns prediction, the last column: no class."""

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count one scene.

        Args:
            label: (N,) integer; outside 0..K-1: skipped.
            prediction: (N,) integer labels; outside 0..K-1: a miss.

        Raises:
            ValueError: the two differ in length.
        """
        if label.shape != prediction.shape or label.ndim != 1:
            raise ValueError(f"expected two (N,) arrays, got labels {label.shape} and predictions {prediction.shape}")
        size = self.num_classes
        counted = (label >= 0) & (label < size)
        true, predicted = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
        predicted = np.where((predicted >= 0) & (predicted < size), predicted, size)
        pair = true * (size + 1) + predicted
        self.counts += np.bincount(pair, minlength=size * (size + 1)).reshape(size, size + 1)

    @property
    def num_points(self) -> int:
        """Points that were counted."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class SegmentationScores:
    """What one confusion matrix says, over the classes of one taxonomy."""

    iou: np.ndarray
    """(K,) float64, tp / (tp + fp + fn); NaN where the class is neither in the ground truth nor predicted."""
    in_ground_truth: np.ndarray
    """(K,) bool."""
    accuracy: float
    """Share of the points that are right; NaN where nothing was counted."""
    num_points: int

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present in the ground truth."""
        return self.mean_iou(np.ones_like(self.in_ground_truth))

    @property
    def miou_all_classes(self) -> float:
        """Mean IoU over all K classes, absent ones as 0: the leaderboard's convention."""
        return float(np.where(self.in_ground_truth, self.iou, 0.0).mean())

    def mean_iou(self, classes: np.ndarray) -> float:
        """Mean IoU over those of ``classes`` (K,) bool that are present in the ground truth; NaN without any."""
        chosen = self.iou[classes & self.in_ground_truth]
        return float(chosen.mean()) if len(chosen) else float("nan")


def score(confusion: ConfusionMatrix) -> SegmentationScores:
    """IoU of each class and accuracy: IoU = tp / (tp + fp + fn)."""
    counts = confusion.counts
    true_positive = np.diag(counts[:, :-1])
    ground_truth = counts.sum(axis=1)
    union = ground_truth + counts[:, :-1].sum(axis=0) - true_positive
    with np.errstate(invalid="ignore"):
        iou = np.where(union > 0, true_positive / union, np.nan)
        accuracy = float(true_positive.sum() / counts.sum()) if counts.sum() else float("nan")
    return SegmentationScores(iou, ground_truth > 0, accuracy, confusion.num_points)


def summarize(scores: SegmentationScores, taxonomy: Taxonomy) -> dict[str, Any]:
    """The scores as JSON-ready numbers: NaN is None, classes by name; those not in the ground truth have None."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    has_groups = taxonomy.groups is not None
    # A class that is only predicted is in no mean, and not in the list either.
    iou_of_present = np.where(scores.in_ground_truth, scores.iou, np.nan)
    return {
        "miou": number(scores.miou),
        "miou_all_classes": number(scores.miou_all_classes),
        **{g: number(scores.mean_iou(taxonomy.group_mask(g))) if has_groups else None for g in GROUPS},
        "accuracy": number(scores.accuracy),
        "per_class": {name: number(iou) for name, iou in zip(taxonomy.class_names, iou_of_present, strict=True)},
        "num_points": scores.num_points,
    }
