"""A batch is its scenes side by side, mixed in pairs, and no larger than it may be."""

from dataclasses import replace

import pytest
import torch

from pointseg.config import DataConfig
from pointseg.data.batch import DrawnScene, collate, crop, largest_share, make_batch, mix
from pointseg.data.points import Points
from pointseg.data.voxel_means import voxelize_by_mean
from pointseg.data.voxelize import draw_points
from pointseg.errors import DataError


def test_scenes_are_concatenated_with_their_way_back() -> None:
    torch.manual_seed(0)
    scenes = []
    for index, num_points in enumerate((300, 1, 80)):
        xyz = torch.rand(num_points, 3)
        points = Points(xyz, torch.rand(num_points, 3), None, torch.randint(-1, 5, (num_points,)))
        scenes.append((f"scene{index}", points, voxelize_by_mean(points, 0.1, ("xyz", "rgb"))))
    batch = collate([(name, voxels) for name, _, voxels in scenes])

    assert batch.num_scenes == 3
    assert batch.names == ("scene0", "scene1", "scene2")
    assert batch.coords.dtype == torch.int32
    rows = [tuple(row) for row in batch.coords.tolist()]
    assert rows == sorted(set(rows))
    assert all(bool((batch.coords[:, 1 + axis] < batch.extent[axis]).all()) for axis in range(3))
    for index, (_, points, voxels) in enumerate(scenes):
        own = batch.voxel_of_point[index]
        assert (batch.coords[own, 0] == index).all()
        assert torch.equal(batch.features[own], voxels.features[voxels.voxel_of_point])
        assert torch.equal(batch.labels[batch.coords[:, 0] == index], voxels.label)
        assert len(own) == len(points)


def test_the_parts_of_a_batch_are_batches_of_its_scenes_in_their_order() -> None:
    torch.manual_seed(0)
    scenes = []
    for index, num_points in enumerate((300, 1, 80, 40, 7)):
        points = Points(torch.rand(num_points, 3), None, None, torch.randint(-1, 5, (num_points,)))
        scenes.append((f"scene{index}", voxelize_by_mean(points, 0.1, ("xyz",))))
    batch = collate(scenes)
    batch = replace(batch, num_cropped=2, num_unaugmented=1, teacher_features=torch.rand(len(batch.coords), 6))
    parts = batch.split(2)
    assert [part.names for part in parts] == [("scene0", "scene1"), ("scene2", "scene3"), ("scene4",)]
    for part, first in zip(parts, (0, 2, 4), strict=True):
        alone = collate(scenes[first : first + 2])
        rows = torch.isin(batch.coords[:, 0], torch.tensor([first, first + 1]))
        for name in ("coords", "features", "labels"):
            assert torch.equal(getattr(part, name), getattr(alone, name)), name
        for own, expected in zip(part.voxel_of_point, alone.voxel_of_point, strict=True):
            assert torch.equal(own, expected)
        assert torch.equal(part.teacher_features, batch.teacher_features[rows])
        assert (part.extent, part.num_cropped, part.num_unaugmented) == (batch.extent, 0, 0)
    assert batch.split(5) == [batch]


def _scene(num_points: int, label: int, size_m: float = 1.0, offset_m: float = 0.0, seed: int = 0) -> Points:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(num_points, 3, generator=generator) * size_m + offset_m
    return Points(xyz, torch.rand(num_points, 3, generator=generator), None, torch.full((num_points,), label))


def _drawn(*scenes: Points) -> list[DrawnScene]:
    return [DrawnScene(f"s{i}", p, torch.Generator().manual_seed(i)) for i, p in enumerate(scenes)]


DATA = DataConfig(voxel_size_m=0.1, features=("xyz", "rgb"))


def test_mixed_scenes_are_centred_on_one_floor_and_keep_what_they_are() -> None:
    first, second = _scene(200, 1, size_m=2.0, offset_m=5.0), _scene(100, 2, offset_m=-3.0)
    mixed = mix(first, second)
    assert mixed.label.tolist() == [1] * 200 + [2] * 100
    assert torch.equal(mixed.rgb, torch.cat([first.rgb, second.rgb]))
    for part, scene in ((mixed.xyz[:200], first), (mixed.xyz[200:], second)):
        torch.testing.assert_close(torch.pdist(part), torch.pdist(scene.xyz), atol=1e-5, rtol=1e-5)
        low, high = part.amin(0), part.amax(0)
        torch.testing.assert_close(low[:2], -high[:2], atol=1e-6, rtol=0)
        assert low[2] == 0


def test_a_mixed_scene_has_each_voxel_once_and_is_one_scene() -> None:
    """Two voxelised scenes laid over each other, as other frameworks do it, would share most of their voxels."""
    first, second = _scene(5000, 1), _scene(5000, 2, seed=1)
    batch = make_batch(_drawn(mix(first, second), _scene(500, 3)), DATA)
    rows = [tuple(row) for row in batch.coords.tolist()]
    assert rows == sorted(set(rows))
    own = batch.coords[:, 0] == 0
    assert set(batch.labels[own].tolist()) == {1, 2}
    assert int(own.sum()) < 1.3 * 11**3
    assert batch.num_scenes == 2
    assert batch.voxel_of_point == ()


def test_a_voxel_of_two_scenes_is_of_one_drawn_point() -> None:
    """Each point has the same chance, so that a voxel with more points of one scene is more often of that scene."""
    first = Points(torch.zeros(3, 3), torch.full((3, 3), 0.25), None, torch.full((3,), 1))
    second = Points(torch.zeros(1, 3), torch.full((1, 3), 0.75), None, torch.full((1,), 2))
    num_first = 0
    for seed in range(800):
        scene = DrawnScene("mixed", mix(first, second), torch.Generator().manual_seed(seed))
        batch = make_batch([scene], DATA)
        label = int(batch.labels)
        assert batch.features[0, 3:].tolist() == [0.25 if label == 1 else 0.75] * 3
        num_first += label == 1
    assert abs(num_first - 600) < 5 * 12.3


@pytest.mark.parametrize(
    ("num_voxels", "max_voxels", "expected"),
    [
        ([10, 20, 30], None, 30),
        ([10, 20, 30], 60, 30),
        ([10, 20, 30], 59, 29),
        ([10, 20, 30], 50, 20),
        ([30, 10, 20], 49, 19),
        ([10, 20, 30], 9, 3),
        ([5], 3, 3),
        ([5, 5, 5], 1, 1),
    ],
)
def test_the_largest_scenes_give_up_what_is_too_much(
    num_voxels: list[int], max_voxels: int | None, expected: int
) -> None:
    limit = largest_share(num_voxels, max_voxels)
    assert limit == expected
    if max_voxels is not None and max_voxels >= len(num_voxels):
        assert sum(min(n, limit) for n in num_voxels) <= max_voxels
        # It is the largest limit that does: one more voxel for each that is cropped would be too many.
        assert sum(min(n, limit + 1) for n in num_voxels) > max_voxels or limit == max(num_voxels)


def test_a_batch_has_no_more_voxels_than_it_may_and_says_what_was_cropped() -> None:
    small, large = _scene(200, 1, size_m=0.5), _scene(60_000, 2, size_m=3.0)
    whole = make_batch(_drawn(small, large), DATA)
    assert whole.num_cropped == 0
    num_small, num_large = torch.bincount(whole.coords[:, 0].long()).tolist()
    batch = make_batch(_drawn(small, large), DATA.model_copy(update={"max_voxels": num_small + 4000}))
    assert batch.num_cropped == 1
    counts = torch.bincount(batch.coords[:, 0].long()).tolist()
    assert counts[0] == num_small
    assert counts[1] == 4000 < num_large
    # What is left is a ball around one of its points, as much of it as is in the room, centred: it begins at voxel 0.
    own = batch.coords[batch.coords[:, 0] == 1]
    assert own[:, 1:].amin(dim=0).tolist() == [0, 0, 0]
    assert (own[:, 1:].amax(dim=0) < 31).all()
    xyz = batch.features[batch.coords[:, 0] == 1, :3]
    torch.testing.assert_close(xyz.amin(0)[:2], -xyz.amax(0)[:2], atol=0.1, rtol=0)
    rows = [tuple(row) for row in batch.coords.tolist()]
    assert rows == sorted(set(rows))
    again = make_batch(_drawn(small, large), DATA.model_copy(update={"max_voxels": num_small + 4000}))
    assert torch.equal(batch.features, again.features)


def test_a_crop_keeps_the_nearest_voxels_on_their_grid() -> None:
    scene = _scene(3000, 0, size_m=1.5)
    grid, points = draw_points(scene, 0.1, torch.Generator().manual_seed(0))
    # A label is a voxel's number here.
    points = Points(points.xyz, points.rgb, None, torch.arange(len(points)))
    coords, cropped = crop(grid.coords, points, 300, torch.Generator().manual_seed(3))
    kept = cropped.label
    assert len(cropped) == 300 and torch.equal(kept, kept.sort().values)
    assert torch.equal(coords, grid.coords[kept] - grid.coords[kept].amin(0))
    assert torch.equal(cropped.rgb, points.rgb[kept])
    assert torch.equal(cropped.xyz, points.xyz[kept])
    # Some point is the center: everything kept is nearer to it than everything left.
    left = torch.ones(len(points), dtype=torch.bool)
    left[kept] = False
    distance = torch.cdist(points.xyz[kept], points.xyz)
    assert any(bool(row[~left].max() <= row[left].min()) for row in distance)
    whole = crop(grid.coords, points, len(points), torch.Generator())
    assert whole[0] is grid.coords and whole[1] is points


def test_of_voxels_as_far_away_as_the_last_a_crop_keeps_the_first() -> None:
    """On a lattice, as of a floor: none is left that is nearer than one that is kept."""
    x, y = torch.meshgrid(torch.arange(21), torch.arange(21), indexing="ij")
    coords = torch.stack([x.flatten(), y.flatten(), torch.zeros(441, dtype=torch.int64)], dim=1)
    points = Points(coords.float(), None, None, torch.arange(441))
    num_tied = 0
    for seed in range(20):
        kept = torch.zeros(441, dtype=torch.bool)
        kept[crop(coords, points, 150, torch.Generator().manual_seed(seed))[1].label] = True
        middle = torch.randint(441, (), generator=torch.Generator().manual_seed(seed))
        distance = (coords - coords[middle]).square().sum(dim=1)
        assert int(kept.sum()) == 150
        assert distance[kept].max() <= distance[~kept].min()
        last = kept[distance == distance[kept].max()]
        assert last.sort(descending=True, stable=True).values.equal(last)
        num_tied += not last.all()
    assert num_tied > 10


@pytest.mark.parametrize("center", ["extremes", "robust"])
def test_a_scene_is_centred_horizontally_whole_or_cropped(center: str) -> None:
    """The published recipe ends with that; before it, augmentation turned and bent what was centred."""
    scene = _scene(20_000, 1, size_m=2.0, offset_m=5.0)
    for max_points in (100_000, 800):
        data = DATA.model_copy(update={"max_points": max_points, "center": center})
        xyz = make_batch(_drawn(scene), data).features[:, :3]
        assert (len(xyz) == 800) == (max_points == 800)
        torch.testing.assert_close(xyz.amin(0)[:2], -xyz.amax(0)[:2], atol=1e-5, rtol=0)
        assert 5 <= xyz[:, 2].min() < 7  # the floor stays where augmentation left it


def test_a_stray_does_not_move_the_middle_of_a_whole_scene() -> None:
    scene = _scene(20_000, 1, size_m=2.0)
    scene.xyz[0, 0] = 30.0
    middles = []
    for center in ("robust", "extremes"):
        xyz = make_batch(_drawn(scene), DATA.model_copy(update={"center": center})).features[:, :3]
        middles.append(float(xyz[:, 0].median()))
    assert abs(middles[0]) < 0.1
    assert middles[1] < -10


def test_a_scene_has_no_more_points_than_it_may_and_a_mixed_one_twice_as_many() -> None:
    """They are counted when there is one in a voxel, however dense the scan."""
    dense, other = _scene(20_000, 1, size_m=1.0), _scene(60_000, 2, size_m=3.0)
    data = DATA.model_copy(update={"max_points": 1500})
    mixed = DrawnScene("mixed", mix(dense, other), torch.Generator().manual_seed(5), num_scenes=2)
    batch = make_batch([*_drawn(dense, other), mixed], data)
    counts = torch.bincount(batch.coords[:, 0].long()).tolist()
    assert counts == [len(make_batch(_drawn(dense), DATA).coords), 1500, 3000]
    assert counts[0] < 1500
    assert batch.num_cropped == 0  # that is the recipe, and no lack of memory
    both = make_batch([*_drawn(dense, other), mixed], data.model_copy(update={"max_voxels": counts[0] + 3000}))
    assert torch.bincount(both.coords[:, 0].long()).tolist() == [counts[0], 1500, 1500]
    assert both.num_cropped == 1


def test_a_scene_with_more_voxels_than_can_be_numbered_is_named_with_its_extent() -> None:
    wide = _scene(10, 1)
    wide.xyz[0, 0] = 1e7
    drawn = [DrawnScene("scene0001_00", wide, torch.Generator())]
    with pytest.raises(DataError, match=r"^scene0001_00: a scene of .* is too large to index .its extent is 1e\+07 x "):
        make_batch(drawn, DATA.model_copy(update={"voxel_size_m": 1e-4}))


def test_a_scene_keeps_a_share_drawn_from_a_range() -> None:
    """Evenly over it, and no more points than it may."""
    scene = _scene(2_000, 1, size_m=3.0)
    whole = len(make_batch(_drawn(scene), DATA).coords)
    data = DATA.model_copy(update={"crop_share": (0.6, 1.0)})
    seeds = (DrawnScene("scene", scene, torch.Generator().manual_seed(seed)) for seed in range(100))
    shares = torch.tensor([len(make_batch([drawn], data).coords) / whole for drawn in seeds])
    assert 0.6 <= shares.min() < 0.63
    assert 0.97 < shares.max() <= 1
    assert float(shares.mean()) == pytest.approx(0.8, abs=0.04)
    limited = data.model_copy(update={"max_points": whole // 2})
    assert len(make_batch(_drawn(scene), limited).coords) == whole // 2
