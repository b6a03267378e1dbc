"""How good a segmentation is, by the benchmark's rule."""

from pointseg.metrics.confusion import ConfusionMatrix, SegmentationScores, score, summarize

__all__ = ["ConfusionMatrix", "SegmentationScores", "score", "summarize"]
