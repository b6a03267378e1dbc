"""A file or folder is there whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pointseg.atomic import atomic_file, check_writable, remove_unfinished, write_text
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


def test_a_folder_whose_place_is_taken_meanwhile_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    (folder / "coord.npy").write_text("old")
    replace = os.replace

    def fail_for_the_new(source: Path, target: Path) -> None:
        if (Path(source) / "new.npy").exists():
            raise OSError(errno.EIO, "Input/output error", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new)
    with pytest.raises(OSError, match="Input/output error") as caught, atomic_directory(folder) as temporary:
        (temporary / "new.npy").write_text("new")
    assert caught.value.filename == str(folder)
    assert (folder / "coord.npy").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_link_to_a_folder_stays_and_leads_to_the_new_one(tmp_path: Path) -> None:
    folder, link = tmp_path / "elsewhere" / "run", tmp_path / "run"
    link.symlink_to(folder)
    for content in ("first", "second"):  # there is nothing yet where it leads, and then there is
        with atomic_directory(link) as temporary:
            (temporary / content).write_text(content)
        assert link.is_symlink() and [path.name for path in folder.iterdir()] == [content]
    assert sorted(tmp_path.iterdir()) == [folder.parent, link] and list(folder.parent.iterdir()) == [folder]


def test_a_file_in_the_place_of_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OSError), atomic_directory(tmp_path / "run"):
        pass
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a file"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_rights_are_those_that_the_system_gives_and_its_mask_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as context:
            context.setattr(os, "umask", None)  # it is that of all threads
            with atomic_file(tmp_path / "file") as temporary:
                temporary.write_text("new")
            with atomic_directory(tmp_path / "folder"):
                pass
    finally:
        os.umask(before)
    rights = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder")]
    assert rights == [0o666 & ~mask, 0o777 & ~mask]


@pytest.mark.parametrize("atomic", [atomic_file, atomic_directory])
def test_a_full_disk_is_reported_with_the_name_that_a_person_knows(atomic: Callable, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic(tmp_path / "scores.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "scores.json")
    with pytest.raises(FileNotFoundError) as caught, atomic(tmp_path / "scores.json"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [os.fsdecode(b"g\xfcn.txt"), "é" * 125 + ".txt"], ids=["no UTF-8", "nearly too long"])
def test_a_file_of_any_name_is_written(tmp_path: Path, name: str) -> None:
    """Names of files are bytes; a long one is cut between letters, as some file systems take no part of one."""
    with atomic_file(tmp_path / name) as temporary:
        assert temporary.name.isprintable() or not name.isprintable()
        temporary.write_text("new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "new")]


def test_a_text_names_a_file_whose_name_is_no_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "page.html", f"of {os.fsdecode(b'g' + bytes([0xFC]) + b'n')}é")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "of g\\udcfcné"


def test_only_what_was_begun_of_the_files_is_removed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "a.features.npy", os.fsdecode(b"g\xfc[1]\n.txt"))]
    for path in paths:
        path.touch()
        (tmp_path / f".writing-{path.stem}-0123abcd{path.suffix}").touch()
    others = [".writing-b-0123abcd.txt", ".writing-a-b-0123abcd.txt", ".writing-a-mine.txt", ".writing-a-0123abcd.ply"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".writing-a-ffffffff.txt").mkdir()  # of somebody else
    remove_unfinished(paths)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*(path.name for path in paths), *others, ".writing-a-ffffffff.txt"}


def test_what_can_not_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays of the trial, not even a folder, and what is there stays as it is."""
    path = tmp_path / "scores.json"
    path.write_text("old")
    check_writable(path)
    check_writable(tmp_path / "new" / "folder" / "scores.json")
    with pytest.raises(IsADirectoryError) as caught:
        check_writable(tmp_path)
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(NotADirectoryError):
        check_writable(path / "scores.json")

    def fail(self: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left") as full:
        check_writable(path)
    assert full.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As ``--json /dev/stdout`` is: a file in the place of a device would be there for all."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that nobody who opens it waits
    check_writable(pipe)
    write_text(pipe, "all of it\n")
    assert os.read(reading, 100) == b"all of it\n"
    with atomic_file(pipe) as temporary:  # as a table is written
        temporary.write_text("a row\n")
    assert os.read(reading, 100) == b"a row\n"
    os.close(reading)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
    reading, writing = os.pipe()
    write_text(f"/dev/fd/{writing}", "to a descriptor")
    assert os.read(reading, 100) == b"to a descriptor"
    os.close(reading)
    os.close(writing)
