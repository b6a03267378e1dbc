"""``pointseg COMMAND``: every command under every name it has, and messages that call it as the user did."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pointseg
from pointseg.__main__ import main
from pointseg.commands import COMMANDS, called, program_name, run_command
from pointseg.config import list_configs
from pointseg.errors import UsageError

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pointseg.__file__).parent

# (what was typed, as Python sees it; how that calls `prepare` and `train`; the beginning of a line)
CALLS = [
    (["/usr/bin/pointseg", "predict"], "pointseg prepare", "pointseg train", "pointseg predict"),
    ([f"{PACKAGE}/__main__.py", "train"], "python -m pointseg prepare", "python -m pointseg train", "pointseg train"),
    ([f"{PACKAGE}/predict.py"], "python -m pointseg.prepare", "python -m pointseg.train", "pointseg.predict"),
    (
        ["data_prep/check_scans.py"],
        "python data_prep/preprocess_scannet.py",
        "python -m pointseg.train",
        "check_scans.py",
    ),
    (
        ["/x/submissions/check_submission.py"],
        "python /x/data_prep/preprocess_scannet.py",
        "python -m pointseg.train",
        "check_submission.py",
    ),
    (["/usr/bin/ipython"], "pointseg prepare", "pointseg train", "pointseg"),
]


@pytest.mark.parametrize(("argv", "prepare", "train", "program"), CALLS)
def test_messages_call_a_command_as_the_user_called_this_one(
    argv: list[str], prepare: str, train: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert called("prepare") == prepare
    assert called("train", "--cfg", "my scans.yaml") == f"{train} --cfg 'my scans.yaml'"
    assert program_name() == program


def test_a_script_that_was_called_in_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "data_prep")
    monkeypatch.setattr(sys, "argv", ["check_scans.py"])
    assert called("prepare") == "python ../data_prep/preprocess_scannet.py"


def test_a_closed_output_is_none_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no stdout after ``>&-``."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as end:
        run_command(lambda argv: print("done"))
    assert end.value.code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_all_its_names(name: str) -> None:
    """The module can be run, and so can the script, which says nothing but that."""
    command = COMMANDS[name]
    text = (PACKAGE / f"{command.module}.py").read_text(encoding="utf-8")
    assert "def main(argv: Sequence[str])" in text
    assert "run_command(main)" in text
    if command.script is not None:
        script = (ROOT / command.script).read_text(encoding="utf-8")
        assert f"from pointseg.{command.module} import main" in script
        assert script.count("\n") < 12


def test_help_has_a_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.endswith(command.summary)
        assert len(line) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_help_reads_as_a_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No default that is an empty list; no choice with a comma among choices that commas part."""
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert "default: []" not in text
    assert "-1,1}" not in text


def test_help_says_what_is_there_to_choose(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no word is parted
    said = {
        "train": list_configs(),
        "longtail": ["all of these but copy_paste,", "campaign.md", "besides, several at once: balanced_softmax"],
        "evaluate": ["rot4: four rotations about z", "mirrored in x"],
        "convert": ["LOW,HIGH", "--color-range=-1,1"],
    }
    for name, pieces in said.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert [piece for piece in pieces if piece not in text] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pointseg {pointseg.__version__}\n"


def test_an_unknown_command_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="there is no command 'evalute', the nearest is evaluate"):
        main(["evalute"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["-m", "pointseg", "visualize"], "pointseg visualize: "),
        (["-m", "pointseg.visualize"], "pointseg.visualize: "),
        (["data_prep/check_scans.py"], "check_scans.py: "),
    ],
)
def test_a_mistake_begins_with_the_name_of_the_command(command: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_the_public_names() -> None:
    assert set(pointseg.__all__) == {"Prediction", "Segmenter", "__version__", "load"}
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "> /dev/full",
            "pointseg: standard output: the disk is full; free some space and run the same command again\n",
        ),
        ("| true", ""),
    ],
)
def test_an_output_that_can_t_be_written_is_named(output: str, said: str) -> None:
    shell = f"(sleep 0.3; exec {sys.executable} -m pointseg --help) {output}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == said
    assert done.returncode == 1


def test_a_name_with_an_end_of_line_in_it_is_shown_in_one_line() -> None:
    command = [sys.executable, "-m", "pointseg", "check", "no\nsuch \x1b[1mtree"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("pointseg check: no\\nsuch \\x1b[1mtree: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_can_not_show_is_escaped(encoding: str) -> None:
    """Also bytes of a file's name that are no text in any encoding."""
    code = (
        "import sys; from pointseg.commands import run_command\n"
        "def main(argv):\n"
        "    print('\u03a3 \u6905\u5b50 \\udcff'); print('\u03a3', file=sys.stderr)\n"
        "run_command(main)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    shown = "\u03a3 \u6905\u5b50" if encoding == "utf-8" else r"\u03a3 \u6905\u5b50"
    assert done.stdout.decode(encoding).splitlines() == [shown + r" \udcff"]
    assert done.stderr.decode(encoding).splitlines() == [shown.split()[0]]
