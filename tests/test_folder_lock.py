"""One writer a folder, on one machine and on several, however the one before has ended."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pointseg import folder_lock
from pointseg.errors import UsageError, describe_os_error
from pointseg.folder_lock import LOCK_NAME, hold_folder

REMEDY = "choose another folder with --out"
HOLD = """
import os, sys, time
from pathlib import Path
from pointseg.folder_lock import hold_folder
with hold_folder(Path(sys.argv[1]), "trains", "", share=sys.argv[2] or None):
    child = os.fork() if sys.argv[3] == "fork" else 0
    if sys.argv[3] == "fork" and child == 0:
        time.sleep(60)  # a loader's worker that outlives its trainer
        os._exit(0)
    print("held", child, flush=True)
    sys.stdin.readline()
"""
COUNT = """
import sys
from pathlib import Path
from pointseg.folder_lock import hold_folder
path = Path(sys.argv[1])
for _ in range(20):
    with hold_folder(path.parent / "held", "counts", "", wait=True):
        path.write_text(str(int(path.read_text()) + 1))
"""


@contextmanager
def holder(folder: Path, share: str = "", fork: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds a folder, and its child."""
    command = [sys.executable, "-c", HOLD, str(folder), share, fork]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        held, child = process.stdout.readline().split()
        assert held == "held"
        try:
            yield process, int(child)
        finally:
            if process.poll() is None:
                process.stdin.close()


def test_who_comes_second_is_told_who_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    with holder(folder) as (process, _):
        with pytest.raises(UsageError) as error, hold_folder(folder, "predicts", REMEDY):
            pass
        host = os.uname().nodename
        assert str(error.value).startswith(f"{folder}: PID {process.pid} on {host} trains here since 20")
        assert str(error.value).endswith(f" UTC; wait for it, or {REMEDY}")
        assert process.poll() is None
    assert process.wait() == 0
    assert not (tmp_path / "runs").exists()
    with hold_folder(folder, "predicts", REMEDY):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_killed_holder_holds_nothing_even_if_its_workers_live_on(tmp_path: Path) -> None:
    with holder(tmp_path, fork="fork") as (process, child):
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(child, 0)
        try:
            assert (tmp_path / LOCK_NAME).exists()
            with hold_folder(tmp_path, "trains", REMEDY):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_processes_that_wait_come_one_after_the_other(tmp_path: Path) -> None:
    """Though each takes the file away when it leaves, and may take the folder, too."""
    count = tmp_path / "count"
    count.write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", COUNT, str(count)]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert count.read_text() == "80"
    assert list((tmp_path / "held").glob("*")) == []


def test_those_that_do_the_same_share_a_folder(tmp_path: Path) -> None:
    with holder(tmp_path, share="rot4"):
        with hold_folder(tmp_path, "predicts", REMEDY, share="rot4"):
            for share in ("full", None):
                message = "trains here with other settings since" if share else "trains here since"
                message = message.replace("trains", "(trains|predicts)")
                with pytest.raises(UsageError, match=message), hold_folder(tmp_path, "", REMEDY, share=share):
                    pass
        assert (tmp_path / LOCK_NAME).exists()
        with pytest.raises(UsageError, match="with other settings"), hold_folder(tmp_path, "", REMEDY, share="full"):
            pass
    with hold_folder(tmp_path, "predicts", REMEDY, share="full"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_that_share_begin_at_once(tmp_path: Path) -> None:
    """None is refused because another just has the file to itself."""
    together = threading.Barrier(8)
    failures: list[BaseException] = []

    def share() -> None:
        try:
            for _ in range(20):
                together.wait(30)
                with hold_folder(tmp_path, "predicts", REMEDY, share="same"):
                    pass
        except BaseException as error:
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=share) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def leave_lock_of_another_machine(folder: Path) -> Path:
    """What a killed process on another machine leaves."""
    with hold_folder(folder, "trains", REMEDY):
        content = json.loads((folder / LOCK_NAME).read_text())
    content |= {"pid": 4711, "host": "node7", "machine": "another"}
    (folder / LOCK_NAME).write_text(json.dumps(content))
    return folder / LOCK_NAME


def test_what_another_machine_left_is_taken_over_if_nobody_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the clocks say."""
    monkeypatch.setattr(folder_lock, "SILENCE_S", 0.5)
    path = leave_lock_of_another_machine(tmp_path)
    os.utime(path, (4e9, 4e9))
    with hold_folder(tmp_path, "trains", REMEDY):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    looking, gone = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}: PID 4711 on node7 trains here since" in looking
    assert f"{tmp_path}: PID 4711 on node7 is gone without a word; going on in its place" in gone
    assert not path.exists()


@pytest.mark.parametrize("old", [0, 4e9])
def test_a_holder_on_another_machine_is_seen_by_what_it_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: float
) -> None:
    """Also where its lock is not: a file system that keeps locks to one machine."""
    monkeypatch.setattr(folder_lock, "SILENCE_S", 5.0)
    path = leave_lock_of_another_machine(tmp_path)
    os.utime(path, (old, old))
    toucher = threading.Timer(1.0, os.utime, (path,))
    toucher.start()
    message = "PID 4711 on node7 trains here since"
    with pytest.raises(UsageError, match=message), hold_folder(tmp_path, "trains", REMEDY):
        pass
    toucher.join()
    assert path.exists()


def fail_with(number: int) -> Callable[[int, int], None]:
    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", fail_with(number))
    monkeypatch.setattr(folder_lock, "TOUCH_S", 0.2)
    monkeypatch.setattr(folder_lock, "SILENCE_S", 2.0)
    with hold_folder(tmp_path, "trains", REMEDY):
        message = f"PID {os.getpid()} on .* trains here since"
        with pytest.raises(UsageError, match=message), hold_folder(tmp_path, "trains", REMEDY):
            pass
    assert list(tmp_path.iterdir()) == []
    leave_lock_of_another_machine(tmp_path)
    with hold_folder(tmp_path, "trains", REMEDY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_t_be_written_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (Path("/proc/run"), tmp_path / "file"):
        with pytest.raises(OSError) as error, hold_folder(folder, "trains", REMEDY):
            pass
        assert describe_os_error(error.value).startswith(f"{folder}: ")
    assert (tmp_path / "file").read_text() == "mine"

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fill)
        with pytest.raises(OSError) as error, hold_folder(tmp_path / "run", "trains", REMEDY):
            pass
    assert describe_os_error(error.value).startswith(f"{tmp_path / 'run'}: the disk is full; ")
    assert not (tmp_path / "run").exists()


def test_the_last_one_clears_what_a_killed_one_left_of_locks_within(tmp_path: Path) -> None:
    inner = tmp_path / f"{LOCK_NAME}-record"
    with hold_folder(tmp_path, "predicts", REMEDY, share="a"):
        inner.touch()
        with holder(tmp_path, share="a"):
            pass
        assert inner.exists()  # another is still at work
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_several_that_leaves_lets_nobody_else_in(tmp_path: Path) -> None:
    """It has written the file, which stays for those that came after it."""
    with ExitStack() as others:
        with hold_folder(tmp_path, "predicts", REMEDY, share="a"):
            others.enter_context(holder(tmp_path, share="a"))
        with pytest.raises(UsageError, match="with other settings"), hold_folder(tmp_path, "b", REMEDY, share="b"):
            pass
        with hold_folder(tmp_path, "predicts", REMEDY, share="a"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_the_first_does_is_done_only_where_nobody_is(tmp_path: Path) -> None:
    """Others that share the folder, alive, would lose what they are at."""
    calls: list[str] = []
    with hold_folder(tmp_path, "predicts", "", share="s", first=lambda: calls.append("first")):
        with hold_folder(tmp_path, "predicts", "", share="s", first=lambda: calls.append("second")):
            pass
        assert calls == ["first"]
    with holder(tmp_path, share="s") as (process, _):
        process.kill()
        process.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with hold_folder(tmp_path, "predicts", "", share="s", first=lambda: calls.append("after a killed one")):
        assert calls == ["first", "after a killed one"]


def test_what_the_first_does_waits_for_other_machines(tmp_path: Path) -> None:
    """Where the lock of one is not seen on another, one that shares the folder may be alive there."""
    with hold_folder(tmp_path, "predicts", "", share="s"):
        row = json.loads((tmp_path / LOCK_NAME).read_text())
    (tmp_path / LOCK_NAME).write_text(json.dumps({**row, "host": "other", "machine": "other"}))
    calls: list[str] = []
    with hold_folder(tmp_path, "predicts", "", share="s", first=lambda: calls.append("first")):
        assert calls == []
