"""Augmentation of single objects: each annotated one moves, turns, changes or fades on its own.

The seven augmentations of the recipe of Volt (arXiv 2604.19609), which its published teacher shares. What is learned of
a class should not hang on where its objects stand and how they are turned.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pointseg.config import ObjectConfig
from pointseg.data.augment import draw_uniform
from pointseg.data.points import Points
from pointseg.taxonomy import IGNORE

_IGNORED_SHARE = 0.5
"""Of the points of an object some of whose labels are not to be learned."""


def augment_objects(points: Points, config: ObjectConfig, generator: torch.Generator) -> Points:
    """Change each object with the chances of the config.

    Turns, flips and scales are about the mean of an object's points; normals turn and flip with them. What has a
    probability of 0 is not drawn.

    Args:
        points: of a scene with instances.
        config: chances and sizes.
        generator: the source of the draws, on the device of the points.

    Returns:
        the scene, its points in their order.
    """
    assert points.instance is not None, "the loader reads them where they are needed"
    ids, row = _number_objects(points.instance)
    # What belongs to no object is one more, which nothing is applied to.
    count, is_object = len(ids), ids >= 0
    center = points.xyz.new_zeros(count, 3).index_add_(0, row, points.xyz)
    center /= torch.bincount(row, minlength=count)[:, None]

    shift = draw_shifts(count, config.shift_probability, config.shift_m, generator)
    first = int(count > 0 and bool(ids[0] < 0))
    shift[first:] += draw_swaps(center[first:], config.swap_probability, generator)
    turn = draw_turns(count, config.turn_probability, config.turn_deg, generator)
    flip = draw_flips(count, config.flip_probability, generator)
    factor = draw_factors(count, config.scale_probability, config.scale, generator)
    # Flips come after turns; of what belongs to no object, every coordinate stays as it is, bit by bit.
    matrix = (flip[:, :, None] * turn).where(is_object[:, None, None], torch.eye(3, device=flip.device))
    scaled = matrix * factor.where(is_object, 1.0)[:, None, None]
    offset = (center + shift - (scaled @ center[:, :, None]).squeeze(2)).where(is_object[:, None], 0.0)
    xyz = _apply(points.xyz, row, scaled, offset)
    normal = points.normal
    if normal is not None:
        normal = _apply(normal, row, matrix, torch.zeros_like(offset))

    label, rgb = points.label, points.rgb
    if config.ignore_probability:
        of_object = draw_happens(count, config.ignore_probability, generator) & is_object
        of_point = draw_happens(len(points), _IGNORED_SHARE, generator)
        label = label.masked_fill(of_object.index_select(0, row) & of_point, IGNORE)
    if rgb is not None and config.black_probability:
        is_black = draw_happens(count, config.black_probability, generator) & is_object
        rgb = rgb * (~is_black).index_select(0, row)[:, None]
    return replace(points, xyz=xyz, normal=normal, rgb=rgb, label=label)


def _number_objects(instance: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers that occur, ascending, and (N,) int64 which of them each point has: as ``unique``, without a sort."""
    if not len(instance):
        return instance, instance.long()
    low, high = (int(end) for end in torch.aminmax(instance))
    if high - low > len(instance):  # no table is that long
        return instance.unique(return_inverse=True)
    place = (instance - low).long()
    occurs = torch.bincount(place, minlength=high - low + 1) > 0
    return occurs.nonzero().squeeze(1) + low, (occurs.cumsum(0) - 1).index_select(0, place)


def _apply(vectors: Tensor, row: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """(N, 3): the object's matrix (count, 3, 3) times each vector, plus its offset (count, 3); z mixes with no axis.

    Column by column, which takes a third of the time of a matrix for each point, and leaves what the identity is
    applied to as it is, bit by bit.
    """
    new = torch.empty_like(vectors)
    matrix, offset = matrix.permute(1, 2, 0).contiguous(), offset.T.contiguous()
    for axis, sources in enumerate(((0, 1), (0, 1), (2,))):
        column = offset[axis].index_select(0, row)
        for source in sources:
            column.addcmul_(matrix[axis, source].index_select(0, row), vectors[:, source])
        new[:, axis] = column
    return new


def draw_happens(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """(count,) bool: what happens, each with this probability."""
    return draw_uniform(count, 0, 1, generator) < probability


def draw_shifts(count: int, probability: float, largest_m: float, generator: torch.Generator) -> Tensor:
    """(count, 3): on each axis even over ±``largest_m``, or zeros."""
    if not probability:
        return torch.zeros(count, 3, device=generator.device)
    shift = draw_uniform(3 * count, -largest_m, largest_m, generator).view(count, 3)
    return shift * draw_happens(count, probability, generator)[:, None]


def draw_turns(count: int, probability: float, largest_deg: float, generator: torch.Generator) -> Tensor:
    """(count, 3, 3): rotations about z by angles even over ±``largest_deg``, or the identity."""
    matrix = torch.eye(3, device=generator.device).repeat(count, 1, 1)
    if probability:
        angle = torch.deg2rad(draw_uniform(count, -largest_deg, largest_deg, generator))
        angle *= draw_happens(count, probability, generator)
        matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
        matrix[:, 1, 0] = angle.sin()
        matrix[:, 0, 1] = -angle.sin()
    return matrix


def draw_flips(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """(count, 3) of 1 and -1: where it happens, x and y change their sign with a chance of one half each."""
    signs = torch.ones(count, 3, device=generator.device)
    if probability:
        is_negative = draw_happens(2 * count, 0.5, generator).view(count, 2)
        signs[:, :2] -= 2.0 * (is_negative & draw_happens(count, probability, generator)[:, None])
    return signs


def draw_factors(count: int, probability: float, between: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(count,): even over the range, or 1."""
    if not probability:
        return torch.ones(count, device=generator.device)
    factor = draw_uniform(count, *between, generator)
    return torch.where(draw_happens(count, probability, generator), factor, 1.0)


def draw_swaps(center: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """(count, 3): what brings an object to the place of its partner, pairs of a shuffled list; or zeros.

    Args:
        center: (count, 3) of the objects.
        probability: of a pair.
        generator: the source of the draws.
    """
    shift = torch.zeros_like(center)
    num_pairs = len(center) // 2
    if probability and num_pairs:
        order = torch.randperm(len(center), generator=generator, device=generator.device)[: 2 * num_pairs]
        first, second = order.view(num_pairs, 2).unbind(1)
        way = (center[second] - center[first]) * draw_happens(num_pairs, probability, generator)[:, None]
        shift[first], shift[second] = way, -way
    return shift
