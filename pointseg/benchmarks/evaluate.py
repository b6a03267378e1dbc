"""Evaluation of a scene: read, voxelise, predict every vertex and count."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.benchmarks.surface import write_surface_scene
from pointseg.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.config import Config
from pointseg.engine.evaluation import evaluate_scenes, new_statistics
from pointseg.engine.inference import Segmenter
from pointseg.models import build_network
from pointseg.processes import Processes
from pointseg.scans.prepared import read_scene


@dataclass(frozen=True)
class EvaluateRow:
    """One scene."""

    num_vertices: int
    ms_per_scene: float
    """From the files of a prepared scene to its counts and their scores."""
    ms_with_collapse: float
    """The same, and the features gathered for the measures of neural collapse."""
    collapse_share: float
    """Share of ``ms_per_scene`` that the gathering takes by itself: the difference of the two is mostly noise."""


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

        def evaluate_with_collapse() -> None:
            statistics = new_statistics(segmenter)
            evaluate_scenes(segmenter, [folder], tta="none", processes=alone, quiet=True, statistics=statistics)

        voxels, output = segmenter.forward_scene(read_scene(folder, segmenter.taxonomy))

        def gather_once() -> None:
            new_statistics(segmenter).update(output.features, voxels.label.to(device))

        rivals = {"without": evaluate_once, "with": evaluate_with_collapse, "gathering": gather_once}
        seconds = measure_in_turn({name: stopwatch(work, device) for name, work in rivals.items()}, num_repeats)
    return [
        EvaluateRow(
            num_vertices=num_vertices,
            ms_per_scene=1e3 * seconds["without"],
            ms_with_collapse=1e3 * seconds["with"],
            collapse_share=seconds["gathering"] / seconds["without"],
        )
    ]
