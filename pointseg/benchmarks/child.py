"""An object that lives in a process of its own, so that its peak memory is nobody else's."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from pointseg.errors import DataError, PointsegError, first_line


class Child:
    """Builds ``build(*arguments)`` in a new process; :meth:`call` calls its methods there. A context manager.

    Args:
        name: what a message calls it.
        build: a function or class of a module, so that the process finds it.
        arguments: picklable.
    """

    def __init__(self, name: str, build: Callable[..., object], *arguments: object) -> None:
        self.name = name
        # Spawned, not forked: a fork would begin with all of this process' memory.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # No daemon: those may not start processes of their own, as a loader does.
        self._process = context.Process(target=_serve, args=(theirs, build, arguments))
        self._process.start()
        theirs.close()
        try:
            self._receive()
        except BaseException:
            self._end()
            raise

    def call(self, method: str) -> Any:
        """The result of a method without arguments.

        Raises:
            DataError: the process died.
            PointsegError, OSError: as the method raised it.
            RuntimeError: the method raised something else; its traceback is told with it.
        """
        self._connection.send(method)
        return self._receive()

    def _receive(self) -> Any:
        try:
            failure, result = self._connection.recv()
        except EOFError:
            self._process.join()
            status = self._process.exitcode
            why = "what it wrote before says why"
            if status == -signal.SIGKILL:
                why = "most likely for lack of memory; lower the number of voxels"
            raise DataError(f"{self.name}: the measuring process died with status {status}; {why}") from None
        if isinstance(failure, _Defect):
            raise RuntimeError(f"{self.name}: {failure.line}") from _TracebackThereError(failure.traceback)
        if failure is not None:
            raise failure
        return result

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        # It holds nothing that has to be put away, and may be in the middle of a long step.
        self._process.terminate()
        self._process.join()


@dataclass(frozen=True)
class _Defect:
    """An exception in words: not each can be sent to another process and be made anew there."""

    line: str
    traceback: str


class _TracebackThereError(Exception):
    """Shows the traceback of the process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(connection: Connection, build: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Answer with (failure, result), first for the building and then for each method, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        served = build(*arguments)
        connection.send((None, None))
        while True:
            connection.send((None, getattr(served, connection.recv())()))
    except EOFError:
        return
    except (PointsegError, OSError) as error:
        connection.send((error, None))
    except Exception as error:
        line = f"{type(error).__name__}: {first_line(error)}"
        connection.send((_Defect(line, "".join(traceback.format_exception(error))), None))
