"""Folders that are there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointseg.atomic import TEMPORARY_PREFIX, errors_name, make_in, temporary_prefix


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes its place when the block ends without error.

    A folder that stood at ``path`` is removed only after the new one is in its place. A link stays, and what it leads
    to is replaced.
    """
    path = Path(path)
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    with errors_name(path, target.parent / TEMPORARY_PREFIX):
        temporary = make_in(target.parent, temporary_prefix(target.name), os.mkdir)
    try:
        with errors_name(path, temporary):
            yield temporary
            _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        return
    # Two renames: a folder that holds something can't be replaced in one.
    old = make_in(path.parent, f"{temporary_prefix(path.name)}old-", os.mkdir)
    try:
        os.replace(path, old)
    except BaseException:
        old.rmdir()
        raise
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
