"""Two processes of one training, of which one or both are stopped or killed; then both go on."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import free_ports
from tests.siege.process import Outcome, Running, children_of
from tests.siege.scenery import TRAIN, Scenery, end_alike, read_metrics
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import judge, require

NAME = "ranks"
STOP_S, DEATH_S = 30.0, 90.0
"""Within which a training ends after SIGTERM, and after the death of a process: torchrun gives the others 30 s."""
_TERM, _KILL = signal.SIGTERM, signal.SIGKILL
_KEYS = ("train.passes=12", "train.validate_every=3", "augment.mix_probability=0")


def attack(siege: Siege, scenery: Scenery) -> None:
    """Processes that are forked here, many times; and torchrun's, whose start takes seconds."""
    for what, attempt, count in (
        ("SIGTERM to both", _try_stop, 12),
        ("SIGKILL to one", _try_death, 12),
        ("torchrun, SIGTERM", _try_torchrun, 4),
        ("torchrun, SIGKILL", _try_torchrun, 2),
    ):
        if siege.short and what.startswith("torchrun"):
            continue
        for trial in siege.trials(NAME, what, count):
            with trial:
                attempt(trial, scenery)


def _try_stop(trial: Trial, scenery: Scenery) -> None:
    """As a cluster does it: both get the signal, some get it twice."""
    whole, run = _whole_run(trial, scenery), trial.folder / "run"
    ranks = _start(trial, scenery, run)
    _wait_for_rows(run, int(trial.rng.integers(1, 12)), ranks)
    times = int(trial.rng.integers(1, 3))
    trial.attack = f"SIGTERM {times} times"
    for _ in range(times):
        for rank in ranks:
            rank.signal(_TERM)
        time.sleep(0.05 * float(trial.rng.random()))
    # One of the job says what happened; the other leaves with the same status.
    outcomes = [rank.wait(STOP_S) for rank in ranks]
    silent = [outcome for outcome in outcomes if outcome.status == 130 and not outcome.err]
    require(len(silent) < len(outcomes), "all stopped without a word")
    for outcome in outcomes:
        if outcome not in silent:
            judge(outcome, allowed=(0, 130))
    require((run / "checkpoints" / "last.pt").is_file(), "stopped without a checkpoint")
    _go_on(trial, scenery, run, whole)


def _try_death(trial: Trial, scenery: Scenery) -> None:
    """The other one can't go on alone. What it says is not judged: torchrun ends it, and prints a page of its own."""
    whole, run = _whole_run(trial, scenery), trial.folder / "run"
    ranks = _start(trial, scenery, run)
    _wait_for_rows(run, int(trial.rng.integers(1, 12)), ranks)
    victim = int(trial.rng.integers(2))
    trial.attack = f"SIGKILL to rank {victim}"
    ranks[victim].signal(_KILL)
    outcomes = [rank.wait(DEATH_S) for rank in ranks]
    require(outcomes[1 - victim].status is not None, "the process that is left hangs")
    _go_on(trial, scenery, run, whole)


def _try_torchrun(trial: Trial, scenery: Scenery) -> None:
    """To the agent alone, or to it and all its processes, which it sends the signal once more."""
    whole, run = _whole_run(trial, scenery), trial.folder / "run"
    job = _torchrun(trial, scenery, run)
    deadline = time.monotonic() + DEATH_S
    while not (run / "metrics.jsonl").is_file() or len(read_metrics(run)) < 3:
        require(job.poll() is None and time.monotonic() < deadline, "two processes do not begin to train")
        time.sleep(0.05)
    kills, to_all = "SIGKILL" in trial.name, bool(trial.rng.integers(2))
    trial.attack = "one rank killed" if kills else f"SIGTERM to {'all' if to_all else 'the agent'}"
    ranks = children_of(job.pid)  # each in a session of its own
    require(len(ranks) == 2, f"torchrun has {len(ranks)} processes")
    if kills:
        os.kill(ranks[trial.rng.integers(2)], _KILL)
    elif to_all:
        for pid in (job.pid, *ranks):
            os.kill(pid, _TERM)
    else:
        job.send_signal(_TERM)
    began = time.monotonic()
    _wait_for_job(job, ranks, DEATH_S if kills else STOP_S)
    trial.attack += f", ended after {time.monotonic() - began:.1f} s"
    require((run / "checkpoints" / "last.pt").is_file(), "stopped without a checkpoint")
    _go_on(trial, scenery, run, whole)


def _torchrun(trial: Trial, scenery: Scenery, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", f"pointseg.{TRAIN[0]}", *TRAIN[1:], *_KEYS, f"data.root={scenery.boxes}", f"run.dir={run}"]
    with open(trial.folder / "torchrun.err", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _wait_for_job(job: subprocess.Popen[bytes], ranks: list[int], seconds: float) -> None:
    """Raise a BreachError unless all its processes end in time; none stays in any case."""
    handles = [os.pidfd_open(pid) for pid in (job.pid, *ranks) if Path(f"/proc/{pid}").exists()]
    end = time.monotonic() + seconds
    num_left = 0
    for handle in handles:
        if not select.select([handle], [], [], max(0.0, end - time.monotonic()))[0]:
            num_left += 1
            signal.pidfd_send_signal(handle, _KILL)
        os.close(handle)
    job.wait()
    require(not num_left, f"{num_left} processes of a stopped training hang")


def _start(trial: Trial, scenery: Scenery, run: Path, *more: str) -> list[Running]:
    (port,) = free_ports(1)
    argv = (*TRAIN, *_KEYS, f"data.root={scenery.boxes}", f"run.dir={run}", *more)
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [trial.start(*argv, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]


def _whole_run(trial: Trial, scenery: Scenery) -> Path:
    """A training by two processes that nobody disturbs; made once."""
    run = scenery.folder / "run-of-two"
    if not run.exists():
        _finish(_start(trial, scenery, run))
    return run


def _go_on(trial: Trial, scenery: Scenery, run: Path, whole: Path) -> None:
    _finish(_start(trial, scenery, run, "--resume"))
    require(end_alike(run, whole), "the resumed run ends otherwise than one that nobody stopped")


def _finish(ranks: list[Running]) -> list[Outcome]:
    return [judge(rank.wait(), allowed=(0,)) for rank in ranks]


def _wait_for_rows(run: Path, num_rows: int, ranks: list[Running]) -> None:
    path = run / "metrics.jsonl"
    while all(rank.is_alive for rank in ranks):
        if path.is_file() and path.read_bytes().count(b"\n") >= num_rows:
            return
        time.sleep(0.005)
