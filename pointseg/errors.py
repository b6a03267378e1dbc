"""What a user can get wrong, as exceptions that become one line on stderr.

A message says what is wrong, where, and what to do: ``PATH: problem; remedy``.
"""

import errno

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MANY_FILES = (errno.EMFILE, errno.ENFILE)


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


def first_line(error: BaseException) -> str:
    """What an exception that a library raised says, in one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def describe_os_error(error: OSError) -> str:
    """One line for an ``OSError``: the file, what the system said, and what to do."""
    where = error.filename if error.filename is not None else "a file"
    if error.errno in _DISK_FULL:
        return f"{where}: the disk is full; free some space and run the same command again"
    if error.errno in _MANY_FILES:
        return f"{where}: can't be opened, too many files are open already; allow more (ulimit -n)"
    return f"{where}: {error.strerror or error}"
