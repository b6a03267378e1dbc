"""What torchrun or srun says of this process, and of the others of its job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pointseg.errors import UsageError

_MOST = 2**31 - 1
_REMEDY = "start the processes with torchrun, or unset its variables for one process"


@dataclass(frozen=True)
class Launch:
    """Which process of which job this one is."""

    rank: int
    local_rank: int
    """Among those of this machine."""
    world_size: int
    """1: it is alone, and there is nobody to meet."""
    address: str
    """Where the processes meet: a host of the job."""
    port: int
    by_slurm: bool
    """Whether srun started it, without torchrun."""


def read_launch() -> Launch:
    """Read torchrun's variables, or by Slurm's where srun alone has started several.

    Raises:
        UsageError: a variable that counts is missing, or is no number that it can be.
    """
    variables = _find_variables()
    world_size = _read_number(variables, "WORLD_SIZE", 1, _MOST, default=1)
    local_rank = _read_number(variables, "LOCAL_RANK", 0, _MOST, default=0)
    by_slurm = variables is not os.environ
    if world_size == 1:
        return Launch(0, local_rank, 1, "", 0, by_slurm)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not variables.get(name)]
    if missing:
        raise UsageError(f"WORLD_SIZE={world_size} without {' and '.join(missing)}; {_REMEDY}")
    rank = _read_number(variables, "RANK", 0, world_size - 1)
    port = _read_number(variables, "MASTER_PORT", 1, 2**16 - 1)
    return Launch(rank, local_rank, world_size, variables["MASTER_ADDR"], port, by_slurm)


def _find_variables() -> Mapping[str, str]:
    """The environment with torchrun's variables, also where srun has started several processes and set its own."""
    several = os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    if not several or "WORLD_SIZE" in os.environ or "SLURM_PTY_PORT" in os.environ:  # the last: a shell, by srun --pty
        return os.environ
    from pointseg.processes.slurm import as_torchrun

    return as_torchrun(os.environ)


def _read_number(variables: Mapping[str, str], name: str, least: int, most: int, default: int | None = None) -> int:
    """The whole number of a variable; ``default`` where it is not set."""
    text = variables.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isdecimal() and len(text) <= len(str(_MOST)) and least <= int(text) <= most):
        expected = f"from {least} on" if most == _MOST else f"from {least} to {most}"
        raise UsageError(f"{name}={text or ''}: expected a whole number {expected}; {_REMEDY}")
    return int(text)
