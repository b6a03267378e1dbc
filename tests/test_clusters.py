"""docs/clusters.md: its commands train one run in two processes, and its Slurm script goes on by itself.

Slurm is not here. What stands in for its commands does what its manual says: ``srun`` starts the tasks with their
variables, and kills them at a SIGTERM of its own; ``scancel --signal`` sends it to the tasks; ``scontrol`` names hosts,
and notes what was queued again.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointseg.config import dump_config, load_config
from pointseg.errors import UsageError
from pointseg.folder_lock import hold_folder
from tests.conftest import free_ports

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"
PATIENCE_S = 400

SRUN = """
import os, signal, subprocess, sys
words, options = sys.argv[1:], {}
while words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    options[name] = value or words.pop(0)
per_node = int(options.get("--ntasks-per-node", 1))
num_nodes = int(options.get("--nodes", os.environ.get("SLURM_NNODES", 1)))
step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(num_nodes * per_node)}
step |= {"SLURM_STEP_NUM_NODES": str(num_nodes), "SLURM_STEP_NODELIST": f"127.0.0.[1-{num_nodes}]"}
tasks = []
for rank in range(num_nodes * per_node):
    own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % per_node), "SLURM_NODEID": str(rank // per_node)}
    tasks.append(subprocess.Popen(words, env={**os.environ, **step, **own}))
with open("tasks", "w") as file:
    file.write(" ".join(str(task.pid) for task in tasks))
signal.signal(signal.SIGTERM, lambda *_: [task.kill() for task in tasks])
sys.exit(max(task.wait() % 256 for task in tasks))
"""
SCANCEL = """#!/bin/bash
[ "$1" = --signal=TERM ] && [ "$2" = "$SLURM_JOB_ID" ] && kill -TERM $(cat tasks)
"""
SCONTROL = """#!/bin/bash
case "$1 $2" in
  "show hostnames") printf '127.0.0.1\\n127.0.0.2\\n' ;;
  "requeue $SLURM_JOB_ID") echo "$2" >> queued ;;
  *) exit 1 ;;
esac
"""


def blocks_of(heading: str) -> list[str]:
    """What a section of the page tells people to type."""
    (section,) = re.findall(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


class Place:
    """A folder with a small ``scannet200.yaml``, from which the page's commands are called."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder = folder
        (folder / "scannet200.yaml").write_text(dump_config(load_config("demo.yaml", overrides)))
        python = shlex.quote(sys.executable)
        (folder / "srun.py").write_text(SRUN)
        scripts = {
            "srun": f'#!/bin/sh\nexec {python} {folder}/srun.py "$@"\n',
            "scancel": SCANCEL,
            "scontrol": SCONTROL,
            "torchrun": f'#!/bin/sh\nexec {python} -m torch.distributed.run "$@"\n',
            "python": f'#!/bin/sh\nexec {python} "$@"\n',
        }
        (folder / "bin").mkdir()
        for name, text in scripts.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.port = free_ports(1)[0]

    def start(self, command: str, num_processes: int = 1, **variables: str) -> subprocess.Popen[str]:
        """Begin a command of the page with fewer processes; all machines are this one."""
        for words, others in (
            ("-per-node 4", f"-per-node {num_processes}"),
            ("node1", "127.0.0.1"),
            ("29500", str(self.port)),
        ):
            command = command.replace(words, others)
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        (self.folder / "job.sh").write_text(command)
        subprocess.run(["bash", "-n", "job.sh"], cwd=self.folder, check=True)
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def steps(self, run: str) -> list[int]:
        """Steps in the log of a run, a line that is just being written left out."""
        path = self.folder / "runs" / run / "metrics.jsonl"
        text = path.read_text() if path.is_file() else ""
        rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [row["step"] for row in rows if row["kind"] == "train"]


@pytest.fixture
def place(tiny_overrides: list[str], tmp_path: Path) -> Place:
    return Place(tmp_path, [word for word in tiny_overrides if not word.startswith("run.dir=")])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "run", "num_processes"), [("One machine", "four", 2), ("Several machines", "eight", 1)]
)
def test_torchrun_on_one_machine_and_on_two(place: Place, heading: str, run: str, num_processes: int) -> None:
    """Each line is what one machine is told; together they train one run, which begins by ``--resume``."""
    (block,) = blocks_of(heading)
    machines = [place.start(line, num_processes) for line in block.splitlines()]
    said = [machine.communicate(timeout=PATIENCE_S)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0] * len(machines), said
    assert "".join(said).count("done: ") == 1
    assert place.steps(run) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_srun_starts_one_run(place: Place) -> None:
    *_, command = blocks_of("Slurm")
    assert command.startswith("srun ")
    tasks = place.start(command, SLURM_JOB_ID="4711")
    said, _ = tasks.communicate(timeout=PATIENCE_S)
    assert tasks.returncode == 0, said
    assert said.count("done: ") == 1
    assert place.steps("srun") == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_slurm_script_stops_before_the_limit_and_goes_on_when_it_is_queued_again(
    tiny_overrides: list[str], tmp_path: Path
) -> None:
    """Slurm signals the script once, as at a limit; the same script then ends the training, and queues nothing."""
    overrides = [word for word in tiny_overrides if not word.startswith(("run.dir=", "train.passes="))]
    place = Place(tmp_path, [*overrides, "train.passes=40", "train.validate_every=0"])
    script = blocks_of("Slurm")[0]
    assert "#SBATCH --signal=B:USR1@" in script
    job = {"SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NTASKS": "2"}
    job["SLURM_CPUS_PER_TASK"] = "40"
    first = place.start(script, **job)
    end = time.monotonic() + PATIENCE_S
    while len(place.steps("scannet200")) < 6:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    first.send_signal(signal.SIGUSR1)
    said, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, said
    assert (tmp_path / "queued").read_text() == "4711\n", said
    num_done = len(place.steps("scannet200"))
    assert 6 <= num_done < 120
    assert f"stopped after step {num_done}; --resume goes on" in said

    second = place.start(script, **job)
    said, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, said
    assert place.steps("scannet200") == list(range(1, 121))
    assert (tmp_path / "queued").read_text() == "4711\n"


def test_the_page_says_what_the_lock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/eight")
    with hold_folder(folder, "trains", ""), pytest.raises(UsageError) as error:  # noqa: SIM117
        with hold_folder(folder, "trains", "choose another folder with run.dir=PATH"):
            pass
    said = re.sub(r"PID \d+ on \S+", "PID 4711 on node1", str(error.value))
    said = re.sub(r"since [-\d]+ [:\d]+ UTC", "since 2026-11-24 09:30:00 UTC", said)
    assert f"\npointseg.train: {said}\n" in PAGE.read_text(encoding="utf-8")
