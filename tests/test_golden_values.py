"""Frozen figures: a change that moves them is a change of what is computed, and has to be meant."""

import json
from pathlib import Path

import pytest

from pointseg.train import main as train

# (cross-entropy, L_CR) of the first six steps of the tiny run of conftest.py, float32 on a CPU, by preset.
GOLDEN = {
    "paper": [(5.273, 20.13), (5.267, 19.97), (5.222, 18.87), (5.186, 18.21), (5.160, 17.65), (5.156, 17.61)],
    "release": [(5.273, 5.379), (5.267, 5.237), (5.225, 4.905), (5.189, 4.232), (5.167, 3.885), (5.161, 4.063)],
}

# Every key that matters is set here, so that tuning the demo does not move the figures.
KEYS = [
    "augment.rotate_xy_deg=2.8",
    "augment.scale=[0.9, 1.1]",
    "loss.collapse.weight=0.1",
    "loss.collapse.projection_trainable=true",
    "loss.collapse.log_prior=none",
    "loss.collapse.projection=null",
    "loss.collapse.subtract_mean=null",
    "loss.collapse.dropout=null",
    "optimizer.name=adamw",
    "optimizer.lr=0.005",
    "optimizer.warmup_share=0.1",
    "train.validate_every=0",
]


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_the_first_losses_are_what_they_were(preset: str, tiny_overrides: list[str], tmp_path: Path) -> None:
    """Within 1 %: enough room for another CPU's order of summation, not for another method."""
    train(["--cfg", "demo.yaml", *tiny_overrides, *KEYS, f"loss.collapse.preset={preset}"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["recognition"], row["collapse"]) for row in rows if row["kind"] == "train"]
    assert losses == [pytest.approx(pair, rel=0.01) for pair in GOLDEN[preset]]
