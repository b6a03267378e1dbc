"""A training step as the trainer does it, on made voxels: what other costs are held against."""

import torch

from pointseg.config import Config
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.benchmarks.surface import make_batch
from pointseg.engine.network import build_network, run_network
from pointseg.engine.objective import Objective
from pointseg.engine.optimizer import build_optimizer
from pointseg.taxonomy import load_taxonomy


class TrainingStep:
    """Network, losses and optimiser of a config, and one batch: a surface with labels of all classes. In float32."""

    def __init__(self, config: Config, device: torch.device, num_voxels: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.num_classes = load_taxonomy(config.taxonomy).num_classes
        self.batch = make_batch(num_voxels, config.in_channels, self.num_classes, seed).to(device)
        self.network = build_network(config, device)
        self.class_counts = count_labels(self.batch.labels, self.num_classes)
        self.objective = Objective(self.network, config.loss, self.class_counts).to(device)
        self.optimizer = build_optimizer(self.objective, config.optimizer)

    def predict(self) -> None:
        """The network's forward pass as in inference."""
        self.network.eval()
        with torch.inference_mode():
            run_network(self.network, self.batch, self.network.num_stages)

    def train(self) -> None:
        """Forward, backward, update."""
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.objective(self.batch).total.backward()
        self.optimizer.step()


def count_labels(labels: torch.Tensor, num_classes: int) -> ClassCounts:
    """The classes of one batch, taken as one scene."""
    points = torch.bincount(labels[labels >= 0].cpu(), minlength=num_classes)
    return ClassCounts(points, (points > 0).long())
