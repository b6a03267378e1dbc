"""Which classes were found: the shares add up, and the lines fit 80 columns."""

from collections import Counter

import numpy as np

from pointseg.metrics.class_shares import count_ids, format_shares
from pointseg.taxonomy import load_taxonomy

CLASSES = load_taxonomy("scannet200")


def test_five_classes_and_the_rest_together() -> None:
    ids = CLASSES.class_ids[:8].tolist()
    count = Counter(dict(zip(ids, [500, 200, 100, 90, 60, 40, 9, 1], strict=True)))
    shown = " ".join(format_shares(count, CLASSES).split())
    names = CLASSES.class_names
    assert shown == (
        f"1,000 points of 8 classes: {names[0]} 50.0%, {names[1]} 20.0%, {names[2]} 10.0%, {names[3]} 9.0%, "
        f"{names[4]} 6.0%, 3 others 5.0%"
    )


def test_points_without_a_class_are_counted_apart() -> None:
    count = count_ids(np.array([0, 0, 1, 1, 1, 3]))
    wall = CLASSES.class_names[0]
    assert format_shares(count, CLASSES).splitlines() == [
        f"4 points of 2 classes: {wall} 75.0%, {CLASSES.class_names[CLASSES.class_ids.tolist().index(3)]} 25.0%",
        "2 points have no class",
    ]


def test_one_point_and_very_small_shares() -> None:
    wall = CLASSES.class_names[0]
    assert format_shares(Counter({1: 1}), CLASSES) == f"1 point of 1 class: {wall} 100.0%"
    assert "<0.1%" in format_shares(Counter({1: 10**7, 3: 1}), CLASSES)


def test_all_lines_fit_eighty_columns() -> None:
    longest = sorted(range(200), key=lambda label: -len(CLASSES.class_names[label]))[:9]
    count = Counter({int(CLASSES.class_ids[label]): 10**9 + label for label in longest})
    lines = format_shares(count, CLASSES).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
