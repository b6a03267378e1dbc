"""What training minimises: the network and its losses as one module, so that DDP sees every weight that learns."""

from typing import Any, NamedTuple

import torch
from torch import nn

from pointseg.collapse import CenterCollapse
from pointseg.config import CollapseConfig
from pointseg.data.batch import Batch
from pointseg.engine.network import run_network
from pointseg.losses import cross_entropy
from pointseg.models.unet import SparseUNet


class Losses(NamedTuple):
    """Scalars of one batch."""

    total: torch.Tensor
    """L = L_PR + λ L_CR (CeCo, CVPR 2023)."""
    cross_entropy: torch.Tensor
    """L_PR."""
    collapse: torch.Tensor
    """L_CR; zero without the center branch."""


class Objective(nn.Module):
    """Batch -> losses."""

    def __init__(self, network: SparseUNet, num_classes: int, config: CollapseConfig) -> None:
        super().__init__()
        self.network = network
        self.collapse_weight = config.weight
        # With λ = 0 there is no branch at all: the baseline pays nothing for it.
        self.collapse = build_collapse(network.feature_channels, num_classes, config) if config.weight > 0 else None

    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch; the network runs under the caller's autocast, the losses in float32."""
        output = run_network(self.network, batch, self.network.num_stages)
        point_recognition = cross_entropy(output.logits, batch.labels)
        if self.collapse is None:
            return Losses(point_recognition, point_recognition, torch.zeros_like(point_recognition))
        center_regularization = self.collapse(output.features, batch.labels)
        total = point_recognition + self.collapse_weight * center_regularization
        return Losses(total, point_recognition, center_regularization)


def build_collapse(feature_channels: int, num_classes: int, config: CollapseConfig) -> CenterCollapse:
    """The center branch of a config: its preset, and what the config sets differently."""
    given: dict[str, Any] = {
        "normalize": config.normalize,
        "scale": config.scale,
        "trainable": config.projection_trainable,
    }
    given = {key: value for key, value in given.items() if value is not None}
    build = CenterCollapse.paper if config.preset == "paper" else CenterCollapse.release
    return build(feature_channels, num_classes, **given)
