"""TensorBoard and Weights & Biases show the few things that one watches, under the names of ``metrics.jsonl``."""

import errno
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.engine.run_header import describe_training
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError, StoppedError, UsageError
from pointseg.processes import Processes
from pointseg.runs.dashboard import Dashboard, choose_hparams
from pointseg.runs.directory import RunDirectory
from pointseg.runs.weights_and_biases import _find_id
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train


def read_events(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return events


def test_tensorboard_has_what_one_watches(tiny_overrides: list[str], tmp_path: Path) -> None:
    """Losses, rate, scores, IoU class by class, a picture, the config and a row of the table of runs; no more."""
    run = tmp_path / "run"
    train(["--cfg", "demo", *tiny_overrides, "train.validate_every=1"])
    events = read_events(run)
    tags = set(events.Tags()["scalars"])
    of_classes = {tag for tag in tags if tag.startswith("val IoU ")}
    assert of_classes == {f"val IoU head/{name}" for name in ("wall", "chair", "floor", "table")}
    measured = {tag for tag in tags if tag.startswith("collapse/")}
    assert 0 < len(measured) <= 4
    losses = {f"train/{name}" for name in ("loss", "recognition", "collapse", "collapse_pull", "lr", "scenes_per_s")}
    assert tags - of_classes - measured == losses | {"val/miou", "val/head", "val/accuracy"}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(
        [row["loss"] for row in rows if row["kind"] == "train"]
    )
    mean = np.mean([events.Scalars(tag)[-1].value for tag in of_classes])
    assert events.Scalars("val/miou")[-1].value == pytest.approx(mean)

    (picture,) = events.Tags()["images"]
    assert picture == "val scene/scene11800_00"
    assert [event.step for event in events.Images(picture)] == [3, 6]
    assert events.Images(picture)[-1].encoded_image_string.startswith(b"\x89PNG")
    (text,) = events.Tensors("config/text_summary")
    assert b"    log_every: 1" in text.tensor_proto.string_val[0]


def test_runs_are_compared_by_few_keys(tiny_overrides: list[str], tmp_path: Path) -> None:
    config = load_config("demo", ["loss.lovasz=0.5", "data.root=elsewhere", "train.wandb=rooms"])
    chosen = choose_hparams(config)
    assert {"loss.lovasz": 0.5, "loss.collapse.weight": 0.5, "optimizer.lr": 0.01}.items() <= chosen.items()
    assert not {"data.root", "run.dir", "train.wandb", "loss.focal"} & chosen.keys()
    assert len(chosen) < 15

    train(["--cfg", "demo", *tiny_overrides, "train.passes=1"])
    content = read_events(tmp_path / "run").summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["optimizer.lr"].number_value == 0.01
    assert start.hparams["model.name"].string_value == "spunet34"


def test_resuming_forgets_what_was_shown_of_later_steps_and_nothing_else(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash in the second pass, with a checkpoint of the first: TensorBoard has each step once."""
    train_step = Trainer.train_step

    def fail_in_the_fifth(self: Trainer, batch: Batch) -> object:
        if self.progress.step == 4:
            raise DataError("crash")
        return train_step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", fail_in_the_fifth)
    with pytest.raises(DataError, match="crash"):
        train(["--cfg", "demo", *tiny_overrides, "train.validate_every=1"])
    monkeypatch.undo()
    train(["--cfg", "demo", *tiny_overrides, "train.validate_every=1", "--resume"])
    events = read_events(tmp_path / "run")
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("val/miou")] == [3, 6]


def test_training_begins_by_saying_what_it_is(
    tiny_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(["--cfg", "demo", *tiny_overrides, "train.validate_every=1"])
    shown = capsys.readouterr().out.splitlines()
    run = tmp_path / "run"
    assert shown[0] == f"{run}: training begins"
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in shown[1:8]}
    assert said["network"].startswith("spunet34, ") and said["network"].endswith(" parameters, backend torch")
    assert said["device"] == "cpu, 1 thread"
    assert said["classes"] == "200 of scannet200: 66 head, 68 common, 66 tail"
    assert said["scenes"].startswith("5 of train, 2 of val, from ")
    assert said["loss"] == "cross_entropy + 0.5 collapse"
    assert said["steps"] == "6: 2 passes of 3 batches of 2 scenes"
    assert said["look"] == f"{run / 'metrics.jsonl'}; tensorboard --logdir {tmp_path}"
    assert [line.split(":")[0] for line in shown[8:-1]] == [
        *("step 1/6", "step 2/6", "step 3/6", "pass 1"),
        *("step 4/6", "step 5/6", "step 6/6", "pass 2"),
    ]

    train(["--cfg", "demo", *tiny_overrides, "train.validate_every=1", "--resume"])
    again = capsys.readouterr().out
    assert again.startswith(f"{run}: training goes on") and "scenes, 6 of them done\n" in again


def test_all_parameters_that_learn_are_counted(tiny_overrides: list[str]) -> None:
    trainer = Trainer(load_config("demo", tiny_overrides), Processes(0, 1, torch.device("cpu")))
    counted = ("running_mean", "running_var", "num_batches_tracked")
    weights = trainer.network.state_dict()
    number = sum(weight.numel() for name, weight in weights.items() if not name.endswith(counted))
    assert f", {number:,} parameters, backend" in describe_training(trainer)
    trainer.network.freeze_features()
    classifier = sum(weights[f"final.{name}"].numel() for name in ("weight", "bias"))
    assert f", {number:,} parameters ({classifier:,} of them learn), backend" in describe_training(trainer)


def test_a_missing_library_is_one_line_before_anything_is_read(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a folder of its name lies about, which Python takes for an empty library."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"^train.wandb=rooms: .* needs wandb; type: pip install 'pointseg\[wandb\]'$"):
        train(["--cfg", "demo", *tiny_overrides, "train.wandb=rooms", "data.root=nowhere"])
    monkeypatch.delitem(sys.modules, "wandb")
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if not (Path(p) / "wandb").is_dir())])
    with pytest.raises(UsageError, match="needs wandb"):
        train(["--cfg", "demo", *tiny_overrides, "train.wandb=rooms", "data.root=nowhere"])
    assert not (tmp_path / "run" / "config.yaml").exists()


class _Service:
    """Stands in for the library, and notes what it is told."""

    Error = RuntimeError

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def init(self, **_: object) -> "_Service":
        return self

    def finish(self, exit_code: int) -> None:
        self.statuses.append(exit_code)


@pytest.mark.parametrize(
    ("ending", "status"), [(None, 0), (StoppedError("stopped; --resume goes on"), 0), (DataError("scene: damaged"), 1)]
)
def test_the_service_is_told_how_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Exception | None, status: int
) -> None:
    """One that somebody stopped, with everything kept, has not failed."""
    monkeypatch.setitem(sys.modules, "wandb", service := _Service())
    with suppress(StoppedError, DataError), _dashboard(tmp_path):
        if ending is not None:
            raise ending
    assert service.statuses == [status]


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_a_folder_that_can_not_be_written_leaves_nothing_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", service := _Service())
    hook = threading.excepthook
    (tmp_path / "run").mkdir()
    if moment == "begin":
        (tmp_path / "run" / "tensorboard").write_text("a file")
    with pytest.raises(OSError, match="tensorboard"), _dashboard(tmp_path / "run") as dashboard:
        assert moment == "end"
        monkeypatch.setattr(dashboard._writer, "close", _run_out_of_disk)
    assert threading.excepthook is hook
    assert service.statuses == [1]


def _dashboard(path: Path) -> Dashboard:
    return Dashboard(RunDirectory(path), load_config("demo", ["train.wandb=rooms"]), load_taxonomy("scannet20"), 0)


def _run_out_of_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.needs("wandb")
def test_weights_and_biases_shows_what_tensorboard_does(tiny_overrides: list[str], tmp_path: Path) -> None:
    """Offline, in a process of its own: the library stays in the process that it has watched."""
    command = [sys.executable, "-m", "pointseg.train", "--cfg", "demo", *tiny_overrides, "train.wandb=rooms"]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    (record,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = record.read_bytes()
    for shown in (b"train/loss", b"val/miou", b"val IoU head/wall", b"optimizer"):
        assert shown in content
    run_id = (tmp_path / "run" / "wandb" / "run_id").read_text().strip()
    assert record.name == f"run-{run_id}.wandb"

    resumed = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert {path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")} == {record.name}


def test_a_damaged_name_of_the_run_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "wandb" / "run_id"
    first = _find_id(path, goes_on=False)
    assert _find_id(path, goes_on=True) == first
    path.write_bytes(b"\xff\x00" * 100)
    second = _find_id(path, goes_on=True)
    assert second != first
    assert _find_id(path, goes_on=True) == second
    assert _find_id(path, goes_on=False) != second


@pytest.mark.needs("wandb")
def test_nobody_logged_in_is_one_line(tiny_overrides: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pointseg.train", "--cfg", "demo", *tiny_overrides, "train.wandb=rooms"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if "train.wandb" in line]
    assert line.endswith("type: wandb login, or set WANDB_MODE=offline")
    assert "Traceback" not in result.stderr
