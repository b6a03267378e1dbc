"""`evaluate` and `predict` on two processes do what one does, once, and end alike."""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from pointseg import evaluate, predict
from pointseg.commands import run_command
from pointseg.output.prediction_record import RECORD_NAME
from tests.conftest import free_ports


class Result(NamedTuple):
    """What a call left on one process."""

    status: int
    out: str
    err: str


def _call(main: Callable, words: list[str]) -> Result:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["pointseg", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        run_command(main)
    return Result(int(left.value.code or 0), out.getvalue(), err.getvalue())


def _call_as_one_of_two(rank: int, port: int, name: str, words: list[str], folder: Path) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    result = _call({"evaluate": evaluate.main, "predict": predict.main}[name], words)
    (folder / f"{rank}.json").write_text(json.dumps(result))


def _call_on_two(folder: Path, name: str, *words: str) -> list[Result]:
    folder.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    mp.spawn(_call_as_one_of_two, args=(port, name, list(words), folder), nprocs=2)
    return [Result(*json.loads((folder / f"{rank}.json").read_text())) for rank in range(2)]


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    """Five scenes of its own, to be changed."""
    shutil.copytree(prepared_root / "train", tmp_path / "prepared" / "train")
    return tmp_path / "prepared"


def _damage(root: Path) -> str:
    """The second scene, which is one of the second process."""
    scene = sorted((root / "train").iterdir())[1]
    np.save(scene / "coord.npy", np.full((600, 3), np.nan, np.float32))
    return scene.name


def test_processes_share_the_scenes_of_an_evaluation(trained_run: Path, root: Path, tmp_path: Path) -> None:
    words = ["--run", str(trained_run), "--data-root", str(root), "--split", "train", "--json"]
    first, second = _call_on_two(tmp_path / "two", "evaluate", *words, str(tmp_path / "two.json"))
    one = _call(evaluate.main, [*words, str(tmp_path / "one.json")])
    assert first == one and one.status == 0 and "miou" in one.out
    assert second == Result(0, "", "")
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()

    bad = _damage(root)
    first, second = _call_on_two(tmp_path / "two", "evaluate", *words, str(tmp_path / "bad.json"))
    assert first.status == second.status == 1
    assert first.out == second.out == ""
    assert bad not in first.err and first.err.count("\n") <= 1
    assert bad in second.err and second.err.count("\n") == 1
    assert not (tmp_path / "bad.json").exists()


def test_processes_share_the_scenes_to_predict(trained_run: Path, root: Path, tmp_path: Path) -> None:
    """One record of all; what an earlier call left is known to both."""
    words = ["--run", str(trained_run), "--data-root", str(root), "--split", "train", "--out"]
    out, alone = tmp_path / "out", tmp_path / "alone"
    first, second = _call_on_two(tmp_path / "two", "predict", *words, str(out), "--ply")
    one = _call(predict.main, [*words, str(alone), "--ply"])
    assert "5 of 5 scenes: 0 reused, 5 predicted" in one.out
    assert first.out.replace(str(out), str(alone)) == one.out and first.status == 0
    assert (second.status, second.out) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in alone.iterdir())
    assert all((out / path.name).read_bytes() == path.read_bytes() for path in alone.iterdir())

    bad = _damage(root)
    first, second = _call_on_two(tmp_path / "two", "predict", *words, str(out), "--tta", "rot4")
    assert first.status == second.status == 1
    assert "4 of 5 scenes: 0 reused, 4 predicted (earlier ones differ in tta)" in first.out
    assert "removed 4 files that went with earlier predictions" in first.out
    assert second.out == "" and bad in second.err and bad not in first.err
    assert len(json.loads((out / RECORD_NAME).read_text())["scenes"]) == 4
