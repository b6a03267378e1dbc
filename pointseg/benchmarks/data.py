"""A training scene from its files to a batch, as one loader process does it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.benchmarks.surface import check_scene_folder, write_surface_scene
from pointseg.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.config import Config
from pointseg.data.loader import Draw, TrainingScenes
from pointseg.scans.prepared import read_scene


@dataclass(frozen=True)
class DataRow:
    """One scene."""

    num_vertices: int
    ms_per_scene: float
    """Load, augment, mix, voxelise and collate."""


def measure_data(
    config: Config, num_vertices: int, scene: Path | None, num_repeats: int, seed: int = 0
) -> list[DataRow]:
    """Measure on the prepared ``scene``, or where it is None on a made one of ``num_vertices``; each draw is new.

    A batch has two scenes, which may be mixed as the config says.

    Raises:
        UsageError: ``scene`` is no folder.
    """
    if scene is not None:
        check_scene_folder(scene)
    with TemporaryDirectory() as temporary:
        if scene is None:
            scene = write_surface_scene(Path(temporary) / "train" / "surface", num_vertices, seed)
        scenes = TrainingScenes([scene], config)
        positions = itertools.count()

        def load_pair() -> None:
            scenes[[Draw(pass_index=0, position=next(positions), scene_index=0) for _ in range(2)]]

        seconds = measure_in_turn({"pair": stopwatch(load_pair, torch.device("cpu"))}, num_repeats)
        return [DataRow(read_scene(scene, scenes.taxonomy).num_points, 1e3 * seconds["pair"] / 2)]
