"""One writer a folder, or several that do the same: a locked file in it that says who.

The lock is that of ``flock``. The kernel gives it back however a process ends, and NFS hands it on to the server. Some
network file systems have none, or one that other machines don't see. So whoever holds a folder also touches the file
every few seconds, and a file that another machine left is watched for longer than that: it is only taken over if
nobody touches it. No clocks are compared.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from pointseg.atomic import errors_name
from pointseg.commands import complain
from pointseg.errors import UsageError

LOCK_NAME = ".pointseg.lock"
TOUCH_S = 10.0
"""How often a holder touches its file."""
SILENCE_S = 45.0
"""How long nobody has touched the file of a holder that is gone."""
_POLL_S = 0.5
_SHORT_S = 0.01
_WRITING_S = 0.3
"""How long it takes at most from making the file to writing into it."""
_PATIENCE_S = 2.0
"""How long to wait for what somebody who has the lock writes into the file."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_MANY_TIMES = 1000
_held: set[int] = set()
_folders: dict[str, int] = {}
"""The folders that this process holds -> an open descriptor of each, so that no other one can be taken for it."""


@dataclass(frozen=True)
class _Holder:
    """What the file says."""

    does: str
    share: str | None
    pid: int
    host: str
    machine: str
    """Differs between two machines of one name, and from one start of a machine to the next."""
    since: str


_UNKNOWN = _Holder("is at work", None, 0, "", "", "")
_GONE = _Holder("has left", None, 0, "", "", "")


@contextmanager
def hold_folder(
    folder: Path,
    does: str,
    remedy: str,
    *,
    share: str | None = None,
    wait: bool = False,
    name: str = LOCK_NAME,
    first: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Keep others out of a folder for the time of the block. It is made where it is not there, and not left empty then.

    Args:
        folder: what others must not write to meanwhile.
        does: what is done there, for the message of those that are kept out: ``trains``.
        remedy: what they can do but wait: ``choose another folder with --out``.
        share: None: nobody else is let in. Else those that give the same text are: they write what goes together.
        wait: for the others to leave, rather than to raise.
        name: of the file; those of one name keep each other out.
        first: is done before anybody else is let in, if it is known that nobody is there.

    Raises:
        UsageError: another process is at work there.
        OSError: the folder can't be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    me = _Holder(does, share, os.getpid(), socket.gethostname(), _name_machine(), now)
    path, left = folder / name, threading.Event()
    try:
        file = _acquire(path, me, remedy, wait, first)
        toucher = threading.Thread(target=_touch, args=(file, left), daemon=True)
        try:
            toucher.start()
            with _remember(folder) if name == LOCK_NAME else nullcontext():
                yield
        finally:
            if os.getpid() == me.pid:  # and not a forked process on its way out
                left.set()
                toucher.join()
                _release(path, file, me)
    finally:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def refuse_if_lost(folder: Path) -> None:
    """Check that a folder that this process holds, if it does, is still the one of this name.

    Raises:
        UsageError: it was moved or removed; another one may stand there, of somebody else.
    """
    descriptor = _folders.get(str(Path(folder).absolute()))
    if descriptor is None or _is_at(folder, descriptor):
        return
    raise UsageError(
        f"{folder}: was moved away or replaced during the work; what was written before lies where it is now, and "
        "nothing more is written"
    )


@contextmanager
def _remember(folder: Path) -> Iterator[None]:
    place = str(Path(folder).absolute())
    descriptor = os.open(folder, os.O_RDONLY)
    outer = _folders.get(place)  # of a hold that shares the folder with this one
    _folders[place] = descriptor
    try:
        yield
    finally:
        if outer is None:
            del _folders[place]
        else:
            _folders[place] = outer
        os.close(descriptor)


def _acquire(path: Path, me: _Holder, remedy: str, wait: bool, first: Callable[[], object]) -> int:
    """The descriptor of the file, which is locked and says who holds it."""
    known_by = time.monotonic() + _PATIENCE_S
    while True:
        with errors_name(path.parent, path):
            file, is_new = _open(path)
            _held.add(file)
            try:
                other = _enter(file, path, me, is_new, wait, first)
            except BaseException:
                if is_new:  # the disk is full: nobody has it
                    path.unlink(missing_ok=True)
                _close(file)
                raise
        if other is None:
            return file
        _close(file)
        is_known = not (other is _UNKNOWN or _has_ended(other, me)) or time.monotonic() > known_by
        if other is _GONE or not is_known or (other.share is not None and other.share == me.share):
            time.sleep(_SHORT_S)  # one that lets us in has the lock to itself for a moment
            continue
        if not wait:
            raise UsageError(f"{path.parent}: {_describe(other, me)}; wait for it, or {remedy}")
        time.sleep(_POLL_S)


def _enter(file: int, path: Path, me: _Holder, is_new: bool, wait: bool, first: Callable[[], object]) -> _Holder | None:
    """Lock the file and write into it, or say who keeps us out; ``_GONE``: it is no longer the file of this name."""
    alone = _lock(file, fcntl.LOCK_EX | (0 if wait and me.share is None else fcntl.LOCK_NB))
    if alone is False and (me.share is None or _lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB) is False):
        return _read_anew(path) or _UNKNOWN
    if not _is_at(path, file):
        return _GONE
    other = _read(file)
    if other is None and not is_new:
        time.sleep(_WRITING_S)
        other = _read_anew(path)
    if alone is False:
        return None if other is not None and other.share == me.share else other or _UNKNOWN
    goes_together = other is not None and other.share is not None and other.share == me.share
    # One of this machine would have its lock if it lived.
    is_dead = other is None or goes_together or (alone is True and other.machine == me.machine)
    if not is_dead:
        assert other is not None
        if _is_touched(path, other):
            return _read(file) or _UNKNOWN
        if not _is_at(path, file):
            return _GONE
        complain(f"{path.parent}: PID {other.pid} on {other.host} is gone without a word; going on in its place")
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(asdict(me)).encode(), 0)
    os.fsync(file)
    if alone and (other is None or other.machine == me.machine or not goes_together):
        first()
    if me.share is None or alone is None:
        return None
    # Between the two locks another may have had it.
    if _lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB) is False or not _is_at(path, file):
        return _GONE
    other = _read(file)
    return None if other is not None and other.share == me.share else other or _UNKNOWN


def _release(path: Path, file: int, me: _Holder) -> None:
    """Give the lock back; the last one takes the file away, while nobody else can have it."""
    with suppress(OSError):
        alone = True if me.share is None else _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Where there are no locks, whoever wrote the file takes it away.
        is_last = bool(alone) or (alone is None and _read(file) == me)
        if is_last and _is_at(path, file):
            _clear_inner(path)
            path.unlink()
    with suppress(OSError):
        # Not by closing alone: a forked process may have it open for a moment longer.
        fcntl.flock(file, fcntl.LOCK_UN)
    _close(file)


def _clear_inner(path: Path) -> None:
    """Take away what a killed process left of locks that are only held by those who hold this one: ``NAME-...``."""
    for inner in path.parent.glob(f"{path.name}-*"):
        inner.unlink()


def _close(file: int) -> None:
    _held.discard(file)
    os.close(file)


def _open(path: Path) -> tuple[int, bool]:
    """A descriptor of the file, and whether it is new."""
    for _ in range(_MANY_TIMES):  # others may take file and folder away again and again
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDWR), False
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            with suppress(OSError):  # whatever the mask: one that a killed process leaves hinders nobody of the group
                os.fchmod(file, 0o666)
            return file, True
    raise OSError(errno.EBUSY, "its lock can't be opened", str(path))


def _lock(file: int, operation: int) -> bool | None:
    """Whether the lock is ours; None: the file system has none."""
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(path: Path, file: int) -> bool:
    """Whether the open file is the one of this name: another may have taken it away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read(file: int) -> _Holder | None:
    try:
        return _Holder(**json.loads(os.pread(file, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _read_anew(path: Path) -> _Holder | None:
    """As the file of this name says; NFS asks the server."""
    try:
        with open(path, "rb") as file:
            return _read(file.fileno())
    except OSError:
        return None


def _is_touched(path: Path, other: _Holder) -> bool:
    """Whether somebody on another machine touches the file within a time; not where it is taken away meanwhile.

    It is opened anew each time: then NFS asks the server.
    """
    complain(
        f"{path.parent}: PID {other.pid} on {other.host} {other.does} here since {other.since}, or did; looking for "
        f"{SILENCE_S:.0f} s whether it still does"
    )
    before, end = _state(path), time.monotonic() + SILENCE_S
    while before is not None and time.monotonic() < end:
        time.sleep(min(_POLL_S, SILENCE_S / 10))
        now = _state(path)
        if now != before:
            return now is not None
    return False


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _touch(file: int, left: threading.Event) -> None:
    while not left.wait(TOUCH_S):
        with suppress(OSError):
            os.utime(file)


def _describe(other: _Holder, me: _Holder) -> str:
    if other.pid == 0:
        return "another process is at work here"
    settings = " with other settings" if other.share is not None and me.share is not None else ""
    return f"PID {other.pid} on {other.host} {other.does} here{settings} since {other.since}"


def _has_ended(other: _Holder, me: _Holder) -> bool:
    """Whether nothing but a process that it has just forked can still have the lock of a holder, for a moment."""
    if other.machine != me.machine or other.pid == 0:
        return False
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _name_machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _close_in_child() -> None:
    """A forked process does not keep the folder: a loader's worker may live on for seconds after a killed trainer."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
