"""What pass e sees at position i depends on (seed, e, i) alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.data.loader import PassSampler, TrainingLoader
from pointseg.errors import DataError, UsageError
from pointseg.scans.prepared import write_scene

OVERRIDES = ["data.scenes_per_batch=2", "data.voxel_size_m=0.1", "data.max_points=150"]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for index in range(5):
        rng = np.random.default_rng(index)
        normal = rng.normal(size=(200, 3))
        arrays = {
            "coord": rng.random((200, 3), dtype=np.float32),
            "color": rng.integers(0, 256, (200, 3), dtype=np.uint8),
            "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
            "segment200": rng.integers(-1, 200, 200),
            "segment20": rng.integers(-1, 20, 200),
            "instance": rng.integers(-1, 9, 200),
        }
        made.append(tmp_path / "train" / f"scene000{index}_00")
        write_scene(made[-1], arrays, source={})
    return made


def _equal(a: Batch, b: Batch) -> bool:
    return a.names == b.names and torch.equal(a.coords, b.coords) and torch.equal(a.features, b.features)


def _all_batches(folders: list[Path], num_workers: int) -> list[Batch]:
    loader = TrainingLoader(folders, load_config("demo", [*OVERRIDES, f"data.num_workers={num_workers}"]))
    return [batch for pass_index in range(2) for batch in loader.batches(pass_index)]


def test_workers_and_resuming_in_a_pass_change_nothing(folders: list[Path]) -> None:
    alone = _all_batches(folders, 0)
    assert len(alone) == 6
    for num_workers in (1, 2):
        assert all(map(_equal, alone, _all_batches(folders, num_workers)))
    resumed = TrainingLoader(folders, load_config("demo", OVERRIDES)).batches(1, first_batch=2)
    assert all(map(_equal, alone[5:], resumed))


def test_a_pass_sees_every_scene_and_two_passes_differ(folders: list[Path]) -> None:
    batches = _all_batches(folders, 0)
    names = [[name for batch in batches[i : i + 3] for name in batch.names] for i in (0, 3)]
    for seen in names:
        assert len(set(seen[:5])) == 5
        assert seen[5] == seen[0]  # the last batch is filled from the front
    assert names[0] != names[1]
    assert not _equal(batches[0], batches[3])


def test_processes_share_each_batch() -> None:
    whole = list(PassSampler(7, 4, seed=1))
    shares = [list(PassSampler(7, 4, seed=1, rank=rank, world_size=2)) for rank in range(2)]
    for index, batch in enumerate(whole):
        assert sorted(shares[0][index] + shares[1][index]) == sorted(batch)
        assert len(shares[0][index]) == len(shares[1][index]) == 2


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(UsageError, match="scenes_per_batch=3 can't be shared by 2"):
        PassSampler(7, 3, seed=0, rank=0, world_size=2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_scene_ends_loading_with_one_line_that_names_it(folders: list[Path], num_workers: int) -> None:
    (folders[3] / "coord.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"scene0003_00/coord\.npy") as caught:
        _all_batches(folders, num_workers)
    assert "\n" not in str(caught.value)
