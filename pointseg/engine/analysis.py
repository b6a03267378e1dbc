"""A trained network over a split in one pass: neural-collapse measures and IoU, beside how frequent each class is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointseg.collapse.metrics import (
    FeatureStatistics,
    Measures,
    class_alignment,
    class_variability,
    measure_collapse,
)
from pointseg.engine.evaluation import count_scenes, new_statistics, summarize_scores
from pointseg.engine.inference import Segmenter
from pointseg.errors import DataError, regular_file
from pointseg.metrics import SegmentationScores, score
from pointseg.processes import Processes
from pointseg.scans.tree import REPORT_NAME, name_splits
from pointseg.taxonomy import GROUPS, Taxonomy


@dataclass(frozen=True)
class ClassFrequency:
    """How much there is of each class."""

    count: np.ndarray
    """(K,) int64."""
    unit: str
    """What is counted, in words."""


@dataclass(frozen=True)
class Analysis:
    """What one pass over a split says of a network."""

    statistics: FeatureStatistics
    """Of the last features of all labelled voxels; each voxel counts once, with its majority label."""
    classifier: torch.Tensor
    """(K, D) float32, on the CPU: the weight of the last layer."""
    scores: SegmentationScores
    """Over all vertices, by the official rule, without test-time augmentation; of the same forward passes."""
    num_scenes: int


def analyze_scenes(segmenter: Segmenter, folders: list[Path], quiet: bool = False) -> Analysis:
    """Run the network once over each scene.

    Raises:
        UsageError: a scene has no labels.
        DataError: a scene can't be read, or the network's features are not finite.
    """
    statistics = new_statistics(segmenter)
    alone = Processes(rank=0, world_size=1, device=segmenter.device)
    counts = count_scenes(segmenter, folders, "none", alone, quiet, statistics)
    return Analysis(statistics, segmenter.network.classifier_weight(), score(counts.confusion), len(folders))


def measure_network(segmenter: Segmenter, statistics: FeatureStatistics) -> Measures:
    """The measures of a network whose features were gathered, over all classes and by head, common and tail."""
    return measure_collapse(statistics, segmenter.network.classifier_weight(), group_masks(segmenter.taxonomy))


def group_masks(taxonomy: Taxonomy) -> dict[str, torch.Tensor]:
    """head, common, tail -> (K,) bool; empty where the benchmark has no groups."""
    if taxonomy.groups is None:
        return {}
    return {group: torch.from_numpy(taxonomy.group_mask(group)) for group in GROUPS}


def read_class_frequency(root: str | Path, split: str | Sequence[str], taxonomy: Taxonomy) -> ClassFrequency | None:
    """The points of each class in a split or several, from the report of their preparation.

    A tree without one (another program's, for example) has the number of objects annotated in the whole
    benchmark instead, which only ScanNet200 states; None where that is not known either.

    Raises:
        DataError: the report is damaged.
    """
    path = Path(root) / REPORT_NAME
    try:
        report = json.loads(regular_file(path).read_text(encoding="utf-8"))["splits"]
        splits = [split] if isinstance(split, str) else split
        classes = [report[name]["classes"] for name in splits if name in report]
        if classes and None not in classes:
            points = np.array([of_split[taxonomy.key]["points"] for of_split in classes], dtype=np.int64)
            if points.shape[1:] != (taxonomy.num_classes,):
                raise ValueError(f"{points.shape[1:]} classes, expected {taxonomy.num_classes}")
            return ClassFrequency(points.sum(axis=0), f"points in the {name_splits(split)} split")
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{path}: is not the report of a preparation ({type(error).__name__}: {error}); prepare the tree again"
        ) from None
    if taxonomy.annotated_objects is None:
        return None
    return ClassFrequency(taxonomy.annotated_objects.astype(np.int64), "objects annotated in ScanNet200")


def summarize_analysis(analysis: Analysis, segmenter: Segmenter, frequency: ClassFrequency | None) -> dict[str, Any]:
    """The analysis as JSON-ready numbers; None where a value is not defined.

    Returns:
        ``measures`` (measure -> all, head, common, tail -> value; the names of ``collapse.metrics``),
        ``evaluation`` (the keys of the evaluation JSON), ``frequency_unit``, ``frequency_bands`` (mIoU by power of
        ten of the frequency), ``per_class`` (name -> group, frequency, num_voxels, iou, within_class_variability,
        alignment), ``num_voxels``.
    """
    statistics, taxonomy = analysis.statistics, segmenter.taxonomy
    evaluation = summarize_scores(analysis.scores, segmenter, analysis.num_scenes, "none")
    columns = {
        "group": list(taxonomy.groups or [None] * taxonomy.num_classes),
        "frequency": [None] * taxonomy.num_classes if frequency is None else frequency.count.tolist(),
        "num_voxels": statistics.counts.long().tolist(),
        "iou": list(evaluation["per_class"].values()),
        "within_class_variability": _numbers(class_variability(statistics)),
        "alignment": _numbers(class_alignment(statistics, analysis.classifier.double())),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {
        "measures": measure_network(segmenter, statistics),
        "evaluation": evaluation,
        "frequency_unit": None if frequency is None else frequency.unit,
        "frequency_bands": [] if frequency is None else iou_by_frequency(analysis.scores, frequency.count),
        "per_class": dict(zip(taxonomy.class_names, rows, strict=True)),
        "num_voxels": int(statistics.counts.sum()),
    }


def iou_by_frequency(scores: SegmentationScores, count: np.ndarray) -> list[dict[str, float | int]]:
    """MIoU of the classes in the ground truth, in bands of frequency: never seen, 1 to 9, 10 to 99, and so on.

    Returns:
        The bands that have such classes, ascending: ``from``, ``below`` (not part of it), ``num_classes``, ``miou``.
    """
    band = np.array([len(str(c)) - 1 if c > 0 else -1 for c in count.tolist()])
    rows: list[dict[str, float | int]] = []
    for power in np.unique(band[scores.in_ground_truth]).tolist():
        chosen = (band == power) & scores.in_ground_truth
        rows.append(
            {
                "from": 10**power if power >= 0 else 0,
                "below": 10 ** (power + 1),
                "num_classes": int(chosen.sum()),
                "miou": scores.mean_iou(chosen),
            }
        )
    return rows


def _numbers(values: torch.Tensor) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
