"""How often each class occurs in the training split: what class weights and log-priors are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pointseg.scans.prepared import read_labels
from pointseg.taxonomy import Taxonomy


@dataclass(frozen=True)
class ClassCounts:
    """Points and scenes of each class."""

    points: torch.Tensor
    """(K,) int64: labelled points of each class."""
    scenes: torch.Tensor
    """(K,) int64: scenes with at least one point of it."""

    def log_prior(self, unit: Literal["points", "scenes"]) -> torch.Tensor:
        """(K,) float32: log of each class's share of all points, or of all pairs of scene and class; they sum to 1.

        A class that does not occur counts as one point or scene: its prior is small, and finite.
        """
        counts = (self.points if unit == "points" else self.scenes).double().clamp_min(1)
        return (counts / counts.sum()).log().float()

    def scene_weight(self) -> torch.Tensor:
        """(K,) float32: the inverse of the number of scenes with each class, 1 on average over the classes that occur.

        A class that occurs nowhere counts as in one scene.
        """
        weight = 1 / self.scenes.double().clamp_min(1)
        occurring = weight[self.scenes > 0]
        return (weight / occurring.mean()).float() if len(occurring) else torch.ones_like(weight).float()

    def adjustment_prior(self) -> torch.Tensor:
        """(K,) float32: the log-prior of points for logit adjustment.

        Adjustment lifts a class by what its log-prior lacks. A class that occurs nowhere can't have been learned and
        must not be lifted at all: it counts as the most frequent one.
        """
        prior = self.log_prior("points")
        return torch.where(self.is_missing, prior.max(), prior)

    @property
    def is_missing(self) -> torch.Tensor:
        """(K,) bool: the classes that occur nowhere."""
        return self.points == 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        return {"points": self.points, "scenes": self.scenes}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "ClassCounts":
        """From a checkpoint."""
        return cls(state["points"], state["scenes"])


def count_classes(folders: Sequence[Path], taxonomy: Taxonomy) -> ClassCounts:
    """Count the labels of prepared scenes.

    Raises:
        DataError: a scene's labels are missing, damaged or out of range.
    """
    points = torch.zeros(taxonomy.num_classes, dtype=torch.int64)
    scenes = torch.zeros(taxonomy.num_classes, dtype=torch.int64)
    for folder in folders:
        label = torch.from_numpy(read_labels(folder, taxonomy))
        count = torch.bincount(label[label >= 0], minlength=taxonomy.num_classes)
        points += count
        scenes += count > 0
    return ClassCounts(points, scenes)
