"""What a user can get wrong, as exceptions that become one line on stderr.

A message says what is wrong, where, and what to do: ``PATH: problem; remedy``.
"""

import errno
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "give a file",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend the links that lead to it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another disk",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the disk",
}


class PointsegError(Exception):
    """Something a person has to mend; shown without a traceback. Exit status 1: the work failed."""

    exit_status = 1


class DataError(PointsegError):
    """A file or a scene is not what it has to be."""


class StoppedError(PointsegError):
    """Somebody asked the work to stop, and it did, with everything kept."""

    exit_status = 130


class UsageError(PointsegError):
    """The call or the config is wrong. Exit status 2."""

    exit_status = 2


def missing_library(what: str, library: str, extra: str) -> str:
    """One line for a library that is not installed.

    Args:
        what: of the work that needs it, singular: ``drawing pictures``, after the file where there is one.
        library: its name for people.
        extra: of our package, that installs it.
    """
    return f"{what} needs {library}; type: {install_command(extra)}"


def install_command(extra: str) -> str:
    """The command that installs what an extra of our package names."""
    return f"pip install 'pointseg[{extra}]'"


def regular_file(path: Path) -> Path:
    """``path``, to be opened: a pipe may block whoever opens it for ever, and ``/dev/zero`` never ends.

    What is missing or a folder is left for whoever opens it to say.

    Raises:
        DataError: it is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a NUL in the name
        return path
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{path}: is no file, but a pipe, a socket or a device; give a file")
    return path


def first_line(error: BaseException) -> str:
    """What an exception that a library raised says, in one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def describe_os_error(error: OSError, remedy: str | None = None) -> str:
    """One line for an ``OSError``: the file, what the system said, and what to do.

    Args:
        error: of the system.
        remedy: what to do, where that is known better than by the kind of the error.
    """
    where = error.filename if error.filename is not None else "a file"
    if error.errno in _DISK_FULL:
        return f"{where}: the disk is full; free some space and run the same command again"
    remedy = remedy or _REMEDIES.get(error.errno or 0)
    return f"{where}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")


def and_more(items: Sequence[Any] | Mapping[Any, Any], shown: int) -> str:
    """``, and 4 more`` after a list of which ``shown`` are shown."""
    return f", and {len(items) - shown} more" if len(items) > shown else ""
