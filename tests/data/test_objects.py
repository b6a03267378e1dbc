"""Augmentation of single objects: each chance and range, and all together against a loop over the objects."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pointseg.config import AugmentConfig, ObjectConfig, load_config
from pointseg.data import objects
from pointseg.data.augment import augment
from pointseg.data.loader import Draw, TrainingScenes
from pointseg.data.points import Points, pack_scene
from pointseg.errors import DataError
from pointseg.scans.prepared import list_scenes
from pointseg.scans.scene import Scene

ALL = ObjectConfig(
    shift_probability=0.6,
    turn_probability=0.6,
    flip_probability=0.6,
    scale_probability=0.6,
    ignore_probability=0.4,
    black_probability=0.4,
    swap_probability=0.6,
)
MANY = 4_000


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where all is drawn and computed."""
    with torch.device(request.param) as device:
        yield device


@pytest.fixture
def room(device: torch.device) -> Points:
    """Nine objects, of which one has a single point, among points of no object."""
    instance = torch.randint(-1, 8, (500,), generator=_seeded(0)).int()
    instance[7] = 40
    normal = torch.randn(500, 3, generator=_seeded(1))
    return Points(
        xyz=torch.randn(500, 3, generator=_seeded(2)),
        rgb=torch.rand(500, 3, generator=_seeded(3)) * 0.8 + 0.1,
        normal=normal / normal.norm(dim=1, keepdim=True),
        label=torch.arange(500) % 20,
        instance=instance,
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def test_shifts_are_even_over_their_range_on_each_axis(device: torch.device) -> None:
    shift = objects.draw_shifts(MANY, 0.2, 0.1, _seeded(0))
    happens = shift.abs().amax(dim=1) > 0
    assert 0.17 < happens.float().mean() < 0.23
    assert shift.abs().max() <= 0.1
    for axis in range(3):
        values = shift[happens, axis]
        assert values.min() < -0.095 and values.max() > 0.095
        assert float(values.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.1)


def test_turns_are_rotations_about_z_even_over_their_range(device: torch.device) -> None:
    matrix = objects.draw_turns(MANY, 0.2, 45.0, _seeded(0))
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), torch.eye(3).expand(MANY, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(MANY))
    assert torch.equal(matrix[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(MANY, 3))
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    happens = angle != 0
    assert 0.17 < happens.float().mean() < 0.23
    assert angle.min() < -42 and angle.max() > 42 and angle.abs().max() <= 45.001
    assert float(angle[happens].std()) == pytest.approx(45 / math.sqrt(3), rel=0.1)


def test_flips_mirror_x_and_y_with_one_half_each(device: torch.device) -> None:
    signs = objects.draw_flips(MANY, 0.2, _seeded(0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert (signs[:, 2] == 1).all()
    negative = (signs[:, :2] < 0).float()
    for axis in (0, 1):
        assert 0.08 < float(negative[:, axis].mean()) < 0.12
    assert 0.035 < float(negative.prod(dim=1).mean()) < 0.065


def test_factors_are_even_over_their_range(device: torch.device) -> None:
    factor = objects.draw_factors(MANY, 0.2, (0.9, 1.1), _seeded(0))
    happens = factor != 1
    assert 0.17 < happens.float().mean() < 0.23
    assert factor.min() < 0.905 and factor.max() > 1.095 and factor.max() <= 1.1
    assert float(factor[happens].mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("count", [0, 1, 2, MANY + 1])
def test_swaps_bring_both_of_a_pair_to_the_place_of_the_other(count: int, device: torch.device) -> None:
    center = torch.randn(count, 3, generator=_seeded(1))
    arrived = center + objects.draw_swaps(center, 0.2, _seeded(0))
    moved = (arrived - center).abs().amax(dim=1) > 1e-6
    order = arrived.sum(dim=1).argsort(), center.sum(dim=1).argsort()
    torch.testing.assert_close(arrived[order[0]], center[order[1]], rtol=0, atol=1e-5)  # a permutation of the places
    if count == MANY + 1:
        assert 0.17 < moved.float().mean() < 0.23
        partners = torch.cdist(arrived[moved], center).argmin(dim=1)
        assert torch.equal(partners[torch.searchsorted(moved.nonzero()[:, 0], partners)], moved.nonzero()[:, 0])


def test_an_object_loses_half_of_its_labels_or_none(device: torch.device) -> None:
    instance = torch.arange(MANY).repeat_interleave(40).int()
    count = len(instance)
    scene = Points(torch.zeros(count, 3), torch.ones(count, 3), None, torch.zeros(count, dtype=torch.int64), instance)
    changed = objects.augment_objects(scene, ObjectConfig(ignore_probability=0.1), _seeded(0))
    share = (changed.label == -1).float().view(MANY, 40).mean(dim=1)
    assert 0.08 < (share > 0).float().mean() < 0.12
    assert float(share[share > 0].mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(changed.xyz, scene.xyz)


def test_an_object_becomes_black_whole(device: torch.device) -> None:
    instance = torch.arange(MANY).repeat_interleave(3).int()
    count = len(instance)
    scene = Points(torch.zeros(count, 3), torch.ones(count, 3), None, torch.zeros(count, dtype=torch.int64), instance)
    colors = objects.augment_objects(scene, ObjectConfig(black_probability=0.2), _seeded(0)).rgb
    assert colors is not None
    of_object = colors.view(MANY, -1)
    assert ((of_object == 0).all(dim=1) | (of_object == 1).all(dim=1)).all()
    assert 0.17 < (of_object[:, 0] == 0).float().mean() < 0.23


def test_all_together_are_what_a_loop_over_the_objects_does(room: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shift, turn, flip, scale, and change places, one after the other, about the mean of the object."""
    drawn: dict[str, Tensor] = {}
    for name in ("shifts", "turns", "flips", "factors", "swaps"):

        def note(*args: object, name: str = name, draw: object = getattr(objects, f"draw_{name}")) -> Tensor:
            drawn[name] = draw(*args)  # type: ignore[operator]
            return drawn[name].clone()

        monkeypatch.setattr(objects, f"draw_{name}", note)
    changed = objects.augment_objects(room, ALL, _seeded(5))
    assert room.instance is not None and room.normal is not None and changed.normal is not None
    assert changed.rgb is not None and room.rgb is not None
    for index, number in enumerate(room.instance.unique().tolist()):
        own = room.instance == number
        if number == -1:
            for name in ("xyz", "normal", "rgb", "label"):
                assert torch.equal(getattr(changed, name)[own], getattr(room, name)[own])
            continue
        center = room.xyz[own].mean(dim=0)
        xyz = room.xyz[own] - center
        xyz = xyz @ drawn["turns"][index].T
        xyz = xyz * drawn["flips"][index] * drawn["factors"][index]
        xyz = xyz + center + drawn["shifts"][index] + drawn["swaps"][index - 1]
        torch.testing.assert_close(changed.xyz[own], xyz, rtol=1e-4, atol=1e-5)
        normal = room.normal[own] @ drawn["turns"][index].T * drawn["flips"][index]
        torch.testing.assert_close(changed.normal[own], normal, rtol=1e-4, atol=1e-5)
    assert set(changed.label[room.instance >= 0].tolist()) >= {-1}
    assert (changed.rgb.sum(dim=1) == 0).any()
    kept = changed.label != -1
    assert torch.equal(changed.label[kept], room.label[kept])


def test_an_object_that_nothing_happens_to_stays_as_it_is_bit_by_bit(room: Points, device: torch.device) -> None:
    """Away from the origin, where x - mean + mean is not x."""
    room = replace(room, xyz=room.xyz + 7)
    changed = objects.augment_objects(room, ObjectConfig(turn_probability=0.5, scale_probability=0.3), _seeded(1))
    assert room.instance is not None and room.normal is not None and changed.normal is not None
    same = (changed.xyz == room.xyz).all(dim=1)
    num_still = sum(bool(same[room.instance == number].all()) for number in range(8))
    assert 0 < num_still < 8
    moved = (changed.xyz - room.xyz).abs().amax(dim=1) > 1e-4
    for number in range(8):
        assert bool(same[room.instance == number].all()) or bool(moved[room.instance == number].any())


@pytest.mark.parametrize("largest", [30, 2**31 - 1])
def test_the_numbers_of_objects_may_be_any(largest: int, room: Points, device: torch.device) -> None:
    """What is drawn for an object hangs on its rank alone, not on how large its number is."""
    assert room.instance is not None
    renumbered = room.instance.clone()
    for rank, number in enumerate(sorted({*room.instance.tolist()} - {-1})):
        renumbered[room.instance == number] = largest - 3 * (8 - rank) if rank < 8 else largest
    plain = objects.augment_objects(room, ALL, _seeded(2))
    other = objects.augment_objects(replace(room, instance=renumbered), ALL, _seeded(2))
    for name in ("xyz", "normal", "rgb", "label"):
        assert torch.equal(getattr(plain, name), getattr(other, name))


def test_what_is_off_draws_nothing_and_equal_seeds_give_equal_scenes(room: Points) -> None:
    first, second = (objects.augment_objects(room, ALL, _seeded(3)) for _ in range(2))
    assert torch.equal(first.xyz, second.xyz)
    assert torch.equal(first.label, second.label)
    generator = _seeded(0)
    off = objects.augment_objects(room, ObjectConfig(), generator)
    torch.testing.assert_close(off.xyz, room.xyz)
    assert torch.equal(generator.get_state(), _seeded(0).get_state())
    assert not ObjectConfig().is_on
    assert ObjectConfig(swap_probability=0.1).is_on


def test_the_whole_recipe_ends_with_it_and_a_recipe_without_it_is_what_it_was(room: Points) -> None:
    config = AugmentConfig(elastic_probability=0, color_drop_probability=0)
    plain = augment(replace(room, instance=None), config, _seeded(1))
    unread = augment(room, config, _seeded(1))
    assert torch.equal(plain.xyz, unread.xyz)
    changed = augment(room, config.model_copy(update={"objects": ALL}), _seeded(1))
    assert changed.instance is None and unread.instance is None
    assert room.instance is not None
    outside = room.instance < 0
    assert torch.equal(changed.xyz[outside], plain.xyz[outside])
    assert not torch.equal(changed.xyz, plain.xyz)


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_training_scenes_have_their_objects_augmented(cache: str, prepared_root: Path) -> None:
    folders = list_scenes(prepared_root, "train")
    keys = ["augment.mix_probability=1", "data.voxel_size_m=0.1", f"data.cache={cache}"]
    keys = [f"data.root={prepared_root}", *keys]
    draws = [Draw(0, 0, 0), Draw(0, 1, 1)]
    plain = TrainingScenes(folders, load_config("demo", keys))[draws]
    changed = TrainingScenes(folders, load_config("demo", [*keys, "augment.objects.turn_probability=1"]))[draws]
    assert not torch.equal(plain.coords, changed.coords)


def test_a_scene_without_instances_is_named(prepared_root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(prepared_root, tmp_path / "tree")
    folder = list_scenes(tmp_path / "tree", "train")[0]
    (folder / "instance.npy").unlink()
    config = load_config("demo", [f"data.root={tmp_path / 'tree'}", "augment.objects.flip_probability=0.1"])
    with pytest.raises(DataError, match=f"{folder.name}: has no instance.npy, which augment.objects needs"):
        TrainingScenes([folder], config)[[Draw(0, 0, 0)]]


def test_instances_may_have_any_numbers() -> None:
    """In 32 bits two of them would be one object, and a third would be none."""
    ids = np.array([-100, 2**32 + 5, 5, 2**31, -1, 5], dtype=np.int64)
    scene = Scene("room", np.zeros((6, 3), np.float32), instance=ids)
    packed = pack_scene(scene, (), with_instance=True).instance
    assert packed is not None and packed.dtype == torch.int32
    assert packed.tolist() == [-1, 2, 0, 1, -1, 0]
    unsigned = replace(scene, instance=np.array([9, 0, 2**63, 9, 0, 1], dtype=np.uint64))
    packed = pack_scene(unsigned, (), with_instance=True).instance
    assert packed is not None and packed.tolist() == [2, 0, 3, 2, 0, 1]
