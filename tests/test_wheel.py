"""The wheel is all that a user needs: from an empty folder, outside the checkout, to a zip and pictures."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from pointseg.commands import COMMANDS
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK

ROOT = Path(__file__).parents[1]
# A message that names one of these sends the user of a wheel to a place that is only in a checkout.
ONLY_IN_A_CHECKOUT = re.compile(
    r"(?<![\w/.-])(?:configs|data_prep|docs|pointseg|scripts|submissions|tests)/|python -m|README|Makefile|Traceback"
)

pytestmark = [pytest.mark.slow, pytest.mark.needs("network")]


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run a command without the checkout on its path, expect an exit status, and give what it printed."""
    environment = {**os.environ, "PYTHONPATH": "", "PYTHON": str(command[0]), "OMP_NUM_THREADS": "1"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == status, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of a new environment with nothing but the wheel and what that asks for."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    programs = folder / "bin"
    # The version that `make install` takes. Without a pin, pip may bring gigabytes for a GPU.
    (pin,) = re.findall(r"^TORCH +\?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    install = [programs / "python", "-m", "pip", "install", "--quiet"]
    run(*install, os.environ.get("TORCH", pin), cwd=folder)
    run(*install, f"{wheel}[viz]", cwd=folder)
    yield programs
    # Two gigabytes, of which pytest would keep the last three.
    shutil.rmtree(folder)


def test_the_wheel_holds_what_the_package_reads(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    # As the checkout has them: every module, table and list of the package; and the configs, inside instead of beside.
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "pointseg").rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    wanted |= {f"pointseg/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    some = "py.typed configs/scannet200.yaml taxonomy/scannet200.tsv scannet/split_lists/scannetv2_test.txt"
    assert {f"pointseg/{name}" for name in some.split()} <= names
    (entry_points,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    parser = ConfigParser()
    parser.read_string(archive.read(entry_points).decode())
    assert dict(parser["console_scripts"]) == {"pointseg": "pointseg.__main__:console_script"}


def test_the_wheel_is_all_that_one_needs(scripts: Path, tmp_path: Path) -> None:
    """One test, so that processes that share the tests between them make one environment."""
    for check in (check_the_whole_way, check_mistakes, check_help):
        place = tmp_path / check.__name__
        place.mkdir()
        check(scripts, place)


def check_the_whole_way(scripts: Path, place: Path) -> None:
    """What ``make demo`` does, in short, by ``pointseg COMMAND``; no message sends anybody to a checkout."""

    def pointseg(*words: str, status: int = 0) -> str:
        said = run(scripts / "pointseg", *words, cwd=place, status=status)
        assert ONLY_IN_A_CHECKOUT.findall(said) == [], said
        return said

    rooms = ["--train", "3", "--val", "1", "--test", "2", "--seed", "1", "--vertices", "4000"]
    pointseg("demo-scans", "--out", "raw", *rooms)
    pointseg("prepare", "--raw", "raw", "--out", "prepared", "--workers", "1")
    pointseg("check", "prepared", "--workers", "1")
    overrides = [*TINY_NETWORK, *PLAIN_AUGMENTATION, "data.root=prepared", "data.voxel_size_m=0.1", "train.passes=2"]
    pointseg("train", "--cfg", "demo.yaml", *overrides)
    pointseg("evaluate", "--run", "runs/demo", "--json", "evaluation.json")
    pointseg("predict", "--run", "runs/demo", "--split", "test", "--out", "test")
    handed_in = ["--raw", "raw", "--split", "test"]
    pointseg("submit", "--predictions", "test", *handed_in, "--out", "submission.zip")
    pointseg("check-submission", "submission.zip", *handed_in)
    pointseg("predict", "--run", "runs/demo", "--split", "val", "--out", "val")
    (scene,) = (path.name for path in (place / "prepared" / "val").iterdir())
    picture = ["--pred", f"val/{scene}.txt", "--save", f"{scene}.png"]
    pointseg("visualize", "--scene", f"raw/scans/{scene}/{scene}_vh_clean_2.ply", *picture)

    run_files = ("config.yaml", "metrics.jsonl", "checkpoints/last.pt")
    for name in (*(f"runs/demo/{name}" for name in run_files), "evaluation.json", f"val/{scene}.txt"):
        assert (place / name).stat().st_size > 0, name
    assert len(zipfile.ZipFile(place / "submission.zip").namelist()) == 2
    assert (place / f"{scene}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (place / f"{scene}.png").stat().st_size > 10_000


def check_mistakes(scripts: Path, place: Path) -> None:
    """A mistake is one line that begins with the command, and leaves nothing behind."""
    program = scripts / "pointseg"
    said = run(program, "visualize", "--scene", "nofile.ply", "--save", "x.png", cwd=place, status=1)
    assert said.startswith("pointseg visualize: ")
    assert "nofile.ply" in said
    assert said.count("\n") == 1
    said = run(program, "train", "--cfg", "demo.yaml", "data.root=nowhere", cwd=place, status=2)
    assert said.startswith("pointseg train: ")
    assert ONLY_IN_A_CHECKOUT.findall(said) == [], said
    assert list(place.iterdir()) == []


def check_help(scripts: Path, place: Path) -> None:
    """``--help`` of every command, all in one interpreter, since each would import PyTorch again."""
    code = (
        "import sys, pointseg\n"
        "from pointseg.__main__ import main\n"
        "print(pointseg.__file__)\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        main([name, '--help'])\n"
        "    except SystemExit as end:\n"
        "        print('status', name, end.code)\n"
    )
    said = run(scripts / "python", "-c", code, *COMMANDS, cwd=place)
    imported_from, *lines = said.splitlines()
    assert Path(imported_from).is_relative_to(scripts.parent)
    assert [line.split()[1:] for line in lines if line.startswith("status ")] == [[name, "0"] for name in COMMANDS]
    assert ONLY_IN_A_CHECKOUT.findall("\n".join(lines)) == [], said
