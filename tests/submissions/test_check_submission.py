"""Each thing that the benchmark would refuse is named in one line; a good zip passes."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pointseg.errors import UsageError

FIRST, SECOND, THIRD = "scene0707_00.txt", "scene0708_00.txt", "scene0709_00.txt"
GOOD = [(FIRST, "3\n" * 5), (SECOND, "2\n" * 7), (THIRD, "1\n" * 6)]

Check = Callable[[list[tuple[str, str]]], tuple[int, list[str]]]


@pytest.fixture
def check(check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Make a zip of these (name, text), check it: exit status and the lines on stderr."""

    def run(members: list[tuple[str, str]]) -> tuple[int, list[str]]:
        path = tmp_path / "submission.zip"
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of a name that it writes twice
            for name, text in members:
                archive.writestr(name, text)
        status = check_submission.main([str(path), "--raw", str(raw)])
        return status, capsys.readouterr().err.splitlines()

    return run


def test_a_good_zip_passes_with_one_line(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "submission.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in GOOD:
            archive.writestr(name, text)
    assert check_submission.main([str(path), "--raw", str(raw)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{path}: can be handed in: 3 scenes, 18 vertices, 3 classes of scannet200 predicted"
    ]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (GOOD[:2], "scene0709_00.txt: is missing"),
        ([*GOOD, GOOD[0]], "scene0707_00.txt: is there 2 times"),
        ([*GOOD, ("scene0001_00.txt", "1\n")], "scene0001_00.txt: is no scene of the split"),
        ([*GOOD, ("readme.md", "hello")], "readme.md: is no scene of the split"),
        ([*GOOD[:2], (THIRD, "1\n" * 5)], "scene0709_00.txt: has 5 lines, the mesh has 6 vertices"),
        ([*GOOD[:2], (THIRD, "")], "scene0709_00.txt: has 0 lines, the mesh has 6 vertices"),
        ([*GOOD[:2], (THIRD, "1\n" * 5 + "0\n")], "scene0709_00.txt: line 6 is 0, no class of scannet200;"),
        ([*GOOD[:2], (THIRD, "1\n" * 4 + "x\n1\n")], "scene0709_00.txt: line 5 is 'x', not a whole number"),
        ([*GOOD[:2], (THIRD, "1" * 10_000)], "scene0709_00.txt: has 10000 bytes"),
        ([(f"out/{name}", text) for name, text in GOOD], "out/: is a folder (3 files)"),
        ([("out/", ""), *((f"out\\{name}", text) for name, text in GOOD)], "out/: is a folder (3 files)"),
        ([*GOOD, ("__MACOSX/._" + FIRST, "x")], "is a hidden file"),
        ([*GOOD, (".DS_Store", "x")], ".DS_Store: is a hidden file"),
    ],
)
def test_each_refusal_is_one_line(check: Check, members: list[tuple[str, str]], complaint: str) -> None:
    status, lines = check(members)
    assert status == 1
    assert len(lines) == 1, lines
    assert complaint in lines[0]


def test_all_problems_are_named_at_once(check: Check) -> None:
    status, lines = check([(FIRST, "0\n" * 5), (SECOND, "2\n"), (".DS_Store", ""), ("a/b.txt", ""), ("c.txt", "")])
    assert status == 1
    assert len(lines) == 6  # two bad scenes, one missing, the hidden file, the folder, the stranger


def test_a_zip_that_cannot_be_read_is_one_line(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "submission.zip"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    assert check_submission.main([str(path), "--raw", str(raw)]) == 1
    assert "can't be read as a zip" in capsys.readouterr().err


def test_a_zip_that_has_lost_its_beginning_is_refused_in_words(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first member then begins before the file does, and to go there is an error of the system."""
    path = tmp_path / "submission.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in GOOD:
            archive.writestr(name, text)
    content = path.read_bytes()
    path.write_bytes(content[:40] + content[44:])
    assert check_submission.main([str(path), "--raw", str(raw)]) == 1
    assert f"{FIRST}: can't be read from the zip (Invalid argument); make the zip again" in capsys.readouterr().err


def test_damage_anywhere_in_a_zip_never_ends_in_a_traceback(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each byte turned over in its turn: the check says what is wrong, or the byte did not matter."""
    path = tmp_path / "submission.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in GOOD:
            archive.writestr(name, text)
    whole = path.read_bytes()
    num_refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        status = check_submission.main([str(path), "--raw", str(raw)])
        assert bool(capsys.readouterr().err) == (status == 1)
        num_refused += status
    assert num_refused > len(whole) / 3


def test_a_zip_or_split_that_is_not_there_is_a_wrong_call(
    check_submission: ModuleType, raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"absent\.zip"):
        check_submission.main([str(tmp_path / "absent.zip"), "--raw", str(raw)])
    path = tmp_path / "submission.zip"
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="scans_test"):
        check_submission.main([str(path), "--raw", str(tmp_path)])
    with pytest.raises(UsageError, match="scannetv2_test"):
        check_submission.main([str(path), "--raw", str(raw), "--splits", str(tmp_path)])
    with pytest.raises(UsageError, match="middle"):
        check_submission.main([str(path), "--raw", str(raw), "--split", "middle"])
