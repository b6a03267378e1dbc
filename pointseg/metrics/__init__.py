"""How good a segmentation is, by the benchmark's rule."""

from pointseg.metrics.confusion import (
    ConfusionMatrix,
    SegmentationScores,
    describe_classes,
    score,
    score_totals,
    summarize,
)

__all__ = ["ConfusionMatrix", "SegmentationScores", "describe_classes", "score", "score_totals", "summarize"]
