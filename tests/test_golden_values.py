"""Frozen figures: a change that moves them is a change of what is computed, and has to be meant."""

import json
from pathlib import Path

import pytest

from pointseg.train import main as train

# (cross-entropy, L_CR) of the first six steps of the tiny run of conftest.py, float32 on a CPU, by preset.
GOLDEN = {
    "paper": [(5.274, 20.12), (5.167, 17.94), (5.075, 16.52), (4.984, 15.04), (4.941, 14.52), (4.926, 14.43)],
    "release": [(5.274, 5.379), (5.170, 4.916), (5.073, 4.210), (5.018, 3.444), (4.973, 3.305), (4.973, 3.217)],
}


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_the_first_losses_are_what_they_were(preset: str, tiny_overrides: list[str], tmp_path: Path) -> None:
    """Within 1 %: enough room for another CPU's order of summation, not for another method."""
    train(["--cfg", "demo.yaml", *tiny_overrides, f"loss.collapse.preset={preset}", "train.validate_every=0"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["cross_entropy"], row["collapse"]) for row in rows if row["kind"] == "train"]
    assert losses == [pytest.approx(pair, rel=0.01) for pair in GOLDEN[preset]]
