"""What a loading process can't hand over, and how loading processes end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


def _train(shell: str, *overrides: str) -> tuple[int, list[str]]:
    """Exit status and what was said, but for warnings; a call that does not end fails."""
    command = f'"{sys.executable}" -m pointseg.train --cfg demo.yaml "$@"'
    script = shell.format(command=command)
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", *overrides, "data.num_workers=2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, [line for line in stderr.splitlines() if ": warning: " not in line]


def _may_mount() -> bool:
    """Whether this process may have a /dev/shm of its own."""
    script = "mount -t tmpfs -o size=8k tmpfs /dev/shm"
    try:
        return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize(("size", "what"), [("160k", "a batch of 0.1 MiB"), ("16k", "batches")])
def test_a_batch_for_which_there_is_no_shared_memory_ends_the_run_with_one_line(
    size: str, what: str, tiny_overrides: list[str]
) -> None:
    if not _may_mount():
        pytest.skip("may not mount a small /dev/shm")
    script = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {{command}}".replace("'", "")
    status, lines = _train(f"exec unshare -rm sh -c '{script}' sh \"$@\"", *tiny_overrides)
    assert status == 1, lines
    assert len(lines) == 1, lines
    assert f"{what} can't be handed over by the loading processes through shared memory" in lines[0]
    assert "No space left on device" in lines[0]
    assert "give /dev/shm more room" in lines[0]
    assert "data.num_workers=0" in lines[0]


def test_a_batch_for_which_too_many_files_are_open_ends_the_run_with_one_line(tiny_overrides: list[str]) -> None:
    status, lines = _train("ulimit -n 24; exec {command}", *tiny_overrides)
    assert status == 1, lines
    assert len(lines) == 1, lines
    assert "can't be handed over by the loading processes" in lines[0]
    assert "Too many open files); allow more open files (ulimit -n)" in lines[0]
    assert "data.num_workers=0" in lines[0]


def test_few_files_that_are_enough_are_not_refused(tiny_overrides: list[str]) -> None:
    status, lines = _train("ulimit -n 34; exec {command}", *tiny_overrides)
    assert status == 0, lines


def test_a_broken_scene_ends_the_run_and_its_workers(
    tiny_overrides: list[str], prepared_root: Path, tmp_path: Path
) -> None:
    """Python ends workers by SIGTERM when it leaves, which they leave to the trainer: it waited for them for ever."""
    root = tmp_path / "data"
    shutil.copytree(prepared_root, root)
    (sorted((root / "train").iterdir())[2] / "coord.npy").write_bytes(b"")
    status, lines = _train("exec {command}", *tiny_overrides, f"data.root={root}", "data.cache=none")
    assert status == 1, lines
    assert "coord.npy" in lines[0]
    assert len(lines) == 1


def test_workers_end_with_a_training_process_that_is_killed(tiny_overrides: list[str], tmp_path: Path) -> None:
    """They leave SIGTERM to it, and notice themselves that it is gone."""
    command = [sys.executable, "-m", "pointseg.train", "--cfg", "demo.yaml", *tiny_overrides]
    process = subprocess.Popen(
        [*command, "data.num_workers=2", "train.passes=100000"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # ends when nobody has it any more
        start_new_session=True,
    )
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 100
        while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert metrics.stat().st_size
        process.kill()
        process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_worker_says_nothing_of_a_training_process_that_is_gone() -> None:
    """Where that one is killed while a thread of the worker gives it a file, the thread ended with a traceback."""
    script = """
import sys
from pointseg.data.workers import leave_stopping_to_the_trainer
leave_stopping_to_the_trainer(0)
for error in (ConnectionResetError(104, "Connection reset by peer"), EOFError(), ValueError("of the worker itself")):
    sys.excepthook(type(error), error, None)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr.splitlines() == ["ValueError: of the worker itself"]


FORK = """
import os, signal, sys
import torch
from pointseg.config import load_config
from pointseg.data.loader import TrainingLoader
from pointseg.processes import StopRequest
from pointseg.scans.prepared import list_scenes
from pointseg.taxonomy import load_taxonomy

def press():
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)

config = load_config("demo", [*sys.argv[1:], "data.num_workers=2"])
folders = list_scenes(config.data.root, "train")
loader = TrainingLoader(folders, config, 0, 1, torch.device("cpu"), load_taxonomy("scannet200"), None)
os.register_at_fork(after_in_child=press)
with StopRequest() as stop:
    print(len(list(loader.batches(0))) == loader.batches_per_pass, stop.requested)
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.requested)
loader.close()
"""


def test_signals_to_a_worker_that_is_being_forked_are_left_to_the_trainer(tiny_overrides: list[str]) -> None:
    """A terminal's Ctrl-C goes to all its processes; the worker that it met half-made wrote a traceback."""
    command = [sys.executable, "-c", FORK, *tiny_overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["True", "False", "True"]


LEAVE = """
import sys
import torch
from pointseg.config import load_config
from pointseg.data.loader import TrainingLoader
from pointseg.scans.prepared import list_scenes
from pointseg.taxonomy import load_taxonomy

config = load_config("demo", [*sys.argv[1:], "data.num_workers=1"])
folders = list_scenes(config.data.root, "train")
loader = TrainingLoader(folders, config, 0, 1, torch.device("cpu"), load_taxonomy("scannet200"), None)
stream = loader.batches(0)
next(stream)
raise ValueError("an error of somebody's script")
"""


def test_a_script_that_does_not_close_its_loader_ends(tiny_overrides: list[str]) -> None:
    """Python would wait for workers that take its SIGTERM for the trainer's."""
    command = [sys.executable, "-c", LEAVE, *tiny_overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: an error of somebody's script\n")


_SCRIPT = """
import multiprocessing, os, time
from pointseg.data.workers import leave_stopping_to_the_trainer

def work(trainer):
    while os.getppid() == trainer:
        time.sleep(0.01)
    leave_stopping_to_the_trainer(0)
    print("goes on", flush=True)

multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),)).start()
os._exit(0)
"""


def test_a_worker_whose_trainer_was_killed_before_it_began_ends() -> None:
    """PyTorch asks whether its parent is still the one of the beginning, which would be another by then."""
    result = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == result.stderr == ""
