"""A training run's scores on its validation split."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from pointseg.engine.analysis import measure_network
from pointseg.engine.evaluation import evaluate_scenes, new_statistics
from pointseg.engine.inference import Segmenter
from pointseg.errors import StoppedError
from pointseg.scans.scene import Scene

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer


def validate(trainer: "Trainer") -> float:
    """Evaluate the network as it is by the official rule, and log the scores.

    Where it is due, the same forward passes give the measures of neural collapse.

    Returns:
        the mean IoU over the classes in the ground truth; 0 where there is none.

    Raises:
        DataError: a scene can't be read, or the network has diverged.
        StoppedError: a signal asked to stop.
    """
    config, processes, progress = trainer.config, trainer.processes, trainer.progress
    prior = trainer.class_counts.adjustment_prior()
    segmenter = Segmenter(trainer.predictor, config, processes.device, prior, trainer.taxonomy)
    num_passes, every = progress.pass_index, config.train.measure_collapse_every
    is_due = every > 0 and (num_passes == config.train.passes or num_passes % every == 0)
    statistics = new_statistics(segmenter) if is_due else None
    shown: list[tuple[Scene, np.ndarray]] = []

    def keep_first(scene: Scene, predicted: np.ndarray) -> None:
        if not shown:
            shown.append((scene, predicted))

    with _stop_before_a_forward_pass(segmenter.network, trainer):
        evaluation = evaluate_scenes(
            segmenter, trainer.scenes.val, "none", processes, statistics=statistics, watch=keep_first
        )
    trainer.log.log_validation(progress.step, num_passes - 1, evaluation)
    for scene, predicted in shown:
        trainer.log.log_scene(progress.step, scene, predicted)
    if statistics is not None and processes.is_first:
        trainer.log.log_collapse(progress.step, measure_network(segmenter, statistics))
    return evaluation["miou"] if evaluation["miou"] is not None else 0.0


@contextmanager
def _stop_before_a_forward_pass(network: nn.Module, trainer: "Trainer") -> Iterator[None]:
    """A block in which a request to stop is heeded before the next forward pass: of a scene, or of a tile."""

    def look(*_: object) -> None:
        if trainer.stop.is_known():
            where = f"{trainer.directory.path}: stopped in the validation after step {trainer.progress.step}"
            raise StoppedError(f"{where}; --resume begins with it")

    hook = network.register_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
