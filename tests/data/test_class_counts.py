"""Counts of the training split, and the priors made of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.data.class_counts import ClassCounts, count_classes
from pointseg.errors import DataError
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import load_taxonomy


def test_counts_are_those_of_a_literal_loop(prepared_root: Path) -> None:
    folders = list_scenes(prepared_root, "train")
    counts = count_classes(folders, load_taxonomy("scannet200"))
    points, scenes = np.zeros(200, dtype=int), np.zeros(200, dtype=int)
    for folder in folders:
        labels = read_scene(folder, load_taxonomy("scannet200")).label
        assert labels is not None
        for label in labels:
            if label >= 0:
                points[label] += 1
        for label in set(labels.tolist()) - {-1}:
            scenes[label] += 1
    assert counts.points.tolist() == points.tolist()
    assert counts.scenes.tolist() == scenes.tolist()
    assert counts.is_missing.tolist() == (points == 0).tolist()


@pytest.mark.parametrize("unit", ["points", "scenes"])
def test_the_prior_is_a_distribution_and_finite_for_a_missing_class(unit: str) -> None:
    counts = ClassCounts(torch.tensor([900, 98, 0]), torch.tensor([9, 4, 0]))
    prior = counts.log_prior(unit).exp()  # type: ignore[arg-type]
    expected = torch.tensor([900.0, 98.0, 1.0] if unit == "points" else [9.0, 4.0, 1.0])
    torch.testing.assert_close(prior, expected / expected.sum())


def test_a_missing_class_is_adjusted_like_the_most_frequent_one() -> None:
    """Taken off the logits, the prior lifts each class that occurs more than the missing one."""
    counts = ClassCounts(torch.tensor([900, 98, 0]), torch.tensor([9, 4, 0]))
    prior = counts.adjustment_prior()
    assert prior[2] == prior[0] > prior[1]
    torch.testing.assert_close(prior[:2], counts.log_prior("points")[:2])


def test_a_checkpoint_keeps_them() -> None:
    counts = ClassCounts(torch.tensor([5, 0]), torch.tensor([1, 0]))
    again = ClassCounts.from_state_dict(counts.state_dict())
    assert again.points.tolist() == [5, 0] and again.scenes.tolist() == [1, 0]


def test_missing_labels_are_refused(prepared_root: Path) -> None:
    with pytest.raises(DataError, match="segment200.npy: is missing"):
        count_classes(list_scenes(prepared_root, "test"), load_taxonomy("scannet200"))


@pytest.mark.parametrize("label", [-2, 200])
def test_labels_out_of_range_are_refused(prepared_root: Path, tmp_path: Path, label: int) -> None:
    folder = Path(shutil.copytree(list_scenes(prepared_root, "train")[0], tmp_path / "train" / "room"))
    labels = np.load(folder / "segment200.npy")
    labels[3] = label
    np.save(folder / "segment200.npy", labels)
    with pytest.raises(DataError, match=r"train/room/segment200\.npy: labels are .*expected -1\.\.199"):
        count_classes([folder], load_taxonomy("scannet200"))
