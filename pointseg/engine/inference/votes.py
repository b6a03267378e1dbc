"""What the points of a segment say together, gathered part by part."""

import torch

_POINTS_AT_ONCE = 2048
"""Larger arrays get their memory from the system each time, which takes as long as the sums."""


class Votes:
    """Probabilities of the points of each segment, added up over parts and views.

    In float64, so that neither the order of the parts nor that of a GPU's sums decides about a class. All that is kept
    of a scene is (S, K): its memory does not grow with the points.

    Args:
        segment: (N,) int64 on the CPU: the segment of each of a scene's points, 0 to S - 1.

    Raises:
        ValueError: they are something else.
    """

    def __init__(self, segment: torch.Tensor) -> None:
        if segment.dtype != torch.int64 or segment.ndim != 1 or bool((segment < 0).any()):
            raise ValueError(f"segments are {segment.dtype} {tuple(segment.shape)}, expected int64 (N,) from 0 on")
        self.segment = segment
        self._num_points = torch.bincount(segment)
        self._sum: torch.Tensor | None = None

    def add(self, segment: torch.Tensor, voxel: torch.Tensor, logits: torch.Tensor) -> None:
        """Add what n points say in one view.

        Args:
            segment: (n,) int64, of each of these points.
            voxel: (n,) int64, the voxel that speaks for each.
            logits: (M, K) of the voxels, those that decide; on any device.
        """
        if self._sum is None:
            self._sum = logits.new_zeros(len(self._num_points), logits.shape[1], dtype=torch.float64)
        for segments, voxels in zip(segment.split(_POINTS_AT_ONCE), voxel.split(_POINTS_AT_ONCE), strict=True):
            probability = logits[voxels.to(logits.device)].float().softmax(dim=1)
            self._sum.index_add_(0, segments.to(logits.device), probability.double())

    def mean(self, num_views: int) -> torch.Tensor:
        """(S, K) float64, on the CPU: the mean probability of each segment, given how often each point was added."""
        assert self._sum is not None, "a scene has a point"
        return self._sum.cpu() / (num_views * self._num_points.clamp_min(1))[:, None]
