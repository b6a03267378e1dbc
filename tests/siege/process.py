"""A command as its user calls it, in a process of its own: forked from this one, which has imported everything."""

import atexit
import contextlib
import os
import resource
import select
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pointseg.__main__
from pointseg.commands import run_command

DEADLINE_S = 60.0
"""After which a command hangs: all that is called here takes a second or two."""
ORPHANS_LEAVE_S = 15.0
"""How long processes that a command started may outlive it: PyTorch's look for their parent every five seconds."""
_MORE_MEMORY = 6 * 2**30
_LARGEST_FILE = 2**30


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    argv: tuple[str, ...]
    status: int | None
    """Exit status; negative: of the signal that ended it; None: it hung and was killed."""
    out: str
    err: str
    seconds: float
    orphans: tuple[str, ...] = ()
    """Commands of processes that it left behind for longer than they may stay."""


class Running:
    """A command at work, in a session of its own, so that whatever it starts is found.

    Args:
        argv: what follows ``pointseg``.
        folder: where its output is kept.
        environment: variables that it gets beside those of this process.
        prelude: called in the new process before the command.
        fresh: whether to begin a new interpreter, ``python -m pointseg``, as the user does, which takes longer.
    """

    def __init__(
        self,
        argv: tuple[str, ...],
        folder: Path,
        environment: dict[str, str] | None = None,
        prelude: Callable[[], None] | None = None,
        fresh: bool = False,
    ) -> None:
        self.argv = argv
        number = len(list(folder.glob("*.err")))
        self._out, self._err = folder / f"{number:02d}.out", folder / f"{number:02d}.err"
        self._err.write_text("")
        (folder / f"{number:02d}.argv").write_text(f"pointseg {shlex.join(argv)}\n", errors="backslashreplace")
        self._started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(argv, self._out, self._err, environment or {}, prelude, fresh)
        self._handle = os.pidfd_open(self.pid)

    def wait(self, deadline_s: float = DEADLINE_S, orphans_leave_s: float = ORPHANS_LEAVE_S) -> Outcome:
        """Wait for its end and for that of all that it started."""
        ended = select.select([self._handle], [], [], deadline_s)[0]
        seconds = time.monotonic() - self._started
        if not ended:
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._handle)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        orphans = _wait_for_session(self.pid, orphans_leave_s if ended else 0.0)
        texts = (path.read_text(encoding="utf-8", errors="backslashreplace") for path in (self._out, self._err))
        return Outcome(self.argv, status if ended else None, *texts, seconds, orphans)

    def signal(self, number: int, to_all: bool = False) -> None:
        """Send a signal to the command, or to all that it started, too; one that has ended already takes none."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(self.pid, number)

    @property
    def is_alive(self) -> bool:
        """Whether it is still at work."""
        return not select.select([self._handle], [], [], 0)[0]


def _become(
    argv: tuple[str, ...],
    out: Path,
    err: Path,
    environment: dict[str, str],
    prelude: Callable[[], None] | None,
    fresh: bool,
) -> None:
    """Be the command, from its beginning to its end. Never returns."""
    status = 70
    try:
        _separate(out, err)
        os.environ.update(environment)
        if prelude is not None:
            prelude()
        if fresh:
            os.environ["PYTHONPATH"] = str(Path(pointseg.__main__.__file__).parents[1])
            os.execv(sys.executable, [sys.executable, "-m", "pointseg", *argv])
        sys.argv = [str(pointseg.__main__.__file__), *argv]
        sys.modules["__main__"] = pointseg.__main__  # what processes that are spawned begin from
        run_command(pointseg.__main__.main)
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        # As an interpreter ends; the frames above are those of another program.
        try:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _separate(out: Path, err: Path) -> None:
    """A session, output and limits of its own."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(out.parent)
    _limit(resource.RLIMIT_AS, _address_space() + _MORE_MEMORY)
    _limit(resource.RLIMIT_FSIZE, _LARGEST_FILE)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, hard))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait_for_session(session: int, seconds: float) -> tuple[str, ...]:
    """Wait until no process of a session is left; the commands of those that stay, which are killed."""
    end = time.monotonic() + seconds
    while left := processes_of_session(session):
        if time.monotonic() >= end:
            names = tuple(Path(f"/proc/{pid}/cmdline").read_text()[:80].replace("\0", " ") for pid in left)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            return names
        time.sleep(0.02)
    return ()


def processes_of_session(session: int) -> list[int]:
    """Ids of the living processes of a session."""
    return [pid for pid, (_, _, its_session) in _living_processes().items() if its_session == session]


def children_of(parent: int) -> list[int]:
    """Ids of the living processes that a process has started."""
    return [pid for pid, (its_parent, _, _) in _living_processes().items() if its_parent == parent]


def _living_processes() -> dict[int, tuple[int, int, int]]:
    """Id -> parent, group and session."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, *numbers = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue  # it has just ended
            if state != "Z":
                parent, group, session = map(int, numbers)
                found[int(entry.name)] = (parent, group, session)
    return found
