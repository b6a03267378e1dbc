"""Each augmentation keeps what it must and changes what it says, over the range it says."""

import math

import pytest
import torch

from pointseg.config import AugmentConfig
from pointseg.data import augment as aug
from pointseg.data.points import Points, center_points


@pytest.fixture
def points() -> Points:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(400, 3, generator=generator)
    return Points(
        xyz=torch.randn(400, 3, generator=generator),
        rgb=torch.rand(400, 3, generator=generator) * 0.5 + 0.2,
        normal=normal / normal.norm(dim=1, keepdim=True),
        label=torch.arange(400),
    )


def _generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_a_rotation_keeps_distances_and_turns_normals_with_the_scene(points: Points) -> None:
    for generator in _generators(20):
        turned = aug.rotate(points, 180.0, 10.0, generator)
        torch.testing.assert_close(torch.pdist(turned.xyz), torch.pdist(points.xyz))
        products = (turned.xyz * turned.normal).sum(1)
        torch.testing.assert_close(products, (points.xyz * points.normal).sum(1), atol=1e-5, rtol=1e-5)


def test_the_angle_about_z_is_even_over_its_range(points: Points) -> None:
    east = Points(torch.tensor([[1.0, 0.0, 0.0]]), None, None, torch.zeros(1, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    turned = [aug.rotate(east, 90.0, 0.0, generator).xyz[0] for _ in range(2000)]
    degrees = torch.tensor([math.degrees(math.atan2(p[1], p[0])) for p in turned])
    assert degrees.abs().max() <= 90
    assert torch.histc(degrees, bins=4, min=-90, max=90).min() > 400


def test_rotations_are_right_handed() -> None:
    quarter = math.pi / 2
    x, y, z = torch.eye(3)
    torch.testing.assert_close(aug.rotation_about("z", quarter) @ x, y, atol=1e-6, rtol=0)
    torch.testing.assert_close(aug.rotation_about("x", quarter) @ y, z, atol=1e-6, rtol=0)
    torch.testing.assert_close(aug.rotation_about("y", quarter) @ z, x, atol=1e-6, rtol=0)


def test_a_flip_mirrors_coordinates_and_normals_alike_and_never_z(points: Points) -> None:
    seen = set()
    for generator in _generators(40):
        flipped = aug.flip(points, 0.5, generator)
        signs = (flipped.xyz / points.xyz)[0].round()
        torch.testing.assert_close(flipped.xyz, points.xyz * signs)
        torch.testing.assert_close(flipped.normal, points.normal * signs)
        seen.add(tuple(signs.tolist()))
    assert seen == {(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)}


def test_scale_is_one_factor_within_its_range(points: Points) -> None:
    factors = []
    for generator in _generators(200):
        ratio = aug.scale(points, (0.9, 1.1), generator).xyz / points.xyz
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
        factors.append(float(ratio[0, 0]))
    assert 0.9 <= min(factors) < 0.92
    assert 1.08 < max(factors) <= 1.1001


def test_jitter_has_its_deviation_and_never_more_than_its_clip(points: Points) -> None:
    noise = aug.jitter(points, 0.005, 0.02, torch.Generator().manual_seed(0)).xyz - points.xyz
    assert abs(float(noise.std()) - 0.005) < 0.0005
    clipped = aug.jitter(points, 0.05, 0.02, torch.Generator().manual_seed(0)).xyz - points.xyz
    assert float(clipped.abs().max()) == pytest.approx(0.02, abs=1e-6)


def test_auto_contrast_stretches_towards_the_whole_range(points: Points) -> None:
    before = points.rgb.amax(0) - points.rgb.amin(0)
    for generator in _generators(10):
        rgb = aug.auto_contrast(points, 1.0, generator).rgb
        assert (rgb.amax(0) - rgb.amin(0) >= before - 1e-6).all()
        assert rgb.min() >= -1e-6
        assert rgb.max() <= 1 + 1e-6
    assert aug.auto_contrast(points, 0.0, torch.Generator()).rgb is points.rgb


def test_a_colour_shift_is_one_offset_a_channel(points: Points) -> None:
    offset = aug.shift_color(points, 0.05, 1.0, torch.Generator().manual_seed(0)).rgb - points.rgb
    torch.testing.assert_close(offset, offset[0].expand_as(offset), atol=1e-6, rtol=0)
    assert 0 < float(offset.abs().max()) <= 0.05 + 1e-6


def test_colours_stay_colours() -> None:
    white = Points(torch.zeros(100, 3), torch.ones(100, 3), None, torch.zeros(100, dtype=torch.int64))
    for generator in _generators(5):
        jittered = aug.jitter_color(aug.shift_color(white, 0.5, 1.0, generator), 0.5, 1.0, generator)
        assert jittered.rgb.min() >= 0
        assert jittered.rgb.max() <= 1


def test_a_crop_keeps_the_nearest_points_whole_and_in_order(points: Points) -> None:
    cropped = aug.crop(points, 50, torch.Generator().manual_seed(3))
    assert len(cropped) == 50
    assert torch.equal(cropped.label, cropped.label.sort().values)
    assert torch.equal(cropped.xyz, points.xyz[cropped.label])
    # Some point of the scene is the center: everything kept is nearer to it than everything left.
    left = torch.ones(400, dtype=torch.bool)
    left[cropped.label] = False
    distance = torch.cdist(cropped.xyz, points.xyz)
    assert any(bool(row[~left].max() <= row[left].min()) for row in distance)
    assert aug.crop(points, 400, torch.Generator()) is points


def test_the_recipe_depends_on_the_generator_alone_and_keeps_labels(points: Points) -> None:
    first, second, other = (
        aug.augment(points, AugmentConfig(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.xyz, second.xyz)
    assert torch.equal(first.rgb, second.rgb)
    assert not torch.equal(first.xyz, other.xyz)
    assert torch.equal(first.label, points.label)


def test_centring_puts_the_middle_at_the_origin_and_the_floor_at_zero(points: Points) -> None:
    centred = center_points(points).xyz
    low, high = centred.amin(0), centred.amax(0)
    torch.testing.assert_close(low[:2], -high[:2])
    assert low[2] == 0
    torch.testing.assert_close(center_points(points, vertical=False).xyz[:, 2], points.xyz[:, 2])
