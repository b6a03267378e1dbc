"""The progress bar calls the losses as ``metrics.jsonl`` does."""

import errno
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tensorboard.summary.writer.event_file_writer import _AsyncWriter

from pointseg.engine.run_log import RunLog
from pointseg.errors import StoppedError, describe_os_error
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import read_history


def test_the_bar_and_the_log_use_the_same_names(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    log = RunLog(directory, num_steps=10, first_step=0, enabled=True)
    log.log_training(1, {"loss": 1.15, "recognition": 1.0, "collapse": 0.3, "lr": 0.01, "scenes_per_s": 2.0})
    shown = log._bar.postfix
    row = {"loss": 0.95, "recognition": 1.0, "collapse": 0.3, "taught": 0.6, "lr": 0.01, "scenes_per_s": 2.0}
    log.log_training(2, row)
    taught = log._bar.postfix
    log.close()
    assert shown.startswith("loss 1.150 = recognition 1.000 + λ · collapse 0.300, lr ")
    assert taught.startswith("loss 0.950 = mean of recognition 1.000 and taught 0.600 + λ · collapse 0.300, lr ")
    line, _ = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"loss", "recognition", "collapse"} <= json.loads(line).keys()


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
    log = RunLog(RunDirectory(tmp_path), num_steps=10, first_step=0, enabled=True)
    (events,) = (tmp_path / "tensorboard").iterdir()
    (tmp_path / "metrics.jsonl").write_text("")
    log._directory.append_metrics = lambda row: None
    with no_file_larger_than(events.stat().st_size + 10), pytest.raises((OSError, StoppedError)) as caught:
        with suppress(OSError):  # the thread may be quick, and may be slow: see below
            log._writer.add_text("long", "x" * 10_000)
        try:
            if ending is not None:
                raise ending
        finally:
            log.close()
    if ending is not None:
        assert caught.value is ending
    else:
        assert describe_os_error(caught.value).startswith(f"{tmp_path / 'tensorboard'}: ")
    assert "Traceback" not in capfd.readouterr().err


def test_a_thread_that_is_late_to_tell_of_a_full_disk_is_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard asks its thread whether all is well, and that thread says first that it is done, and then of what."""
    log = RunLog(RunDirectory(tmp_path), num_steps=10, first_step=0, enabled=True)
    (events,) = (tmp_path / "tensorboard").iterdir()
    monkeypatch.setattr(_AsyncWriter, "_check_worker_status", lambda self: None)
    with no_file_larger_than(events.stat().st_size + 10), pytest.raises(OSError) as caught:
        log._writer.add_text("long", "x" * 10_000)
        log.close()
    assert describe_os_error(caught.value).startswith(f"{tmp_path / 'tensorboard'}: ")
    assert "Traceback" not in capfd.readouterr().err
