"""Each augmentation keeps what it must and changes what it says, over the range it says."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from pointseg.config import AugmentConfig, ObjectConfig, load_config
from pointseg.data import augment as aug
from pointseg.data import elastic
from pointseg.data.hue import shift_hue_and_saturation
from pointseg.data.points import Points, center_points


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Everything is computed, and drawn, where the points are; on a CPU by one thread, for so few points."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.device(request.param) as device:
        yield device
    torch.set_num_threads(num_threads)


@pytest.fixture
def points(device: torch.device) -> Points:
    generator = _seeded(0)
    normal = torch.randn(400, 3, generator=generator)
    return Points(
        xyz=torch.randn(400, 3, generator=generator),
        rgb=torch.rand(400, 3, generator=generator) * 0.5 + 0.2,
        normal=normal / normal.norm(dim=1, keepdim=True),
        label=torch.arange(400),
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def _generators(count: int) -> list[torch.Generator]:
    return [_seeded(seed) for seed in range(count)]


def _box(num_points: int, size_m: tuple[float, float, float]) -> Points:
    """Evenly filled."""
    xyz = torch.rand(num_points, 3, generator=_seeded(7)) * torch.tensor(size_m)
    return Points(xyz, None, None, torch.arange(num_points))


def test_a_rotation_keeps_distances_and_turns_normals_with_the_scene(points: Points) -> None:
    for generator in _generators(20):
        turned = aug.rotate(points, 180.0, 10.0, generator)
        torch.testing.assert_close(torch.pdist(turned.xyz), torch.pdist(points.xyz))
        products = (turned.xyz * turned.normal).sum(1)
        torch.testing.assert_close(products, (points.xyz * points.normal).sum(1), atol=1e-5, rtol=1e-5)


def test_the_angle_about_z_is_even_over_its_range(points: Points) -> None:
    east = Points(torch.tensor([[1.0, 0.0, 0.0]]), None, None, torch.zeros(1, dtype=torch.int64))
    generator = _seeded(0)
    turned = [aug.rotate(east, 90.0, 0.0, generator).xyz[0] for _ in range(2000)]
    degrees = torch.tensor([math.degrees(math.atan2(p[1], p[0])) for p in turned])
    assert degrees.abs().max() <= 90
    assert torch.histc(degrees, bins=4, min=-90, max=90).min() > 400


def test_each_rotation_happens_as_often_as_it_is_asked_for(points: Points) -> None:
    """About z a quarter of the time; each tilt half of the time, whatever the other does."""
    turned = tilted_x = tilted_y = both = 0
    for generator in _generators(600):
        # Columns: where x, y and z go. R = Rx Ry Rz; its last column has the tilts alone.
        columns = Points(torch.eye(3), None, None, torch.zeros(3, dtype=torch.int64))
        matrix = aug.rotate(columns, 90.0, 5.0, generator, 0.25, 0.5).xyz.T
        turned += abs(math.atan2(matrix[0, 1], matrix[0, 0])) > 1e-6
        x, y = abs(float(matrix[1, 2])) > 1e-6, abs(float(matrix[0, 2])) > 1e-6
        tilted_x, tilted_y, both = tilted_x + x, tilted_y + y, both + (x and y)
    assert abs(turned - 150) < 4 * 10.6  # four standard deviations
    assert abs(tilted_x - 300) < 4 * 12.2
    assert abs(tilted_y - 300) < 4 * 12.2
    assert abs(both - 150) < 4 * 10.6
    assert aug.rotate(points, 90.0, 5.0, _seeded(0), 0.0, 0.0) is points


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
    noise = aug.jitter(points, 0.005, 0.02, _seeded(0)).xyz - points.xyz
    assert abs(float(noise.std()) - 0.005) < 0.0005
    clipped = aug.jitter(points, 0.05, 0.02, _seeded(0)).xyz - points.xyz
    assert float(clipped.abs().max()) == pytest.approx(0.02, abs=1e-6)


def test_dropout_leaves_out_its_share_and_keeps_order_and_parts_together(points: Points) -> None:
    num_kept = []
    for generator in _generators(50):
        kept = aug.drop_points(points, 0.2, 1.0, generator)
        assert torch.equal(kept.label, kept.label.sort().values)
        for part in ("xyz", "rgb", "normal"):
            assert torch.equal(getattr(kept, part), getattr(points, part)[kept.label])
        num_kept.append(len(kept))
    assert abs(sum(num_kept) / 50 - 320) < 4 * 8 / 50**0.5  # four standard deviations of the mean
    assert aug.drop_points(points, 0.2, 0.0, _seeded(0)) is points
    happened = sum(len(aug.drop_points(points, 0.5, 0.3, generator)) < 400 for generator in _generators(400))
    assert abs(happened - 120) < 4 * 9.2


def test_dropout_may_leave_nothing_and_the_recipe_says_so(device: torch.device) -> None:
    recipe = AugmentConfig(drop_points_probability=1.0, drop_points_share=0.99)
    lengths = {len(aug.augment(_box(2, (1, 1, 1)), recipe, generator)) for generator in _generators(50)}
    assert 0 in lengths


def _displacements(points: Points, levels: list[tuple[float, float]], count: int) -> torch.Tensor:
    """(count, N, 3)"""
    moved = [elastic.distort_elastically(points, levels, generator).xyz for generator in _generators(count)]
    return torch.stack(moved) - points.xyz


@pytest.mark.parametrize(("granularity", "magnitude"), [(0.2, 0.4), (0.8, 1.6)])
def test_an_elastic_distortion_has_its_magnitude_and_no_direction(
    granularity: float, magnitude: float, device: torch.device
) -> None:
    """At the nodes the displacement is normal noise, weighted (1 2 3 2 1) / 9 along each axis: also at the margins."""
    nodes = torch.cartesian_prod(*(torch.arange(n) * granularity for n in (5.0, 4.0, 3.0))).float()
    scene = Points(nodes, None, None, torch.zeros(len(nodes), dtype=torch.int64))
    displacement = _displacements(scene, [(granularity, magnitude)], 800)
    deviation = magnitude * (19 / 81) ** 1.5
    torch.testing.assert_close(displacement.std(0), torch.full_like(nodes, deviation), rtol=0.15, atol=0)
    assert float(displacement.mean(0).abs().max()) < 5 * deviation / 800**0.5
    # The three axes move independently.
    correlation = torch.corrcoef(displacement.reshape(-1, 3).T)
    assert float((correlation - torch.eye(3)).abs().max()) < 0.05


def test_an_elastic_distortion_is_smooth(device: torch.device) -> None:
    """Points a hundredth of a cell apart move alike, points many cells apart don't; between nodes it is linear."""
    line = torch.linspace(0, 8, 4001)[:, None] * torch.tensor([[1.0, 0, 0]])
    scene = Points(line, None, None, torch.zeros(4001, dtype=torch.int64))
    displacement = _displacements(scene, [(0.2, 0.4)], 200)
    deviation = float(displacement.std())
    step = displacement[:, 1:] - displacement[:, :-1]
    assert float(step.abs().max()) < 0.05 * deviation
    far = (displacement[:, :-1000] * displacement[:, 1000:]).mean() / deviation**2
    assert abs(float(far)) < 0.05
    bends = (step[:, 1:] - step[:, :-1]).abs().amax(dim=(0, 2)) > 1e-5
    # A cell has 100 steps: the slope changes at the nodes alone.
    assert 30 < int(bends.sum()) <= 2 * 40


def test_the_levels_of_an_elastic_distortion_add_up(device: torch.device) -> None:
    """Independent noise: variances add. The coarse level is as smooth in company as alone."""
    scene = _box(300, (4.0, 3.0, 2.0))
    fine, coarse, both = (
        float(_displacements(scene, levels, 300).var())
        for levels in ([(0.2, 0.4)], [(0.8, 1.6)], [(0.2, 0.4), (0.8, 1.6)])
    )
    assert both == pytest.approx(fine + coarse, rel=0.1)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_coarse_level_is_linear_between_its_own_nodes(axis: int, device: torch.device) -> None:
    """Laid out on a grid a quarter as coarse, it is the same field."""
    coarse = torch.randn(3, 6, 5, 7, generator=_seeded(0)).transpose(1, axis)
    fine = elastic._refine(coarse, axis, 17, 0.25).transpose(1, axis)
    nodes = coarse.transpose(1, axis)
    for step in range(17):
        left, share = step // 4, step % 4 / 4
        torch.testing.assert_close(fine[:, step], (1 - share) * nodes[:, left] + share * nodes[:, left + 1])


def test_an_elastic_distortion_of_a_huge_extent_has_bounded_memory(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stray point a kilometre away makes the cells larger, not the grid; the magnitude stays."""
    largest = 0
    normal = elastic.draw_normal

    def watch(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, math.prod(shape))
        return normal(shape, generator)

    monkeypatch.setattr(elastic, "draw_normal", watch)
    scene = _box(100, (1000.0, 800.0, 60.0))
    moved = elastic.distort_elastically(scene, [(0.2, 0.4), (0.8, 1.6)], _seeded(0)).xyz - scene.xyz
    assert largest < 3 * 1.2 * 2**21
    expected = (0.4**2 + 1.6**2) ** 0.5 * (19 / 81) ** 1.5
    assert 0.6 * expected < float(moved.std()) < 1.1 * expected


def test_an_elastic_distortion_of_a_flat_scene_or_a_point(device: torch.device) -> None:
    for num_points, size_m in ((1, (0.0, 0.0, 0.0)), (50, (2.0, 2.0, 0.0))):
        moved = elastic.distort_elastically(_box(num_points, size_m), [(0.2, 0.4), (0.8, 1.6)], _seeded(0)).xyz
        assert torch.isfinite(moved).all()
        assert not torch.equal(moved, _box(num_points, size_m).xyz)


def test_auto_contrast_stretches_towards_the_whole_range(points: Points) -> None:
    before = points.rgb.amax(0) - points.rgb.amin(0)
    for generator in _generators(10):
        rgb = aug.auto_contrast(points, 1.0, generator).rgb
        assert (rgb.amax(0) - rgb.amin(0) >= before - 1e-6).all()
        assert rgb.min() >= -1e-6
        assert rgb.max() <= 1 + 1e-6
    assert aug.auto_contrast(points, 0.0, _seeded(0)).rgb is points.rgb


def test_a_colour_shift_is_one_offset_a_channel(points: Points) -> None:
    offset = aug.shift_color(points, 0.05, 1.0, _seeded(0)).rgb - points.rgb
    torch.testing.assert_close(offset, offset[0].expand_as(offset), atol=1e-6, rtol=0)
    assert 0 < float(offset.abs().max()) <= 0.05 + 1e-6


def test_colours_stay_colours() -> None:
    white = Points(torch.zeros(100, 3), torch.ones(100, 3), None, torch.zeros(100, dtype=torch.int64))
    for generator in _generators(5):
        jittered = aug.jitter_color(aug.shift_color(white, 0.5, 1.0, generator), 0.5, 1.0, generator)
        assert jittered.rgb.min() >= 0
        assert jittered.rgb.max() <= 1


def test_a_third_of_the_hue_circle_makes_red_green_and_grey_stays_grey(device: torch.device) -> None:
    colors = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    scene = Points(torch.zeros(3, 3), colors, None, torch.zeros(3, dtype=torch.int64))
    hues = []
    for generator in _generators(300):
        turned = shift_hue_and_saturation(scene, 1 / 3, 0.0, generator).rgb
        torch.testing.assert_close(turned[1:], colors[1:])
        hues.append(turned[0])
    rgb = torch.stack(hues)
    assert rgb.min() >= 0 and rgb.max() <= 1
    # At the ends of the range red has become green or blue; both ends are reached, and the middle.
    ends = torch.tensor([[0.2, 0.9, 0.1], [0.1, 0.2, 0.9], [0.9, 0.1, 0.2]])
    assert torch.cdist(ends, rgb).min(dim=1).values.max() < 0.05


def test_saturation_is_the_distance_from_grey(device: torch.device) -> None:
    scene = Points(torch.zeros(1, 3), torch.tensor([[0.6, 0.5, 0.4]]), None, torch.zeros(1, dtype=torch.int64))
    factors = []
    for generator in _generators(300):
        rgb = shift_hue_and_saturation(scene, 0.0, 0.2, generator).rgb[0]
        factors.append(float(rgb[0] - 0.5) / 0.1)
        torch.testing.assert_close(rgb, 0.5 + factors[-1] * torch.tensor([0.1, 0.0, -0.1]), atol=1e-5, rtol=0)
    assert 0.8 - 1e-4 <= min(factors) < 0.82
    assert 1.18 < max(factors) <= 1.2 + 1e-4


def test_dropped_colours_are_black_as_often_as_asked_for(points: Points) -> None:
    num_black = sum(not bool(aug.drop_color(points, 0.3, generator).rgb.any()) for generator in _generators(300))
    assert abs(num_black - 90) < 4 * 8
    assert aug.drop_color(points, 0.0, _seeded(0)) is points
    assert torch.equal(aug.drop_color(points, 1.0, _seeded(0)).xyz, points.xyz)


WHOLE = AugmentConfig(
    drop_points_probability=0.5,
    rotate_z_probability=0.5,
    rotate_xy_probability=0.5,
    elastic_probability=0.95,
    hue_saturation_probability=0.5,
    color_drop_probability=0.2,
)


def test_the_whole_recipe_depends_on_the_generator_alone_and_keeps_labels_normals_and_colours(points: Points) -> None:
    before = [part.clone() for part in (points.xyz, points.rgb, points.normal, points.label)]
    for seed in range(20):
        first, second, other = (aug.augment(points, WHOLE, _seeded(s)) for s in (seed, seed, seed + 1))
        for part in ("xyz", "rgb", "normal", "label"):
            assert torch.equal(getattr(first, part), getattr(second, part))
        assert len(first) != len(other) or not torch.equal(first.xyz, other.xyz)
        torch.testing.assert_close(first.normal.norm(dim=1), torch.ones(len(first)))
        assert first.rgb.min() >= 0 and first.rgb.max() <= 1
        # A label is a point's number here: what is left of the scene is still roughly where it was, turned.
        torch.testing.assert_close(
            first.xyz.norm(dim=1), points.xyz[first.label].norm(dim=1), atol=2.5, rtol=0.15, equal_nan=False
        )
    # A cached scene is augmented again and again: nothing may write into it.
    for part, kept in zip((points.xyz, points.rgb, points.normal, points.label), before, strict=True):
        assert torch.equal(part, kept)


def test_what_was_added_and_is_off_draws_nothing(points: Points) -> None:
    """A run of before these augmentations, and the laboratory's, go on with the same numbers."""
    config, generator = AugmentConfig(), _seeded(0)
    augmented = aug.augment(points, config, generator)
    then = torch.rand(4, generator=generator)

    generator = _seeded(0)
    expected = aug.rotate(points, config.rotate_z_deg, config.rotate_xy_deg, generator)
    expected = aug.scale(expected, config.scale, generator)
    expected = aug.flip(expected, config.flip_probability, generator)
    expected = aug.jitter(expected, config.jitter_m, config.jitter_clip_m, generator)
    expected = aug.auto_contrast(expected, config.auto_contrast_probability, generator)
    expected = aug.shift_color(expected, config.color_shift, config.color_probability, generator)
    expected = aug.jitter_color(expected, config.color_jitter, config.color_probability, generator)
    assert torch.equal(then, torch.rand(4, generator=generator))
    for part in ("xyz", "rgb", "normal", "label"):
        assert torch.equal(getattr(augmented, part), getattr(expected, part))


def test_the_first_recipe_draws_as_many_numbers_as_it_did() -> None:
    """On a CPU, where it does not matter how many are asked for at a time."""
    cube = _box(50, (1, 1, 1))
    generator = _seeded(0)
    off = AugmentConfig(jitter_m=0.0, auto_contrast_probability=0.0, color_probability=0.0)
    aug.augment(replace(cube, rgb=torch.rand(50, 3)), off, generator)
    rest = torch.rand(4, generator=generator)

    generator = _seeded(0)
    torch.rand(3 + 1 + 2 + 2 + 1 + 3 + 1, generator=generator)  # rotation, scale, flips, contrast, shift, jitter
    assert torch.equal(rest, torch.rand(4, generator=generator))


def test_the_main_recipe_is_the_published_one(device: torch.device) -> None:
    """As SpUNet-34 was trained; what is not in that recipe is off."""
    for name in ("scannet200", "scannet200_ce", "scannet20"):
        config = load_config(name)
        assert config.augment.model_dump() == {
            "copy_paste": 0,
            "drop_points_probability": 0.2,
            "drop_points_share": 0.2,
            "rotate_z_probability": 0.5,
            "rotate_z_deg": 180.0,
            "rotate_xy_probability": 0.5,
            "rotate_xy_deg": 2.8,
            "scale": (0.9, 1.1),
            "flip_probability": 0.5,
            "jitter_m": 0.005,
            "jitter_clip_m": 0.02,
            "elastic_probability": 0.95,
            "elastic": ((0.2, 0.4), (0.8, 1.6)),
            "auto_contrast_probability": 0.2,
            "color_shift": 0.05,
            "color_jitter": 0.05,
            "color_probability": 0.95,
            "hue_saturation_probability": 0.0,
            "hue_shift": 0.5,
            "saturation_shift": 0.2,
            "color_drop_probability": 0.0,
            "objects": ObjectConfig().model_dump(),
            "mix_probability": 0.8,
        }
        assert not config.augment.objects.is_on
        assert (config.data.voxel_size_m, config.data.max_points, config.data.scenes_per_batch) == (0.02, 100_000, 12)


def test_centring_puts_the_middle_at_the_origin_and_the_floor_at_zero(points: Points) -> None:
    centred = center_points(points).xyz
    low, high = centred.amin(0), centred.amax(0)
    torch.testing.assert_close(low[:2], -high[:2])
    assert low[2] == 0
    torch.testing.assert_close(center_points(points, vertical=False).xyz[:, 2], points.xyz[:, 2])
