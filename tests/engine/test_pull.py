"""How strongly the branch pulls: against gradients taken one loss at a time."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts
from pointseg.engine.objective import Objective
from pointseg.models import NetworkOutput, build_network
from pointseg.train import main as train
from tests.conftest import TINY_NETWORK
from tests.engine.test_accumulation import OF_UNET, VOLT, _build, make_batch

MODELS = pytest.mark.parametrize("model", [TINY_NETWORK, (*OF_UNET, *VOLT)], ids=["unet", "volt"])


def _objective(model: tuple[str, ...], weight: float, scenes_at_once: int | None) -> Objective:
    config = load_config("demo", [*model, f"loss.collapse.weight={weight}", "loss.collapse.scope=batch"])
    return _build(config, scenes_at_once).eval()


def _norm_at_features(objective: Objective, part: str) -> float:
    """Of the gradient of one loss, through a network that runs as it stands and whose features are held."""
    batch = make_batch()
    output = objective.run_network(batch)
    features = output.features.detach().requires_grad_()
    if part == "recognition":
        weight = objective.network.classifier_weight()
        bias = (output.logits - output.features @ weight.T).detach()
        loss = objective.recognition(features @ weight.T + bias, batch.labels)
    else:
        loss = objective.collapse_weight * objective.collapse(features, batch.labels)
    loss.backward()
    return features.grad.norm().item()


@MODELS
@pytest.mark.parametrize("weight", [0.5, 2.0])
@pytest.mark.parametrize("scenes_at_once", [None, 2])
def test_the_pull_is_the_ratio_of_both_gradients(
    model: tuple[str, ...], weight: float, scenes_at_once: int | None
) -> None:
    objective = _objective(model, weight, scenes_at_once)
    expected = _norm_at_features(objective, "branch") / _norm_at_features(objective, "recognition")
    pull = objective(make_batch(), measures_pull=True).pull
    assert pull.item() == pytest.approx(expected, rel=1e-5)
    assert pull.item() > 0


def test_with_a_teacher_the_labels_pull_by_their_share_of_the_loss() -> None:
    objective, batch = _objective(TINY_NETWORK, 0.5, None), make_batch()
    alone = objective(batch, measures_pull=True).pull.item()
    objective.taught_share = 0.75
    taught_classifier = nn.Linear(objective.network.feature_channels, objective.network.num_classes)
    objective.taught_classifier = taught_classifier.double()
    taught = objective(batch, teacher_labels=batch.labels, measures_pull=True).pull.item()
    assert taught == pytest.approx(alone / 0.25, rel=1e-5)


def test_measuring_changes_no_gradient() -> None:
    plain, measured = (_objective(TINY_NETWORK, 0.5, None) for _ in range(2))
    plain(make_batch()).total.backward()
    measured(make_batch(), measures_pull=True).total.backward()
    for (name, expected), found in zip(plain.named_parameters(), measured.parameters(), strict=True):
        assert (expected.grad is None) == (found.grad is None), name
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("num_points", "num_labelled", "weight"),
    [(50_000, 50_000, 1e-3), (4_000, 3, 1e3)],
    ids=["a gradient too small for float16", "too large"],
)
def test_half_precision_has_the_pull_of_its_values(num_points: int, num_labelled: int, weight: float) -> None:
    config = load_config("demo", [*TINY_NETWORK, f"loss.cross_entropy={weight}", f"loss.collapse.weight={weight}"])
    torch.manual_seed(0)
    counts = ClassCounts(torch.full((200,), 50), torch.full((200,), 3))
    objective = Objective(build_network(config, torch.device("cpu")), config.loss, counts)
    features = torch.randn(num_points, objective.network.feature_channels).half()
    logits = (features.float() @ objective.network.classifier_weight().T).half()
    labels = torch.randint(200, (num_points,)).where(torch.arange(num_points) < num_labelled, -1)
    batch = Batch(torch.zeros(num_points, 4, dtype=torch.int32), features, labels, (), (1, 1, 1), ("a",))
    pulls = []
    for dtype in (torch.float16, torch.float32):
        output = NetworkOutput(logits.to(dtype).requires_grad_(), features.to(dtype).requires_grad_())
        objective.run_network = lambda _, output=output: output
        pulls.append(objective(batch, measures_pull=True).pull.item())
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-5)
    assert 0 < pulls[0] < math.inf


def test_without_a_label_nothing_pulls() -> None:
    batch = make_batch()
    batch.labels.fill_(-1)
    assert _objective(TINY_NETWORK, 0.5, None)(batch, measures_pull=True).pull.item() == 0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_run_with_a_branch_logs_it(weight: float, tiny_overrides: list[str], tmp_path: Path) -> None:
    train(["--cfg", "demo.yaml", *tiny_overrides, f"loss.collapse.weight={weight}", "train.validate_every=0"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    pulls = [row.get("collapse_pull") for row in rows if row["kind"] == "train"]
    assert pulls and all(pull > 0 if weight else pull is None for pull in pulls)
