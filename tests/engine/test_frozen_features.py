"""With ``train.freeze=features`` the classifier learns, and nothing of the features changes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pointseg.errors import UsageError
from pointseg.train import main as train


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]


def test_only_the_classifier_changes_and_batch_norms_statistics_stay(
    trained_run: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    start = shutil.copytree(trained_run, tmp_path / "start")
    keys = [f"model.init={start}", "train.freeze=features", "train.passes=1", f"run.dir={tmp_path / 'again'}"]
    train(["--cfg", "demo.yaml", *tiny_overrides, *keys])
    before, after = weights(start), weights(tmp_path / "again")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"final.weight", "final.bias"}
    assert any("running_mean" in name for name in before)
    rows = [json.loads(line) for line in (tmp_path / "again" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["collapse"] > 0 and "collapse_pull" not in row for row in rows if row["kind"] == "train")


def test_features_from_nowhere_are_refused(tiny_overrides: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^train.freeze=features: features that don't learn .*set model.init"):
        train(["--cfg", "demo.yaml", *tiny_overrides, "train.freeze=features"])
