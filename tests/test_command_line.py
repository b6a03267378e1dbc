"""A user's mistake is one line on stderr and an exit status; a defect of ours keeps its traceback."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from pointseg import benchmark, longtail, predict
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "-x.ply"], "--input: -x.ply is no option; write --input=-x.ply if it is its value, or ./-x.ply"),
        (["--input", "a.ply", "-x.ply"], "--input: -x.ply is no option; write --input=-x.ply"),
        (["--input", "--x.ply"], "--input: --x.ply is no option; write --input=--x.ply"),
        (["--save", "-hx.html"], "--save: -hx.html is no option; write --save=-hx.html if it is its value, or ./-hx"),
        (["--up", "-y"], "--up: -y is no option; write --up=-y if it is its value; see"),
        (["--tau", "-1e-3"], "--tau: -1e-3 is no option; write --tau=-1e-3 if it is its value; see"),
        (["-tree"], "-tree: is no option; write ./-tree if it is a file"),
        (["--input", "--save", "x"], "argument --input: expected at least one argument"),
        (["--input", "a", "--svae", "x"], "unrecognized arguments: --svae"),
    ],
)
def test_a_value_that_begins_with_a_dash_is_told_how_to_be_given(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _parser_of_values().parse_args(words)
    assert str(caught.value).startswith(said)


def test_a_dash_is_no_mistake_where_argparse_takes_it() -> None:
    parser = _parser_of_values()
    assert parser.parse_args(["--tau", "-1.5", "--input=-x.ply", "--up=-y"]).input == ["-x.ply"]
    assert parser.parse_args(["--input", "a", "--", "-tree"]).inputs == ["-tree"]
    assert parser.parse_args(["--input", "-", "-a b"]).input == ["-", "-a b"]


def _parser_of_values() -> CommandParser:
    parser = CommandParser(prog="x")
    parser.add_argument("--input", nargs="+")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--up", choices=("y", "-y"))
    parser.add_argument("--tau", type=float)
    parser.add_argument("inputs", nargs="*")
    return parser


@pytest.mark.parametrize(
    ("parser", "words", "option", "first", "second"),
    [
        (predict.build_parser, ["--run", "r", "--out", "o"], "input", "a", "b"),
        (longtail.build_parser, ["--out", "o"], "only", "a", "b"),
        (longtail.build_parser, ["--out", "o"], "methods", "a", "b"),
        (benchmark.build_parser, ["conv"], "channels", 8, 16),
        (benchmark.build_parser, ["conv"], "backends", "torch", "spconv"),
    ],
)
def test_an_option_for_several_adds_up(parser, words, option, first, second) -> None:
    given = [*words, f"--{option}", str(first), f"--{option}", str(second)]
    assert getattr(parser().parse_args(given), option) == [first, second]


def test_a_number_of_values_is_given_once() -> None:
    words = ["--out", "o", "--rooms", "1", "2", "3", "--rooms", "4", "5", "6"]
    assert longtail.build_parser().parse_args(words).rooms == [4, 5, 6]
