"""Which classes gain: from confusions by hand."""

import re

import numpy as np
import pytest

from pointseg.laboratory.class_gains import compare_classes, format_class_gains, rank_correlation
from pointseg.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy("scannet200")


def result(seed: int, wall_as_chair: int, train_chairs: int = 5) -> dict:
    """100 vertices of wall, some taken for chair, and 10 of chair, all right."""
    confusion = np.zeros((200, 200), dtype=int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 100 - wall_as_chair, wall_as_chair, 10
    train = np.zeros((200, 200), dtype=int)
    train[1, 1] = train_chairs
    return {"seed": seed, "confusion": {"test": confusion.tolist(), "train": train.tolist()}}


def test_gains_are_means_over_the_seeds_of_both() -> None:
    gains = compare_classes(
        [result(0, 40), result(1, 20), result(2, 99)], [result(1, 10), result(0, 20)], "test", TAXONOMY
    )
    wall, chair = gains
    assert (wall.name, wall.group, chair.name, chair.train_points) == ("wall", "head", "chair", 5)
    assert wall.gain == pytest.approx((0.2 + 0.1) / 2)
    assert wall.baseline_iou == pytest.approx((0.6 + 0.8) / 2)
    assert chair.gain == pytest.approx((10 / 30 - 10 / 50 + 10 / 20 - 10 / 30) / 2)
    assert (wall.mistaken_for, wall.mistaken_share) == ("chair", pytest.approx(60 / 200))


def test_results_of_before_confusions_were_kept_say_nothing() -> None:
    old = {"seed": 0}
    assert compare_classes([old], [result(0, 1)], "test", TAXONOMY) == []
    assert compare_classes([result(0, 1)], [result(1, 1)], "test", TAXONOMY) == []


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [9, 4, 4, 1]) == pytest.approx(-0.9487, abs=1e-4)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_the_text_has_a_line_for_each_class_once() -> None:
    text = format_class_gains(compare_classes([result(0, 40)], [result(0, 20)], "test", TAXONOMY))
    assert text.count("| wall") == text.count("| chair") == 1
    assert re.search(r"\+20\.0 \| +chair, 40 %", text)
