"""Evaluation of a scene: read, voxelise, predict every vertex and count."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.config import Config
from pointseg.engine.benchmarks.surface import write_surface_scene
from pointseg.engine.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.engine.distributed import Processes
from pointseg.engine.evaluation import evaluate_scenes
from pointseg.engine.inference import Segmenter
from pointseg.engine.network import build_network


@dataclass(frozen=True)
class EvaluateRow:
    """One scene."""

    num_vertices: int
    ms_per_scene: float
    """From the files of a prepared scene to its counts and their scores."""


def measure_evaluate(
    config: Config, device: torch.device, num_vertices: int, num_repeats: int, seed: int = 0
) -> list[EvaluateRow]:
    """Measure on a made scene with labels, with the config's network in random weights: they cost the same."""
    torch.manual_seed(seed)
    segmenter = Segmenter(build_network(config, device), config, device)
    alone = Processes(rank=0, world_size=1, device=device)
    with TemporaryDirectory() as temporary:
        folder = write_surface_scene(Path(temporary) / "val" / "surface", num_vertices, seed)

        def evaluate_once() -> None:
            evaluate_scenes(segmenter, [folder], tta="none", processes=alone, quiet=True)

        seconds = measure_in_turn({"scene": stopwatch(evaluate_once, device)}, num_repeats)
    return [EvaluateRow(num_vertices, 1e3 * seconds["scene"])]
