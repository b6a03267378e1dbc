"""All that a run and its evaluation say, read once, for a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.commands import called
from pointseg.engine.comparison import read_comparable_history
from pointseg.engine.inference import Segmenter
from pointseg.errors import DataError, UsageError, regular_file
from pointseg.metrics import SegmentationScores, summarize
from pointseg.runs.checkpoint import read_tensors
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import Row
from pointseg.taxonomy import GROUPS, Taxonomy

EVALUATION_NAME = "evaluation.json"
KINDS = ("train", "val", "collapse")
_COPYING_S = 60.0  # by how much files of one run differ in time once it was copied


@dataclass(frozen=True)
class RunRecord:
    """One run, as a page tells of it."""

    name: str
    """Short, and another one than that of a run beside it."""
    segmenter: Segmenter
    history: dict[str, list[Row]]
    """``train``, ``val`` and ``collapse``, as :func:`pointseg.runs.history.read_history` says."""
    evaluation: dict[str, Any]
    """As ``engine.evaluation.evaluate_scenes`` returns it, with its details."""
    surroundings: list[dict[str, str]]
    """What it was trained on, an entry for each beginning and each ``--resume``; empty where not known."""
    remarks: tuple[str, ...]
    """What a reader has to know, a line each."""

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        assert self.segmenter.run is not None, "it was loaded from a run"
        return RunDirectory(self.segmenter.run)

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes."""
        return self.segmenter.taxonomy

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64, NaN where a class is not in the ground truth."""
        return np.array([np.nan if iou is None else iou for iou in self.evaluation["per_class"].values()], float)

    @property
    def points(self) -> np.ndarray:
        """(K,) int64: points of each class in the ground truth."""
        return np.array([row["points"] for row in self.evaluation["classes"].values()], dtype=np.int64)

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64: rows ground truth, columns prediction."""
        return np.array(self.evaluation["confusion"], dtype=np.int64)


def read_run_record(segmenter: Segmenter, name: str, checkpoint: str | None = None) -> RunRecord:
    """Read what a run says of itself.

    Args:
        segmenter: the network of the run, with the groups of classes that the page shows.
        name: of the run, on the page.
        checkpoint: the file that the network came from; None: the run's best, or its last.

    Raises:
        UsageError: the run was not evaluated, or with other classes or without details.
        DataError: its evaluation, or what it was trained on, is damaged.
    """
    assert segmenter.run is not None, "it was loaded from a run"
    directory = RunDirectory(segmenter.run)
    path = directory.path / EVALUATION_NAME
    evaluation = read_evaluation(path, segmenter.taxonomy, segmenter.run)
    evaluation |= _means_by_group(evaluation, segmenter.taxonomy)
    remarks = []
    if (remark := describe_progress(directory, segmenter.config.train.passes)) is not None:
        remarks.append(remark)
    used = directory.find_checkpoint() if checkpoint is None else Path(checkpoint)
    weights = evaluation.get("weights")
    if weights is not None and weights != segmenter.weights_sha256:
        remarks.append(f"{path} is of other weights than {used}, which the scenes show; evaluate again")
    elif weights is None and path.stat().st_mtime < used.stat().st_mtime - _COPYING_S:
        remarks.append(f"{path} is older than {used}, which may predict otherwise by now; evaluate again")
    return RunRecord(
        name=name,
        segmenter=segmenter,
        history=read_comparable_history(segmenter, KINDS),
        evaluation=evaluation,
        surroundings=directory.read_surroundings(),
        remarks=tuple(remarks),
    )


def _means_by_group(evaluation: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, float | None]:
    """Head, common and tail of these classes, as :func:`summarize`: the evaluation may be in other groups."""
    iou = np.array([np.nan if iou is None else iou for iou in evaluation["per_class"].values()], float)
    summary = summarize(SegmentationScores(iou, ~np.isnan(iou), accuracy=np.nan, num_points=0), taxonomy)
    return {group: summary[group] for group in GROUPS}


def evaluation_command(run: str) -> str:
    """The command that writes a run's evaluation where the page looks for it."""
    return called("evaluate", "--run", run, "--json", str(Path(run) / EVALUATION_NAME))


def read_evaluation(path: Path, taxonomy: Taxonomy, run: str) -> dict[str, Any]:
    """What ``evaluate --json`` wrote, with its details.

    Raises:
        UsageError: there is none, or it is of other classes or an older version.
        DataError: it is damaged.
    """
    remedy = f"evaluate: {evaluation_command(run)}"
    try:
        evaluation = json.loads(regular_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: is not there, the run was not evaluated; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no evaluation ({type(error).__name__}); {remedy}") from None
    if not isinstance(evaluation, dict) or not isinstance(evaluation.get("per_class"), dict):
        raise DataError(f"{path}: is no evaluation; {remedy}")
    if list(evaluation["per_class"]) != list(taxonomy.class_names):
        raise UsageError(f"{path}: is of other classes than the run; {remedy}")
    if not {"confusion", "classes", "scenes", "protocol", "miou"} <= evaluation.keys():
        raise UsageError(f"{path}: has no classes, scenes and confusion matrix; {remedy}")
    try:
        _check_details(evaluation, taxonomy)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: is damaged ({type(error).__name__}: {error}); {remedy}") from None
    return evaluation


def _check_details(evaluation: Mapping[str, Any], taxonomy: Taxonomy) -> None:
    """Raises: one of several errors, where a value that a page shows is of another kind."""
    shape = np.array(evaluation["confusion"], dtype=np.int64).shape
    if shape != (taxonomy.num_classes, taxonomy.num_classes):
        raise ValueError(f"the confusion matrix is {shape}")
    for key in ("miou", "miou_all_classes", "head", "common", "tail", "accuracy"):
        _check_number(evaluation[key])
    for name in taxonomy.class_names:
        row = evaluation["classes"][name]
        _check_number(evaluation["per_class"][name])
        np.array([row["points"], row["predicted"]], dtype=np.int64)
        if row["mostly_taken_for"] is not None:
            str(row["mostly_taken_for"]["name"]), float(row["mostly_taken_for"]["share"])
    for row in evaluation["scenes"].values():
        _check_number(row["miou"])
        int(row["num_points"])
    int(evaluation["num_scenes"]), int(evaluation["num_points"])


def _check_number(value: object) -> None:
    if value is not None and (type(value) not in (int, float) or not np.isfinite(value)):  # type: ignore[call-overload]
        raise ValueError(f"{value!r} is no number")


def describe_progress(directory: RunDirectory, num_passes: int) -> str | None:
    """A line where training has not come to its end; None where it has, or the weights were not trained here."""
    if not directory.last_checkpoint.is_file():
        return None
    try:
        state = read_tensors(directory.last_checkpoint)
    except DataError as error:  # the best one is whole, or we would not be here
        return f"whether training came to its end is not known: {error}"
    progress = state.get("progress") if isinstance(state, dict) else None
    done = progress.get("pass_index") if isinstance(progress, dict) else None
    if not isinstance(done, int) or done >= num_passes:
        return None
    return f"{directory.path}: is not finished, {done} of {num_passes} passes are done; train on with --resume"


def refuse_other_scenes(records: Sequence[RunRecord]) -> None:
    """Two runs are compared on the same scenes with the same labels, as far as counts of points can tell.

    Raises:
        UsageError: their evaluations are of different ones.
    """
    first, *others = records
    for other in others:
        where = " and ".join(str(record.directory.path / EVALUATION_NAME) for record in (first, other))
        ours, theirs = (
            {name: row["num_points"] for name, row in record.evaluation["scenes"].items()} for record in (first, other)
        )
        if theirs.keys() != ours.keys():
            raise UsageError(f"{where}: are of different scenes; evaluate both on the same split")
        if theirs != ours or not np.array_equal(other.points, first.points):
            raise UsageError(f"{where}: are of other labels of the same scenes; evaluate both on the same tree")
