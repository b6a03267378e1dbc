"""The tasks of a Slurm step, as ``srun -n 4 python -m pointseg.train`` starts them, find each other without torchrun.

Of Slurm's variables, those of the *step* count (``SLURM_STEP_NUM_TASKS``): srun sets them for the tasks that it starts.
In a batch script and in a shell of salloc ``SLURM_NTASKS`` is what was asked for, and what runs there is one process.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pointseg.errors import UsageError, first_line
from pointseg.processes.launcher import Launch

MEETING_TIME = timedelta(minutes=10)
_NEEDED = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST")
_FIRST_PORT, _NUM_PORTS = 15_000, 15_000  # below those that Linux gives to outgoing connections


def as_torchrun(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` of the step.

    The last two stay as they are where they are set. The port follows from job and step, so that several of one machine
    do not meet.
    """
    if any(name not in environment for name in _NEEDED):
        return environment
    host = first_host(environment["SLURM_STEP_NODELIST"])
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        host = "127.0.0.1"
    job, step = (int(re.sub(r"\D", "", environment.get(name, "")) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(_FIRST_PORT + (job * 7 + step) % _NUM_PORTS),
        **environment,
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
    }


def first_host(hosts: str) -> str:
    """The first of a list as Slurm writes it: ``gpu[003-005,9],x1`` begins with ``gpu003``. Task 0 is there."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    assert first is not None
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])


def meet(launch: Launch, patience: timedelta) -> dict[str, Any]:
    """Let all tasks of the step find each other: ``store``, ``rank`` and ``world_size`` of ``init_process_group``.

    Args:
        launch: of a task of the step.
        patience: how long they wait for each other later on.

    Raises:
        UsageError: they did not within ten minutes, or another program has the port.
    """
    try:
        store = dist.TCPStore(launch.address, launch.port, launch.world_size, launch.rank == 0, timeout=MEETING_TIME)
    except dist.DistError as error:
        raise UsageError(
            f"{launch.address}:{launch.port}: the {launch.world_size} tasks of this Slurm step did not find each other "
            f"there ({first_line(error)}); set MASTER_ADDR and MASTER_PORT, or start them with torchrun"
        ) from None
    store.set_timeout(patience)
    return {"store": store, "rank": launch.rank, "world_size": launch.world_size}
