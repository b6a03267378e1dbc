"""Copy-paste of rare objects: instances of tail classes, set down in other scenes.

After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (CVPR 2021), and
the instance augmentation of LGround (Rozenberszki et al., ECCV 2022), which places tail objects in ScanNet200.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pointseg.data.augment import rotation_about, transform
from pointseg.data.points import Points, concatenate, points_from_scene
from pointseg.errors import DataError, UsageError
from pointseg.scans.prepared import read_scene
from pointseg.scans.tree import prepare_again
from pointseg.taxonomy import Taxonomy

MIN_POINTS = 20
"""An object of fewer is a fragment."""
NUM_TRIES = 24
"""Places that are tried for each object."""
SUPPORT_M = 0.03
"""How uneven what it stands on may be."""
_UP = math.cos(math.radians(15))


@dataclass(frozen=True)
class ObjectBox:
    """An axis-aligned box."""

    low: torch.Tensor
    """(3,) metres."""
    high: torch.Tensor
    """(3,) metres."""

    def overlaps(self, other: "ObjectBox") -> bool:
        """Whether they have a volume in common."""
        return bool((self.low < other.high).all() and (other.low < self.high).all())


@dataclass(frozen=True)
class ObjectBank:
    """Objects of each class, in the order of the training split; the middle of the bottom of each is the origin."""

    objects: tuple[tuple[Points, ...], ...]
    """For each class that has any."""

    def paste(self, points: Points, num_objects: int, generator: torch.Generator) -> Points:
        """Set down objects of evenly drawn classes, turned about z; one for which no place is found is left out.

        An object stands on what is level under all four corners of it, floor or furniture. The axis-aligned box around
        it lies within the scene's, holds no point of the scene, and overlaps no other box that was set down.

        Args:
            points: the scene, z up.
            num_objects: how many are tried.
            generator: the source of the draws.
        """
        spots = _level_points(points)
        xyz = points.xyz.index_select(0, points.xyz[:, 0].argsort())
        pasted: list[Points] = []
        boxes: list[ObjectBox] = []
        for _ in range(num_objects):
            of_class = self.objects[_choose(len(self.objects), generator)]
            angle = float(torch.rand((), generator=generator, device=generator.device)) * 2 * math.pi
            thing = transform(of_class[_choose(len(of_class), generator)], rotation_about("z", angle))
            found = _find_place(thing, spots, xyz, boxes, generator)
            if found is not None:
                thing, box = found
                pasted.append(thing if points.instance is None else _as_object(thing, points.instance, len(pasted)))
                boxes.append(box)
        return concatenate([points, *pasted])


def build_bank(
    folders: Sequence[Path], taxonomy: Taxonomy, features: tuple[str, ...], device: torch.device
) -> ObjectBank:
    """Gather the objects of tail classes of prepared scenes.

    Raises:
        UsageError: the benchmark has no tail classes.
        DataError: a scene has no instances or is damaged, or no scene has such an object.
    """
    if taxonomy.groups is None:
        raise UsageError(f"augment.copy_paste: {taxonomy.name} has no tail classes to take objects from; set it to 0")
    is_tail = torch.from_numpy(taxonomy.group_mask("tail"))
    of_class: dict[int, list[Points]] = {}
    for folder in folders:
        scene = read_scene(folder, taxonomy)
        if scene.instance is None:
            raise DataError(
                f"{folder}/instance.npy: is missing, and augment.copy_paste needs it; {prepare_again(folder)}"
            )
        points = points_from_scene(scene, features)
        instance = torch.from_numpy(np.asarray(scene.instance))
        candidate = (points.label >= 0) & (instance >= 0)
        candidate[candidate.clone()] = is_tail[points.label[candidate]]
        for number in instance[candidate].unique().tolist():
            own = points.select(candidate & (instance == number))
            label = int(own.label.mode().values)
            own = own.select(own.label == label)
            if len(own) >= MIN_POINTS:
                of_class.setdefault(label, []).append(_put_on_origin(own).to(device))
    if not of_class:
        raise DataError(
            f"{folders[0].parent}: no object of a tail class to paste; set augment.copy_paste=0, or add scenes"
        )
    return ObjectBank(tuple(tuple(of_class[label]) for label in sorted(of_class)))


def _find_place(
    thing: Points, spots: torch.Tensor, xyz: torch.Tensor, taken: Sequence[ObjectBox], generator: torch.Generator
) -> tuple[Points, ObjectBox] | None:
    """The object where it stands, and its box; None where there is no room.

    Args:
        thing: the middle of its bottom is the origin.
        spots: (S, 3) that it may stand on.
        xyz: (N, 3) of the scene, sorted by x.
        taken: boxes that it may not overlap.
        generator: the source of the draws.
    """
    if not len(spots):
        return None
    low, high = torch.aminmax(thing.xyz, dim=0)
    room = torch.aminmax(xyz[:, :2], dim=0)
    x = xyz[:, 0].contiguous()
    for _ in range(NUM_TRIES):
        spot = spots[_choose(len(spots), generator)]
        begin, end = torch.searchsorted(x, torch.stack([low[0], high[0]]) + spot[0]).tolist()
        offset = xyz[begin:end] - spot
        offset = offset[((offset[:, :2] > low[:2]) & (offset[:, :2] < high[:2])).all(dim=1)]
        support = offset[offset[:, 2].abs() <= SUPPORT_M]
        if not len(support):  # the object has no width
            continue
        spot = torch.stack([spot[0], spot[1], spot[2] + support[:, 2].max()])
        box = ObjectBox(spot + low, spot + high)
        if bool((box.low[:2] < room.min).any() or (box.high[:2] > room.max).any()):
            continue
        height = offset[:, 2] - support[:, 2].max()
        if bool(((height > 0) & (height < high[2])).any()) or any(box.overlaps(other) for other in taken):
            continue
        # Ninths of the footprint, of which those at the corners are numbered 0, 2, 6 and 8.
        third = ((support[:, :2] - low[:2]) / (high - low)[:2] * 3).long()
        if {0, 2, 6, 8} <= set((3 * third[:, 0] + third[:, 1]).unique().tolist()):
            return replace(thing, xyz=thing.xyz + spot), box
    return None


def _as_object(thing: Points, others: torch.Tensor, index: int) -> Points:
    """With an instance that no object of the scene has, nor another that was pasted."""
    number = others.max() + 1 + index
    return replace(thing, instance=number.to(others.dtype).expand(len(thing)))


def _level_points(points: Points) -> torch.Tensor:
    """(S, 3) of the points that something could stand on: those that face up, or all where normals are unknown."""
    return points.xyz if points.normal is None else points.xyz[points.normal[:, 2] > _UP]


def _put_on_origin(points: Points) -> Points:
    low, high = torch.aminmax(points.xyz, dim=0)
    origin = torch.stack([*((low + high) / 2)[:2], low[2]])
    return replace(points, xyz=points.xyz - origin)


def _choose(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator, device=generator.device))
