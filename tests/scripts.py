"""Run a script of data_prep as its user at the root of the checkout would, without a new interpreter's seconds."""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA_PREP = ROOT / "data_prep"
BENCHMARK_LISTS = ROOT / "pointseg" / "scannet" / "split_lists"


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
    before, cwd = sys.argv, Path.cwd()
    os.chdir(ROOT)
    sys.argv = [f"data_prep/{name}", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(f"data_prep/{name}", run_name="__main__")
    except SystemExit as end:
        return Finished(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = before
        os.chdir(cwd)
    raise AssertionError(f"{name} did not end through run_command")
