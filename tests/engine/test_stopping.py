"""Whatever happens to one process of a job, all end: soon, with one line each, and with nothing lost."""

import gc
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pointseg.engine.inference.pointwise import Pointwise
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError, StoppedError
from pointseg.scans.prepared import read_scene
from pointseg.train import main as train
from tests.conftest import write_boxes
from tests.engine.ranks import Ranks

GONE = "DataError: another process of the job ended before this one; the line that it wrote says why"


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    both = Ranks()
    yield both
    both.close()


@pytest.fixture
def call(tiny_overrides: list[str]) -> list[str]:
    """A training that would take for ever, and asks for no word until it ends."""
    return ["--cfg", "demo.yaml", *tiny_overrides, "train.passes=100000", "train.log_every=1000000"]


def _last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def _before_step(number: int, function: Callable[[], object]) -> Any:
    """A patch that calls ``function`` in the step after ``number`` others."""
    step = Trainer.train_step

    def train_step(self: Trainer, batch: Any) -> Any:
        if self.progress.step == number:
            function()
        return step(self, batch)

    return mock.patch.object(Trainer, "train_step", train_step)


def _ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _fail() -> None:
    raise DataError("a broken scene")


def _train_until(rank: int, call: list[str], who: set[int], how: Callable[[], None]) -> tuple[str, int]:
    """What became of it, and how many were left that hold the group of processes when it was given up."""
    num_left: list[int] = []
    destroy = dist.destroy_process_group

    def count_and_destroy() -> None:
        num_left.append(sum(isinstance(each, DistributedDataParallel) for each in gc.get_objects()))
        destroy()

    patch = _before_step(2, how) if rank in who else mock.patch.object(Trainer, "__doc__", "as it is")
    with patch, mock.patch.object(dist, "destroy_process_group", count_and_destroy):
        try:
            train(call)
        except (DataError, StoppedError) as error:
            return f"{type(error).__name__}: {error}", num_left[0]
    raise AssertionError("it came to the end")


@pytest.mark.parametrize("who", [{0, 1}, {0}, {1}])
def test_a_signal_to_any_process_stops_all_of_them_after_the_same_step(
    who: set[int], ranks: Ranks, call: list[str], tmp_path: Path
) -> None:
    """What holds the group of processes is freed before it; a process hung in that on its way out."""
    line = f"StoppedError: {tmp_path / 'run'}: stopped after step 3; --resume goes on"
    assert ranks.run(_train_until, call, who, _ask_to_stop) == [(line, 0), (line, 0)]
    assert _last(tmp_path / "run")["progress"]["step"] == 3


@pytest.mark.parametrize("who", [{0, 1}, {0}, {1}])
def test_a_process_that_fails_leaves_no_other_waiting(who: set[int], ranks: Ranks, call: list[str]) -> None:
    own = "DataError: a broken scene"
    expected = [(own if rank in who else GONE, 0) for rank in range(2)]
    assert ranks.run(_train_until, call, who, _fail) == expected


@pytest.fixture
def slow_val(tiny_overrides: list[str], tmp_path: Path, prepared_root: Path) -> list[str]:
    """A training of one pass with thirty scenes to validate on."""
    root = tmp_path / "data"
    write_boxes(root, "train", 2)
    write_boxes(root, "val", 30, 200)
    return ["--cfg", "demo.yaml", *tiny_overrides, f"data.root={root}", "train.passes=1"]


def _validate_until(rank: int, call: list[str], who: int, scene: int | None) -> tuple[str, int]:
    """One process is asked to stop at a scene, or (None) once it has no more; how many scenes each read."""
    num_read = 0

    def read(*arguments: Any) -> Any:
        nonlocal num_read
        num_read += 1
        if rank != who:
            time.sleep(0.2)
        elif num_read == scene:
            _ask_to_stop()
        elif scene is None and num_read == 15:
            threading.Timer(0.5, _ask_to_stop).start()
        return read_scene(*arguments)

    with mock.patch("pointseg.engine.evaluation.read_scene", read):
        try:
            train(call)
        except (StoppedError, SystemExit) as error:
            return str(error), num_read
    raise AssertionError("it came to the end")


@pytest.mark.parametrize(("who", "scene"), [(0, 2), (1, 2), (1, None)])
def test_a_signal_to_a_process_in_a_validation_stops_all_before_their_next_scene(
    who: int, scene: int | None, ranks: Ranks, slow_val: list[str], tmp_path: Path
) -> None:
    """Also one to a process that is done with its own scenes, and waits for the others. One of them says it."""
    outcomes = ranks.run(_validate_until, slow_val, who, scene)
    stopped = f"{tmp_path / 'run'}: stopped in the validation after step 1; --resume begins with it"
    assert [text for text, _ in outcomes] == [stopped, str(StoppedError.exit_status)]
    assert outcomes[1 - who][1] < 15
    assert outcomes[who][1] == (scene or 15)
    progress = _last(tmp_path / "run")["progress"]
    assert progress["validation_is_due"]
    assert progress["step"] == 1


def _train_from(rank: int, call: list[str], own: list[list[str]]) -> None:
    train([*call, *own[rank]])


def test_processes_that_would_do_something_else_are_refused(
    ranks: Ranks, tiny_overrides: list[str], tmp_path: Path
) -> None:
    """As on two nodes that do not share the folder of the run."""
    call = ["--cfg", "demo.yaml", *tiny_overrides, "train.passes=1"]
    train([*call, f"run.dir={tmp_path / 'early'}"])
    shutil.copytree(tmp_path / "early", tmp_path / "late")
    path = tmp_path / "late" / "checkpoints" / "last.pt"
    late = _last(tmp_path / "late")
    torch.save({**late, "progress": {**late["progress"], "step": 2}}, path)

    def refusals(*own: list[str]) -> list[str]:
        lines = ranks.run(_train_from, [*call, "--resume"], list(own))
        assert len(lines) == 2
        return [line.split(": ", 2)[2] for line in lines if line.startswith("UsageError")]

    early, later, none = ([f"run.dir={tmp_path / name}"] for name in ("early", "late", "none"))
    remedy = "; does every node see the same folder? Give all of them one that they share with run.dir=PATH"
    weights = re.search(r"\(weights \w+\)", refusals(early, none)[0])[0]
    of_step = {3: f"of step 3 {weights}", 2: f"of step 2 {weights}", 0: "none"}
    for a, b, steps in ((early, later, (3, 2)), (early, none, (3, 0)), (none, early, (0, 3))):
        line = f"process 0 has checkpoint {of_step[steps[0]]} and process 1 has {of_step[steps[1]]}{remedy}"
        assert refusals(a, b) == [line, line]
    line = "process 0 has optimizer.lr 0.5 and process 1 has 0.25; give all processes the same"
    assert refusals([*none, "optimizer.lr=0.5"], [*none, "optimizer.lr=0.25"]) == [line, line]


def test_a_signal_in_a_validation_costs_nothing(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process; a scene of several tiles is left before its next one. Going on begins with the validation."""
    call = ["--cfg", "demo.yaml", *tiny_overrides, "train.validate_every=1", "inference.max_voxels=550"]
    train([*call, f"run.dir={tmp_path / 'whole'}"])
    num_passes = 0

    def count(self: Pointwise, *arguments: Any) -> Any:
        nonlocal num_passes
        num_passes += 1
        if num_passes == 2:
            _ask_to_stop()
        return infer_once(self, *arguments)

    infer_once = Pointwise.infer_once
    monkeypatch.setattr(Pointwise, "infer_once", count)
    with pytest.raises(StoppedError, match="stopped in the validation after step 3; --resume begins with it"):
        train(call)
    monkeypatch.undo()
    assert num_passes == 2
    train([*call, "--resume"])
    whole, resumed = (_last(tmp_path / name)["model"] for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "run")]
    assert [json.loads(line)["kind"] for line in lines[0]] == [json.loads(line)["kind"] for line in lines[1]]
