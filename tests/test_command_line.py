"""A user's mistake is one line on stderr and an exit status; a defect of ours keeps its traceback."""

import errno
from collections.abc import Sequence

import pytest

from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("scene0000_00: is empty; leave it out"), 1, "scene0000_00: is empty; leave it out"),
        (UsageError("no such run"), 2, "no such run"),
        (OSError(errno.EMFILE, "Too many open files", "x.npy"), 1, "x.npy: Too many open files; raise the limit"),
        (OSError(errno.ENOSPC, "No space left on device", "x.npy"), 1, "x.npy: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "y"), 1, "y: No such file or directory"),
    ],
)
def test_an_error_for_people_is_one_line(
    error: Exception, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: Sequence[str]) -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        run_command(main)
    captured = capsys.readouterr()
    assert left.value.code == status
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_line_stays_one_whatever_a_file_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks, what a terminal obeys, and bytes that are no UTF-8; other letters stay as they are."""

    def main(argv: Sequence[str]) -> None:
        raise DataError("é\nb\r\x1b[2Jc\udcff: is empty; leave it out")

    with pytest.raises(SystemExit):
        run_command(main)
    shown = capsys.readouterr().err
    assert shown.endswith("é\\nb\\r\\x1b[2Jc\\udcff: is empty; leave it out\n")
    assert shown.count("\n") == 1


def test_the_exit_status_is_what_main_returns() -> None:
    for returned, status in ((None, 0), (0, 0), (1, 1)):
        with pytest.raises(SystemExit) as left:
            run_command(lambda argv, returned=returned: returned)
        assert left.value.code == status


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda argv: 1 // 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", ""], "--json: has no value"),
        (["--json="], "--json: has no value"),
        ([""], "an argument is empty"),
    ],
)
def test_an_empty_argument_is_a_variable_that_is_not_set(words: list[str], message: str) -> None:
    parser = CommandParser(prog="x")
    parser.add_argument("--json")
    parser.add_argument("inputs", nargs="*")
    with pytest.raises(UsageError, match=message):
        parser.parse_args(words)


@pytest.mark.parametrize("words", [["--json=~/x"], ["--json", "~/x"], ["~/x"], ["~"]])
def test_a_home_folder_that_no_shell_has_put_in(words: list[str]) -> None:
    """A folder called ~ would be made here."""
    parser = CommandParser(prog="x")
    parser.add_argument("--json")
    parser.add_argument("inputs", nargs="*")
    with pytest.raises(UsageError, match="~ stands for the home folder in a shell alone"):
        parser.parse_args(words)


def test_an_option_may_take_an_empty_text() -> None:
    parser = CommandParser(prog="x", may_be_empty=("--prefix",))
    parser.add_argument("--prefix")
    assert parser.parse_args(["--prefix", ""]).prefix == ""
    assert parser.parse_args(["--prefix="]).prefix == ""


def test_a_wrong_argument_is_a_usage_error() -> None:
    parser = CommandParser(prog="x")
    parser.add_argument("--split", choices=("train", "val"))
    with pytest.raises(UsageError, match="invalid choice"):
        parser.parse_args(["--split", "tset"])
