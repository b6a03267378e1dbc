"""Run a script of data_prep as its user at the root of the checkout would, without a new interpreter's seconds."""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from pointseg.scannet.splits import find_split_dir

DATA_PREP = Path(__file__).parents[1] / "data_prep"
BENCHMARK_LISTS = find_split_dir(Path("nowhere"), None)


@dataclass
class Finished:
    """What a script left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        return self.err.splitlines()


def run_script(name: str, *arguments: object) -> Finished:
    """``python data_prep/NAME ARGUMENTS``."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    path = os.path.relpath(DATA_PREP / name)
    sys.argv = [path, *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        return Finished(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
    raise AssertionError(f"{name} did not end through run_command")
