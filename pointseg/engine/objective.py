"""What training minimises: the network and its losses as one module, so that DDP sees every weight that learns."""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from pointseg.collapse import CenterCollapse
from pointseg.config import CollapseConfig, LossConfig
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.network import run_network
from pointseg.losses import (
    cross_entropy,
    effective_number_weight,
    focal_loss,
    inverse_frequency_weight,
    logit_adjusted_cross_entropy,
    lovasz_softmax,
)
from pointseg.models import Network
from pointseg.processes import count_processes
from pointseg.taxonomy import IGNORE


class Losses(NamedTuple):
    """Scalars of one batch. With several processes their average over all is that of one process with all scenes."""

    total: torch.Tensor
    """L = L_PR + λ L_CR (CeCo, CVPR 2023)."""
    recognition: torch.Tensor
    """L_PR: cross-entropy, or what the config has in its place."""
    collapse: torch.Tensor
    """L_CR; zero without the center branch."""


class LabelCounts(NamedTuple):
    """What has a label in a step, on average over the processes.

    The losses divide by these, and not by what a process has itself: DDP averages gradients over the processes as if
    all had the same number of labelled points.
    """

    points: torch.Tensor
    """(K,) float32: of each class."""
    scenes: torch.Tensor
    """Scalar float32: with a labelled point."""
    processes: torch.Tensor
    """Scalar float32: the share that has a labelled point."""


def count_labels(batch: Batch, num_classes: int) -> LabelCounts:
    """Count what has a label in the batches of all processes, each of which calls this; the host waits for nothing."""
    # One row and one scene more than there are, for the points without a label.
    classes = torch.where(batch.labels == IGNORE, num_classes, batch.labels)
    scenes = torch.where(batch.labels == IGNORE, batch.num_scenes, batch.coords[:, 0].long())
    points = batch.labels.new_zeros(num_classes + 1).index_add_(0, classes, torch.ones_like(classes))[:-1]
    is_labelled = batch.labels.new_zeros(batch.num_scenes + 1).index_fill_(0, scenes, 1)[:-1]
    counts = torch.cat([points, is_labelled.sum(0, keepdim=True), is_labelled.amax(0, keepdim=True)])
    dist.all_reduce(counts)
    average = counts / count_processes()
    return LabelCounts(average[:-2], average[-2], average[-1])


class PointRecognition(nn.Module):
    """L_PR, point recognition, which trains the classifier: the sum of the config's losses, those of weight 0 left out.

    Class weights and the log-prior come from the points of the training split.
    """

    inverse_frequency: torch.Tensor | None
    effective_number: torch.Tensor | None
    log_prior: torch.Tensor

    def __init__(self, config: LossConfig, counts: ClassCounts) -> None:
        super().__init__()
        self.config = config
        inverse_frequency = inverse_frequency_weight(counts.points) if config.class_balanced else None
        effective_number = None
        if config.effective_number:
            effective_number = effective_number_weight(counts.points, config.effective_number_beta)
        # They are data, computed again when a run is resumed from the counts that it has stored.
        self.register_buffer("inverse_frequency", inverse_frequency, persistent=False)
        self.register_buffer("effective_number", effective_number, persistent=False)
        self.register_buffer("log_prior", counts.adjustment_prior(), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, counts: LabelCounts | None = None) -> torch.Tensor:
        """L_PR of logits (M, K) and labels (M,): a scalar; zero where no point has a label.

        Counts, of several processes, make the average of all theirs that of one process with all points. Of the
        Lovász loss, which is no mean over points, it is then the average over the processes with a labelled point.
        """
        config, points = self.config, None if counts is None else counts.points
        terms = []
        if config.cross_entropy:
            plain = cross_entropy(logits, labels, None, points, config.label_smoothing)
            terms.append(config.cross_entropy * plain)
        if config.class_balanced:
            terms.append(config.class_balanced * cross_entropy(logits, labels, self.inverse_frequency, points))
        if config.effective_number:
            terms.append(config.effective_number * cross_entropy(logits, labels, self.effective_number, points))
        if config.focal:
            terms.append(config.focal * focal_loss(logits, labels, config.focal_gamma, None, points))
        if config.balanced_softmax:
            tau = config.balanced_softmax_tau
            adjusted = logit_adjusted_cross_entropy(logits, labels, self.log_prior, tau, points)
            terms.append(config.balanced_softmax * adjusted)
        if config.lovasz:
            lovasz = lovasz_softmax(logits, labels)
            if counts is not None:
                lovasz = lovasz / torch.where(counts.processes > 0, counts.processes, 1)
            terms.append(config.lovasz * lovasz)
        return torch.stack(terms).sum()


class Objective(nn.Module):
    """Batch -> losses.

    Attributes:
        collapse_weight: λ, which the trainer raises during its warm-up.
    """

    def __init__(self, network: Network, config: LossConfig, counts: ClassCounts) -> None:
        super().__init__()
        self.network = network
        self.recognition = PointRecognition(config, counts)
        self.collapse_weight = config.collapse.weight
        # With λ = 0 there is no branch at all: the baseline pays nothing for it.
        has_branch = config.collapse.weight > 0
        self.collapse = build_collapse(network.feature_channels, config.collapse, counts) if has_branch else None

    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch; the network runs under the caller's autocast, the losses in float32.

        Every process of the job calls this at the same time, also one whose batch has no label.
        """
        output = run_network(self.network, batch)
        counts = count_labels(batch, output.logits.shape[1]) if count_processes() > 1 else None
        recognition = self.recognition(output.logits, batch.labels, counts)
        if self.collapse is None:
            return Losses(recognition, recognition, torch.zeros_like(recognition))
        num_labelled_scenes = None if counts is None else counts.scenes
        scene_of_voxel = batch.coords[:, 0]
        collapse = self.collapse(output.features, batch.labels, scene_of_voxel, batch.num_scenes, num_labelled_scenes)
        return Losses(recognition + self.collapse_weight * collapse, recognition, collapse)


def build_collapse(feature_channels: int, config: CollapseConfig, counts: ClassCounts) -> CenterCollapse:
    """The center branch of a config: its preset, and what the config sets differently.

    Raises:
        ValueError: the features have too few dimensions for the simplex, or an optional library is not installed.
    """
    given = {
        "projection": config.projection,
        "projection_trainable": config.projection_trainable,
        "subtract_mean": config.subtract_mean,
        "normalize": config.normalize,
        "scale": config.scale,
        "dropout": config.dropout,
        "reduction": config.reduction,
        "momentum": config.momentum,
    }
    choices = {key: value for key, value in given.items() if value is not None}
    # The authors' code adds the share of training images that have a class; the paper's equation has no prior.
    prior = config.log_prior or ("scenes" if config.preset == "release" else "none")
    build = CenterCollapse.paper if config.preset == "paper" else CenterCollapse.release
    return build(
        feature_channels,
        len(counts.points),
        log_prior=None if prior == "none" else counts.log_prior(prior),
        scope=config.scope,
        backend=config.backend,
        # Labels were checked when the scenes were read, and the loss is when it is logged: nothing waits for a GPU.
        check_inputs=False,
        **choices,
    )
