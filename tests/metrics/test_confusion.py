"""Scores are those of a slow loop written from the benchmark's rule."""

import math

import numpy as np
import pytest

from pointseg.metrics import ConfusionMatrix, describe_classes, score, summarize
from pointseg.taxonomy import load_taxonomy


def _literal_ious(scenes: list[tuple[list[int], list[int]]], valid_ids: list[int]) -> dict[int, float | None]:
    """The rule, vertex by vertex, on the benchmark's own ids."""
    tp, fp, fn = (dict.fromkeys(valid_ids, 0) for _ in range(3))
    for truth, prediction in scenes:
        for true_id, predicted_id in zip(truth, prediction, strict=True):
            if true_id not in valid_ids:
                continue
            if true_id == predicted_id:
                tp[true_id] += 1
                continue
            fn[true_id] += 1
            if predicted_id in valid_ids:
                fp[predicted_id] += 1
    union = {i: tp[i] + fp[i] + fn[i] for i in valid_ids}
    return {i: tp[i] / union[i] if union[i] else None for i in valid_ids}


@pytest.mark.parametrize("name", ["scannet200", "scannet20"])
def test_ious_are_those_of_the_literal_rule(name: str) -> None:
    taxonomy = load_taxonomy(name)
    rng = np.random.default_rng(0)
    # Few classes in the ground truth, all in the predictions, and ids that are no class (0, 9999) in both.
    true_ids = np.concatenate([taxonomy.class_ids[::7], [0, 9999]])
    predicted_ids = np.concatenate([taxonomy.class_ids[: taxonomy.num_classes // 2], [0, 9999]])
    scenes = [(rng.choice(true_ids, 400), rng.choice(predicted_ids, 400)) for _ in range(3)]
    scenes.append((np.repeat(true_ids[:3], 100), np.repeat(true_ids[:3], 100)))

    confusion = ConfusionMatrix(taxonomy.num_classes)
    for truth, prediction in scenes:
        confusion.update(taxonomy.label_from_class_id(truth), taxonomy.label_from_class_id(prediction))
    summary = summarize(score(confusion), taxonomy)

    literal = _literal_ious([(t.tolist(), p.tolist()) for t, p in scenes], taxonomy.class_ids.tolist())
    present = {i for t, _ in scenes for i in t.tolist()} & set(literal)
    for class_name, scannet_id in zip(taxonomy.class_names, taxonomy.class_ids.tolist(), strict=True):
        expected = pytest.approx(literal[scannet_id]) if scannet_id in present else None
        assert summary["per_class"][class_name] == expected
    rated = [iou for iou in summary["per_class"].values() if iou is not None]
    assert summary["miou"] == pytest.approx(sum(rated) / len(rated))
    ious = [literal[i] for i in present]
    assert summary["miou"] == pytest.approx(sum(ious) / len(ious))
    assert summary["miou_all_classes"] == pytest.approx(sum(ious) / taxonomy.num_classes)
    if taxonomy.groups is not None:
        for group in ("head", "common", "tail"):
            ids = taxonomy.class_ids[taxonomy.group_mask(group)].tolist()
            members = [literal[i] for i in ids if i in present]
            assert summary[group] == pytest.approx(sum(members) / len(members))
    counted = sum(int(np.isin(t, taxonomy.class_ids).sum()) for t, _ in scenes)
    right = sum(int((np.isin(t, taxonomy.class_ids) & (t == p)).sum()) for t, p in scenes)
    assert summary["num_points"] == counted
    assert summary["accuracy"] == pytest.approx(right / counted)


def test_a_class_that_is_not_in_the_ground_truth_is_none_predicted_or_not() -> None:
    taxonomy = load_taxonomy("scannet20")
    confusion = ConfusionMatrix(20)
    confusion.update(np.array([0, 0]), np.array([0, 1]))
    summary = summarize(score(confusion), taxonomy)
    assert summary["per_class"]["wall"] == 0.5
    assert summary["per_class"]["floor"] is None
    assert summary["per_class"]["bed"] is None
    assert summary["miou"] == 0.5
    assert summary["miou_all_classes"] == 0.5 / 20


def test_nothing_counted_gives_none_not_nan() -> None:
    taxonomy = load_taxonomy("scannet200")
    confusion = ConfusionMatrix(200)
    confusion.update(np.array([-1, -1]), np.array([3, 4]))
    summary = summarize(score(confusion), taxonomy)
    assert summary["miou"] is None
    assert summary["accuracy"] is None
    assert summary["tail"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in summary.values())


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        ConfusionMatrix(4).update(np.zeros(3, int), np.zeros(2, int))


def test_what_became_of_each_class() -> None:
    """Of ten points of wall, four are right, three are taken for door, two for floor and one for nothing."""
    taxonomy = load_taxonomy("scannet20")
    wall, floor, cabinet, _, _, _, _, door = taxonomy.class_ids[:8]
    truth = np.array([wall] * 10 + [floor] * 2 + [0] * 5)
    predicted = np.array([wall] * 4 + [door] * 3 + [floor] * 2 + [0] + [floor] * 2 + [cabinet] * 5)
    confusion = ConfusionMatrix(20)
    confusion.update(taxonomy.label_from_class_id(truth), taxonomy.label_from_class_id(predicted))
    classes = describe_classes(confusion, taxonomy)
    assert list(classes) == list(taxonomy.class_names)
    assert classes["wall"] == {
        "id": 1,
        "points": 10,
        "predicted": 4,
        "no_class": 1,
        "iou": 0.4,
        "mostly_taken_for": {"name": "door", "share": 0.3},
    }
    assert classes["floor"] | {"iou": None} == {
        "id": 2,
        "points": 2,
        "predicted": 4,
        "no_class": 0,
        "iou": None,
        "mostly_taken_for": None,
    }
    # Only predicted; and what was predicted where nothing is known does not count.
    assert (classes["door"]["points"], classes["door"]["predicted"], classes["door"]["iou"]) == (0, 3, None)
    assert classes["cabinet"]["predicted"] == 0
    summary = summarize(score(confusion), taxonomy)
    assert {name: row["iou"] for name, row in classes.items()} == summary["per_class"]
    assert sum(row["points"] for row in classes.values()) == summary["num_points"]


def test_a_class_that_is_never_right_has_no_points_taken_for_itself() -> None:
    taxonomy = load_taxonomy("scannet20")
    confusion = ConfusionMatrix(20)
    confusion.update(np.array([3, 3]), np.array([-1, -1]))
    row = describe_classes(confusion, taxonomy)[taxonomy.class_names[3]]
    assert (row["no_class"], row["iou"], row["mostly_taken_for"]) == (2, 0.0, None)
