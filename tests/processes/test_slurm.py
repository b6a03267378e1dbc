"""Tasks of srun find each other by Slurm's variables; what is one process stays one."""

import os
import socket
from collections.abc import Mapping

import pytest
import torch

from pointseg.errors import UsageError
from pointseg.processes import choose_device, join_processes, slurm
from pointseg.processes.launcher import read_launch
from pointseg.processes.slurm import as_torchrun, first_host, meet

STEP = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "2",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}
JOB = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}
NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in NAMES:
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[003-005,9],x1", "gpu003"),
        ("gpu[3,7-9]-ib", "gpu3-ib"),
        ("rack[0-1]node[02-03].site.org,a", "rack0node02.site.org"),
    ],
)
def test_the_first_of_slurms_hosts(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_step_of_several_tasks_is_as_torchrun_would_start_it() -> None:
    variables = as_torchrun(STEP)
    assert [variables[name] for name in NAMES[:4]] == ["5", "1", "8", "gpu007"]
    assert 15_000 <= int(variables["MASTER_PORT"]) < 30_000
    assert as_torchrun({**STEP, "SLURM_PROCID": "0"})["MASTER_PORT"] == variables["MASTER_PORT"]
    assert as_torchrun({**STEP, "SLURM_STEP_ID": "3"})["MASTER_PORT"] != variables["MASTER_PORT"]
    assert as_torchrun({**STEP, "SLURM_STEP_NUM_NODES": "1"})["MASTER_ADDR"] == "127.0.0.1"
    chosen = as_torchrun({**STEP, "MASTER_ADDR": "login", "MASTER_PORT": "4"})
    assert (chosen["MASTER_ADDR"], chosen["MASTER_PORT"]) == ("login", "4")


@pytest.mark.parametrize(
    "variables",
    [
        # A batch script, and a shell of salloc without a step: what was asked for is no step.
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        # A shell of salloc that is a step, or ``srun --pty``.
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {**STEP, "SLURM_PROCID": "0", "SLURM_PTY_PORT": "33000"},
        # A shell that kept some of a step's variables.
        {"SLURM_STEP_NUM_TASKS": "4"},
        # torchrun with one process, started by srun on several machines by mistake or not.
        {**STEP, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
    ],
)
def test_one_process_stays_one(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    set_environment(monkeypatch, variables)
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.world_size) == (0, 1)


def test_tasks_take_the_gpus_that_slurm_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the machine, or to each task its own alone."""
    set_environment(monkeypatch, STEP)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for num_gpus, index in ((4, 1), (2, 1), (1, 0)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda number=num_gpus: number)
        assert choose_device("cuda") == torch.device("cuda", index)
    set_environment(monkeypatch, {**STEP, "SLURM_LOCALID": "2"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="process 2 has no GPU, there are 2; lower --nproc-per-node"):
        choose_device("cuda")
    set_environment(monkeypatch, {**JOB, "RANK": "1", "LOCAL_RANK": "1"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="process 1 has no GPU, there are 1"):
        choose_device("cuda")


def test_a_task_that_does_not_come_ends_the_others_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "MEETING_TIME", slurm.timedelta(seconds=2))
    step = {**STEP, "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    set_environment(monkeypatch, {**step, "SLURM_PROCID": "0"})
    with pytest.raises(
        UsageError, match=r"127\.0\.0\.1:\d+: the 2 tasks of this Slurm step did not find each"
    ) as error:
        meet(read_launch(), slurm.timedelta(hours=2))
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; set MASTER_ADDR and MASTER_PORT, or start them with torchrun")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": ""}, "WORLD_SIZE=: expected a whole number from 1 on; start the processes with torchrun, or "),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: expected a whole number from 1 on; "),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: expected a whole number from 1 on; "),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK and MASTER_ADDR and MASTER_PORT; start "),
        ({**JOB, "RANK": "-1"}, "RANK=-1: expected a whole number from 0 to 1; "),
        ({**JOB, "RANK": "2"}, "RANK=2: expected a whole number from 0 to 1; "),
        ({**JOB, "LOCAL_RANK": "x"}, "LOCAL_RANK=x: expected a whole number from 0 on; "),
        ({**JOB, "MASTER_PORT": "65536"}, "MASTER_PORT=65536: expected a whole number from 1 to 65535; "),
    ],
)
def test_variables_that_no_launcher_sets_end_with_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    set_environment(monkeypatch, variables)
    with pytest.raises(UsageError) as error, join_processes("cpu"):
        pass
    assert str(error.value).startswith(message)


def test_a_port_that_another_program_has_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        set_environment(monkeypatch, {**JOB, "MASTER_PORT": str(port)})
        with pytest.raises(UsageError) as error, join_processes("cpu"):
            pass
    assert str(error.value).startswith(f"127.0.0.1:{port}: the 2 processes did not find each other there (")
    assert "\n" not in str(error.value)
