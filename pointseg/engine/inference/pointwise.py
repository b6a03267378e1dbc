"""What a network says of each point of a part: from one forward pass, or from the mean over views."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from pointseg.data.augment import transform
from pointseg.data.points import Points
from pointseg.data.voxelize import Voxels
from pointseg.engine.inference.coverings import Coverings
from pointseg.engine.inference.forward import Forward
from pointseg.engine.inference.parts import ScenePart
from pointseg.engine.inference.votes import Votes
from pointseg.models import NetworkOutput
from pointseg.taxonomy import IGNORE

Observer = Callable[[Voxels, NetworkOutput], None]
"""Is shown each forward pass: the voxels, on the CPU, and what the network says of them."""
Adjust = Callable[[torch.Tensor], torch.Tensor]
_POINTS_AT_ONCE = 65_536
_DTYPE_OF_FIELD = {"probabilities": torch.float16, "features": torch.float16}


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


Allocate = Callable[[str, tuple[int, ...], torch.dtype], torch.Tensor]
"""Makes the array for a field of :class:`PointOutput`, given its name, shape and dtype; on the CPU, of zeros."""


class PointArrays:
    """The output for all N points of a scan, filled part by part without another copy of it.

    Args:
        num_points: N.
        row: (n,) which of them are the scene's points, where it has not all of them; others keep the label
            IGNORE and zeros. None: all, in their order.
        allocate: where the arrays are; None: in memory.
    """

    def __init__(self, num_points: int, row: torch.Tensor | None = None, allocate: Allocate | None = None) -> None:
        self._num_points = num_points
        self._row = row
        self._allocate = allocate or _allocate_in_memory
        self._arrays: dict[str, torch.Tensor] = {}

    def put(self, row: torch.Tensor | slice, output: PointOutput, voxel: torch.Tensor | None = None) -> None:
        """Fill rows of the scene.

        Args:
            row: of the scene's points.
            output: for them in this order; or for voxels (or segments). On any device, floats in any precision.
            voxel: which of those each point is in.
        """
        for name, value in vars(output).items():
            if value is not None:
                self.put_field(name, row, value, voxel)

    def put_field(
        self, name: str, row: torch.Tensor | slice, value: torch.Tensor, voxel: torch.Tensor | None = None
    ) -> None:
        """Fill rows of one field of :class:`PointOutput`; arguments as :meth:`put`."""
        if self._row is not None:
            rows = self._row[row]
        else:
            rows = torch.arange(self._num_points)[row] if isinstance(row, slice) else row
        if name not in self._arrays:
            dtype = _DTYPE_OF_FIELD.get(name, value.dtype)
            array = self._allocate(name, (self._num_points, *value.shape[1:]), dtype)
            self._arrays[name] = array.fill_(IGNORE) if name == "label" else array
        array = self._arrays[name]
        places = torch.arange(len(rows)) if voxel is None else voxel
        for at, place in zip(rows.split(_POINTS_AT_ONCE), places.split(_POINTS_AT_ONCE), strict=True):
            array[at] = value[place.to(value.device)].to(array.dtype).cpu()

    def collect(self) -> PointOutput:
        """All that was put in."""
        return PointOutput(**self._arrays)


def _allocate_in_memory(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


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

    def infer_once(
        self, part: ScenePart, name: str, wanted: Wanted, observer: Observer | None = None
    ) -> tuple[PointOutput, torch.Tensor]:
        """The output for voxels from one forward pass over their means, and the voxel of each of the core's points."""
        voxels = self._coverings.by_mean(part.points, part.grid_origins[0])
        output = self._forward(voxels, name)
        if observer is not None:
            observer(voxels, output)
        of_voxels = _decide_once(self._adjust(output.logits), output.features, wanted)
        return of_voxels, voxels.voxel_of_point[part.is_core]

    def infer_over_views(
        self, part: ScenePart, views: Sequence[torch.Tensor], every_point: bool, name: str, wanted: Wanted
    ) -> PointOutput:
        """The output for the core's points from the mean of their probabilities (and features) over the views.

        It is on the network's device and in float32, to be put into :class:`PointArrays`. One view is in memory at a
        time, and of it one covering; only the sums are kept.

        Args:
            part: a scene or a tile.
            views: (3, 3) matrices.
            every_point: whether each point in turn stands for its voxel, or the mean of its points.
            name: of the scene.
            wanted: what to return beside the labels.
        """
        num_points = int(part.is_core.sum())
        probabilities, features = _Sum(num_points), _Sum(num_points)
        for row, voxel, output in self._pass_over_views(part, views, every_point, name):
            probabilities.add(row, voxel, self._adjust(output.logits).float().softmax(dim=1))
            if wanted.features:
                features.add(row, voxel, output.features.float())
        of_points = decide(probabilities.mean(len(views)), wanted)
        return replace(of_points, features=features.mean(len(views)) if wanted.features else None)

    def gather_votes(
        self,
        part: ScenePart,
        views: Sequence[torch.Tensor],
        every_point: bool,
        name: str,
        votes: Votes,
        wanted: Wanted,
        observer: Observer | None = None,
    ) -> torch.Tensor | None:
        """Add what is said of the core's points in each view to the votes on their segments.

        The forward passes are those of :meth:`infer_over_views`, and with one view, as it is, of :meth:`infer_once`.

        Returns:
            (n, D) float32: the mean of the points' own features, on the network's device; None where not wanted.
        """
        segment = votes.segment[part.row]
        features = _Sum(len(segment))
        for row, voxel, output in self._pass_over_views(part, views, every_point, name, observer):
            votes.add(segment[row], voxel, self._adjust(output.logits))
            if wanted.features:
                features.add(row, voxel, output.features.float())
        return features.mean(len(views)) if wanted.features else None

    def _pass_over_views(
        self,
        part: ScenePart,
        views: Sequence[torch.Tensor],
        every_point: bool,
        name: str,
        observer: Observer | None = None,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, NetworkOutput]]:
        """Yield, for each forward pass, (n,) rows of the core, the voxel that speaks for each, and the output."""
        row = part.is_core.cumsum(0) - 1
        for matrix, origin in zip(views, part.grid_origins, strict=True):
            for voxels, speaks_for in self._cover(transform(part.points, matrix), every_point, origin):
                of_core = speaks_for[part.is_core[speaks_for]]
                if len(of_core):
                    output = self._forward(voxels, name)
                    if observer is not None:
                        observer(voxels, output)
                    yield row[of_core], voxels.voxel_of_point[of_core], output

    def _cover(
        self, points: Points, every_point: bool, origin: torch.Tensor | None
    ) -> Iterator[tuple[Voxels, torch.Tensor]]:
        if every_point:
            yield from self._coverings.in_turn(points, origin)
        else:
            yield self._coverings.by_mean(points, origin), torch.arange(len(points))


def decide(probabilities: torch.Tensor, wanted: Wanted) -> PointOutput:
    """Mean probabilities (n, K) as an output, on their device; without features."""
    return PointOutput(
        probabilities.argmax(dim=1),
        probabilities.amax(dim=1).float() if wanted.confidence else None,
        probabilities if wanted.probabilities else None,
    )


def _decide_once(logits: torch.Tensor, features: torch.Tensor, wanted: Wanted) -> PointOutput:
    """Logits (M, K) and features (M, D) of any device as an output, on the CPU."""
    label = logits.argmax(dim=1).cpu()
    confidence = torch.empty(len(logits)) if wanted.confidence else None
    probabilities = torch.empty(logits.shape, dtype=torch.float16) if wanted.probabilities else None
    if wanted.confidence or wanted.probabilities:
        # In slices: of all voxels at once, probabilities in float32 would be the largest array there is.
        for start in range(0, len(logits), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            softmax = logits[part].float().softmax(dim=1)
            if confidence is not None:
                confidence[part] = softmax.amax(dim=1).cpu()
            if probabilities is not None:
                probabilities[part] = softmax.half().cpu()
    return PointOutput(label, confidence, probabilities, features.half().cpu() if wanted.features else None)


class _Sum:
    """Values of n points, added up over views."""

    def __init__(self, num_points: int) -> None:
        self._num_points = num_points
        self._total: torch.Tensor | None = None

    @property
    def total(self) -> torch.Tensor:
        """(n, C) float32, on the device of the values."""
        assert self._total is not None, "a core has a point, and every view covers it"
        return self._total

    def add(self, row: torch.Tensor, voxel: torch.Tensor, value: torch.Tensor) -> None:
        """Add to rows what is said of voxels (M, C), without another copy as large."""
        if self._total is None:
            self._total = value.new_zeros(self._num_points, value.shape[1], dtype=torch.float32)
        for rows, voxels in zip(row.split(_POINTS_AT_ONCE), voxel.split(_POINTS_AT_ONCE), strict=True):
            self._total[rows.to(self._total.device)] += value[voxels.to(value.device)]

    def mean(self, num_views: int) -> torch.Tensor:
        """The total becomes the mean over the views where it is: another copy can be larger than all else."""
        return self.total.div_(num_views)
