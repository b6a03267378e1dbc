"""What a person sees of a training calls the losses as ``metrics.jsonl`` does, and fits the terminal."""

import errno
import fcntl
import json
import os
import pty
import resource
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from tensorboard.summary.writer.event_file_writer import _AsyncWriter

from pointseg.config import Config
from pointseg.engine.run_log import RunLog, describe_losses, describe_scores
from pointseg.errors import StoppedError, describe_os_error
from pointseg.runs.dashboard import Dashboard
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import read_history
from pointseg.taxonomy import load_taxonomy


@contextmanager
def open_dashboard(path: Path) -> Iterator[Dashboard]:
    with Dashboard(RunDirectory(path), Config(), load_taxonomy("scannet20"), first_step=0) as dashboard:
        dashboard._writer.flush()
        yield dashboard


def size_of_events(path: Path) -> int:
    """Of the file with which a dashboard begins, bytes."""
    with open_dashboard(path):
        (events,) = (path / "tensorboard").iterdir()
        return events.stat().st_size


@contextmanager
def open_log(path: Path, num_steps: int = 10) -> Iterator[RunLog]:
    """A log of the first process."""
    classes = load_taxonomy("scannet20")
    with (
        open_dashboard(path) as dashboard,
        closing(RunLog(RunDirectory(path), classes, num_steps, 0, dashboard)) as log,
    ):
        yield log


ROW = {"loss": 1.15, "recognition": 1.0, "collapse": 0.3, "lr": 0.01, "scenes_per_s": 2.0}


def test_lines_and_the_log_use_the_same_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the output is no terminal, each row of figures is a line, of less than 100 columns."""
    with open_log(tmp_path) as log:
        log.log_training(1, ROW)
        log.log_training(10, {**ROW, "loss": 0.95, "taught": 0.6, "cropped_scenes": 3.0})
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("step 1/10: loss 1.150, recognition 1.000, collapse 0.300, lr 1.0e-02, 2.0 scenes/s, ")
    assert first.endswith(" left") and len(first) < 100
    assert last.startswith("step 10/10: loss 0.950, recognition 1.000, taught 0.600, collapse 0.300, lr ")
    assert last.endswith("2.0 scenes/s, 3 cropped scenes")
    line, _ = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"loss", "recognition", "collapse"} <= json.loads(line).keys()


def test_without_a_center_branch_the_loss_is_all_there_is_to_say() -> None:
    assert describe_losses({**ROW, "collapse": 0.0})[:2] == ["loss 1.150", "lr 1.0e-02"]


def read_to_the_end(terminal: int, written: list[bytes]) -> None:
    """Of a terminal whose other side is closed some time; the kernel tells that by an error."""
    with suppress(OSError):
        while chunk := os.read(terminal, 4096):
            written.append(chunk)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_bar_is_one_line_of_the_terminal(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what fits beside it, the losses first, and whole words; no other lines. tqdm asks the terminal itself."""
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    monkeypatch.setenv("COLUMNS", str(width))
    written: list[bytes] = []
    # A terminal holds few lines: somebody has to read, or the writer waits, and a slow machine writes more of them.
    reader = threading.Thread(target=read_to_the_end, args=(terminal, written))
    reader.start()
    with open(screen, "w", encoding="utf-8") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        with open_log(tmp_path, num_steps=71_400) as log:
            for _ in range(60_000):
                log.step_done()
            log.log_training(60_000, {**ROW, "taught": 0.6})
    reader.join()
    shown = b"".join(written).decode().replace("\n", "").split("\r")
    bar = next(line for line in reversed(shown) if "loss" in line)
    assert len(bar.rstrip()) < width
    assert bar.startswith("60000/71400 ")
    parts = bar.split(" left, ")[1].rstrip()
    every = "loss 1.150, recognition 1.000, taught 0.600, collapse 0.300, lr 1.0e-02, 2.0 scenes/s"
    assert every.startswith(parts) and (every + ",")[len(parts)] == ","
    assert parts == every or width < 200
    assert capsys.readouterr().out == ""


def test_scores_are_in_percent_and_of_the_groups_that_there_are() -> None:
    scores = {"miou": 0.218, "head": 0.266, "common": 0.0, "tail": None, "accuracy": 0.625}
    assert describe_scores(scores) == "val mIoU 21.8 (head 26.6, common 0.0), accuracy 62.5"
    alone = {**dict.fromkeys(scores), "accuracy": 0.5}
    assert describe_scores(alone) == "val mIoU -, accuracy 50.0"


@contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """As on a full disk, writing ends in the middle of what was to be written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_line_of_metrics_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """The error names the file, and what is written once there is room again is on a line of its own."""
    directory = RunDirectory(tmp_path)
    rows = [{"kind": "val", "step": step, "miou": 0.5} for step in range(3)]
    directory.append_metrics(rows[0])
    with (
        no_file_larger_than(directory.metrics_path.stat().st_size + 10),
        pytest.raises(OSError) as caught,
    ):
        directory.append_metrics(rows[1])
    assert caught.value.errno == errno.EFBIG
    assert describe_os_error(caught.value).startswith(f"{directory.metrics_path}: ")
    directory.append_metrics(rows[2])
    assert [row["step"] for row in read_history(directory)["val"]] == [0, 2]
    assert len(directory.metrics_path.read_text().splitlines()) == 2


@pytest.mark.parametrize("ending", [None, StoppedError("r: stopped after step 3; --resume goes on")])
def test_a_full_disk_under_tensorboard_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: Exception | None
) -> None:
    """TensorBoard writes in a thread: its traceback is not shown, and its error hides no other."""
    hook = threading.excepthook
    with (
        pytest.raises((OSError, StoppedError)) as caught,
        no_file_larger_than(size_of_events(tmp_path / "whole") + 10),
        open_dashboard(tmp_path) as dashboard,
    ):
        with suppress(OSError):  # the thread may be quick, and may be slow: see below
            dashboard._writer.add_text("long", "x" * 10_000)
        if ending is not None:
            raise ending
    assert threading.excepthook is hook
    if ending is not None:
        assert caught.value is ending
    else:
        assert describe_os_error(caught.value).startswith(f"{tmp_path / 'tensorboard'}: ")
    assert "Traceback" not in capfd.readouterr().err


def test_a_thread_that_is_late_to_tell_of_a_full_disk_is_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard asks its thread whether all is well, and that thread says first that it is done, and then of what."""
    monkeypatch.setattr(_AsyncWriter, "_check_worker_status", lambda self: None)
    with (
        pytest.raises(OSError) as caught,
        no_file_larger_than(size_of_events(tmp_path / "whole") + 10),
        open_dashboard(tmp_path) as dashboard,
    ):
        dashboard._writer.add_text("long", "x" * 10_000)
    assert describe_os_error(caught.value).startswith(f"{tmp_path / 'tensorboard'}: ")
    assert "Traceback" not in capfd.readouterr().err
