"""Disks of a few kilobytes: trials with mounts of their own, which need no root where Linux lets users make some."""

import ctypes
import os
import pickle
from collections.abc import Callable
from pathlib import Path

from tests.siege.scenery import Scenery
from tests.siege.trial import SkippedError, Trial
from tests.siege.verdict import BreachError

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_RECURSIVE, _PRIVATE = 16384, 1 << 18


def run_isolated(trial: Trial, attempt: Callable[[Trial, Scenery], str], scenery: Scenery) -> None:
    """Call ``attempt`` in a process with mounts of its own; what it returns is the verdict, what it raises is raised.

    Raises:
        SkippedError: this system does not allow it.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            result: object = _attempt_with_own_mounts(trial, attempt, scenery)
        except BaseException as error:
            # Not all errors can be pickled.
            result = error if isinstance(error, BreachError | SkippedError) else RuntimeError(repr(error))
        with open(writing, "wb") as pipe:
            pipe.write(pickle.dumps((trial.attack, result)))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        trial.attack, result = pickle.loads(pipe.read())
    os.waitpid(pid, 0)
    if isinstance(result, Exception):
        raise result
    trial.verdict = str(result)


def _attempt_with_own_mounts(trial: Trial, attempt: Callable[[Trial, Scenery], str], scenery: Scenery) -> str:
    _separate_mounts()
    return attempt(trial, scenery)


def mount_disk(path: Path, num_bytes: int) -> None:
    """Mount a disk in memory of so many bytes.

    Raises:
        SkippedError: this system does not allow it.
    """
    path.mkdir(exist_ok=True)
    _call("mount", b"siege", str(path).encode(), b"tmpfs", 0, f"size={num_bytes}".encode())


def fill_disk(path: Path, num_free: int) -> Path:
    """Leave so many bytes free on a disk; the file that fills it."""
    ballast = path / "ballast"
    status = os.statvfs(path)
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - num_free)))
    return ballast


def _separate_mounts() -> None:
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEW_MOUNTS | (0 if user == 0 else _NEW_USER))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SkippedError(f"this system does not let this user make disks ({name}: {reason})")
