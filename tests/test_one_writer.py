"""Commands at work in one folder at once: the second is told who is there, or joins it; nothing is mixed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointseg import __main__ as program
from pointseg import convert, train
from pointseg.errors import UsageError
from pointseg.folder_lock import LOCK_NAME, hold_folder

STARTED_S = 120


def start(overrides: list[str], *words: str, launcher: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
    """``python -m pointseg.train`` in the background."""
    command = [sys.executable, *launcher, "-m", "pointseg.train", "--cfg", "demo.yaml", *words, *overrides]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **variables},
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], run: Path, num_rows: int) -> None:
    """Until a training has logged and kept something."""
    end = time.monotonic() + STARTED_S
    while len(steps(run)) < num_rows or not (run / "checkpoints" / "last.pt").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def steps(run: Path) -> list[int]:
    """The steps in the log, a line that is just being written left out."""
    if not (run / "metrics.jsonl").is_file():
        return []
    text = (run / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [row["step"] for row in rows if row["kind"] == "train"]


def test_a_run_is_trained_by_one_process_at_a_time(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither begun again nor resumed beside itself; a killed one, whose workers live on, is resumed at once."""
    run = tmp_path / "run"
    overrides = [*tiny_overrides, "train.passes=10000", "train.validate_every=0", "data.num_workers=2"]
    first = start(overrides)
    try:
        wait_for(first, run, 4)
        for words in ([], ["--resume"]):
            with pytest.raises(UsageError) as error:
                train.main(["--cfg", "demo.yaml", *words, *overrides])
            message = f"{run}: PID {first.pid} on {os.uname().nodename} trains here since "
            assert str(error.value).startswith(message)
            assert str(error.value).endswith("wait for it, or choose another folder with run.dir=PATH")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        num_before = len(steps(run))
        second = start(overrides, "--resume")
        try:
            wait_for(second, run, num_before + 4)
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 130
        finally:
            second.kill()
            second.communicate()
    finally:
        first.kill()
        first.communicate()
    assert steps(run) == list(range(1, len(steps(run)) + 1))
    assert not (run / LOCK_NAME).exists()


def test_a_refusal_ends_all_ranks_with_one_line(tiny_overrides: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with hold_folder(run, "trains", ""):
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        ranks = start(tiny_overrides, launcher=launcher)
        _, complaints = ranks.communicate(timeout=STARTED_S)
        assert [path.name for path in run.iterdir()] == [LOCK_NAME]
    assert ranks.returncode != 0
    (line,) = [line for line in complaints.splitlines() if line.startswith("pointseg.train: ")]
    assert line.startswith(f"pointseg.train: {run}: PID {os.getpid()} on ")
    assert "exitcode  : 2" in complaints
    assert "pointseg/train.py" not in complaints  # a traceback of one of ours


def test_tasks_of_srun_train_one_run(tiny_overrides: list[str], tmp_path: Path) -> None:
    """``srun -n 2 python -m pointseg.train`` was two runs in one folder."""
    variables = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "no[7-8]",
    }
    tasks = [start(tiny_overrides, **variables, SLURM_PROCID=str(k), SLURM_LOCALID=str(k)) for k in range(2)]
    results = [task.communicate(timeout=STARTED_S) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], results
    assert [out.count("done: ") for out, _ in results] == [1, 0]
    assert steps(tmp_path / "run") == [1, 2, 3, 4, 5, 6]


def test_convert_makes_no_run_where_one_is_trained(trained_run: Path, tmp_path: Path) -> None:
    file, run = tmp_path / "published.pth", tmp_path / "run"
    convert.main([str(trained_run), "--out", str(file)])
    with hold_folder(run, "trains", ""), pytest.raises(UsageError, match="trains here since .* folder with --out"):
        convert.main([str(file), "--out", str(run)])
    assert not run.exists()
    convert.main([str(file), "--out", str(run)])
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "classes.tsv", "config.yaml", "metrics.jsonl"]


@pytest.mark.parametrize("command", ["import", "prepare"])
def test_a_tree_is_made_by_one_preparation_at_a_time(command: str, tmp_path: Path) -> None:
    """But for shards of one preparation, which do the same."""
    (tmp_path / "scans").mkdir()
    out = tmp_path / "prepared"
    calls = {
        "import": ["import", str(tmp_path / "scans"), "--out", str(out)],
        "prepare": ["prepare", "--raw", str(tmp_path), "--out", str(out)],
    }
    for share in (None, "3 shards, align True"):
        with hold_folder(out, "prepares", "", share=share):
            with pytest.raises(UsageError, match=r"prepares here since .* choose another folder with --out"):
                program.main(calls[command])
            assert [path.name for path in out.iterdir()] == [LOCK_NAME]
