"""One laboratory at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointseg.errors import UsageError

LOCK_NAME = ".lock"


@contextmanager
def hold_folder(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep others out of ``folder`` for the time of the block; the lock goes with the process, however it ends.

    Args:
        folder: made where it is not there.
        wait: for the other to leave, rather than to raise.

    Raises:
        UsageError: another holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another laboratory is at work here; wait for it or choose another --out"
            ) from None
        yield
