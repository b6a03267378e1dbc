"""Evaluation on every vertex of every mesh of a split, by the official rule."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pointseg.engine.distributed import Processes
from pointseg.engine.inference import Segmenter
from pointseg.errors import UsageError
from pointseg.metrics import ConfusionMatrix, score, summarize
from pointseg.scans.prepared import has_annotation, read_scene
from pointseg.taxonomy import Taxonomy


def evaluate_scenes(
    segmenter: Segmenter, folders: list[Path], tta: str, processes: Processes, quiet: bool = False
) -> dict[str, Any]:
    """Predict and count all vertices of the scenes; several processes share them.

    Returns:
        ``miou``, ``miou_all_classes``, ``head``, ``common``, ``tail``, ``accuracy``,
        ``per_class``, ``num_scenes``, ``num_points``, ``protocol``; the same on every process.

    Raises:
        UsageError: a scene has no labels.
    """
    taxonomy = segmenter.taxonomy
    for folder in folders:
        if not has_annotation(folder):
            raise UsageError(f"{folder}: has no labels to evaluate against; evaluate another split, or use predict")
    confusion = ConfusionMatrix(taxonomy.num_classes)
    mine = folders[processes.rank :: processes.world_size]
    hidden = quiet or not processes.is_first
    for folder in tqdm(mine, desc="evaluate", unit="scene", leave=False, disable=True if hidden else None):
        scene = read_scene(folder, taxonomy.name)
        assert scene.label is not None, "has_annotation said so"
        confusion.update(np.asarray(scene.label), segmenter.predict_scene(scene, tta))
    confusion.counts = processes.sum(confusion.counts)
    return {
        **summarize(score(confusion), taxonomy),
        "num_scenes": len(folders),
        "protocol": describe_protocol(taxonomy, tta, segmenter.config.data.voxel_size_m),
    }


def describe_protocol(taxonomy: Taxonomy, tta: str, voxel_size_m: float) -> str:
    """How the scores were taken, in one line: scores without it can't be compared."""
    return (
        f"every mesh vertex, one confusion matrix over all scenes; miou: mean over the classes in the ground "
        f"truth; miou_all_classes: mean over all {taxonomy.num_classes}, absent ones as 0; tta {tta}; "
        f"voxels of {voxel_size_m} m"
    )
