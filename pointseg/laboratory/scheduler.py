"""Several runs at once, each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pointseg.errors import StoppedError
from pointseg.laboratory.plan import PlannedRun, read_result
from pointseg.laboratory.progress import ProgressBoard

LOG_NAME = "log.txt"
_POLL_S = 0.1
_SHOWN_LINES = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class RunAtWork:
    """A run at work."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    log_begins: int = 0
    """Bytes of the log that earlier calls wrote."""
    started: float = field(default_factory=time.monotonic)

    def ask_to_stop(self) -> None:
        """It writes its checkpoint and ends."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()


def do_runs(
    runs: Sequence[PlannedRun],
    num_at_once: int,
    split: str,
    say: Callable[[str], None],
    after: Callable[[PlannedRun], None] = lambda run: None,
) -> None:
    """Do the runs that have no result yet; one that fails keeps no other from being done.

    Args:
        runs: what is wanted; a run comes after those that it needs.
        num_at_once: processes at a time.
        split: whose mIoU a line says.
        say: takes the lines that tell of the progress.
        after: is told of each run that has got its result.

    Raises:
        UsageError: a folder is for another run; nothing was begun then.
        StoppedError: interrupted; all runs were asked to stop and have.
    """
    missing = [run for run in runs if read_result(run) is None]
    board = ProgressBoard(runs, missing, num_at_once, split, say)
    failed: set[str] = set()
    with _stop_together() as children:
        while missing or children:
            for run in [run for run in missing if run.needed & failed]:
                missing.remove(run)
                failed.add(run.directory)
                board.tell_failure(run, f"it needs {' and '.join(sorted(run.needed & failed))}")
            awaited = {run.directory for run in missing} | {child.run.directory for child in children}
            ready = [run for run in missing if not run.needed & awaited]
            for run in ready[: num_at_once - len(children)]:
                missing.remove(run)
                children.append(start_child(run))
                board.tell_begin(run)
            time.sleep(_POLL_S)
            for child in [child for child in children if child.process.poll() is not None]:
                children.remove(child)
                result = read_result(child.run)
                if result is None:
                    failed.add(child.run.directory)
                    board.tell_failure(child.run, _describe_end(child))
                else:
                    board.tell_end(child.run, child.started, result, [*missing, *(c.run for c in children)])
                    after(child.run)


def start_child(run: PlannedRun) -> RunAtWork:
    """Start the process of a run; what it says goes to ``log.txt`` in the folder of the run."""
    num_threads = run.read_config().train.num_threads
    environment = {**os.environ, "TQDM_DISABLE": "1", "TQDM_MININTERVAL": "60"}
    if num_threads:
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(num_threads))
    Path(run.directory).mkdir(parents=True, exist_ok=True)
    with open(Path(run.directory) / LOG_NAME, "ab") as log:
        log_begins = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "pointseg.laboratory.child"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C goes to all of a session: the parent alone decides, and asks once.
            start_new_session=True,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has failed already: the log says why
        process.stdin.write(f"{run.to_json()}\n".encode())
        process.stdin.flush()
    return RunAtWork(run, process, log_begins)


@contextmanager
def _stop_together() -> Iterator[list[RunAtWork]]:
    """Children that are asked to stop when the block is interrupted, and waited for; a second Ctrl-C kills them."""
    children: list[RunAtWork] = []
    try:
        yield children
    except KeyboardInterrupt:
        _end(children)
        raise StoppedError("stopped, every run after a checkpoint; the same command goes on") from None
    finally:
        _end(children)


def _end(children: list[RunAtWork]) -> None:
    for child in children:
        child.ask_to_stop()
    try:
        for child in children:
            child.process.wait()
    except KeyboardInterrupt:
        for child in children:
            child.process.kill()
            child.process.wait()


def _describe_end(child: RunAtWork) -> str:
    """How a process without a result ended, and the last lines of what it said."""
    log, status = Path(child.run.directory) / LOG_NAME, child.process.returncode
    killed = f"killed by signal {-status}; " if status < 0 else ""
    if status == -signal.SIGKILL:
        killed = f"killed by signal {-status}, perhaps for want of memory; "
    with open(log, "rb") as file:
        file.seek(child.log_begins)
        text = file.read().decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    said = f"all it said is in {log}, in the end" if lines else "it said nothing"
    return "\n  ".join([killed + said, *lines])
