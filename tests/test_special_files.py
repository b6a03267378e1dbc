"""A pipe, a socket or a device where a file should be is one line: whoever opens a pipe waits for a writer for ever."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from pointseg.config import load_config
from pointseg.errors import DataError, PointsegError, regular_file
from pointseg.formats.reading import read_scan_file
from pointseg.labelled.scan_folder import find_scans
from pointseg.labelled.scan_job import Reading, ScanJob
from pointseg.output.prediction_record import PredictionRecord, hash_files, read_taxonomy
from pointseg.output.submission import read_prediction
from pointseg.preparation.jobs import prepare_scene
from pointseg.preparation.split_lists import read_list
from pointseg.runs.directory import RunDirectory
from pointseg.scannet.raw_scan import LABEL_MAP_NAME
from pointseg.scans.own_scan import ScanOptions
from pointseg.scans.prepared import load_source, read_scene
from pointseg.scans.tree import read_settings
from pointseg.taxonomy import load_taxonomy, read_class_table
from tests.scannet.raw_scans import write_raw_tree
from tests.scripts import run_script

_SCENE = "scans/scene0000_00/scene0000_00"


@contextlib.contextmanager
def no_waiting(seconds: int = 20) -> Iterator[None]:
    """An opened pipe is left by a signal, as by Ctrl-C, so that the test fails and does not hang."""

    def fail(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("waits for a pipe")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and links to them pass, and what is missing or a folder is for others to say."""
    file, link, fifo = tmp_path / "file", tmp_path / "link", tmp_path / "fifo"
    file.touch()
    link.symlink_to(file)
    os.mkfifo(fifo)
    for path in (file, link, tmp_path, tmp_path / "missing", Path("a\0b")):
        assert regular_file(path) is path
    to_fifo = tmp_path / "to_fifo"
    to_fifo.symlink_to(fifo)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        listener.bind("socket")
        for path in (fifo, to_fifo, Path("/dev/zero"), tmp_path / "socket"):
            with pytest.raises(DataError, match=rf"^{path}: is no file, but a pipe, a socket or a device; "):
                regular_file(path)


@pytest.mark.parametrize(
    "name",
    [
        f"{_SCENE}_vh_clean_2.ply",
        f"{_SCENE}_vh_clean_2.0.010000.segs.json",
        f"{_SCENE}.aggregation.json",
        f"{_SCENE}.txt",
        LABEL_MAP_NAME,
        "splits/scannetv2_train.txt",
    ],
)
def test_preparation(tmp_path: Path, name: str) -> None:
    raw = tmp_path / "raw"
    write_raw_tree(raw)
    (raw / name).unlink()
    os.mkfifo(raw / name)
    with no_waiting():
        finished = run_script("preprocess_scannet.py", "--raw", raw, "--out", tmp_path / "out", "--workers", 1)
    assert finished.status == 1
    [line] = finished.error_lines
    assert f"{raw / name}: is " in line
    assert "pipe" in line


@pytest.mark.parametrize("name", ["coord.npy", "segment200.npy", "source.json", "../../preprocess_report.json"])
def test_check_of_a_tree(tmp_path: Path, name: str) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_raw_tree(raw)
    assert run_script("preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", 1).status == 0
    path = out / "train" / "scene0000_00" / name
    path.unlink()
    os.mkfifo(path)
    with no_waiting():
        finished = run_script("check_scans.py", out, "--workers", 1)
    assert finished.status == 1
    assert any("is no file, but a pipe" in line for line in finished.error_lines)


def _read_import(path: Path) -> None:
    """As an import does; a bad scan is an outcome of the job."""
    job = ScanJob(path, path.parent / "out", load_taxonomy("scannet20"), Reading(ScanOptions()))
    outcome = prepare_scene(job)
    raise DataError(outcome.reason)


READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda path: load_config(str(path)),
    "classes.tsv": read_class_table,
    "val.txt": read_list,
    "scene0707_00.txt": read_prediction,
    "predictions.json": lambda path: read_taxonomy(path.parent),
    "predictions.json ": lambda path: hash_files([path]),
    "source.json": lambda path: load_source(path.parent),
    "preprocess_report.json": lambda path: read_settings(path.parent),
    "metrics.jsonl": lambda path: RunDirectory(path.parent).append_metrics({}),
    "room.ply": read_scan_file,
    "room.obj": _read_import,
    "room.gltf": _read_import,
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with no_waiting(), pytest.raises(PointsegError, match=rf"{path}: is (no file, but )?a pipe"):
        READERS[name](path)


def test_array_of_a_scene(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "room"
    folder.mkdir(parents=True)
    for part, dtype in (("coord", np.float32), ("color", np.uint8)):
        np.save(folder / f"{part}.npy", np.zeros((3, 3), dtype))
    os.mkfifo(folder / "normal.npy")
    with no_waiting(), pytest.raises(DataError, match=r"normal\.npy: is no file, but a pipe"):
        read_scene(folder, load_taxonomy("scannet200"))


def test_folder_of_labelled_scans(tmp_path: Path) -> None:
    """Whether a text is a table of points is looked at before it is read: a pipe is one that fails when it is."""
    os.mkfifo(tmp_path / "room.txt")
    with no_waiting():
        found = find_scans(tmp_path, tmp_path / "out")
    assert found.path_of_scene[""] == {"room": tmp_path / "room.txt"}


def test_a_prediction_is_not_looked_for_in_a_pipe(tmp_path: Path) -> None:
    record = PredictionRecord(tmp_path, {}, load_taxonomy("scannet200"))
    record.path("room").write_text("1\n")
    record.add("room", "hash")
    record.path("room").unlink()
    os.mkfifo(record.path("room"))
    with no_waiting(), pytest.raises(DataError, match=r"room\.txt: is no file, but a pipe"):
        record.is_finished("room", "hash")
