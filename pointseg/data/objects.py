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
    in_object = points.instance >= 0
    ids, row = points.instance.unique(return_inverse=True)
    # What belongs to no object is one more, which nothing is applied to.
    count = len(ids)
    center = points.xyz.new_zeros(count, 3).index_add_(0, row, points.xyz)
    center /= torch.bincount(row, minlength=count)[:, None]

    shift = draw_shifts(count, config.shift_probability, config.shift_m, generator)
    first = int(count > 0 and bool(ids[0] < 0))
    shift[first:] += draw_swaps(center[first:], config.swap_probability, generator)
    turn = draw_turns(count, config.turn_probability, config.turn_deg, generator)
    flip = draw_flips(count, config.flip_probability, generator)
    factor = draw_factors(count, config.scale_probability, config.scale, generator)
    # Flips come after turns.
    matrix = flip[:, :, None] * turn
    moved = _apply((factor[:, None, None] * matrix)[row], points.xyz - center[row]) + (center + shift)[row]
    normal = points.normal
    if normal is not None:
        normal = torch.where(in_object[:, None], _apply(matrix[row], normal), normal)

    label, rgb = points.label, points.rgb
    if config.ignore_probability:
        of_object = draw_happens(count, config.ignore_probability, generator)[row]
        of_point = draw_happens(len(points), _IGNORED_SHARE, generator)
        label = label.masked_fill(of_object & of_point & in_object, IGNORE)
    if rgb is not None and config.black_probability:
        is_black = draw_happens(count, config.black_probability, generator)[row]
        rgb = rgb.masked_fill((is_black & in_object)[:, None], 0.0)
    xyz = torch.where(in_object[:, None], moved, points.xyz)
    return replace(points, xyz=xyz, normal=normal, rgb=rgb, label=label)


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


def _apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """(n, 3): matrices (n, 3, 3) times vectors (n, 3)."""
    return torch.einsum("nij,nj->ni", matrix, vectors)
