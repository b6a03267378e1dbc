"""Evaluation on every vertex of every mesh of a split, by the official rule."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pointseg.collapse.metrics import FeatureStatistics
from pointseg.config import InferenceConfig
from pointseg.data.voxelize import Voxels
from pointseg.engine.inference import Segmenter
from pointseg.errors import DataError
from pointseg.metrics import ConfusionMatrix, SegmentationScores, describe_classes, score, score_totals, summarize
from pointseg.models import NetworkOutput
from pointseg.processes import Processes
from pointseg.scans.prepared import read_scene, refuse_scenes_without_labels
from pointseg.scans.scene import Scene
from pointseg.scans.scene_segments import read_scene_segments
from pointseg.taxonomy import IGNORE, Taxonomy


@dataclass(frozen=True)
class SplitCounts:
    """What was counted on the scenes of a split; the same on every process."""

    confusion: ConfusionMatrix
    """Over all vertices of all scenes."""
    totals_of_scene: np.ndarray
    """(S, 3, K) int64: ``ConfusionMatrix.totals`` of each scene, in the order of the folders."""
    voxel_accuracy: float | None = None
    """Share of the labelled voxels whose majority label has the largest logit, whatever is done to logits and labels
    afterwards; None: not counted, or there is no such voxel."""


def evaluate_scenes(
    segmenter: Segmenter,
    folders: list[Path],
    tta: str,
    processes: Processes,
    quiet: bool = False,
    statistics: FeatureStatistics | None = None,
    detailed: bool = False,
    watch: Callable[[Scene, np.ndarray], None] | None = None,
) -> dict[str, Any]:
    """Predict and count all vertices of the scenes; several processes share them.

    Args:
        segmenter: a trained network.
        folders: of prepared scenes.
        tta: of ``inference.TTA``.
        processes: that share the scenes.
        quiet: whether to show no progress.
        statistics: where to add the features, as :func:`count_scenes` does.
        detailed: whether to return what :func:`describe_details` says, too. It is long.
        watch: called with each scene of this process and its predicted labels, (N,).

    Returns:
        ``miou``, ``miou_all_classes``, ``head``, ``common``, ``tail``, ``accuracy``,
        ``per_class``, ``num_scenes``, ``num_points``, ``protocol``; the same on every process.

    Raises:
        UsageError: a scene has no labels.
        DataError: a scene can't be read, or has no segments to vote in where the config says so; or features that
            should be added are not finite.
        ValueError: statistics with test-time augmentation.
    """
    counts = count_scenes(segmenter, folders, tta, processes, quiet, statistics, watch)
    summary = summarize_scores(score(counts.confusion), segmenter, len(folders), tta)
    return {**summary, **describe_details(counts, folders, segmenter.taxonomy)} if detailed else summary


def describe_details(counts: SplitCounts, folders: list[Path], taxonomy: Taxonomy) -> dict[str, Any]:
    """Class by class and scene by scene, JSON-ready.

    Returns:
        ``confusion`` (K, K), rows ground truth and columns prediction, in the order of ``classes``. A vertex that is
        given no class stands in no column: the row's sum is then smaller than the class's ``points``.
        ``classes``, as :func:`pointseg.metrics.describe_classes`. ``scenes``: name -> ``miou`` over the classes in
        its ground truth, ``accuracy``, ``num_points``; None where it has no labelled vertex.
    """
    scores = [score_totals(totals) for totals in counts.totals_of_scene]
    return {
        "confusion": counts.confusion.counts[:, :-1].tolist(),
        "classes": describe_classes(counts.confusion, taxonomy),
        "scenes": {
            name: {key: summarize(of_scene, taxonomy)[key] for key in ("miou", "accuracy", "num_points")}
            for name, of_scene in zip(_names(folders), scores, strict=True)
        },
    }


def count_scenes(
    segmenter: Segmenter,
    folders: list[Path],
    tta: str,
    processes: Processes,
    quiet: bool = False,
    statistics: FeatureStatistics | None = None,
    watch: Callable[[Scene, np.ndarray], None] | None = None,
) -> SplitCounts:
    """The loop of :func:`evaluate_scenes`: what was counted over all vertices.

    Statistics, where given, get the last features of all labelled voxels of the scenes of all processes, from the
    same forward passes as the predictions; each voxel counts once, with its majority label. They are the same on
    every process, too. With test-time augmentation there is no one feature for a voxel, and so no statistics. The
    accuracy of voxels is counted with them.
    """
    if statistics is not None and tta != "none":
        raise ValueError(f"features are gathered from one forward pass a scene; expected tta none, got {tta}")
    taxonomy = segmenter.taxonomy
    refuse_scenes_without_labels(folders)
    confusion = ConfusionMatrix(taxonomy.num_classes)
    totals_of_scene = np.zeros((len(folders), 3, taxonomy.num_classes), dtype=np.int64)
    own = None if statistics is None else _VoxelObserver(new_statistics(segmenter))
    mine = range(len(folders))[processes.rank :: processes.world_size]
    hidden = quiet or not processes.is_first
    with processes.together():
        for index in tqdm(mine, desc="evaluate", unit="scene", leave=False, disable=True if hidden else None):
            scene = read_scene(folders[index], taxonomy)
            assert scene.label is not None, "has_annotation said so"
            observer = None if own is None else partial(own.add, folders[index])
            of_scene = ConfusionMatrix(taxonomy.num_classes)
            segments = read_scene_segments(folders[index], scene.xyz) if segmenter.votes else None
            predicted = segmenter.predict_scene(scene, tta, observer, segments)
            of_scene.update(np.asarray(scene.label), predicted)
            confusion.counts += of_scene.counts
            totals_of_scene[index] = of_scene.totals
            if watch is not None:
                watch(scene, predicted)
    confusion.counts = processes.sum(confusion.counts)
    totals_of_scene = processes.sum(totals_of_scene)  # zeros from all processes but the one that had the scene
    if statistics is None or own is None:
        return SplitCounts(confusion, totals_of_scene)
    # In the order of the ranks, so that every process has the same to the last bit.
    for other in gather_statistics(own.statistics, processes):
        statistics.merge(other)
    num_right, num_labelled = processes.sum(own.num_right_and_labelled).tolist()
    return SplitCounts(confusion, totals_of_scene, num_right / num_labelled if num_labelled else None)


def new_statistics(segmenter: Segmenter) -> FeatureStatistics:
    """Empty statistics for the classes and the last features of a network."""
    return FeatureStatistics(segmenter.taxonomy.num_classes, segmenter.network.feature_channels)


def gather_statistics(own: FeatureStatistics, processes: Processes) -> list[FeatureStatistics]:
    """The statistics of every process, in the order of their ranks, on each of them."""
    gathered = {name: processes.gather(tensor) for name, tensor in own.state_dict().items()}
    everyone = []
    for rank in range(processes.world_size):
        other = FeatureStatistics(own.num_classes, own.feature_channels, own.ignore_label)
        other.load_state_dict({name: tensors[rank] for name, tensors in gathered.items()})
        everyone.append(other)
    return everyone


def summarize_scores(scores: SegmentationScores, segmenter: Segmenter, num_scenes: int, tta: str) -> dict[str, Any]:
    """What :func:`evaluate_scenes` returns, from the scores of its scenes."""
    config = segmenter.config
    protocol = describe_protocol(segmenter.taxonomy, tta, config.data.voxel_size_m, config.inference)
    return {**summarize(scores, segmenter.taxonomy), "num_scenes": num_scenes, "protocol": protocol}


def describe_protocol(taxonomy: Taxonomy, tta: str, voxel_size_m: float, inference: InferenceConfig) -> str:
    """How the scores were taken, in one line: scores without it can't be compared."""
    max_voxels, tau = inference.max_voxels, inference.logit_adjustment
    return (
        f"every mesh vertex, one confusion matrix over all scenes; miou: mean over the classes in the ground "
        f"truth; miou_all_classes: mean over all {taxonomy.num_classes}, absent ones as 0; tta {tta}; "
        f"voxels of {voxel_size_m} m"
        + (f"; scenes of more than {max_voxels} voxels in tiles" if max_voxels is not None else "")
        + (f"; logits adjusted, tau {tau}" if tau else "")
        + ("; one label for each over-segment, by the mean probability" if inference.vote == "segments" else "")
    )


def _names(folders: list[Path]) -> list[str]:
    """Of the scenes; with the split before it where two splits have a scene of one name."""
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [f"{folder.parent.name}/{folder.name}" for folder in folders]


class _VoxelObserver:
    """Counts, for the labelled voxels of each scene, features and right predictions."""

    def __init__(self, statistics: FeatureStatistics) -> None:
        self.statistics = statistics
        self.num_right_and_labelled = np.zeros(2, dtype=np.int64)

    def add(self, folder: Path, voxels: Voxels, output: NetworkOutput) -> None:
        """One forward pass over a scene, or over a tile of it.

        Raises:
            DataError: a feature is not finite.
        """
        label = voxels.label.to(output.features.device)
        try:
            self.statistics.update(output.features, label)
        except ValueError as error:
            raise DataError(
                f"{folder}: {error}; this network has diverged: use another checkpoint, or train with a lower "
                "optimizer.lr"
            ) from None
        is_labelled = label != IGNORE
        is_right = is_labelled & (output.logits.argmax(dim=1) == label)
        self.num_right_and_labelled += [int(is_right.sum()), int(is_labelled.sum())]
