"""Tables of classes and scenes: complete, in order, and within 100 columns whatever the names are."""

from dataclasses import replace

import numpy as np

from pointseg.config.sections import InferenceConfig
from pointseg.engine.evaluation import describe_protocol
from pointseg.metrics import ConfusionMatrix, describe_classes, score, summarize
from pointseg.output.evaluation_tables import format_classes, format_scenes
from pointseg.output.report import format_evaluation
from pointseg.taxonomy import Taxonomy, load_taxonomy


def _confusion() -> ConfusionMatrix:
    """20 classes: wall 60,000,000 of which half is taken for floor, bed never right, door only predicted."""
    confusion = ConfusionMatrix(20)
    confusion.counts[0, :2] = 30_000_000
    confusion.counts[3, [2, 4]] = 1, 3
    confusion.counts[1, 1] = 16
    confusion.counts[1, 7] = 4
    return confusion


def test_classes_by_points_with_what_they_are_taken_for() -> None:
    lines = format_classes(describe_classes(_confusion(), load_taxonomy("scannet20"))).splitlines()
    assert lines[1].split() == ["wall", "60,000,000", "100.00", "50.0", "50.0", "floor"]
    assert lines[2].split() == ["floor", "20", "0.00", "0.0", "20.0", "door"]
    assert lines[3].split() == ["bed", "4", "0.00", "0.0", "75.0", "chair"]
    assert "predicted: 3 classes, most of all door" in lines[4]
    assert len(lines) == 6


def test_a_class_that_is_all_right_is_taken_for_nothing() -> None:
    confusion = ConfusionMatrix(20)
    confusion.counts[2, 2] = 7
    lines = format_classes(describe_classes(confusion, load_taxonomy("scannet20"))).splitlines()
    assert lines[1].split() == ["cabinet", "7", "100.00", "100.0", "-"]
    assert len(lines) == 3


def test_tables_fit_a_hundred_columns() -> None:
    names = tuple(f"{'a very long name of a class of furniture ' * 3}{i}" for i in range(20))
    taxonomy = replace(load_taxonomy("scannet20"), class_names=names)
    scenes = {
        f"{'a_very_long_name_of_a_scene_' * 5}{i}": {"miou": i / 3, "accuracy": 1.0, "num_points": 10**9}
        for i in range(3)
    }
    text = format_classes(describe_classes(_confusion(), taxonomy)) + "\n" + format_scenes(scenes)
    assert max(map(len, text.splitlines())) <= 100
    protocol = describe_protocol(taxonomy, "rot4", 0.02, InferenceConfig(vote="segments", logit_adjustment=1.0))
    evaluation = {**summarize(score(_confusion()), taxonomy), "num_scenes": 3, "num_points": 24, "protocol": protocol}
    scored = format_evaluation(evaluation, taxonomy)
    assert max(map(len, scored.splitlines())) <= 100
    assert protocol in " ".join(scored.splitlines())
    assert text.count("…") >= 7


def test_scenes_come_with_the_worst_first_and_unlabelled_ones_before_them() -> None:
    scenes = {
        "good": {"miou": 0.5, "accuracy": 0.75, "num_points": 12345},
        "empty": {"miou": None, "accuracy": None, "num_points": 0},
        "bad": {"miou": 0.0, "accuracy": 0.0, "num_points": 9},
        "other": {"miou": None, "accuracy": None, "num_points": 0},
    }
    rows = [line.split() for line in format_scenes(scenes).splitlines()]
    assert rows[1:5] == [
        ["empty", "0", "-", "-"],
        ["other", "0", "-", "-"],
        ["bad", "9", "0.0", "0.0"],
        ["good", "12,345", "50.0", "75.0"],
    ]


def test_groups_that_were_counted_are_called_thirds_by_points_in_training() -> None:
    names, ids = ("a", "b", "c"), np.arange(3, dtype=np.int32)
    own = Taxonomy("own", names, ids, np.zeros((3, 3), np.uint8))
    confusion = ConfusionMatrix(3)
    confusion.counts[:3, :3] = np.eye(3)
    for taxonomy in (own.with_counted_groups([5, 100, 1]), replace(own, groups=("head", "common", "tail"))):
        evaluation = {**summarize(score(confusion), taxonomy), "num_scenes": 1, "protocol": "p"}
        text = format_evaluation(evaluation, taxonomy)
        counted = taxonomy.groups_are_counted
        assert ("Groups: thirds of the classes by their points in training." in text) == counted
        assert ("mIoU head third " in text) == ("tail third: 1 of 1 classes" in text) == counted
