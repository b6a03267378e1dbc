"""A training step as the trainer does it, and a prediction, on made voxels: what other costs are held against."""

import torch

from pointseg.config import Config
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.averaging import WeightAverage
from pointseg.engine.inference import Segmenter
from pointseg.engine.network import autocast, choose_amp, refuse_bf16_on_cpu, run_network
from pointseg.engine.objective import Objective
from pointseg.engine.optimizer import Update
from pointseg.models import build_network


class TrainingStep:
    """Network, losses and optimiser of a config, without a teacher; on one batch, or others of the same classes."""

    def __init__(self, config: Config, device: torch.device, batch: Batch, seed: int = 0) -> None:
        refuse_bf16_on_cpu("train.amp", config.train.amp, device)
        torch.manual_seed(seed)
        self.device = device
        self.batch = batch.to(device)
        self.network = build_network(config, device)
        self.amp = choose_amp(config.train.amp, self.network)
        self.class_counts = count_labels(batch.labels, self.network.num_classes)
        objective = Objective(self.network, config.loss, self.class_counts, scenes_at_once=config.train.scenes_at_once)
        self.objective = objective.to(device)
        self.update = Update(self.objective, config.optimizer, self.amp, device)
        decay = config.train.ema_decay
        self.average = None if decay is None else WeightAverage(self.network, decay)

    def run(self, batch: Batch | None = None) -> None:
        """Forward, backward, update."""
        self.objective.train()
        with autocast(self.amp, self.device):
            losses = self.objective(self.batch if batch is None else batch)
        self.update(losses.total)
        if self.average is not None:
            self.average.update(self.network)


class PredictionStep:
    """Network of a config as it predicts, on one batch."""

    def __init__(self, config: Config, device: torch.device, batch: Batch, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.batch = batch.to(device)
        without_prior = config.model_copy(
            update={"inference": config.inference.model_copy(update={"logit_adjustment": 0.0})}
        )
        self.network = Segmenter(build_network(config, device), without_prior, device).network.eval()
        self.amp = choose_amp(config.inference.amp, self.network)

    def run(self) -> None:
        """The forward pass."""
        with torch.inference_mode(), autocast(self.amp, self.device):
            run_network(self.network, self.batch)


def count_labels(labels: torch.Tensor, num_classes: int) -> ClassCounts:
    """The classes of one batch, taken as one scene."""
    points = torch.bincount(labels[labels >= 0].cpu(), minlength=num_classes)
    return ClassCounts(points, (points > 0).long())
