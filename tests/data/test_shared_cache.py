"""Processes of one machine keep the scenes once, and get the batches that they would get without a cache."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pointseg.config import load_config
from pointseg.data import shared_cache
from pointseg.data.batch import Batch
from pointseg.data.loader import TrainingLoader
from pointseg.errors import DataError
from pointseg.scans.prepared import list_scenes
from tests.conftest import free_ports, write_boxes

OVERRIDES = ["data.scenes_per_batch=4", "data.voxel_size_m=0.1", "augment.mix_probability=0.5"]


def _batches(root: Path, rank: int, *keys: str) -> tuple[list[Batch], TrainingLoader]:
    config = load_config("demo", [*OVERRIDES, *keys])
    loader = TrainingLoader(list_scenes(root, "train"), config, rank, 2)
    return [batch for pass_index in range(2) for batch in loader.batches(pass_index)], loader


def _mapped() -> dict[str, dict[str, int]]:
    """For each file of ours that this process maps, by inode: kB that it has in memory, and its part of them."""
    files: dict[str, dict[str, int]] = {}
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        head, *lines = block.splitlines()
        if shared_cache.MEMORY_NAME in head:
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            of_file = files.setdefault(head.split()[4], {"Rss": 0, "Pss": 0})
            for key in of_file:
                of_file[key] += sizes[key]
    return files


def _compare(rank: int, root: Path) -> Any:
    plain, _ = _batches(root, rank)
    for keys in (["data.cache=ram"], ["data.cache=device"], ["data.cache=ram", "data.num_workers=1"]):
        cached, loader = _batches(root, rank, *keys)
        for a, b in zip(plain, cached, strict=True):
            assert a.names == b.names and torch.equal(a.coords, b.coords)
            assert torch.equal(a.features, b.features) and torch.equal(a.labels, b.labels)
    assert loader.scenes.cache is not None
    # Every page is read.
    parts = [part for scene in loader.scenes.cache for part in (scene.xyz, scene.rgb, scene.normal, scene.label)]
    checksum = sum(float(part.double().sum()) for part in parts if part is not None)
    dist.barrier()
    mapped = _mapped()
    dist.barrier()
    return [checksum, mapped]


def _share_a_bad_scene(rank: int, root: Path) -> Any:
    try:
        _batches(root, rank, "data.cache=ram")
    except DataError as error:
        return str(error)
    except SystemExit as left:
        return left.code
    return None


def _be_two_machines(rank: int, root: Path) -> Any:
    shared_cache._describe_machine = lambda: rank  # type: ignore[assignment]
    _, loader = _batches(root, rank, "data.cache=ram")
    assert loader.scenes.cache is not None and len(loader.scenes.cache) == 5
    return [*_mapped()]


def _run(rank: int, port: int, function: Callable[[int, Path], Any], root: Path, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(function(rank, root)))
    dist.destroy_process_group()


def _run_on_two(function: Callable[[int, Path], Any], root: Path, folder: Path) -> list[Any]:
    (port,) = free_ports(1)
    mp.spawn(_run, args=(port, function, root, folder), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_boxes(tmp_path, "train", num_scenes=5, num_points=4000)
    return tmp_path


def test_a_cache_is_in_memory_once_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    """Both processes map the same files, in which all scenes are; each is charged with its part of them."""
    (first_sum, first), (second_sum, second) = _run_on_two(_compare, root, tmp_path)
    assert first_sum == second_sum
    assert first.keys() == second.keys() and len(first) == 2
    # 4000 points of 12 + 3 + 12 + 2 bytes in each of 5 scenes.
    whole_kb = 5 * 4000 * 29 / 1024
    for mapped in (first, second):
        assert sum(sizes["Rss"] for sizes in mapped.values()) == pytest.approx(whole_kb, abs=16)
        assert sum(sizes["Pss"] for sizes in mapped.values()) <= 0.6 * whole_kb


def test_a_bad_scene_ends_all_processes_and_one_says_so(root: Path, tmp_path: Path) -> None:
    bad = sorted((root / "train").iterdir())[1]
    np.save(bad / "coord.npy", np.zeros((7, 3), np.float32))
    first, second = _run_on_two(_share_a_bad_scene, root, tmp_path)
    assert first == 1
    assert str(bad) in second


def test_processes_that_do_not_see_each_other_keep_their_own(root: Path, tmp_path: Path) -> None:
    assert _run_on_two(_be_two_machines, root, tmp_path) == [[], []]
