"""A file or folder is there whole or not at all."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pointseg.atomic import atomic_file
from pointseg.atomic_directory import atomic_directory


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_replaces_the_old_one_and_is_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.json"
    with atomic_file(path) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o044 == 0o044
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    (folder / "coord.npy").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(folder) as temporary:
        (temporary / "coord.npy").write_text("half")
        raise RuntimeError
    assert (folder / "coord.npy").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_written_folder_replaces_the_whole_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    for content in ("first", "second"):
        with atomic_directory(folder) as temporary:
            (temporary / content).write_text(content)
    assert [p.name for p in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_full_disk_is_reported_with_the_name_that_a_person_knows(atomic: Callable, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic(tmp_path / "scores.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "scores.json")
    with pytest.raises(FileNotFoundError) as caught, atomic(tmp_path / "scores.json"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []
