"""Names stand on or beside the largest objects, never over another name or outside the picture."""

import numpy as np

from pointseg.output.object_names import MAX_NAMES, depth_inside, find_patches, place_names

NAMES = ["wall", "chair", "table", "lamp"]


def _measure(text: str) -> tuple[float, float]:
    return 10.0 * len(text), 16.0


def test_patches_are_connected_cells_of_one_label() -> None:
    """A spiral, which numbers have a long way through, two patches of one label, and what touches at a corner only."""
    labels = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 1],
            [0, 1, 0, 0, 0, 1],
            [0, 1, 0, 1, 0, 1],
            [0, 1, 1, 1, 0, 1],
            [0, 0, 0, 0, 0, 2],
            [-1, 2, -1, -1, 2, -1],
        ]
    )
    patch, size = find_patches(labels)
    assert ((patch == -1) == (labels == -1)).all()
    assert patch[0, 5] == patch[2, 2]
    assert patch[1, 5] == patch[3, 3]
    assert len({patch[0, 0], patch[1, 1], patch[5, 5], patch[6, 1], patch[6, 4]}) == 5
    assert sorted(size.tolist()) == [1, 1, 1, 14, 21]
    assert (size == np.bincount(patch[patch >= 0])).all()


def test_depth_is_the_number_of_steps_to_the_edge_of_the_patch() -> None:
    rng = np.random.default_rng(0)
    patch = rng.integers(-1, 2, (4, 5)).repeat(5, 0).repeat(5, 1)
    depth = depth_inside(patch)
    rows, columns = np.indices(patch.shape)
    for row in range(0, 20, 3):
        for column in range(0, 25, 3):
            if patch[row, column] < 0:
                assert depth[row, column] == 0
                continue
            away = np.abs(rows - row) + np.abs(columns - column)
            others = away[patch != patch[row, column]]
            edge = min(row + 1, column + 1, 20 - row, 25 - column)
            assert depth[row, column] == min([edge, *others.tolist()])


def test_a_name_stands_on_its_object_where_it_fits_and_else_beside_it() -> None:
    labels = np.full((60, 100), -1)
    labels[5:50, 5:60] = 0
    labels[20:28, 80:84] = 1
    on, beside = place_names(labels, NAMES, 4.0, _measure)
    assert (on.text, on.target) == ("wall", None)
    assert 20 <= on.left <= 240 - 40
    assert 20 <= on.top <= 200 - 16
    assert beside.text == "chair"
    assert beside.target is not None
    assert 320 <= beside.target[0] <= 336
    assert 80 <= beside.target[1] <= 112
    middle = np.array([beside.left + 25, beside.top + 8])
    assert np.linalg.norm(middle - beside.target) < 100


def test_of_a_class_two_patches_have_names_but_not_a_small_piece_of_a_large_one() -> None:
    labels = np.full((60, 120), -1)
    labels[:40, :40] = labels[:40, 50:75] = labels[:40, 80:104] = 0
    labels[50:58, :40] = 1
    labels[50:58, 60:65] = 1
    names = [name.text for name in place_names(labels, NAMES, 4.0, _measure)]
    assert sorted(names) == ["chair", "wall", "wall"]


def test_no_name_covers_another_or_leaves_the_picture_and_small_patches_have_none() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 4, (8, 10)).repeat(8, 0).repeat(8, 1)
    labels[0, 0] = 3 if labels[0, 0] != 3 else 2  # a single cell
    names = place_names(labels, NAMES, 3.0, _measure)
    assert 3 < len(names) <= MAX_NAMES
    boxes = [(n.left, n.top, n.left + _measure(n.text)[0], n.top + 16) for n in names]
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert min(left, top) >= 0
        assert right <= 240
        assert bottom <= 192
        for other in boxes[:index]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
    assert all(n.left > 3 or n.top > 3 or n.text != NAMES[labels[0, 0]] for n in names)


def test_nothing_to_name_is_no_name() -> None:
    assert place_names(np.full((5, 5), -1), NAMES, 2.0, _measure) == []
