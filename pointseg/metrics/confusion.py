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
    def totals(self) -> np.ndarray:
        """(3, K) int64: of each class, the points of the ground truth, those predicted, and those that are both."""
        counts = self.counts[:, :-1]
        return np.stack([self.counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)])


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
    return score_totals(confusion.totals)


def score_totals(totals: np.ndarray) -> SegmentationScores:
    """The same from (3, K) :attr:`ConfusionMatrix.totals`, which are much smaller: one can keep them for each scene."""
    ground_truth, predicted, true_positive = totals
    union = ground_truth + predicted - true_positive
    num_points = int(ground_truth.sum())
    with np.errstate(invalid="ignore"):
        iou = np.where(union > 0, true_positive / union, np.nan)
        accuracy = float(true_positive.sum() / num_points) if num_points else float("nan")
    return SegmentationScores(iou, ground_truth > 0, accuracy, num_points)


def summarize(scores: SegmentationScores, taxonomy: Taxonomy) -> dict[str, Any]:
    """The scores as JSON-ready numbers: NaN is None, classes by name; those not in the ground truth have None."""
    has_groups = taxonomy.groups is not None
    # A class that is only predicted is in no mean, and not in the list either.
    iou_of_present = np.where(scores.in_ground_truth, scores.iou, np.nan)
    return {
        "miou": _number(scores.miou),
        "miou_all_classes": _number(scores.miou_all_classes),
        **{g: _number(scores.mean_iou(taxonomy.group_mask(g))) if has_groups else None for g in GROUPS},
        "accuracy": _number(scores.accuracy),
        "per_class": {name: _number(iou) for name, iou in zip(taxonomy.class_names, iou_of_present, strict=True)},
        "num_points": scores.num_points,
    }


def describe_classes(confusion: ConfusionMatrix, taxonomy: Taxonomy) -> dict[str, dict[str, Any]]:
    """What became of each class, JSON-ready.

    Returns:
        name -> ``id``; ``points`` of the ground truth; ``predicted``, how many of all that were counted were taken for
        it; ``no_class``, how many of its own were given no class; ``iou``, None where it is not in the ground truth;
        and ``mostly_taken_for``: the other class that most of its points were taken for, as ``name`` and ``share`` of
        its points, None where none was.
    """
    points, predicted, _ = confusion.totals
    iou = np.where(points > 0, score(confusion).iou, np.nan)
    wrong = confusion.counts[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows = {}
    for label, name in enumerate(taxonomy.class_names):
        other = int(wrong[label].argmax())
        share = wrong[label, other] / max(points[label], 1)
        rows[name] = {
            "id": int(taxonomy.class_ids[label]),
            "points": int(points[label]),
            "predicted": int(predicted[label]),
            "no_class": int(confusion.counts[label, -1]),
            "iou": _number(iou[label]),
            "mostly_taken_for": {"name": taxonomy.class_names[other], "share": float(share)} if share > 0 else None,
        }
    return rows


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
