"""Which classes gain: from confusions by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.laboratory.class_gains import compare_classes, format_class_gains, rank_correlation
from pointseg.laboratory.neighbourhood import count_beside, measure_purity
from pointseg.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy("scannet200")
PURITY = np.linspace(0.9, 0.1, 200)


def result(seed: int, wall_as_chair: int, train_chairs: int = 5) -> dict:
    """100 vertices of wall, some taken for chair, and 10 of chair, all right."""
    confusion = np.zeros((200, 200), dtype=int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 100 - wall_as_chair, wall_as_chair, 10
    train = np.zeros((200, 200), dtype=int)
    train[1, 1] = train_chairs
    return {"seed": seed, "confusion": {"test": confusion.tolist(), "train": train.tolist()}}


def test_gains_are_means_over_the_seeds_of_both() -> None:
    gains = compare_classes(
        [result(0, 40), result(1, 20), result(2, 99)], [result(1, 10), result(0, 20)], "test", TAXONOMY, PURITY
    )
    wall, chair = gains
    assert (wall.name, wall.group, chair.name, chair.train_points) == ("wall", "head", "chair", 5)
    assert wall.gain == pytest.approx((0.2 + 0.1) / 2)
    assert wall.baseline_iou == pytest.approx((0.6 + 0.8) / 2)
    assert chair.gain == pytest.approx((10 / 30 - 10 / 50 + 10 / 20 - 10 / 30) / 2)
    assert (wall.mistaken_for, wall.mistaken_share) == ("chair", pytest.approx(60 / 200))


def test_results_of_before_confusions_were_kept_say_nothing() -> None:
    old = {"seed": 0}
    assert compare_classes([old], [result(0, 1)], "test", TAXONOMY, PURITY) == []
    assert compare_classes([result(0, 1)], [result(1, 1)], "test", TAXONOMY, PURITY) == []


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [9, 4, 4, 1]) == pytest.approx(-0.9487, abs=1e-4)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_a_class_of_unknown_purity_is_none_of_the_purest() -> None:
    nan = float("nan")
    assert rank_correlation([1, nan, 2, 3], [1, -9, 2, 3]) == pytest.approx(1)
    assert np.isnan(rank_correlation([1, nan], [1, 2])) and np.isnan(rank_correlation([nan], [1]))


def test_the_text_has_a_line_for_each_class_once() -> None:
    """And one for each property of a class, the purity of its neighbourhood among them."""
    gains = compare_classes([result(0, 40)], [result(0, 20)], "test", TAXONOMY, PURITY)
    text = format_class_gains(gains, "collapse over cross-entropy")
    assert text.splitlines()[2] == "collapse over cross-entropy"
    assert text.count("| wall") == text.count("| chair") == 1
    assert text.count("- the purity of its neighbourhood: ") == 1
    assert re.search(r"\+20\.0 \| +chair, 40 %", text)


def test_voxels_beside_are_counted_by_class() -> None:
    """A row of three walls and a chair, a chair beside the last across a corner, and one without a label."""
    places = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 1, 1], [1, 1, 0], [9, 9, 9]]
    coords, label = torch.tensor(places, dtype=torch.int32), torch.tensor([0, 0, 0, 1, 1, -1, 0])
    # Of walls: 2 pairs of walls, seen from both sides, and one chair; of chairs: a wall, and each other.
    assert count_beside(coords, label, 3).tolist() == [[5, 3, 0], [4, 2, 0]]


def test_the_purity_of_layers_is_less_where_there_is_one_on_both_sides(prepared_root: Path) -> None:
    """Four layers of boxes 0.25 m high: the lowest and the highest touch one other, those between them two."""
    lowest, second, third, highest, *absent = measure_purity(str(prepared_root), "val", "scannet200", 0.25)
    assert min(lowest, highest) > max(second, third) > 0.2
    assert lowest == pytest.approx(8 / 17, abs=0.1)
    assert np.isnan(absent).all()
