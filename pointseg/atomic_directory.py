"""Folders that are there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointseg.atomic import TEMPORARY_PREFIX, errors_name, read_umask, temporary_prefix


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes its place when the block ends without error.

    A folder that stood at ``path`` is removed only after the new one is complete.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with errors_name(path, path.parent / TEMPORARY_PREFIX):
        temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(path.name), dir=path.parent))
    try:
        with errors_name(path, temporary):
            yield temporary
            temporary.chmod(0o777 & ~read_umask())
            if path.exists():
                # Two renames: a folder that holds something can't be replaced in one.
                old = Path(tempfile.mkdtemp(prefix=f"{temporary_prefix(path.name)}old-", dir=path.parent))
                os.replace(path, old)
                os.replace(temporary, path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
