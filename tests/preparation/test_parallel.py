"""Many scenes in several processes."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointseg.errors import DataError, UsageError
from pointseg.preparation.parallel import map_scenes


def square(number: int) -> int:
    return number**2


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("three: is refused; take four")
    return number


def die(number: int) -> int:
    os._exit(1)


def threads_of_worker(number: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("workers", [1, 2, None])
def test_results_keep_their_order(workers):
    assert list(map_scenes(square, range(5), workers, "squaring")) == [0, 1, 4, 9, 16]
    assert list(map_scenes(square, [], workers, "squaring")) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers):
    with pytest.raises(DataError, match="three: is refused; take four"):
        list(map_scenes(refuse_three, range(6), workers, "refusing"))


def test_a_dead_worker_is_one_line():
    """A worker that the system kills ends the run, it doesn't hang it."""
    with pytest.raises(DataError, match=r"worker processes died.*; run .* with a smaller --workers"):
        list(map_scenes(die, range(3), 2, "dying"))


def test_workers_use_one_thread(monkeypatch):
    """Each worker has one thread for linear algebra; the setting of this process comes back."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert list(map_scenes(threads_of_worker, range(2), 2, "asking")) == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_no_workers():
    with pytest.raises(UsageError, match="0 workers"):
        list(map_scenes(square, range(2), 0, "squaring"))


def write_pid_and_wait(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def map_for_ever(folder: Path) -> None:
    list(map_scenes(write_pid_and_wait, [folder] * 4, 2, "waiting"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    """Even in the middle of a scene."""
    parent = multiprocessing.get_context("spawn").Process(target=map_for_ever, args=(tmp_path,))
    parent.start()
    deadline = time.monotonic() + 100
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.join()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while (left := [pid for pid in workers if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, 9)
    assert left == []


_SCRIPT = """
import signal
from pointseg.preparation.parallel import map_scenes

def blocked():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())

AT_IMPORT = blocked()

def look(number):
    return AT_IMPORT, signal.getsignal(signal.SIGINT) is signal.SIG_IGN, blocked()

if __name__ == "__main__":
    print(set(map_scenes(look, range(4), 2, "looking")), blocked())
"""


def test_an_interrupt_does_not_reach_a_process_that_begins(tmp_path: Path) -> None:
    """While it imports it would end with a traceback, and break the pool; later it leaves interrupts to the parent."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["{(True,", "True,", "False)}", "False"], result.stderr
