"""What a network says of each point of a part: from one forward pass, or from the mean over views."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pointseg.data.augment import transform
from pointseg.data.points import Points
from pointseg.data.voxelize import Voxels
from pointseg.engine.inference.coverings import Coverings
from pointseg.engine.inference.forward import Forward
from pointseg.engine.inference.parts import ScenePart
from pointseg.models import NetworkOutput

Observer = Callable[[Voxels, NetworkOutput], None]
"""Is shown each forward pass: the voxels, on the CPU, and what the network says of them."""
Adjust = Callable[[torch.Tensor], torch.Tensor]
_POINTS_AT_ONCE = 65_536


class Wanted(NamedTuple):
    """What is asked for beside the label of each point."""

    confidence: bool = False
    probabilities: bool = False
    features: bool = False


@dataclass(frozen=True)
class PointOutput:
    """What is said of each of n points; on the CPU. What was not asked for is None."""

    label: torch.Tensor
    """(n,) int64."""
    confidence: torch.Tensor | None = None
    """(n,) float32, 0..1: the probability of that label."""
    probabilities: torch.Tensor | None = None
    """(n, K) float16."""
    features: torch.Tensor | None = None
    """(n, D) float16: what the classifier sees."""


class Pointwise:
    """From the points of a part to what is said of each.

    Args:
        forward: the network's call.
        coverings: points as voxels.
        adjust: logits (M, K) of the network -> those that decide.
    """

    def __init__(self, forward: Forward, coverings: Coverings, adjust: Adjust) -> None:
        self._forward = forward
        self._coverings = coverings
        self._adjust = adjust

    def infer_once(self, part: ScenePart, name: str, wanted: Wanted, observer: Observer | None = None) -> PointOutput:
        """The output for the core's points from one forward pass over the means of voxels."""
        voxels = self._coverings.by_mean(part.points, part.grid_origins[0])
        output = self._forward(voxels, name)
        if observer is not None:
            observer(voxels, output)
        voxel = voxels.voxel_of_point[part.is_core]
        of_voxels = _decide(self._adjust(output.logits), output.features, wanted)
        return PointOutput(**{key: value[voxel] for key, value in vars(of_voxels).items() if value is not None})

    def infer_over_views(
        self, part: ScenePart, views: Sequence[torch.Tensor], every_point: bool, name: str, wanted: Wanted
    ) -> PointOutput:
        """The output for the core's points from the mean of their probabilities (and features) over the views.

        One view is in memory at a time, and of it one covering; only the sums are kept.

        Args:
            part: a scene or a tile.
            views: (3, 3) matrices.
            every_point: whether each point in turn stands for its voxel, or the mean of its points.
            name: of the scene.
            wanted: what to return beside the labels.
        """
        row = part.is_core.cumsum(0) - 1
        sums = _Sums(int(row[-1]) + 1, wanted.features)
        for matrix, origin in zip(views, part.grid_origins, strict=True):
            for voxels, speaks_for in self._cover(transform(part.points, matrix), every_point, origin):
                of_core = speaks_for[part.is_core[speaks_for]]
                if len(of_core):
                    output = self._forward(voxels, name)
                    voxel = voxels.voxel_of_point[of_core]
                    sums.add(row[of_core], voxel, self._adjust(output.logits), output.features)
        return sums.mean(len(views), wanted)

    def _cover(
        self, points: Points, every_point: bool, origin: torch.Tensor | None
    ) -> Iterator[tuple[Voxels, torch.Tensor]]:
        if every_point:
            yield from self._coverings.in_turn(points, origin)
        else:
            yield self._coverings.by_mean(points, origin), torch.arange(len(points))


def _decide(logits: torch.Tensor, features: torch.Tensor, wanted: Wanted) -> PointOutput:
    """Logits (M, K) and features (M, D) of any device as an output, on the CPU."""
    label = logits.argmax(dim=1).cpu()
    confidence = probabilities = None
    if wanted.confidence or wanted.probabilities:
        softmax = logits.float().softmax(dim=1)
        confidence = softmax.amax(dim=1).cpu() if wanted.confidence else None
        probabilities = softmax.half().cpu() if wanted.probabilities else None
    return PointOutput(label, confidence, probabilities, features.half().cpu() if wanted.features else None)


class _Sums:
    """Probabilities and features of n points, added up over views."""

    def __init__(self, num_points: int, with_features: bool) -> None:
        self._num_points = num_points
        self._with_features = with_features
        self._probability: torch.Tensor | None = None
        self._feature: torch.Tensor | None = None

    def add(self, row: torch.Tensor, voxel: torch.Tensor, logits: torch.Tensor, features: torch.Tensor) -> None:
        """Add to rows what is said of voxels (M, K) and (M, D), without another copy as large."""
        probability = logits.float().softmax(dim=1)
        if self._probability is None:
            self._probability = probability.new_zeros(self._num_points, probability.shape[1])
        _add_rows(self._probability, row, probability, voxel)
        if self._with_features:
            if self._feature is None:
                self._feature = features.new_zeros(self._num_points, features.shape[1], dtype=torch.float32)
            _add_rows(self._feature, row, features.float(), voxel)

    def mean(self, num_views: int, wanted: Wanted) -> PointOutput:
        """The means over the views."""
        assert self._probability is not None, "a core has a point, and every view covers it"
        label = self._probability.argmax(dim=1).cpu()
        confidence = (self._probability.amax(dim=1) / num_views).cpu() if wanted.confidence else None
        probabilities = (self._probability / num_views).half().cpu() if wanted.probabilities else None
        features = None if self._feature is None else (self._feature / num_views).half().cpu()
        return PointOutput(label, confidence, probabilities, features)


def _add_rows(total: torch.Tensor, row: torch.Tensor, value: torch.Tensor, voxel: torch.Tensor) -> None:
    """total[row] += value[voxel], in slices."""
    for rows, voxels in zip(row.split(_POINTS_AT_ONCE), voxel.split(_POINTS_AT_ONCE), strict=True):
        total[rows.to(total.device)] += value[voxels.to(value.device)]
