"""Files that are there whole or not at all. Folders: :mod:`pointseg.atomic_directory`."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"
# A file system takes 255 bytes, and what makes a name unlike all others comes on top.
_MOST_NAME_BYTES = 200


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes its place when the block ends without error.

    The temporary file keeps the suffix of ``path`` (``numpy.save`` appends one otherwise). On an
    error it is removed and ``path`` is what it was before.
    """
    path = Path(path)
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
    """Write ``text`` (UTF-8) to ``path``, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def temporary_prefix(name: str) -> str:
    """How the name of what is not yet ``name`` begins; a name that is nearly too long is cut."""
    return f"{TEMPORARY_PREFIX}{name.encode()[:_MOST_NAME_BYTES].decode(errors='ignore')}-"


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
