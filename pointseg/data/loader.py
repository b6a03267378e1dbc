"""Training scenes in batches. What pass e sees at position i depends on (seed, e, i) alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pointseg.config import Config
from pointseg.data.augment import augment, crop
from pointseg.data.batch import Batch, collate
from pointseg.data.points import center_points, points_from_scene
from pointseg.data.voxelize import Voxels, voxelize_at_random
from pointseg.errors import PointsegError, UsageError
from pointseg.scans.prepared import read_scene


class Draw(NamedTuple):
    """Which scene stands at a position of a pass."""

    pass_index: int
    position: int
    scene_index: int


class TrainingScenes(Dataset):
    """Prepared scenes, augmented and voxelised anew at each draw."""

    def __init__(self, folders: list[Path], config: Config) -> None:
        self.folders = folders
        self.config = config

    def __getitem__(self, draw: Draw) -> tuple[str, Voxels]:
        config = self.config
        generator = torch.Generator().manual_seed(derive_seed(config.run.seed, draw.pass_index, draw.position))
        scene = read_scene(self.folders[draw.scene_index], config.taxonomy)
        points = center_points(points_from_scene(scene, config.data.features))
        if config.data.max_points is not None:
            points = crop(points, config.data.max_points, generator)
            points = center_points(points, vertical=False)
        points = augment(points, config.augment, generator)
        return scene.name, voxelize_at_random(points, config.data.voxel_size_m, config.data.features, generator)

    def __len__(self) -> int:
        return len(self.folders)


class PassSampler(Sampler[list[Draw]]):
    """The batches of one pass for one process.

    A pass is a random order of all scenes. Where it does not fill the last batch, it begins again from
    the front: every scene is seen, and every batch is full. Each process takes its share of each batch.
    """

    def __init__(self, num_scenes: int, scenes_per_batch: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if scenes_per_batch % world_size:
            raise UsageError(
                f"data.scenes_per_batch={scenes_per_batch} can't be shared by {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        self.num_scenes = num_scenes
        self.scenes_per_batch = scenes_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.pass_index = 0
        self.first_batch = 0

    @property
    def batches_per_pass(self) -> int:
        """Training steps of a whole pass."""
        return -(-self.num_scenes // self.scenes_per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.random.default_rng([self.seed, self.pass_index]).permutation(self.num_scenes)
        padded = np.resize(order, self.batches_per_pass * self.scenes_per_batch)
        for batch in range(self.first_batch, self.batches_per_pass):
            start = batch * self.scenes_per_batch
            positions = range(start + self.rank, start + self.scenes_per_batch, self.world_size)
            yield [Draw(self.pass_index, i, int(padded[i])) for i in positions]

    def __len__(self) -> int:
        return self.batches_per_pass - self.first_batch


class TrainingLoader:
    """Batches of any pass from any position, loaded ahead by worker processes."""

    def __init__(
        self, folders: list[Path], config: Config, rank: int = 0, world_size: int = 1, pin: bool = False
    ) -> None:
        self.sampler = PassSampler(len(folders), config.data.scenes_per_batch, config.run.seed, rank, world_size)
        workers = config.data.num_workers
        self._loader = DataLoader(
            TrainingScenes(folders, config),
            batch_sampler=self.sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
        )

    @property
    def batches_per_pass(self) -> int:
        """Training steps of a whole pass."""
        return self.sampler.batches_per_pass

    def batches(self, pass_index: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of a pass, from the given one on."""
        self.sampler.pass_index, self.sampler.first_batch = pass_index, first_batch
        try:
            yield from self._loader
        except PointsegError as error:
            # A worker's error arrives as a whole traceback; its last line is the message.
            raise type(error)(str(error).strip().splitlines()[-1].split(f"{type(error).__name__}: ")[-1]) from None


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, so that neighbouring numbers give unrelated draws."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
