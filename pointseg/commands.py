"""The commands, how the user calls them, so that messages say it in the same way, and how one ends."""

import errno
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from pointseg.errors import PointsegError, describe_os_error

_PACKAGE = Path(__file__).resolve().parent


class Command(NamedTuple):
    """One command, under the names by which it can be called."""

    summary: str
    """What it does, in a line."""
    module: str
    """``python -m pointseg.MODULE``."""
    script: str | None = None
    """In a checkout: ``python SCRIPT``."""


COMMANDS = {
    "demo-scans": Command(
        "make synthetic rooms in ScanNet's raw formats", "demo_scans", "data_prep/make_demo_scans.py"
    ),
    "prepare": Command("raw ScanNet scans to a prepared tree", "prepare", "data_prep/preprocess_scannet.py"),
    "import": Command(
        "labelled scans, or another data set, to a prepared tree",
        "import_scans",
        "data_prep/import_scans.py",
    ),
    "check": Command("is a prepared tree complete and sane?", "check", "data_prep/check_scans.py"),
    "train": Command("train a network", "train"),
    "evaluate": Command("score a run by the benchmark's rule", "evaluate"),
    "predict": Command("one class id for each vertex of a split or of any scan", "predict"),
    "submit": Command("predictions to the zip for the leaderboard", "submit", "submissions/format_submission.py"),
    "check-submission": Command(
        "say what the leaderboard would refuse in a zip", "check_submission", "submissions/check_submission.py"
    ),
    "visualize": Command("look at a scene: colours, labels, prediction, errors", "visualize"),
    "analyze": Command("measure neural collapse in a run, or compare two runs", "analyze"),
    "report": Command("one page about a run, or what two differ in, for a browser", "report"),
    "convert": Command("other people's checkpoints to runs, and back", "convert"),
    "longtail": Command("compare methods for the long tail on equal terms", "longtail"),
    "benchmark": Command("how fast is it, and how much memory does it take?", "benchmark"),
}
"""Name in ``pointseg NAME`` -> the command, in the order of the way from scans to results."""


def called(name: str, *arguments: str) -> str:
    """How the user calls a command of ``COMMANDS``, in the way in which the one at work was called.

    ``pointseg NAME`` after an installation and in Python, ``python -m pointseg.MODULE`` where a module was run, and in
    a checkout a script beside the one that was run. Arguments are quoted for a shell.
    """
    command = COMMANDS[name]
    called_as = Path(sys.argv[0] or "python")
    if _is_script(called_as) and command.script is not None:
        words = f"python {os.path.normpath(called_as.parent / os.pardir / command.script)}"
    elif _is_script(called_as) or _module(called_as) not in (None, "__main__"):
        words = f"python -m pointseg.{command.module}"
    elif _module(called_as) == "__main__":
        words = f"python -m pointseg {name}"
    else:
        words = f"pointseg {name}"
    return f"{words} {shlex.join(arguments)}" if arguments else words


def program_name() -> str:
    """What the command at work is called at the beginning of a line of its own: short, and as the user called it."""
    called_as = Path(sys.argv[0] or "python")
    module = _module(called_as)
    if _is_script(called_as):
        return called_as.name
    if module not in (None, "__main__"):
        return f"pointseg.{module}"
    if (module == "__main__" or called_as.stem == "pointseg") and sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return f"pointseg {sys.argv[1]}"
    return "pointseg"


def complain(line: str) -> None:
    """One line for people on stderr, after the name of the command."""
    print(format_complaint(line), file=sys.stderr)


def format_complaint(line: str) -> str:
    """The line after the name of the command; what would break it, or what a terminal obeys, is escaped.

    Names of files may hold anything.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return f"{program_name()}: {shown}"


def run_command(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Run ``main(argv)`` and leave the process: 0 done, 1 the work failed, 2 the call is wrong.

    A :class:`PointsegError`, a full disk and a file that can't be opened become one line on stderr; of an output that
    nobody reads on, as before ``| head``, nothing is said. Anything else is a defect of ours and keeps its traceback.
    """
    # Python has none where the shell has closed it (``>&-``).
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    _escape_what_can_not_be_shown()
    try:
        status = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except PointsegError as error:
        complain(str(error))
        status = error.exit_status
    except OSError as error:
        status = 1
        if error.filename is None and _is_output_lost():
            error.filename = "standard output"
        if error.errno != errno.EPIPE:  # whoever reads our output has seen enough
            complain(describe_os_error(error))
    except KeyboardInterrupt:
        complain("interrupted")
        status = 130
    sys.exit(status)


@contextmanager
def signals_held(numbers: Sequence[int]) -> Iterator[None]:
    """A block in which processes are started: signals wait, here till its end, there till :func:`ignore_held`.

    A process that has just begun would end with a traceback from within Python.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_held(numbers: Sequence[int]) -> None:
    """In a process that was started with signals held: leave them to the one that started it."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _escape_what_can_not_be_shown() -> None:
    """Print a sign that the terminal's encoding lacks, or a byte of a name that is no text, as ``\\u03a3``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_output_lost() -> bool:
    """Whether what is printed can't be written. It is dropped then, or Python would try again when it ends."""
    try:
        print(flush=True)  # without a buffer, nothing is left of what failed
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _is_script(path: Path) -> bool:
    """Whether this is one of the scripts of a checkout."""
    return any(c.script == f"{path.absolute().parent.name}/{path.name}" for c in COMMANDS.values())


def _module(path: Path) -> str | None:
    """``train``, ``laboratory.child`` or ``__main__`` for a module of ours that ``python -m`` runs; else None."""
    try:
        relative = path.resolve().relative_to(_PACKAGE)
    except ValueError:
        return None
    return ".".join(relative.with_suffix("").parts) if relative.suffix == ".py" else None
