"""What every command shares: arguments in, one line for a mistake, an exit status out."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from pointseg.errors import PointsegError, UsageError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Formatter(argparse.HelpFormatter):
    """Names the default of an option where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        hidden = action.default in (None, False, argparse.SUPPRESS) or action.required or not action.option_strings
        return text if hidden or "%(default)" in text else f"{text} (default: %(default)s)"


class CommandParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose mistakes are one line, and which takes no abbreviated options."""

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(f"{message}; see --help")


def number_or_none(text: str) -> int | None:
    """The value of an option that is a whole number of at least 1, or ``none``."""
    if text == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, or none, got {text!r}")
    return int(text)


def run_command(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Run ``main(argv)`` and leave the process: 0 done, 1 the work failed, 2 the call is wrong.

    A :class:`PointsegError`, a full disk and a file that can't be opened become one line on
    stderr. Anything else is a defect of ours and keeps its traceback.
    """
    program = os.path.basename(sys.argv[0]) or "pointseg"
    try:
        status = main(sys.argv[1:]) or 0
    except PointsegError as error:
        print(f"{program}: {error}", file=sys.stderr)
        status = error.exit_status
    except OSError as error:
        print(f"{program}: {describe_os_error(error)}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def describe_os_error(error: OSError) -> str:
    """One line for an ``OSError``: the file, what the system said, and what to do."""
    where = error.filename if error.filename is not None else "a file"
    if error.errno in _DISK_FULL:
        return f"{where}: the disk is full; free some space and run the same command again"
    return f"{where}: {error.strerror or error}"
