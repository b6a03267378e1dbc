"""Pasted objects are of tail classes, stand on something, and are inside of nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.data.paste import ObjectBank, build_bank
from pointseg.data.points import Points
from pointseg.errors import DataError, UsageError
from pointseg.preparation.prepared_source import write_scene
from pointseg.taxonomy import load_taxonomy

CPU = torch.device("cpu")
FEATURES = ("xyz", "rgb", "normal")
IS_TAIL = load_taxonomy("scannet200").group_mask("tail")
TAIL, OTHER_TAIL = np.flatnonzero(IS_TAIL)[:2].tolist()
HEAD = int(np.flatnonzero(~IS_TAIL)[0])


def _surface(
    low: tuple[float, ...], high: tuple[float, ...], normal: tuple[float, ...], label: int, per_m2: int = 900
) -> Points:
    """A rectangle, evenly covered; one axis has no extent."""
    size = torch.tensor(high) - torch.tensor(low)
    num_points = int(per_m2 * size[size > 0].prod())
    xyz = torch.tensor(low) + torch.rand(num_points, 3, generator=torch.Generator().manual_seed(label)) * size
    return Points(
        xyz,
        torch.full((num_points, 3), 0.5),
        torch.tensor([normal]).repeat(num_points, 1),
        torch.full((num_points,), label),
    )


def _join(*parts: Points) -> Points:
    return Points(*(torch.cat([getattr(p, name) for p in parts]) for name in ("xyz", "rgb", "normal", "label")))


FLOOR, WALL, TABLE = 0, 1, 2


@pytest.fixture
def room() -> Points:
    """A floor of 3 x 3 m, two walls, a low board across half of the floor, and a table top of 0.8 x 0.8 m."""
    return _join(
        _surface((0, 0, 0), (3, 3, 0), (0, 0, 1), FLOOR),
        _surface((0, 0, 0), (0, 3, 2), (1, 0, 0), WALL),
        _surface((0, 0, 0), (3, 0, 2), (0, 1, 0), WALL),
        _surface((1.2, 0, 0), (1.2, 1.5, 0.3), (1, 0, 0), WALL),
        _surface((1.7, 1.7, 0.7), (2.5, 2.5, 0.7), (0, 0, 1), TABLE),
    )


def _thing(size_m: tuple[float, float, float], label: int, num_points: int = 60) -> Points:
    """Points in a box whose bottom's middle is the origin; its normals look along its own x."""
    unit = torch.rand(num_points, 3, generator=torch.Generator().manual_seed(label))
    corners = torch.tensor([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
    xyz = (torch.cat([corners, unit])[:num_points] - torch.tensor([0.5, 0.5, 0.0])) * torch.tensor(size_m)
    normal = torch.tensor([[1.0, 0, 0]]).repeat(num_points, 1)
    return Points(xyz, torch.full((num_points, 3), label / 200), normal, torch.full((num_points,), label))


@pytest.fixture
def bank() -> ObjectBank:
    return ObjectBank(((_thing((0.5, 0.3, 0.4), TAIL),), (_thing((0.2, 0.2, 0.3), OTHER_TAIL, 40),)))


def _pasted(scene: Points, before: Points) -> list[Points]:
    """The objects that came after the points of ``before``."""
    added = torch.arange(len(before), len(scene))
    sizes = {TAIL: 60, OTHER_TAIL: 40}
    objects = []
    while len(added):
        size = sizes[int(scene.label[added[0]])]
        objects.append(scene.select(added[:size]))
        assert len(objects[-1].label.unique()) == 1
        added = added[size:]
    return objects


def test_objects_stand_on_something_and_are_inside_of_nothing(room: Points, bank: ObjectBank) -> None:
    supports, labels = set(), []
    for seed in range(60):
        scene = bank.paste(room, 3, torch.Generator().manual_seed(seed))
        for part in ("xyz", "rgb", "normal", "label"):
            assert torch.equal(getattr(scene, part)[: len(room)], getattr(room, part))
        objects = _pasted(scene, room)
        boxes = [(thing.xyz.amin(0), thing.xyz.amax(0)) for thing in objects]
        for index, (thing, (low, high)) in enumerate(zip(objects, boxes, strict=True)):
            labels.append(int(thing.label[0]))
            inside = ((room.xyz > low + 1e-5) & (room.xyz < high - 1e-5)).all(dim=1)
            assert not bool(inside.any())
            beneath = (room.xyz[:, :2] > low[:2]) & (room.xyz[:, :2] < high[:2])
            support = beneath.all(dim=1) & ((room.xyz[:, 2] - low[2]).abs() < 1e-4)
            supports.add(round(float(low[2]), 3))
            # All four corners of it are supported.
            place = (room.xyz[support][:, :2] - low[:2]) / (high - low)[:2]
            corner = place[((place < 1 / 3) | (place > 2 / 3)).all(dim=1)] > 0.5
            assert len(corner.unique(dim=0)) == 4
            assert (low[:2] >= -1e-5).all() and (high[:2] <= 3 + 1e-5).all()
            for other_low, other_high in boxes[:index]:
                assert not bool(((low + 1e-5 < other_high) & (other_low + 1e-5 < high)).all())
    assert supports == {0.0, 0.7}
    # Either class as often as the other, however many objects it has.
    assert len(labels) > 120
    assert abs(labels.count(TAIL) / len(labels) - 0.5) < 0.17


def test_an_object_keeps_its_shape_and_colour_and_turns_about_the_vertical_alone(room: Points) -> None:
    thing = _thing((0.5, 0.3, 0.4), TAIL)
    directions = []
    for seed in range(40):
        scene = ObjectBank(((thing,),)).paste(room, 1, torch.Generator().manual_seed(seed))
        (pasted,) = _pasted(scene, room) or [None]
        if pasted is None:
            continue
        torch.testing.assert_close(torch.pdist(pasted.xyz), torch.pdist(thing.xyz), atol=1e-5, rtol=1e-5)
        heights = pasted.xyz[:, 2] - pasted.xyz[:, 2].min()
        torch.testing.assert_close(heights, thing.xyz[:, 2], atol=1e-5, rtol=0)
        assert torch.equal(pasted.rgb, thing.rgb)
        torch.testing.assert_close(pasted.normal.norm(dim=1), torch.ones(60))
        # The normals look along its x: from the corner at -x to the one at +x.
        along = pasted.xyz[4] - pasted.xyz[0]
        torch.testing.assert_close(pasted.normal[0], along / along.norm(), atol=1e-4, rtol=0)
        directions.append(float(torch.atan2(along[1], along[0])))
    assert len(directions) > 30
    assert min(directions) < -1.5 and max(directions) > 1.5


@pytest.mark.parametrize("size_m", [(4.0, 4.0, 0.5), (0.5, 0.5, 0.0)])
def test_where_there_is_no_room_nothing_is_pasted_and_what_is_flat_may_lie(
    size_m: tuple[float, float, float], room: Points
) -> None:
    scene = ObjectBank(((_thing(size_m, TAIL),),)).paste(room, 2, torch.Generator().manual_seed(0))
    assert (len(scene) == len(room)) == (size_m[0] > 3)


def test_a_scene_without_normals_has_places_too(room: Points, bank: ObjectBank) -> None:
    bare = Points(room.xyz, room.rgb, None, room.label)
    things = tuple(tuple(Points(t.xyz, t.rgb, None, t.label) for t in of_class) for of_class in bank.objects)
    counts = [len(ObjectBank(things).paste(bare, 2, torch.Generator().manual_seed(s))) for s in range(5)]
    assert max(counts) > len(room)


def _write(root: Path, name: str, label: np.ndarray, instance: np.ndarray | None) -> Path:
    rng = np.random.default_rng(len(name))
    arrays = {
        "coord": rng.random((len(label), 3), dtype=np.float32) + 5,
        "color": rng.integers(0, 256, (len(label), 3), dtype=np.uint8),
        "normal": np.tile(np.array([0, 0, 1], dtype=np.float32), (len(label), 1)),
        "segment200": label,
        "segment20": np.full(len(label), -1),
    }
    write_scene(root / "train" / name, arrays | ({} if instance is None else {"instance": instance}), source={})
    return root / "train" / name


def test_the_bank_has_the_tail_objects_of_the_split_and_nothing_else(tmp_path: Path) -> None:
    """Not what is frequent, belongs to no object, or is a fragment; each object once, its bottom on the ground."""
    label = np.repeat([TAIL, HEAD, OTHER_TAIL, TAIL, TAIL, OTHER_TAIL, -1, HEAD], [30, 90, 25, 40, 19, 50, 30, 9])
    instance = np.repeat([3, 4, 5, 6, 7, -1, 8, 3], [30, 90, 25, 40, 19, 50, 30, 9])
    label[-4:] = OTHER_TAIL  # overlapping annotations leave scraps of others in an object
    folders = [_write(tmp_path, "scene0", label, instance), _write(tmp_path, "scene01", label, instance)]
    bank = build_bank(folders, load_taxonomy("scannet200"), FEATURES, CPU)
    found = {int(of_class[0].label[0]): [len(thing) for thing in of_class] for of_class in bank.objects}
    assert found == {TAIL: [30, 40, 30, 40], OTHER_TAIL: [25, 25]}
    first = bank.objects[sorted(found).index(TAIL)][0]
    low, high = first.xyz.amin(0), first.xyz.amax(0)
    torch.testing.assert_close(low[:2], -high[:2])
    assert low[2] == 0
    coord = torch.from_numpy(np.load(folders[0] / "coord.npy")[:30])
    torch.testing.assert_close(torch.pdist(first.xyz), torch.pdist(coord), atol=1e-5, rtol=1e-4)
    assert torch.equal(first.rgb, torch.from_numpy(np.load(folders[0] / "color.npy")[:30]).float() / 255)


def test_what_a_bank_can_not_be_made_of_is_said_in_one_line(tmp_path: Path) -> None:
    label, instance = np.full(40, TAIL), np.zeros(40, dtype=np.int64)
    with pytest.raises(UsageError, match="augment.copy_paste: scannet20 has no tail classes"):
        build_bank([_write(tmp_path, "a", label, instance)], load_taxonomy("scannet20"), FEATURES, CPU)
    with pytest.raises(DataError, match=r"bb/instance\.npy: is missing, and augment\.copy_paste needs it"):
        build_bank([_write(tmp_path, "bb", label, None)], load_taxonomy("scannet200"), FEATURES, CPU)
    with pytest.raises(DataError, match="train: no object of a tail class to paste"):
        build_bank([_write(tmp_path, "ccc", np.full(40, HEAD), instance)], load_taxonomy("scannet200"), FEATURES, CPU)
