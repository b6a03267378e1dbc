"""Training scenes in batches. What pass e sees at position i depends on (seed, e, i) alone.

That holds for any number of workers and processes, after a resume, with mixing and with pasted objects. It does not
hold from one kind of ``data.device`` to another, which draws other numbers; and of a scene that is too large for
``data.max_voxels``, how much is left depends on the others of its batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pointseg.commands import called, signals_held
from pointseg.config import Config
from pointseg.data.augment import augment
from pointseg.data.batch import Batch, DrawnScene, make_batch, mix
from pointseg.data.points import PackedScene, center_points, pack_scene
from pointseg.data.voxelize import VoxelInputs
from pointseg.data.workers import (
    STOP_SIGNALS,
    Parcel,
    WorkerWatch,
    end_workers,
    end_workers_with,
    explain_handing_over,
    hand_over,
    leave_stopping_to_the_trainer,
)
from pointseg.errors import DataError, PointsegError, UsageError
from pointseg.processes import count_processes
from pointseg.scans.prepared import read_scene
from pointseg.taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from pointseg.data.paste import ObjectBank

_CPU = torch.device("cpu")


class Draw(NamedTuple):
    """Which scene stands at a position of a pass."""

    pass_index: int
    position: int
    scene_index: int


class TrainingScenes(Dataset):
    """Batches of prepared scenes: augmented, mixed and voxelised anew at each draw, on ``device``.

    Raises:
        DataError: a scene that is to be cached, or whose objects are to be pasted, is damaged.
        UsageError: the benchmark has no tail classes whose objects could be pasted.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        config: Config,
        device: torch.device = _CPU,
        taxonomy: Taxonomy | None = None,
        teacher: VoxelInputs | None = None,
    ) -> None:
        self.folders = folders
        self.config = config
        self.teacher = teacher
        self.features = tuple(dict.fromkeys((*config.data.features, *(teacher.features if teacher else ()))))
        self.taxonomy = load_taxonomy(config.taxonomy) if taxonomy is None else taxonomy
        self.device = device
        self.bank: ObjectBank | None = None
        if config.augment.copy_paste:
            from pointseg.data.paste import build_bank

            self.bank = build_bank(folders, self.taxonomy, self.features, device)
        self.watch = WorkerWatch(folders, config.data.num_workers) if config.data.num_workers else None
        # Workers are forked and share what is there before: nobody writes into it.
        self.cache = None if config.data.cache == "none" else self.read_all()

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, draws: Sequence[Draw]) -> Batch:
        scenes = [self.draw_scene(draw) for draw in draws]
        if self.config.augment.mix_probability:
            scenes = self.mix_pairs(draws, scenes)
        return make_batch(scenes, self.config.data, self.teacher)

    def draw_scene(self, draw: Draw) -> DrawnScene:
        """One scene, augmented.

        Raises:
            DataError: it can't be read or augmented; the message names it.
        """
        if self.watch is not None:
            self.watch.begins(draw.scene_index)
        try:
            return self._draw_scene(draw)
        except (PointsegError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(
                f"{self.folders[draw.scene_index]}: can't be made ready for training ({text}); "
                f"{called('check', self.config.data.root)} finds what is damaged"
            ) from error

    def _draw_scene(self, draw: Draw) -> DrawnScene:
        config, generator = self.config, self._seeded(draw.pass_index, draw.position)
        scene = self.read(draw.scene_index) if self.cache is None else self.cache[draw.scene_index].to(self.device)
        points = center_points(scene.unpack(), center=config.data.center)
        if self.bank is not None:
            points = self.bank.paste(points, config.augment.copy_paste, generator)
        augmented = augment(points, config.augment, generator)
        if not len(augmented):
            return DrawnScene(scene.name, replace(points, instance=None), generator, num_unaugmented=1)
        return DrawnScene(scene.name, augmented, generator)

    def read(self, index: int) -> PackedScene:
        """A scene from its files: on the device, or where it is kept in RAM for a GPU, in page-locked memory."""
        scene = self.pack(index)
        if self.config.data.cache == "ram":
            return scene.pin_memory() if self.device.type == "cuda" else scene
        return scene.to(self.device)

    def pack(self, index: int) -> PackedScene:
        """A scene from its files."""
        with_instance = self.config.augment.objects.is_on
        return pack_scene(read_scene(self.folders[index], self.taxonomy), self.features, with_instance)

    def read_all(self) -> list[PackedScene]:
        """All scenes: in RAM once a machine, however many processes it has; in the memory of a GPU once a process.

        What processes share is not page-locked: the thread that makes batches for a GPU ahead waits for its copies.
        """
        in_ram = self.config.data.cache == "ram" or self.device.type == "cpu"
        if in_ram and count_processes() > 1:
            from pointseg.data.shared_cache import read_once_a_machine

            shared = read_once_a_machine(self.pack, len(self.folders))
            if shared is not None:
                return shared
        return [self.read(index) for index in range(len(self.folders))]

    def mix_pairs(self, draws: Sequence[Draw], scenes: Sequence[DrawnScene]) -> list[DrawnScene]:
        """Mix the first scene with the second, the third with the fourth, each pair with the config's probability."""
        mixed = []
        for start in range(0, len(scenes), 2):
            pair = scenes[start : start + 2]
            generator = self._seeded(draws[start].pass_index, draws[start].position, 1)
            drawn = float(torch.rand((), generator=generator, device=self.device))
            if len(pair) == 2 and drawn < self.config.augment.mix_probability:
                points = mix(pair[0].points, pair[1].points, self.config.data.center)
                num_unaugmented = pair[0].num_unaugmented + pair[1].num_unaugmented
                name = f"{pair[0].name}+{pair[1].name}"
                mixed.append(DrawnScene(name, points, generator, num_scenes=2, num_unaugmented=num_unaugmented))
            else:
                mixed += pair
        return mixed

    def _seeded(self, *parts: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(self.config.run.seed, *parts))


class PassSampler(Sampler[list[Draw]]):
    """The batches of one or several passes for one process.

    A pass is a random order of all scenes. Where it does not fill the last batch, it begins again from
    the front: every scene is seen, and every batch is full. Each process takes its share of each batch.

    Args:
        num_scenes: of the training split.
        scenes_per_batch: of all processes together.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        in_pairs: whether the scenes 2i and 2i + 1 of a batch go to the same process, which may mix them.

    Raises:
        UsageError: the processes can't share a batch evenly.
    """

    def __init__(
        self,
        num_scenes: int,
        scenes_per_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        in_pairs: bool = False,
    ) -> None:
        self.group = 2 if in_pairs else 1
        multiple = world_size * self.group if world_size > 1 else 1
        if scenes_per_batch % multiple:
            pairs = " in pairs that can be mixed" if in_pairs else ""
            raise UsageError(
                f"data.scenes_per_batch={scenes_per_batch} can't be shared by {world_size} processes{pairs}; "
                f"choose a multiple of {multiple}"
            )
        self.num_scenes = num_scenes
        self.scenes_per_batch = scenes_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start(0)

    def start(self, pass_index: int, first_batch: int = 0, num_passes: int = 1) -> None:
        """Choose where to begin, and after how many passes to end."""
        self.pass_index = pass_index
        self.first_batch = first_batch
        self.num_passes = num_passes

    @property
    def batches_per_pass(self) -> int:
        """Training steps of a whole pass."""
        return -(-self.num_scenes // self.scenes_per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        own = [i for i in range(self.scenes_per_batch) if i // self.group % self.world_size == self.rank]
        for turn in range(self.num_passes):
            pass_index = self.pass_index + turn
            order = np.random.default_rng([self.seed, pass_index]).permutation(self.num_scenes)
            padded = np.resize(order, self.batches_per_pass * self.scenes_per_batch)
            for batch in range(0 if turn else self.first_batch, self.batches_per_pass):
                positions = [batch * self.scenes_per_batch + i for i in own]
                yield [Draw(pass_index, i, int(padded[i])) for i in positions]

    def __len__(self) -> int:
        return self.num_passes * self.batches_per_pass - self.first_batch


class TrainingLoader:
    """Batches of any pass from any position, made ahead: by worker processes, or by a thread on the network's GPU.

    Args:
        folders: the training split.
        config: of the run.
        rank: of this process.
        world_size: number of processes.
        device: where the network is.
        taxonomy: the classes; None reads those of the config.
        teacher: what a teacher takes of each voxel, where it is other than what the network takes.

    Raises:
        UsageError: ``data.device`` is a GPU and the network is not, or as :class:`PassSampler`.
        DataError: as :class:`TrainingScenes`.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        config: Config,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device = _CPU,
        taxonomy: Taxonomy | None = None,
        teacher: VoxelInputs | None = None,
    ) -> None:
        data = config.data
        self.num_passes = config.train.passes
        in_pairs = config.augment.mix_probability > 0
        self.sampler = PassSampler(len(folders), data.scenes_per_batch, config.run.seed, rank, world_size, in_pairs)
        self.scenes = TrainingScenes(folders, config, choose_data_device(data.device, device), taxonomy, teacher)
        self._loader = DataLoader(
            self.scenes,
            sampler=self.sampler,
            batch_size=None,  # a draw is a whole batch
            collate_fn=hand_over,
            num_workers=data.num_workers,
            # Python 3.14 would have scenes that are kept copied into /dev/shm.
            multiprocessing_context="fork" if data.num_workers else None,
            persistent_workers=data.num_workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=leave_stopping_to_the_trainer,
        )
        self._stream: Iterator[Batch | Parcel] = iter(())
        self._next: tuple[int, int] | None = None

    @property
    def batches_per_pass(self) -> int:
        """Training steps of a whole pass."""
        return self.sampler.batches_per_pass

    def batches(self, pass_index: int, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of a pass, from the given one on. While the last are used, the next pass is begun.

        Raises:
            DataError: a scene is damaged, or a worker died; the message names the scene.
        """
        for batch_index in range(first_batch, self.batches_per_pass):
            if self._next != (pass_index, batch_index):
                self.sampler.start(pass_index, batch_index, max(1, self.num_passes - pass_index))
                self._stream = self._open()
            self._next = None
            try:
                with self.explain_dead_worker():
                    made = next(self._stream)
            except PointsegError as error:
                # A worker's error arrives as a whole traceback; its last line is the message.
                raise type(error)(str(error).strip().splitlines()[-1].split(f"{type(error).__name__}: ")[-1]) from None
            is_last = batch_index + 1 == self.batches_per_pass
            self._next = (pass_index + 1, 0) if is_last else (pass_index, batch_index + 1)
            yield made.open() if isinstance(made, Parcel) else made

    def close(self) -> None:
        """End the workers; once more does nothing."""
        end_workers(self._stream)

    def _open(self) -> Iterator[Batch | Parcel]:
        """What the sampler asks for, from where it stands."""
        if self.scenes.device.type == "cpu":
            with explain_handing_over():
                # More than PyTorch is about to make: where it fails half-way, it leaves workers and tracebacks behind.
                spare: list[Any] = [Queue() for _ in range(3 * self._loader.num_workers)]
                del spare
                with signals_held(STOP_SIGNALS):
                    stream = iter(self._loader)
                end_workers_with(self, stream)
                return stream
        from pointseg.data.prefetch import prefetch

        return prefetch(self.scenes.__getitem__, self.sampler, self.scenes.device)

    def explain_dead_worker(self) -> AbstractContextManager[None]:
        """A block in which the death of a worker is a DataError that names its scene; it may surface anywhere."""
        return nullcontext() if self.scenes.watch is None else self.scenes.watch.explain_death()


def choose_data_device(name: str, network_device: torch.device) -> torch.device:
    """Where ``data.device`` has scenes augmented, given where the network is.

    Raises:
        UsageError: ``cuda``, and the network is on the CPU.
    """
    if name == "cuda" and network_device.type != "cuda":
        raise UsageError("data.device=cuda: the network is on the CPU; use data.device=auto, or run.device=cuda")
    return _CPU if name == "cpu" else network_device


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, so that neighbouring numbers give unrelated draws."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
