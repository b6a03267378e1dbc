"""Augmentation of training scenes: each function is (Points, ..., generator) -> Points."""

import math
from dataclasses import replace

import torch

from pointseg.config import AugmentConfig
from pointseg.data.points import Points


def augment(points: Points, config: AugmentConfig, generator: torch.Generator) -> Points:
    """Apply the whole recipe; what is drawn depends on ``generator`` alone."""
    points = rotate(points, config.rotate_z_deg, config.rotate_xy_deg, generator)
    points = scale(points, config.scale, generator)
    points = flip(points, config.flip_probability, generator)
    points = jitter(points, config.jitter_m, config.jitter_clip_m, generator)
    if points.rgb is not None:
        points = auto_contrast(points, config.auto_contrast_probability, generator)
        points = shift_color(points, config.color_shift, config.color_probability, generator)
        points = jitter_color(points, config.color_jitter, config.color_probability, generator)
    return points


def crop(points: Points, max_points: int, generator: torch.Generator) -> Points:
    """Keep the ``max_points`` points nearest to a randomly chosen one, in their order."""
    if len(points) <= max_points:
        return points
    center = points.xyz[torch.randint(len(points), (), generator=generator)]
    squared_distance = (points.xyz - center).square().sum(dim=1)
    nearest = squared_distance.topk(max_points, largest=False, sorted=False).indices
    return points.select(nearest.sort().values)


def rotate(points: Points, z_deg: float, xy_deg: float, generator: torch.Generator) -> Points:
    """Turn coordinates and normals about z, x and y by angles drawn evenly from ±the given degrees."""
    angles = torch.empty(3).uniform_(-1, 1, generator=generator) * torch.tensor([xy_deg, xy_deg, z_deg])
    x, y, z = torch.deg2rad(angles).tolist()
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
    drawn = torch.empty(()).uniform_(*factor, generator=generator)
    return replace(points, xyz=points.xyz * drawn.to(points.xyz))


def flip(points: Points, probability: float, generator: torch.Generator) -> Points:
    """Mirror x, and independently y, each with the given probability; normals turn with them."""
    mirrored = torch.rand(2, generator=generator) < probability
    signs = torch.ones(3)
    signs[:2][mirrored] = -1.0
    return transform(points, torch.diag(signs))


def jitter(points: Points, sigma_m: float, clip_m: float, generator: torch.Generator) -> Points:
    """Add normal noise to each coordinate, clipped at ``clip_m`` either way."""
    if sigma_m == 0:
        return points
    noise = torch.randn(points.xyz.shape, generator=generator).mul_(sigma_m).clamp_(-clip_m, clip_m)
    return replace(points, xyz=points.xyz + noise.to(points.xyz))


def auto_contrast(points: Points, probability: float, generator: torch.Generator) -> Points:
    """Blend the colours, by a random share, with colours stretched to 0..1 in each channel."""
    assert points.rgb is not None
    happens, share = torch.rand(2, generator=generator).tolist()
    if happens >= probability:
        return points
    low, high = points.rgb.amin(dim=0), points.rgb.amax(dim=0)
    stretched = (points.rgb - low) / (high - low).clamp_min(1 / 255)
    return replace(points, rgb=torch.lerp(points.rgb, stretched, share))


def shift_color(points: Points, largest: float, probability: float, generator: torch.Generator) -> Points:
    """Add one offset a channel, drawn evenly from ±``largest`` (share of the range), clipped to 0..1."""
    assert points.rgb is not None
    happens = torch.rand((), generator=generator).item() < probability
    offset = torch.empty(3).uniform_(-largest, largest, generator=generator)
    if not happens:
        return points
    return replace(points, rgb=(points.rgb + offset.to(points.rgb)).clamp_(0, 1))


def jitter_color(points: Points, sigma: float, probability: float, generator: torch.Generator) -> Points:
    """Add normal noise to each colour, standard deviation ``sigma`` (share of the range), clipped to 0..1."""
    assert points.rgb is not None
    if torch.rand((), generator=generator).item() >= probability or sigma == 0:
        return points
    noise = torch.randn(points.rgb.shape, generator=generator).mul_(sigma)
    return replace(points, rgb=(points.rgb + noise.to(points.rgb)).clamp_(0, 1))


def transform(points: Points, matrix: torch.Tensor) -> Points:
    """Apply a (3, 3) rotation or reflection. For these the normal matrix is the matrix itself."""
    transposed = matrix.T.to(points.xyz)
    normal = points.normal if points.normal is None else points.normal @ transposed
    return replace(points, xyz=points.xyz @ transposed, normal=normal)
