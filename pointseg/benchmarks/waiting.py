"""Training steps with a loader behind them: the share of the time in which they wait for data."""

import time
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.benchmarks.surface import check_scene_folder, write_surface_scene
from pointseg.benchmarks.timing import wait_for
from pointseg.benchmarks.training import TrainingStep
from pointseg.config import Config
from pointseg.data.loader import TrainingLoader

_NUM_WARMUPS = 2
_BATCHES_PER_PASS = 2


def measure_wait_share(
    config: Config, device: torch.device, num_vertices: int, scene: Path | None, num_steps: int, seed: int = 0
) -> float:
    """Train on prepared scenes as the trainer does, and measure how long the loop waits for its next batch.

    A GPU is waited for after each step, so that what the loader can do meanwhile is what it has time for.

    Args:
        config: network, losses, recipe and loader; ``data.scenes_per_batch`` scenes a step.
        device: where the network is.
        num_vertices: of each scene that is made.
        scene: a prepared scene to take again and again instead.
        num_steps: what the share is taken of, after two steps of warm-up.
        seed: of the scenes and the weights.

    Raises:
        UsageError: ``scene`` is no folder, or the config's ``data.device`` does not go with ``device``.
    """
    if scene is not None:
        check_scene_folder(scene)
    num_scenes = _BATCHES_PER_PASS * config.data.scenes_per_batch
    with TemporaryDirectory() as temporary:
        folders = [
            scene or write_surface_scene(Path(temporary) / "train" / f"surface{index}", num_vertices, seed + index)
            for index in range(num_scenes)
        ]
        loader = TrainingLoader(folders, config, device=device)
        batches = chain.from_iterable(loader.batches(pass_index) for pass_index in count())
        step = TrainingStep(config, device, next(batches), seed)
        waited_s = 0.0
        begun = time.perf_counter()
        for index in range(_NUM_WARMUPS + num_steps):
            if index == _NUM_WARMUPS:
                waited_s, begun = 0.0, time.perf_counter()
            asked = time.perf_counter()
            batch = next(batches)
            waited_s += time.perf_counter() - asked
            step.run(batch.to(device))
            wait_for(device)
        return waited_s / (time.perf_counter() - begun)
