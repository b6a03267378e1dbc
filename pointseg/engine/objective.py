"""What training minimises: the network and its losses as one module, so that DDP sees every weight that learns."""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from pointseg.collapse import CenterCollapse
from pointseg.config import CollapseConfig, LossConfig
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.network import drawing_alone, run_network
from pointseg.engine.pull import measure_pull
from pointseg.losses import (
    cross_entropy,
    effective_number_weight,
    focal_loss,
    inverse_frequency_weight,
    logit_adjusted_cross_entropy,
    lovasz_softmax,
)
from pointseg.losses.cross_entropy import at_least_float32
from pointseg.models import Network, NetworkOutput
from pointseg.processes import count_processes
from pointseg.taxonomy import IGNORE


class Losses(NamedTuple):
    """Scalars of one batch.

    With several processes their average over all is that of one process with all scenes, but for Lovász-softmax and
    for centers of scope ``batch``, which each process has of its own scenes.
    """

    total: torch.Tensor
    """L = L_PR + λ L_CR (CeCo, CVPR 2023); with a teacher, L_PR is (1 - w) L_PR of labels and w that of its classes."""
    recognition: torch.Tensor
    """L_PR: cross-entropy, or what the config has in its place."""
    collapse: torch.Tensor
    """L_CR; zero without the center branch."""
    taught: torch.Tensor
    """L_PR of the second classifier, with the teacher's classes for labels; zero without a teacher."""
    pull: torch.Tensor
    """Of the branch at the features, as :func:`measure_pull` says it; zero where nobody asked."""


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


def count_labels(batch: Batch, num_classes: int, labels: torch.Tensor | None = None) -> LabelCounts:
    """Count what has a label in the batches of all processes, each of which calls this; the host waits for nothing.

    Args:
        batch: of this process.
        num_classes: K.
        labels: (M,) int64, others than the batch's.
    """
    labels = batch.labels if labels is None else labels
    # One row and one scene more than there are, for the points without a label.
    classes = torch.where(labels == IGNORE, num_classes, labels)
    scenes = torch.where(labels == IGNORE, batch.num_scenes, batch.coords[:, 0].long())
    points = labels.new_zeros(num_classes + 1).index_add_(0, classes, torch.ones_like(classes))[:-1]
    is_labelled = labels.new_zeros(batch.num_scenes + 1).index_fill_(0, scenes, 1)[:-1]
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

    Args:
        network: what learns.
        config: its losses.
        counts: of the classes of the training split.
        taught_share: w, the teacher's share in point recognition; 0: no teacher.
        scenes_at_once: how many scenes of a batch are in the network at a time; None: all.

    Attributes:
        collapse_weight: λ, which the trainer raises during its warm-up.
    """

    def __init__(
        self,
        network: Network,
        config: LossConfig,
        counts: ClassCounts,
        taught_share: float = 0.0,
        scenes_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.scenes_at_once = scenes_at_once
        self.taught_share = taught_share
        # It takes what the classifier takes, and is not part of the network: it never predicts.
        self.taught_classifier = nn.Linear(network.feature_channels, network.num_classes) if taught_share else None
        self.recognition = PointRecognition(config, counts)
        self.collapse_weight = config.collapse.weight
        # With λ = 0 there is no branch at all: the baseline pays nothing for it.
        has_branch = config.collapse.weight > 0
        self.collapse = build_collapse(network.feature_channels, config.collapse, counts) if has_branch else None

    def forward(self, batch: Batch, teacher_labels: torch.Tensor | None = None, measures_pull: bool = False) -> Losses:
        """Losses of a batch; the network runs under the caller's autocast, the losses in float32.

        Every process of the job calls this at the same time, also one whose batch has no label.

        Args:
            batch: on the device.
            teacher_labels: (M,) int64, what the teacher says of each voxel; where there is one.
            measures_pull: whether to say, too, how strongly the branch pulls; the features have to learn then.
        """
        output = self.run_network(batch)
        if measures_pull:  # half precision has no room for the gradients that are measured
            output = NetworkOutput(*map(at_least_float32, output))
        counts = count_labels(batch, output.logits.shape[1]) if count_processes() > 1 else None
        recognition = self.recognition(output.logits, batch.labels, counts)
        zero = torch.zeros_like(recognition)
        total, by_labels, taught, collapse, pull = recognition, recognition, zero, zero, zero
        if self.taught_classifier is not None:
            assert teacher_labels is not None, "the trainer asks the teacher"
            taught = self.learn_from_teacher(output.features, batch, teacher_labels)
            by_labels = (1 - self.taught_share) * recognition
            total = by_labels + self.taught_share * taught
        if self.collapse is not None:
            num_labelled_scenes = None if counts is None else counts.scenes
            scene_of_voxel = batch.coords[:, 0]
            collapse = self.collapse(
                output.features, batch.labels, scene_of_voxel, batch.num_scenes, num_labelled_scenes
            )
            branch = self.collapse_weight * collapse
            total = total + branch
            if measures_pull:
                pull = measure_pull(output, by_labels, branch, self.network.classifier_weight())
        return Losses(total, recognition, collapse, taught, pull)

    def learn_from_teacher(self, features: torch.Tensor, batch: Batch, labels: torch.Tensor) -> torch.Tensor:
        """L_PR of the second classifier: all losses of the config, with the teacher's classes for labels."""
        assert self.taught_classifier is not None
        logits = self.taught_classifier(features)
        counts = count_labels(batch, logits.shape[1], labels) if count_processes() > 1 else None
        return self.recognition(logits, labels, counts)

    def run_network(self, batch: Batch) -> NetworkOutput:
        """The network's output, at once or in parts; what it draws is for the scenes of this process."""
        with drawing_alone(batch.features.device):
            if self.scenes_at_once is None or batch.num_scenes <= self.scenes_at_once:
                return run_network(self.network, batch)
            from pointseg.engine.accumulation import run_in_parts

            return run_in_parts(self.network, batch, self.scenes_at_once)


def build_collapse(feature_channels: int, config: CollapseConfig, counts: ClassCounts) -> CenterCollapse:
    """The center branch of a config: its preset, and what the config sets differently.

    Raises:
        ValueError: the features have too few dimensions for the simplex, or an optional library is not installed.
    """
    given = {
        "projection": config.projection,
        "projection_trainable": config.projection_trainable,
        "subtract_mean": config.subtract_mean,
        "mean_momentum": config.mean_momentum,
        "normalize": config.normalize,
        "scale": config.scale,
        "dropout": config.dropout,
        "reduction": config.reduction,
        "points_per_center": config.points_per_center,
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
        class_weight=None if config.class_weight == "none" else counts.scene_weight(),
        scope=config.scope,
        backend=config.backend,
        # Labels were checked when the scenes were read, and the loss is when it is logged: nothing waits for a GPU.
        check_inputs=False,
        **choices,
    )
