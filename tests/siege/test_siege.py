"""The siege in short, and that it sees what it is there to see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.siege.process import Outcome
from tests.siege.verdict import BreachError, judge

ROOT = Path(__file__).parents[2]
_REFUSAL = "pointseg check: a: is damaged; fetch it again\n"


def _outcome(status: int | None = 0, err: str = "", orphans: tuple[str, ...] = ()) -> Outcome:
    return Outcome(("check", "a"), status, "", err, 1.0, orphans)


@pytest.mark.slow
def test_it_holds(tmp_path: Path) -> None:
    """A few of each kind of attack; ``make siege`` makes all of them."""
    command = [sys.executable, "-m", "tests.siege", "--short", "--folder", tmp_path, "--json", tmp_path / "siege.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "siege.json").read_text())["rows"]
    assert {row["assault"] for row in rows} == {"raw scans", "files", "hostile", "kills", "disks", "locks", "ranks"}
    assert sum(row["refused"] for row in rows) > 30
    assert sum(row["unharmed"] for row in rows) > 20


@pytest.mark.parametrize(
    "outcome",
    [
        _outcome(),
        _outcome(0, "note: a\nwarning: b\n"),
        _outcome(1, "pointseg check: warning: a\n" + _REFUSAL),
        _outcome(1, _REFUSAL),
        _outcome(2, _REFUSAL),
    ],
)
def test_lines_for_people_are_no_breach(outcome: Outcome) -> None:
    assert judge(outcome) is outcome


@pytest.mark.parametrize(
    ("outcome", "breach"),
    [
        (_outcome(None, _REFUSAL), "hangs"),
        (_outcome(-11, _REFUSAL), "ended with -11"),
        (_outcome(3, _REFUSAL), "ended with 3"),
        (_outcome(1, "Traceback (most recent call last):\nKeyError\n"), "traceback"),
        (_outcome(1), "without a word"),
        (_outcome(1, "warning: a\n"), "without a word"),
        (_outcome(1, "pointseg check: warning: a\n"), "without a word"),
        (_outcome(1, _REFUSAL + "a.py:1: RuntimeWarning: overflow\n"), "stray line"),
        (_outcome(1, "pointseg check: \x1b[2J\n"), "control characters"),
        (_outcome(1, "pointseg check: 'NoneType' object\n"), "line for programmers"),
        (_outcome(1, "pointseg check: " + "a" * 3000), "line of"),
        (_outcome(0, "", ("python -c pass",)), "left processes behind"),
    ],
)
def test_all_else_is_a_breach(outcome: Outcome, breach: str) -> None:
    with pytest.raises(BreachError, match=breach):
        judge(outcome)


_COMMANDS_THAT_MISBEHAVE = """
import os, subprocess, sys, time
from pathlib import Path
from tests.siege.moments import signal_at_call, signal_at_file_step
from tests.siege.process import Running
import signal

def fail(): raise KeyError("a")
def hang(): time.sleep(100)
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def leave(): subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])

folder = Path(sys.argv[1])
rooms = ("demo-scans", "--out", str(folder / "rooms"), "--train", "1", "--val", "0", "--test", "0", "--workers", "1")
at_a_file = signal_at_file_step(3, folder / "rooms")
for argv, prelude, seconds in (
    (("--version",), None, 60), (("--version",), fail, 60), (("--version",), hang, 1), (("--version",), crash, 60),
    (("--version",), leave, 60), (("--version",), signal_at_call(2, [signal.SIGKILL]), 60), (rooms, at_a_file, 60),
):
    outcome = Running(argv, folder, prelude=prelude).wait(seconds, orphans_leave_s=0.5)
    print(outcome.status, "KeyError" in outcome.err, len(outcome.orphans), sep=",")
print(len(list((folder / "rooms").rglob(".writing-*"))))
"""


def test_a_command_that_fails_hangs_crashes_or_is_killed_is_seen(tmp_path: Path) -> None:
    """In real processes: exit status, traceback and orphans of each; a kill at a file leaves a half-written one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _COMMANDS_THAT_MISBEHAVE, tmp_path]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    expected = ["0,False,0", "1,True,0", "None,False,0", "-11,False,0", "0,False,1", "-9,False,0", "-9,False,0", "1"]
    assert done.stdout.split() == expected, done.stderr
