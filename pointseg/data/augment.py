"""Augmentation of training scenes: each function is (Points, ..., generator) -> Points, on the device of both.

The recipe is the one with which SpUNet-34 was published. All draw from one generator in turn. What was added since the
first runs draws nothing where it is off, so that a config without it draws what it drew; to switch one on or off
changes what those after it draw. Draws on a GPU are others than on a CPU.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from pointseg.config import AugmentConfig
from pointseg.data.points import Points


def augment(points: Points, config: AugmentConfig, generator: torch.Generator) -> Points:
    """Apply the whole recipe but for what needs other scenes; what is drawn depends on ``generator`` alone.

    Returns:
        the scene without its instances, which nothing after it reads; without any point where dropout left none.
    """
    points = drop_points(points, config.drop_points_share, config.drop_points_probability, generator)
    if not len(points):
        return replace(points, instance=None)
    probabilities = config.rotate_z_probability, config.rotate_xy_probability
    points = rotate(points, config.rotate_z_deg, config.rotate_xy_deg, generator, *probabilities)
    points = scale(points, config.scale, generator)
    points = flip(points, config.flip_probability, generator)
    points = jitter(points, config.jitter_m, config.jitter_clip_m, generator)
    if config.elastic and _happens(config.elastic_probability, generator):
        from pointseg.data.elastic import distort_elastically

        points = distort_elastically(points, config.elastic, generator)
    if points.rgb is not None:
        points = auto_contrast(points, config.auto_contrast_probability, generator)
        points = shift_color(points, config.color_shift, config.color_probability, generator)
        points = jitter_color(points, config.color_jitter, config.color_probability, generator)
        if _happens(config.hue_saturation_probability, generator):
            from pointseg.data.hue import shift_hue_and_saturation

            points = shift_hue_and_saturation(points, config.hue_shift, config.saturation_shift, generator)
        points = drop_color(points, config.color_drop_probability, generator)
    if points.instance is not None and config.objects.is_on:
        from pointseg.data.objects import augment_objects

        points = augment_objects(points, config.objects, generator)
    return replace(points, instance=None)


def drop_points(points: Points, share: float, probability: float, generator: torch.Generator) -> Points:
    """Leave each point out with the chance ``share``; it may leave none."""
    if share == 0 or not _happens(probability, generator):
        return points
    kept = torch.rand(len(points), generator=generator, device=generator.device) >= share
    return points.select(kept.to(points.xyz.device))


def rotate(
    points: Points,
    z_deg: float,
    xy_deg: float,
    generator: torch.Generator,
    z_probability: float = 1.0,
    xy_probability: float = 1.0,
) -> Points:
    """Turn coordinates and normals about z, then y, then x, by angles drawn evenly from ±the given degrees.

    Each of the three happens with its probability, independently of the others.
    """
    shares = draw_uniform(3, -1, 1, generator)
    angles = shares * torch.tensor([xy_deg, xy_deg, z_deg]).to(shares)
    if z_probability < 1 or xy_probability < 1:
        drawn = draw_uniform(3, 0, 1, generator)
        angles[drawn >= torch.tensor([xy_probability, xy_probability, z_probability]).to(drawn)] = 0.0
    x, y, z = torch.deg2rad(angles).tolist()
    if x == y == z == 0.0:
        return points
    return transform(points, rotation_about("x", x) @ rotation_about("y", y) @ rotation_about("z", z))


def rotation_about(axis: str, angle: float) -> torch.Tensor:
    """(3, 3) float32: right-handed rotation about ``x``, ``y`` or ``z`` by ``angle`` radians."""
    c, s = math.cos(angle), math.sin(angle)
    if axis == "x":
        return torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    if axis == "y":
        return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def scale(points: Points, factor: tuple[float, float], generator: torch.Generator) -> Points:
    """Multiply all coordinates by one factor drawn evenly from the range."""
    return replace(points, xyz=points.xyz * draw_uniform(1, *factor, generator).to(points.xyz))


def flip(points: Points, probability: float, generator: torch.Generator) -> Points:
    """Mirror x, and independently y, each with the given probability; normals turn with them."""
    drawn = draw_uniform(2, 0, 1, generator)
    signs = torch.cat([torch.where(drawn < probability, -1.0, 1.0), torch.ones_like(drawn[:1])]).to(points.xyz)
    normal = points.normal if points.normal is None else points.normal * signs
    return replace(points, xyz=points.xyz * signs, normal=normal)


def jitter(points: Points, sigma_m: float, clip_m: float, generator: torch.Generator) -> Points:
    """Add normal noise to each coordinate, clipped at ``clip_m`` either way."""
    if sigma_m == 0:
        return points
    noise = draw_normal(points.xyz.shape, generator).mul_(sigma_m).clamp_(-clip_m, clip_m)
    return replace(points, xyz=points.xyz + noise.to(points.xyz))


def auto_contrast(points: Points, probability: float, generator: torch.Generator) -> Points:
    """Blend the colours, by a random share, with colours stretched to 0..1 in each channel."""
    assert points.rgb is not None
    happens, share = draw_uniform(2, 0, 1, generator).tolist()
    if happens >= probability:
        return points
    low, high = torch.aminmax(points.rgb, dim=0)
    stretched = (points.rgb - low) / (high - low).clamp_min(1 / 255)
    return replace(points, rgb=torch.lerp(points.rgb, stretched, share))


def shift_color(points: Points, largest: float, probability: float, generator: torch.Generator) -> Points:
    """Add one offset a channel, drawn evenly from ±``largest`` (share of the range), clipped to 0..1."""
    assert points.rgb is not None
    happens = float(draw_uniform(1, 0, 1, generator)) < probability
    offset = draw_uniform(3, -largest, largest, generator)
    if not happens:
        return points
    return replace(points, rgb=(points.rgb + offset.to(points.rgb)).clamp_(0, 1))


def jitter_color(points: Points, sigma: float, probability: float, generator: torch.Generator) -> Points:
    """Add normal noise to each colour, standard deviation ``sigma`` (share of the range), clipped to 0..1."""
    assert points.rgb is not None
    if float(draw_uniform(1, 0, 1, generator)) >= probability or sigma == 0:
        return points
    noise = draw_normal(points.rgb.shape, generator).mul_(sigma)
    return replace(points, rgb=(points.rgb + noise.to(points.rgb)).clamp_(0, 1))


def drop_color(points: Points, probability: float, generator: torch.Generator) -> Points:
    """Make all colours black, so that form alone has to do."""
    assert points.rgb is not None
    if not _happens(probability, generator):
        return points
    return replace(points, rgb=torch.zeros_like(points.rgb))


def transform(points: Points, matrix: torch.Tensor) -> Points:
    """Apply a (3, 3) rotation or reflection. For these the normal matrix is the matrix itself."""
    transposed = matrix.T.to(points.xyz)
    normal = points.normal if points.normal is None else points.normal @ transposed
    return replace(points, xyz=points.xyz @ transposed, normal=normal)


def _happens(probability: float, generator: torch.Generator) -> bool:
    """Whether something of this probability happens; drawn only where it is in doubt."""
    return probability >= 1 or (probability > 0 and float(draw_uniform(1, 0, 1, generator)) < probability)


def draw_uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """(count,) float32 on the device of the generator: even over low..high."""
    return torch.empty(count, device=generator.device).uniform_(low, high, generator=generator)


def draw_normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise, float32, on the device of the generator."""
    return torch.randn(tuple(shape), generator=generator, device=generator.device)
