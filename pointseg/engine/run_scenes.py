"""The scenes of a run: they are looked at when it begins, and not after the first passes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pointseg.config import Config
from pointseg.errors import UsageError
from pointseg.scans.prepared import check_labels, check_scenes, list_scenes, refuse_scenes_without_labels
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import Taxonomy


@dataclass(frozen=True)
class RunScenes:
    """What a run is trained and validated on."""

    train: list[Path]
    """Folders of the training scenes."""
    val: list[Path]
    """Those to validate on; empty where there is no validation."""
    validated_on: str
    """The same where scores can be compared: of the same scenes with the same labels, taken in the same way."""

    @cached_property
    def train_names(self) -> list[str]:
        """Names of the training scenes."""
        return [folder.name for folder in self.train]


def find_run_scenes(config: Config, taxonomy: Taxonomy) -> RunScenes:
    """The scenes that a config names.

    Raises:
        PointsegError: a split is missing, a scene can't be trained or validated on, or there is nothing to validate
            against.
    """
    data = config.data
    train = list_scenes(data.root, data.train_split)
    val = list_scenes(data.root, data.val_split) if data.val_split else []
    refuse_scenes_without_labels(val)
    check_scenes([*train, *val], taxonomy, data.features)
    labels = check_labels(val, taxonomy)
    if data.val_split and not labels.num_labelled:
        raise UsageError(
            f"{data.root}: no point of its scenes in {name_splits(data.val_split)} has a label to validate against; "
            "label some, or set data.val_split=null"
        )
    if config.inference.vote == "segments":
        from pointseg.scans.scene_segments import check_segments

        check_segments(val)
    return RunScenes(train, val, f"{labels.fingerprint} {config.inference.vote} {config.inference.logit_adjustment}")
