"""A run says what it was trained on, at its beginning and wherever it was resumed."""

import json
from pathlib import Path

import torch

from pointseg import train
from pointseg.engine.machine import describe_surroundings
from pointseg.runs.directory import RunDirectory


def test_training_keeps_what_it_runs_on(tiny_overrides: list[str], tmp_path: Path) -> None:
    here = describe_surroundings(torch.device("cpu"))
    call = ["--cfg", "demo.yaml", *tiny_overrides, "run.device=cpu"]
    train.main([*call, "train.passes=1"])
    directory = RunDirectory(tmp_path / "run")
    assert directory.read_surroundings() == [here]
    # The same machine and commit again are no news; another one is.
    train.main([*call, "train.passes=1", "--resume"])
    assert directory.read_surroundings() == [here]
    elsewhere = {**here, "machine": "another"}
    directory.surroundings_path.write_text(json.dumps([elsewhere]))
    train.main([*call, "train.passes=1", "--resume"])
    assert directory.read_surroundings() == [elsewhere, here]


def test_what_is_no_record_says_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for content in (b"", b"{", b"\xff", b"3", b"[3, null]", b"[" * 100_000):
        directory.surroundings_path.write_bytes(content)
        assert directory.read_surroundings() == []
    directory.keep_surroundings({"machine": "m"}, resumed=True)
    directory.keep_surroundings({"machine": "n"}, resumed=True)
    assert directory.read_surroundings() == [{"machine": "m"}, {"machine": "n"}]
    directory.keep_surroundings({"machine": "o"}, resumed=False)
    assert directory.read_surroundings() == [{"machine": "o"}]
