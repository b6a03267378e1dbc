"""Each thing that the benchmark would refuse is named in one line; a good zip passes."""

import stat
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pointseg.errors import DataError, UsageError
from pointseg.output.submission import inspect_folder, inspect_zip, read_predicted_labels, read_prediction
from pointseg.taxonomy import load_taxonomy

FIRST, SECOND, THIRD = "scene0707_00.txt", "scene0708_00.txt", "scene0709_00.txt"
GOOD = [(FIRST, "3\n" * 5), (SECOND, "2\n" * 7), (THIRD, "1\n" * 6)]

Check = Callable[[list[tuple[str, str]]], tuple[int, list[str]]]


def write_zip(path: Path, members: list[tuple[str, str]]) -> Path:
    """A zip of these (name, text)."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that it writes twice
        for name, text in members:
            archive.writestr(name, text)
    return path


@pytest.fixture
def check(check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Make a zip of these (name, text), check it: exit status and the lines on stderr."""

    def run(members: list[tuple[str, str]]) -> tuple[int, list[str]]:
        path = write_zip(tmp_path / "submission.zip", members)
        status = check_submission.main([str(path), "--raw", str(raw)])
        return status, capsys.readouterr().err.splitlines()

    return run


def test_a_good_zip_passes_with_one_line(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_zip(tmp_path / "submission.zip", GOOD)
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
        ([*GOOD[:2], (f"/{THIRD}", GOOD[2][1])], "is a folder (1 files)"),
        ([*GOOD[:2], (f"\\{THIRD}", GOOD[2][1])], "is a folder (1 files)"),
        ([*GOOD[:2], (THIRD, "1\n" * 5 + "1\x0b\n")], "scene0709_00.txt: line 6 is '1\\x0b', not a whole number"),
        ([*GOOD[:2], (THIRD, "1\n" * 5 + "1\x0c\n")], "scene0709_00.txt: line 6 is '1\\x0c', not a whole number"),
    ],
)
def test_each_refusal_is_one_line(check: Check, members: list[tuple[str, str]], complaint: str) -> None:
    status, lines = check(members)
    assert status == 1
    assert len(lines) == 1, lines
    assert complaint in lines[0]


def test_a_member_that_is_no_plain_file(
    check_submission: ModuleType, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link, and a name that goes on behind a NUL, which some programs cut off and others don't."""
    link = zipfile.ZipInfo(THIRD)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    cut = zipfile.ZipInfo(THIRD)
    cut.filename = f"{THIRD}\0.exe"
    for member in (link, cut):
        path = write_zip(tmp_path / "submission.zip", GOOD[:2])
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, GOOD[2][1])
        assert check_submission.main([str(path), "--raw", str(raw)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "is a link, or has a NUL in its name" in line


def test_a_folder_is_no_zip(check_submission: ModuleType, raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; give the zip, which is made with: "):
        check_submission.main([str(tmp_path), "--raw", str(raw)])


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
    path = write_zip(tmp_path / "submission.zip", GOOD)
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


@pytest.mark.parametrize(
    ("filling", "times", "problem"),
    [
        (b"\n", 20, "has 400000 lines, the mesh has 20000 vertices"),
        *((filling, 20, "has 200000 lines, the mesh has 20000 vertices") for filling in (b"1\n", b"\r\n", b" \n")),
        (b"\x00", 20, f"line 1 is {chr(0) * 40!r}, not a whole number"),
        *((filling, 300, "has 6000000 bytes, far too many") for filling in (b"\n", b"1\n", b"\r\n", b" \n", b"\x00")),
    ],
)
def test_a_bomb_takes_no_more_memory_than_a_good_file(tmp_path: Path, filling: bytes, times: int, problem: str) -> None:
    """A zip of kilobytes that swells to lines without end; what a good one of as many vertices takes is the measure."""
    num_vertices = 20_000
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    for path, content in ((good, b"1041 \n" * num_vertices), (bad, filling * (times * num_vertices // len(filling)))):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", content)
    peaks = []
    for path in (good, bad):
        tracemalloc.start()
        found = inspect_zip(path, {"a": num_vertices}, load_taxonomy("scannet200"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.problems) == 1  # 1041 is no class
    assert f"a.txt: {problem}" in found.problems[0]
    assert peaks[1] < 2 * peaks[0]


def test_a_file_of_predictions_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with open(path, "wb") as file:
        file.truncate(10**12)  # with a hole: it takes no room
    for read in (read_prediction, lambda path, n: read_predicted_labels(path, n, load_taxonomy("scannet200"))):
        with pytest.raises(DataError, match=r"a\.txt: has 1000000000000 bytes, far too many for 5 lines"):
            read(path, 5)
    found = inspect_folder(tmp_path, {"a": 5}, load_taxonomy("scannet200"))
    (problem,) = found.problems
    assert problem.startswith(f"{path}: has 1000000000000 bytes, far too many for 5 lines; ")


def test_a_size_that_is_a_lie_is_no_way_around(check: Check, raw: Path, tmp_path: Path) -> None:
    """The directory of the zip says ten bytes, and there are a million."""
    check([*GOOD[:2], (THIRD, "1\n" * 500_000)])
    path = tmp_path / "submission.zip"
    content = path.read_bytes()
    lie = content.replace((1_000_000).to_bytes(4, "little"), (12).to_bytes(4, "little"))
    assert lie != content
    path.write_bytes(lie)
    found = inspect_zip(path, {"scene0707_00": 5, "scene0708_00": 7, "scene0709_00": 6}, load_taxonomy("scannet200"))
    assert len(found.problems) == 1
    assert "can't be read" in found.problems[0]
