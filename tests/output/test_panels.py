"""Panels show what is known, in the classes' colours, and the legend lists the classes that occur."""

import numpy as np
import pytest

from pointseg.output.palette import distances
from pointseg.output.panels import CORRECT, UNANNOTATED, WRONG, class_colors, make_legend, make_panels
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy


def _scene(num_points: int, label: np.ndarray | None, rgb: bool = True) -> Scene:
    generator = np.random.default_rng(0)
    colors = generator.integers(0, 255, (num_points, 3)).astype(np.uint8) if rgb else None
    return Scene("scene", generator.random((num_points, 3), dtype=np.float32), colors, None, label)


@pytest.mark.parametrize(
    ("rgb", "label", "prediction", "titles"),
    [
        (True, False, False, ["Scan"]),
        (False, False, False, ["Scan"]),
        (True, True, False, ["Scan", "Ground truth"]),
        (True, False, True, ["Scan", "Prediction"]),
        (False, False, True, ["Prediction"]),
        (True, True, True, ["Scan", "Ground truth", "Prediction", "Errors"]),
    ],
)
def test_only_what_is_known_is_shown(
    taxonomy: Taxonomy, rgb: bool, label: bool, prediction: bool, titles: list[str]
) -> None:
    labels = np.arange(10)
    panels = make_panels(_scene(10, labels if label else None, rgb), labels if prediction else None, taxonomy)
    assert [panel.title for panel in panels] == titles


def test_labels_have_their_classes_colours(taxonomy: Taxonomy) -> None:
    label = np.array([IGNORE, 0, 199, 5])
    colors = class_colors(label, taxonomy)
    assert colors.dtype == np.uint8
    assert [tuple(row) for row in colors.tolist()] == [
        UNANNOTATED,
        *(tuple(taxonomy.colors[k].tolist()) for k in (0, 199, 5)),
    ]


def test_errors_mark_exactly_the_wrong_points(taxonomy: Taxonomy) -> None:
    """Against a loop over the points, with every case: right, wrong, not annotated."""
    generator = np.random.default_rng(1)
    label, prediction = generator.integers(-1, 4, 500), generator.integers(0, 4, 500)
    panel = make_panels(_scene(500, label), prediction, taxonomy)[-1]
    num_right = 0
    for color, truth, guess in zip(panel.colors.tolist(), label, prediction, strict=True):
        expected = UNANNOTATED if truth == IGNORE else CORRECT if truth == guess else WRONG
        assert tuple(color) == expected
        num_right += expected == CORRECT
    assert panel.key[0].name == f"correct ({100 * num_right / (label != IGNORE).sum():.1f}%)"
    assert [entry.color for entry in panel.key] == [CORRECT, WRONG, UNANNOTATED]


@pytest.mark.parametrize("others", [["door"], ["door", "monitor"], ["shelf", "mirror"]])
def test_wrong_has_a_colour_that_no_class_of_the_scene_has(taxonomy: Taxonomy, others: list[str]) -> None:
    """A door is drawn in the very red that else means wrong."""
    labels = np.array([0, *map(taxonomy.class_names.index, others)])
    wrong = make_panels(_scene(len(labels), labels), labels * 0, taxonomy)[-1].key[1]
    assert wrong.name == "wrong"
    assert distances(np.array([wrong.color]), taxonomy.colors[labels]).min() > 0.1
    assert make_panels(_scene(1, labels[:1]), labels[:1], taxonomy)[-1].key[1].color == WRONG


def test_a_scene_without_annotated_points_has_no_share_of_correct_ones(taxonomy: Taxonomy) -> None:
    panel = make_panels(_scene(3, np.full(3, IGNORE)), np.zeros(3, int), taxonomy)[-1]
    assert [entry.name for entry in panel.key] == ["correct", "wrong", "not annotated"]
    assert (panel.colors == UNANNOTATED).all()


def test_a_prediction_of_another_length_is_refused(taxonomy: Taxonomy) -> None:
    with pytest.raises(ValueError, match=r"\(4,\), expected \(3,\)"):
        make_panels(_scene(3, None), np.zeros(4, int), taxonomy)


def test_the_legend_lists_the_classes_that_occur_most_frequent_first(taxonomy: Taxonomy) -> None:
    truth, prediction = np.array([7] * 5 + [3] * 2 + [IGNORE] * 9), np.array([3] * 4 + [90])
    legend = make_legend([truth, prediction], taxonomy)
    assert [entry.name for entry in legend] == [taxonomy.class_names[k] for k in (3, 7, 90)]
    assert [entry.color for entry in legend] == [tuple(taxonomy.colors[k].tolist()) for k in (3, 7, 90)]


def test_a_long_legend_says_how_many_are_left_out(taxonomy: Taxonomy) -> None:
    assert len(make_legend([np.arange(24)], taxonomy)) == 24
    legend = make_legend([np.arange(200)], taxonomy)
    assert len(legend) == 25
    assert legend[-1].name == "+176 more"


def test_a_class_that_is_seen_in_a_few_places_only_is_not_listed(taxonomy: Taxonomy) -> None:
    legend = make_legend([np.repeat([7, 3], [50, 4]), np.repeat([7, 90], [50, 6])], taxonomy, fewest=5)
    assert [entry.name for entry in legend] == [taxonomy.class_names[k] for k in (7, 90)]
