"""What pass e sees at position i depends on (seed, e, i) alone."""

import gc
import itertools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointseg.config import Config, load_config
from pointseg.data.batch import Batch
from pointseg.data.loader import Draw, PassSampler, TrainingLoader, TrainingScenes
from pointseg.data.prefetch import prefetch
from pointseg.errors import DataError, UsageError
from pointseg.preparation.prepared_source import write_scene
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene import Scene
from pointseg.taxonomy import load_taxonomy
from tests.conftest import PLAIN_AUGMENTATION

OVERRIDES = [*PLAIN_AUGMENTATION, "data.scenes_per_batch=4", "data.voxel_size_m=0.1", "data.max_points=150"]
RECIPES: dict[str, list[str]] = {
    "plain": [],
    "everything": [
        "augment.copy_paste=2",
        "augment.drop_points_probability=0.5",
        "augment.rotate_z_probability=0.5",
        "augment.elastic_probability=0.95",
        "augment.hue_saturation_probability=0.5",
        "augment.color_drop_probability=0.2",
        "augment.mix_probability=0.5",
    ],
}
TAIL = int(np.flatnonzero(load_taxonomy("scannet200").group_mask("tail"))[0])


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Floors of two square metres, on each of which a small object of a tail class stands."""
    made = []
    for index in range(6):
        rng = np.random.default_rng(index)
        xyz = rng.random((200, 3), dtype=np.float32) * np.array([1.6, 1.2, 0.01], dtype=np.float32)
        xyz[170:] = xyz[170:] * 0.1 + (0.8, 0.6, 0.02)
        arrays = {
            "coord": xyz,
            "color": rng.integers(0, 256, (200, 3), dtype=np.uint8),
            "normal": np.tile(np.array([0, 0, 1], dtype=np.float32), (200, 1)),
            "segment200": np.r_[rng.integers(-1, 3, 170), np.full(30, TAIL)],
            "segment20": rng.integers(-1, 20, 200),
            "instance": np.r_[np.full(170, -1), np.full(30, 7)],
        }
        made.append(tmp_path / "train" / f"scene000{index}_00")
        write_scene(made[-1], arrays, source={})
    return made


def _equal(a: Batch, b: Batch) -> bool:
    return (
        a.names == b.names
        and torch.equal(a.coords, b.coords)
        and torch.equal(a.features, b.features)
        and torch.equal(a.labels, b.labels)
    )


def _config(*overrides: str) -> Config:
    return load_config("demo", [*OVERRIDES, *overrides])


def _all_batches(folders: list[Path], *overrides: str) -> list[Batch]:
    loader = TrainingLoader(folders, _config(*overrides))
    return [batch for pass_index in range(2) for batch in loader.batches(pass_index)]


def _by_scene(batch: Batch) -> dict[str, tuple[list, list, list]]:
    """Voxels, features and labels of each scene of a batch."""
    scenes = {}
    for index, name in enumerate(batch.names):
        own = batch.coords[:, 0] == index
        scenes[name] = (batch.coords[own, 1:].tolist(), batch.features[own].tolist(), batch.labels[own].tolist())
    return scenes


@pytest.mark.parametrize("recipe", RECIPES)
def test_workers_and_resuming_in_a_pass_change_nothing(recipe: str, folders: list[Path]) -> None:
    keys = RECIPES[recipe]
    alone = _all_batches(folders, *keys)
    assert len(alone) == 4
    for num_workers in (1, 2):
        others = _all_batches(folders, *keys, f"data.num_workers={num_workers}")
        assert len(others) == 4 and all(map(_equal, alone, others))
    resumed = list(TrainingLoader(folders, _config(*keys)).batches(1, first_batch=1))
    assert len(resumed) == 1 and _equal(alone[3], resumed[0])
    loader = TrainingLoader(folders, _config(*keys))
    resumed = [*loader.batches(0, first_batch=1), *loader.batches(1)]
    assert len(resumed) == 3 and all(map(_equal, alone[1:], resumed))
    if recipe == "everything":
        assert any("+" in name for batch in alone for name in batch.names), "nothing was mixed"
        plain = _all_batches(folders, *(key for key in keys if "copy_paste" not in key))
        assert not all(map(_equal, alone, plain)), "nothing was pasted"


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_scene_is_the_same_whatever_the_number_of_processes(recipe: str, folders: list[Path]) -> None:
    config = _config(*RECIPES[recipe])
    alone = [_by_scene(batch) for batch in TrainingLoader(folders, config).batches(1)]
    shares = [list(TrainingLoader(folders, config, rank, 2).batches(1)) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        together = [_by_scene(part) for part in parts]
        assert sum(map(len, together)) == len(whole)
        assert together[0] | together[1] == whole


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("cache", ["ram", "device"])
def test_a_cache_changes_nothing(cache: str, recipe: str, folders: list[Path]) -> None:
    """In the second pass, too: nothing writes into what is cached. The files are not read again."""
    keys = RECIPES[recipe]
    alone = _all_batches(folders, *keys)
    loaders = [TrainingLoader(folders, _config(*keys, f"data.cache={cache}", f"data.num_workers={n}")) for n in (0, 1)]
    for folder in folders:
        (folder / "coord.npy").unlink()
    for loader in loaders:
        batches = [batch for pass_index in range(2) for batch in loader.batches(pass_index)]
        assert len(batches) == len(alone) and all(map(_equal, alone, batches))


def test_a_thread_that_makes_batches_ahead_changes_nothing(folders: list[Path]) -> None:
    """As on a GPU, which has no worker processes."""
    config = _config(*RECIPES["everything"])
    scenes, sampler = TrainingScenes(folders, config), PassSampler(len(folders), 4, config.run.seed, in_pairs=True)
    sampler.start(0, num_passes=2)
    ahead = list(prefetch(scenes.__getitem__, sampler, torch.device("cpu")))
    alone = _all_batches(folders, *RECIPES["everything"])
    assert len(ahead) == len(alone) and all(map(_equal, alone, ahead))


def test_a_thread_ends_when_nobody_wants_more_and_hands_on_what_goes_wrong(folders: list[Path]) -> None:
    made = []

    def make(number: int) -> Batch:
        made.append(number)
        if number == 3:
            raise DataError("broken")
        return alone[0]

    alone = _all_batches(folders)
    batches = prefetch(make, itertools.count(10), torch.device("cpu"))
    next(batches)
    batches.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
    assert len(made) <= 5
    batches = prefetch(make, range(2, 5), torch.device("cpu"))
    assert next(batches) is alone[0]
    with pytest.raises(DataError, match="broken"):
        next(batches)


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["none", "ram", "device"])
def test_a_gpu_makes_batches_that_are_what_they_should_be(cache: str, folders: list[Path]) -> None:
    """Other draws than on a CPU; the same ones every time, whatever the cache and wherever it begins."""
    cuda = torch.device("cuda", 0)
    keys = [*RECIPES["everything"], "data.device=cuda"]
    loader = TrainingLoader(folders, _config(*keys, f"data.cache={cache}"), device=cuda)
    batches = [batch for pass_index in range(2) for batch in loader.batches(pass_index)]
    resumed = list(TrainingLoader(folders, _config(*keys), device=cuda).batches(1, first_batch=1))
    assert _equal(batches[3], resumed[0])
    for batch in batches:
        assert batch.coords.device.type == batch.features.device.type == batch.labels.device.type == "cuda"
        rows = [tuple(row) for row in batch.coords.tolist()]
        assert rows == sorted(set(rows))
        assert torch.isfinite(batch.features).all()


def test_the_gpu_is_refused_where_the_network_is_not(folders: list[Path]) -> None:
    with pytest.raises(UsageError, match="data.device=cuda: the network is on the CPU"):
        TrainingLoader(folders, _config("data.device=cuda"))
    assert TrainingLoader(folders, _config("data.device=auto")).scenes.device.type == "cpu"


def test_the_next_pass_is_begun_while_the_last_batches_are_used(folders: list[Path]) -> None:
    """Passes in a row come from one stream of draws; anything else begins a new one."""
    loader = TrainingLoader(folders, _config())
    list(loader.batches(0))
    stream = loader._stream
    list(loader.batches(1))
    assert loader._stream is stream
    list(loader.batches(1))
    assert loader._stream is not stream


def test_a_pass_sees_every_scene_and_two_passes_differ(folders: list[Path]) -> None:
    batches = _all_batches(folders)
    names = [[name for batch in batches[i : i + 2] for name in batch.names] for i in (0, 2)]
    for seen in names:
        assert len(set(seen[:6])) == 6
        assert seen[6:] == seen[:2]  # the last batch is filled from the front
    assert names[0] != names[1]
    assert not _equal(batches[0], batches[2])


def test_processes_share_each_batch() -> None:
    whole = list(PassSampler(7, 4, seed=1))
    shares = [list(PassSampler(7, 4, seed=1, rank=rank, world_size=2)) for rank in range(2)]
    for index, batch in enumerate(whole):
        assert sorted(shares[0][index] + shares[1][index]) == sorted(batch)
        assert len(shares[0][index]) == len(shares[1][index]) == 2


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(UsageError, match="scenes_per_batch=3 can't be shared by 2"):
        PassSampler(7, 3, seed=0, rank=0, world_size=2)


def test_scenes_that_may_be_mixed_go_to_one_process() -> None:
    whole = list(PassSampler(9, 8, seed=1, in_pairs=True))
    shares = [list(PassSampler(9, 8, seed=1, rank=rank, world_size=2, in_pairs=True)) for rank in range(2)]
    for index, batch in enumerate(whole):
        assert sorted(shares[0][index] + shares[1][index]) == sorted(batch)
        for share in shares:
            for first, second in zip(share[index][::2], share[index][1::2], strict=True):
                assert (first.position % 2, second.position) == (0, first.position + 1)
    with pytest.raises(UsageError, match="scenes_per_batch=6 can't be shared by 2 processes in pairs.* multiple of 4"):
        PassSampler(9, 6, seed=0, world_size=2, in_pairs=True)


def test_pairs_are_mixed_as_often_as_asked_for_and_an_odd_scene_stays_alone(folders: list[Path]) -> None:
    config = _config("augment.mix_probability=0.3", "data.scenes_per_batch=5")
    scenes = TrainingScenes(folders, config)
    num_mixed = 0
    for pass_index in range(150):
        names = scenes[[Draw(pass_index, i, i) for i in range(5)]].names
        assert sum(1 + name.count("+") for name in names) == 5
        assert "+" not in names[-1]
        num_mixed += 5 - len(names)
    assert abs(num_mixed - 90) < 4 * 8


def test_a_scene_of_which_augmentation_leaves_nothing_is_taken_as_it_is_and_counted(folders: list[Path]) -> None:
    keys = ["augment.drop_points_probability=1.0", "augment.drop_points_share=0.99999999"]
    config = _config(*keys, "augment.mix_probability=0.5", "data.max_points=null")
    scenes = TrainingScenes(folders, config)
    batch = scenes[[Draw(0, i, i) for i in range(4)]]
    assert batch.num_unaugmented == 4
    assert TrainingScenes(folders, _config())[[Draw(0, 0, 0)]].num_unaugmented == 0
    alone = TrainingScenes(folders, _config(*keys, "data.max_points=null"))[[Draw(0, 0, 0)]]
    expected = np.load(folders[0] / "coord.npy")
    rows = {tuple(row) for row in (alone.features[:, :2] - alone.features[0, :2]).round(decimals=4).tolist()}
    assert any(
        rows <= {tuple(row) for row in torch.from_numpy(expected[:, :2] - point[:2]).round(decimals=4).tolist()}
        for point in expected
    )


def test_a_batch_has_no_more_voxels_than_the_config_says(folders: list[Path]) -> None:
    batches = _all_batches(folders, "data.max_voxels=200", "augment.mix_probability=0.5")
    assert all(len(batch.coords) <= 200 for batch in batches)
    assert sum(batch.num_cropped for batch in batches) > 0


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_scene_ends_loading_with_one_line_that_names_it(folders: list[Path], num_workers: int) -> None:
    (folders[3] / "coord.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"scene0003_00/coord\.npy") as caught:
        _all_batches(folders, f"data.num_workers={num_workers}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_nobody_thought_of_names_the_scene_too(
    folders: list[Path], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line of the traceback, and where it was."""

    def fail(folder: Path, taxonomy: str) -> Scene:
        if folder.name == "scene0003_00":
            raise ZeroDivisionError("one\nand two")
        return read_scene(folder, taxonomy)

    monkeypatch.setattr("pointseg.data.loader.read_scene", fail)
    with pytest.raises(DataError, match=r"scene0003_00: can't be .*\(ZeroDivisionError: one and two\)") as caught:
        _all_batches(folders, f"data.num_workers={num_workers}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_worker_that_is_killed_ends_loading_with_the_scene_that_it_was_at(
    folders: list[Path], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does where memory is short. Nothing hangs."""

    def die(folder: Path, taxonomy: str) -> Scene:
        if folder.name == "scene0003_00":
            os.kill(os.getpid(), signal.SIGKILL)
        return read_scene(folder, taxonomy)

    monkeypatch.setattr("pointseg.data.loader.read_scene", die)
    loader = TrainingLoader(folders, _config(f"data.num_workers={num_workers}"))
    begun = time.monotonic()
    # The signal may arrive anywhere, as in the middle of a training step.
    message = r"scene0003_00: the loading process .* is killed by signal: Killed; give it more memory"
    with pytest.raises(DataError, match=message) as caught, loader.explain_dead_worker():
        list(loader.batches(0))
    assert time.monotonic() - begun < 60
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="another"), loader.explain_dead_worker():
        raise RuntimeError("another")


def test_a_loader_that_is_garbage_takes_its_workers_along(folders: list[Path]) -> None:
    """In a cycle Python may end the queues before the iterator; the workers, which leave SIGTERM alone, stayed."""
    loader = TrainingLoader(folders, _config("data.num_workers=2"))
    batches = loader.batches(0)
    next(batches)
    stream: Any = loader._stream
    workers = list(stream._workers)
    assert all(worker.is_alive() for worker in workers)
    vars(loader)["itself"] = loader
    del loader, batches, stream
    gc.collect()
    for worker in workers:
        worker.join(5)
        assert not worker.is_alive()
