"""L_PR, point recognition: the weighted sum of the losses that train the classifier."""

import torch
from torch import nn

from pointseg.config import LossConfig
from pointseg.data.class_counts import ClassCounts
from pointseg.losses import (
    cross_entropy,
    effective_number_weight,
    focal_loss,
    inverse_frequency_weight,
    logit_adjusted_cross_entropy,
    lovasz_softmax,
)


class PointRecognition(nn.Module):
    """Logits and labels -> the sum of the config's losses, those of weight 0 left out.

    Class weights and the log-prior come from the points of the training split.
    """

    inverse_frequency: torch.Tensor
    effective_number: torch.Tensor
    log_prior: torch.Tensor

    def __init__(self, config: LossConfig, counts: ClassCounts) -> None:
        super().__init__()
        self.config = config
        effective_number = effective_number_weight(counts.points, config.effective_number_beta)
        # They are data, computed again when a run is resumed from the counts that it has stored.
        self.register_buffer("inverse_frequency", inverse_frequency_weight(counts.points), persistent=False)
        self.register_buffer("effective_number", effective_number, persistent=False)
        self.register_buffer("log_prior", counts.adjustment_prior(), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """L_PR of logits (M, K) and labels (M,): a scalar; zero where no point has a label."""
        config = self.config
        terms = []
        if config.cross_entropy:
            terms.append(config.cross_entropy * cross_entropy(logits, labels))
        if config.class_balanced:
            terms.append(config.class_balanced * cross_entropy(logits, labels, self.inverse_frequency))
        if config.effective_number:
            terms.append(config.effective_number * cross_entropy(logits, labels, self.effective_number))
        if config.focal:
            terms.append(config.focal * focal_loss(logits, labels, config.focal_gamma))
        if config.balanced_softmax:
            adjusted = logit_adjusted_cross_entropy(logits, labels, self.log_prior, config.balanced_softmax_tau)
            terms.append(config.balanced_softmax * adjusted)
        if config.lovasz:
            terms.append(config.lovasz * lovasz_softmax(logits, labels))
        return torch.stack(terms).sum()
