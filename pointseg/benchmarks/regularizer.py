"""What the center branch, the measure of its pull and the moving average of the weights cost beside a training step."""

from dataclasses import dataclass
from functools import partial

import torch

from pointseg.benchmarks.surface import make_batch
from pointseg.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.benchmarks.training import TrainingStep
from pointseg.config import Config
from pointseg.engine.averaging import WeightAverage
from pointseg.engine.objective import build_collapse
from pointseg.engine.pull import measure_pull
from pointseg.errors import UsageError
from pointseg.models import NetworkOutput
from pointseg.taxonomy import load_taxonomy

_EMA_DECAY = 0.999


@dataclass(frozen=True)
class RegularizerRow:
    """The branch of one config."""

    num_voxels: int
    num_classes: int
    branch_ms: float
    """Forward and backward of the branch, down to the gradient of the features. All classes are present."""
    step_ms: float
    """The whole training step, with the branch in it."""
    branch_share: float
    """branch_ms / step_ms."""
    pull_ms: float
    """To measure how strongly the branch pulls, in a step that is logged; it is no part of the step measured."""
    pull_share: float
    """pull_ms / step_ms; of all steps, this over ``train.log_every``."""
    ema_ms: float
    """To take the weights of a step into a moving average; it is no part of the step measured."""
    ema_share: float
    """ema_ms / step_ms."""


def measure_regularizer(
    config: Config, device: torch.device, num_voxels: int, num_repeats: int, seed: int = 0
) -> list[RegularizerRow]:
    """Measure branch, pull, average and training step in turn.

    Raises:
        UsageError: the config has no center branch.
    """
    if config.loss.collapse.weight == 0:
        raise UsageError("loss.collapse.weight is 0: the config has no center branch; choose another config by --cfg")
    num_classes = load_taxonomy(config.taxonomy).num_classes
    training = TrainingStep(config, device, make_batch(num_voxels, config.in_channels, num_classes, seed), seed)
    channels = training.network.feature_channels
    branch = build_collapse(channels, config.loss.collapse, training.class_counts).to(device).train()
    features = torch.randn(num_voxels, channels, device=device, requires_grad=True)

    def run_branch() -> None:
        branch.zero_grad(set_to_none=True)
        features.grad = None
        (config.loss.collapse.weight * branch(features, training.batch.labels)).backward()

    classifier = training.network.classifier_weight()
    output = NetworkOutput(features @ classifier.to(device).T, features)
    recognition = training.objective.recognition(output.logits, training.batch.labels)
    collapse = config.loss.collapse.weight * branch(features, training.batch.labels)
    average = WeightAverage(training.network, _EMA_DECAY)
    work = {
        "branch": stopwatch(run_branch, device),
        "step": stopwatch(training.run, device),
        "pull": stopwatch(partial(measure_pull, output, recognition, collapse, classifier), device),
        "ema": stopwatch(partial(average.update, training.network), device),
    }
    seconds = measure_in_turn(work, num_repeats)
    return [
        RegularizerRow(
            num_voxels=num_voxels,
            num_classes=num_classes,
            branch_ms=1e3 * seconds["branch"],
            step_ms=1e3 * seconds["step"],
            branch_share=seconds["branch"] / seconds["step"],
            pull_ms=1e3 * seconds["pull"],
            pull_share=seconds["pull"] / seconds["step"],
            ema_ms=1e3 * seconds["ema"],
            ema_share=seconds["ema"] / seconds["step"],
        )
    ]
