"""Signals that a command sends to itself at a moment that can be repeated, and clocks for those that can't.

The product knows nothing of it: Python tells a profiler of every call, and an audit hook of every step in the file
system before it is made, so that a kill falls between any two of them, as between writing a file and renaming it.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

STEPS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
KILL = (signal.SIGKILL,)


def signal_at_call(number: int, signals: Sequence[int], apart: int = 2000) -> Callable[[], None]:
    """A prelude: send the signals at the ``number``-th call of a function, ``apart`` calls from one to the next."""

    def prelude() -> None:
        waiting = {number + i * apart: which for i, which in enumerate(signals)}
        _count_calls(lambda count: os.kill(os.getpid(), waiting[count]) if count in waiting else None)

    return prelude


def signal_at_file_step(number: int, folder: Path, signals: Sequence[int] = KILL) -> Callable[[], None]:
    """A prelude: send the signals before the ``number``-th step in the file system below a folder."""

    def prelude() -> None:
        def send(count: int) -> None:
            if count == number:
                for which in signals:
                    os.kill(os.getpid(), which)

        _count_file_steps(folder, send)

    return prelude


def counting(folder: Path, result: Path) -> Callable[[], None]:
    """A prelude: write how many calls, and how many steps in the file system below the folder, the command makes."""

    def prelude() -> None:
        seen = [0, 0]

        def keep(place: int, count: int) -> None:
            seen[place] = count

        _count_calls(lambda count: keep(0, count))
        _count_file_steps(folder, lambda count: keep(1, count))

        def write() -> None:
            sys.setprofile(None)
            result.write_text(f"{seen[0]} {seen[1]}")

        atexit.register(write)

    return prelude


def _count_calls(tell: Callable[[int], None]) -> None:
    count, owner = 0, os.getpid()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event == "call" and os.getpid() == owner:
            count += 1
            tell(count)

    # What it forks is no part of the count, nor are the calls by which Python gets over a fork.
    os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
    sys.setprofile(profile)


def _count_file_steps(folder: Path, tell: Callable[[int], None]) -> None:
    count, owner, below = 0, os.getpid(), str(folder)
    main_thread = threading.main_thread()

    def audit(event: str, arguments: tuple) -> None:
        nonlocal count
        is_step = event in STEPS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE)
        if not is_step or os.getpid() != owner or threading.current_thread() is not main_thread:
            return
        if isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(below):
            count += 1
            tell(count)

    sys.addaudithook(audit)
