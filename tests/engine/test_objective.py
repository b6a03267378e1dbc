"""The losses of a run are those that its config names."""

import json
import re
from pathlib import Path

import pytest
import torch

from pointseg import losses
from pointseg.config import CollapseConfig, LossConfig, load_config
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.objective import PointRecognition, build_collapse
from pointseg.errors import UsageError
from pointseg.train import main as train

COUNTS = ClassCounts(torch.tensor([1000, 300, 40, 5, 0]), torch.tensor([10, 8, 3, 1, 0]))
PRIOR = COUNTS.adjustment_prior()


def _terms(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each loss as it is called by hand."""
    return {
        "cross_entropy": losses.cross_entropy(logits, labels),
        "class_balanced": losses.cross_entropy(logits, labels, losses.inverse_frequency_weight(COUNTS.points)),
        "effective_number": losses.cross_entropy(logits, labels, losses.effective_number_weight(COUNTS.points, 0.99)),
        "focal": losses.focal_loss(logits, labels, 1.5),
        "balanced_softmax": losses.logit_adjusted_cross_entropy(logits, labels, PRIOR, 0.7),
        "lovasz": losses.lovasz_softmax(logits, labels),
    }


@pytest.mark.parametrize(
    "weights",
    [
        *({"cross_entropy": 0.0, name: 1.0} for name in _terms(torch.zeros(1, 5), torch.zeros(1, dtype=torch.long))),
        {"cross_entropy": 0.5, "lovasz": 2.0},
        {"cross_entropy": 1.0, "focal": 0.3, "balanced_softmax": 0.1},
    ],
    ids=str,
)
def test_point_recognition_is_the_weighted_sum(weights: dict[str, float]) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 5), torch.randint(-1, 5, (200,))
    config = LossConfig(**weights, focal_gamma=1.5, effective_number_beta=0.99, balanced_softmax_tau=0.7)
    terms = _terms(logits, labels)
    expected = torch.stack([weight * terms[name] for name, weight in weights.items()]).sum()
    torch.testing.assert_close(PointRecognition(config, COUNTS)(logits, labels), expected)


def test_the_labels_of_cross_entropy_alone_are_smoothed() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 5), torch.randint(-1, 5, (200,))
    config = LossConfig(cross_entropy=0.5, focal=1.0, label_smoothing=0.2)
    smoothed = losses.cross_entropy(logits, labels, label_smoothing=0.2)
    expected = 0.5 * smoothed + losses.focal_loss(logits, labels, 2.0)
    torch.testing.assert_close(PointRecognition(config, COUNTS)(logits, labels), expected)
    assert smoothed != losses.cross_entropy(logits, labels)


def test_the_release_takes_its_prior_from_scenes_and_the_paper_none() -> None:
    release = build_collapse(8, CollapseConfig(preset="release"), COUNTS)
    torch.testing.assert_close(release.log_prior, COUNTS.log_prior("scenes"))
    assert not build_collapse(8, CollapseConfig(preset="paper"), COUNTS).log_prior.any()
    points = build_collapse(8, CollapseConfig(preset="paper", log_prior="points"), COUNTS)
    torch.testing.assert_close(points.log_prior, COUNTS.log_prior("points"))
    assert not build_collapse(8, CollapseConfig(preset="release", log_prior="none"), COUNTS).log_prior.any()


def test_every_choice_of_the_config_arrives() -> None:
    branch = build_collapse(
        8,
        CollapseConfig(
            preset="release",
            projection="linear",
            projection_trainable=True,
            subtract_mean=True,
            normalize=False,
            scale=7.0,
            dropout=0.0,
            reduction="sum",
            scope="job",
            momentum=0.5,
        ),
        COUNTS,
    )
    assert type(branch.lift) is torch.nn.Linear and branch.lift.weight.requires_grad
    assert (branch.subtract_mean, branch.normalize, branch.scale, branch.reduction) == (True, False, 7.0, "sum")
    assert branch.dropout.p == 0.0 and branch.class_centers.scope == "job"
    assert branch.bank is not None and branch.bank.momentum == 0.5


def test_a_class_that_few_scenes_have_weighs_more_where_that_is_asked_for() -> None:
    """In 10, 8, 3, 1 and no scenes: the last counts as in one."""
    assert (build_collapse(8, CollapseConfig(preset="paper"), COUNTS).class_weight == 1).all()
    weight = build_collapse(8, CollapseConfig(preset="paper", class_weight="scenes"), COUNTS).class_weight
    torch.testing.assert_close(weight / weight[3], torch.tensor([1 / 10, 1 / 8, 1 / 3, 1.0, 1.0]))
    assert weight[:4].mean() == pytest.approx(1)
    nothing = ClassCounts(torch.zeros(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    assert (nothing.scene_weight() == 1).all()


def test_a_config_that_trains_no_classifier_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing trains the classifier"):
        load_config("demo.yaml", ["loss.cross_entropy=0"])


def test_a_branch_that_can_not_be_built_is_refused_in_one_line(tiny_overrides: list[str]) -> None:
    with pytest.raises(UsageError, match="a simplex of 200 classes needs at least 199 dimensions, got 8"):
        train(["--cfg", "demo.yaml", *tiny_overrides, "loss.collapse.projection=none"])


def test_missing_classes_are_named_once(tiny_overrides: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """At the beginning, not again when the run goes on; the run with a prior trains, with finite losses."""
    overrides = [*tiny_overrides, "loss.balanced_softmax=1", "loss.collapse.log_prior=points"]
    train(["--cfg", "demo.yaml", *overrides])
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning: " in line]
    assert len(warnings) == 1
    assert "196 of 200 classes occur in no training scene" in warnings[0]
    assert re.search(r"learned: (\w[\w ]*, ){5}and 191 more$", warnings[0])
    train(["--cfg", "demo.yaml", *overrides, "--resume"])
    assert "occur in no training scene" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("warmup_share=0.5", [0, 1 / 3, 2 / 3, 1, 1, 1]),
        ("decay_share=0.5", [1, 1, 1, 1, 2 / 3, 1 / 3]),
        ("decay_share=1", [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
    ],
)
def test_the_weight_of_the_branch_follows_its_schedule(
    schedule: str, factors: list[float], tiny_overrides: list[str], tmp_path: Path
) -> None:
    """With a warm-up the first step trains without the branch; with a decay the step after the last one would."""
    keys = ["loss.collapse.weight=0.4", f"loss.collapse.{schedule}", "train.validate_every=0"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "train"]
    assert len(rows) == 6
    for factor, row in zip(factors, rows, strict=True):
        expected = 0.4 * factor
        assert row["loss"] - row["recognition"] == pytest.approx(expected * row["collapse"], rel=1e-4, abs=1e-5)
