"""Frozen figures: a change that moves them is a change of what is computed, and has to be meant."""

import json
from pathlib import Path

import pytest

from pointseg.train import main as train

# (cross-entropy, L_CR) of the first six steps of the tiny run of conftest.py, float32 on a CPU, by preset.
GOLDEN = {
    "paper": [(5.273, 20.13), (5.221, 18.89), (5.176, 17.96), (5.138, 17.32), (5.115, 16.86), (5.114, 16.89)],
    "release": [(5.273, 5.376), (5.224, 5.041), (5.183, 4.171), (5.149, 3.828), (5.130, 3.605), (5.122, 3.731)],
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
