"""Files that are there whole or not at all. Folders: :mod:`pointseg.atomic_directory`."""

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"
TEXT_ERRORS = "backslashreplace"
"""What becomes of a name that is no UTF-8, as those of files may be, in a text that is: ``\\udcfc`` for a byte 0xfc."""
# A file system takes 255 bytes, and what makes a name unlike all others comes on top.
_MOST_NAME_BYTES = 200
_BLOCK_BYTES = 4096


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes its place when the block ends without error.

    The temporary file keeps the suffix of ``path`` (``numpy.save`` appends one otherwise). On an
    error it is removed and ``path`` is what it was before. A pipe or a device, as ``/dev/stdout``, is no
    file that another could take the place of: what was written is copied to it.
    """
    path = Path(path)
    if _is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, f"text{path.suffix}")
            temporary.touch()
            yield temporary
            with errors_name(path, path), open(temporary, "rb") as content, open(path, "wb") as stream:
                shutil.copyfileobj(content, stream)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with errors_name(path, path.parent / TEMPORARY_PREFIX):
        temporary = make_in(path.parent, temporary_prefix(path.stem), _make_file, path.suffix)
    try:
        with errors_name(path, temporary):
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, atomically; names of files in it are written as :data:`TEXT_ERRORS` says."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=TEXT_ERRORS)


def _is_stream(path: Path) -> bool:
    if str(path.parent) in ("/dev", "/dev/fd"):  # may lead to a file, whose folder is another
        return True
    with suppress(OSError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def check_writable(path: str | os.PathLike[str]) -> None:
    """Try, before the work begins, whether :func:`atomic_file` could write ``path``; nothing stays of it.

    Raises:
        OSError: it could not. It names ``path``.
    """
    path = Path(path)
    if _is_stream(path):
        return
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = next(parent for parent in path.parents if parent.exists())
    with errors_name(path, folder / TEMPORARY_PREFIX):
        temporary = make_in(folder, temporary_prefix(path.stem), _make_file, path.suffix)
        try:
            temporary.write_bytes(bytes(_BLOCK_BYTES))  # a full disk still takes files without content
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Remove what a killed process had begun to write of these files, and nothing else.

    For those who know that nobody else is writing them. What can't be removed stays: it hinders nobody.
    """
    names_of_folder: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        names_of_folder.setdefault(path.parent, set()).add((temporary_prefix(path.stem), path.suffix))
    for folder, names in names_of_folder.items():
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            parts = re.fullmatch(r"(.+-)[a-z0-9_]{8}(\.[^.]+)?", leftover.name, re.DOTALL)
            if parts and (parts[1], parts[2] or "") in names:
                with suppress(OSError):
                    leftover.unlink()


def temporary_prefix(name: str) -> str:
    """How the name of what is not yet ``name`` begins; a name that is nearly too long is cut."""
    while len(os.fsencode(name)) > _MOST_NAME_BYTES:
        name = name[:-1]  # a whole letter: some file systems take no part of one
    return f"{TEMPORARY_PREFIX}{name}-"


def make_in(folder: Path, prefix: str, make: Callable[[Path], object], suffix: str = "") -> Path:
    """Make something under a name that nothing has, with the rights that the system gives what is new.

    Args:
        folder: gets it.
        prefix: of the name.
        make: makes it, and raises ``FileExistsError`` where something has the name.
        suffix: of the name.
    """
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        with suppress(FileExistsError):
            make(path)
            return path


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


@contextmanager
def errors_name(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the system that name no file, or one that only we know, name ``path`` instead."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(temporary) not in str(error.filename)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
