"""What training logs of neural collapse is what the statistics say, at the passes that were asked for."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pointseg.analyze import main as analyze
from pointseg.collapse.metrics import flatten_measures
from pointseg.engine.resuming import drop_metrics_after
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import read_history
from pointseg.taxonomy import GROUPS
from pointseg.train import main as train


def test_training_measures_collapse_at_the_validations_that_were_asked_for(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """Three passes of three steps, every second is measured, and the last, which is what ``analyze`` measures."""
    every = ["train.passes=3", "train.validate_every=1", "train.measure_collapse_every=2"]
    train(["--cfg", "demo", *tiny_overrides, *every])
    run = tmp_path / "run"
    history = read_history(RunDirectory(run))
    assert [row["step"] for row in history["val"]] == [3, 6, 9]
    assert [row["step"] for row in history["collapse"]] == [6, 9]

    last = str(run / "checkpoints" / "last.pt")
    analyze(["--run", str(run), "--checkpoint", last, "--json", str(tmp_path / "a.json"), "--device", "cpu"])
    (result,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    row = history["collapse"][-1]
    for measure, groups in result["measures"].items():
        for group in ("all", *GROUPS):
            logged = row[measure if group == "all" else f"{measure}_{group}"]
            if groups[group] is None:
                assert logged is None
            else:
                assert logged == pytest.approx(groups[group], rel=1e-3, abs=1e-6), (measure, group)
    assert result["history"] == history

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    logged = events.Scalars("collapse/within_class_variability")
    assert [event.step for event in logged] == [6, 9]
    assert logged[-1].value == pytest.approx(row["within_class_variability"], rel=1e-6)


def test_zero_measures_never(tiny_overrides: list[str], tmp_path: Path) -> None:
    train(["--cfg", "demo", *tiny_overrides, "train.passes=1", "train.measure_collapse_every=0"])
    history = read_history(RunDirectory(tmp_path / "run"))
    assert history["collapse"] == []
    assert len(history["val"]) == 1


def test_measures_are_flat_in_the_log() -> None:
    measures = {"alignment": {"all": 0.5, "head": None, "tail": 0.25}, "nc1": {"all": 3.0}}
    assert flatten_measures(measures) == {"alignment": 0.5, "alignment_head": None, "alignment_tail": 0.25, "nc1": 3.0}


def test_a_history_is_in_order_and_skips_what_is_not_its(tmp_path: Path) -> None:
    """Other kinds, a line that a crash cut off, and numbers that JSON does not have."""
    directory = RunDirectory(tmp_path)
    assert read_history(directory) == {"collapse": [], "val": []}
    rows = [
        {"kind": "val", "step": 20, "miou": 0.5},
        {"kind": "train", "step": 5, "loss": 1.0},
        {"kind": "collapse", "step": 20, "alignment": float("nan")},
        {"kind": "val", "step": 10, "miou": 0.25},
    ]
    for row in rows:
        directory.append_metrics(row)
    with open(directory.metrics_path, "a") as file:
        file.write('[1]\n{"kind": "val", "step": 3')
    assert read_history(directory) == {
        "collapse": [{"step": 20, "alignment": None}],
        "val": [{"step": 10, "miou": 0.25}, {"step": 20, "miou": 0.5}],
    }
    assert read_history(directory, ["train"]) == {"train": [{"step": 5, "loss": 1.0}]}


def test_what_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    """JSON has no word for it, and most programs refuse Python's."""
    directory = RunDirectory(tmp_path)
    directory.append_metrics({"kind": "train", "step": 1, "loss": 0.5, "a": float("inf"), "b": float("nan"), "c": None})
    text = '{"kind": "train", "step": 1, "loss": 0.5, "a": null, "b": null, "c": null}\n'
    assert directory.metrics_path.read_text() == text


ODD_LINES = [
    bytes(range(1, 10)) + b"\xff\xfe",
    b"[" * 100_000,
    b'{"kind": "val", "step": ' + b"9" * 5000 + b"}",
    b'{"kind": "val", "step": "3", "miou": 0.5}',
    b'{"kind": "val", "step": 3, "miou": "high"}',
    b'{"kind": "collapse", "step": 3, "alignment": [1]}',
    b'{"kind": ["val"], "step": 3}',
    b'{"kind": "val"}',
    b"null",
    b"\x00" * 50,
]


def test_lines_that_are_no_metrics_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = RunDirectory(tmp_path)
    good = {"kind": "val", "step": 10, "miou": 0.25}
    directory.metrics_path.write_bytes(b"\n".join([*ODD_LINES, json.dumps(good).encode(), b'{"kind": "val", "st']))
    assert read_history(directory) == {"collapse": [], "val": [{"step": 10, "miou": 0.25}]}
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{directory.metrics_path}: {len(ODD_LINES)} of {len(ODD_LINES) + 2} lines are no metrics" in line


def test_a_number_too_large_for_a_float_is_none(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.metrics_path.write_text('{"kind": "val", "step": 1, "miou": 1e999, "head": %s}\n' % ("1" + "0" * 400))
    assert read_history(directory)["val"] == [{"step": 1, "miou": None, "head": None}]


def test_resuming_drops_odd_lines(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    good = b'{"kind": "train", "step": 2}'
    directory.metrics_path.write_bytes(b"\n".join([*ODD_LINES, good, b'{"kind": "train", "step": 9}', b'{"kind"']))
    drop_metrics_after(directory, 4)
    assert directory.metrics_path.read_bytes() == good + b"\n"
