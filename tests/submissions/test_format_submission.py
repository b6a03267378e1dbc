"""The zip holds exactly the predictions, and is written only if all of them are right."""

import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.formats.ply import read_mesh, write_mesh
from pointseg.output.prediction_input import hash_input
from pointseg.output.prediction_record import RECORD_NAME, PredictionRecord
from pointseg.output.submission import read_prediction, write_prediction
from pointseg.scannet.raw_scan import LABEL_MAP_NAME
from pointseg.taxonomy import load_taxonomy
from tests.scannet.raw_scans import write_label_map
from tests.scripts import run_script
from tests.submissions.conftest import NUM_VERTICES

SCENE = "scene0708_00"


def _call(script: ModuleType, predictions: Path, raw: Path, out: Path, *more: str) -> int:
    return script.main(["--predictions", str(predictions), "--raw", str(raw), "--out", str(out), *more])


def _record(predictions: Path, taxonomy: str, **settings: str) -> None:
    """What ``predict`` notes of all predictions that are there."""
    record = PredictionRecord(predictions, {"taxonomy": taxonomy, **settings}, load_taxonomy(taxonomy))
    for path in sorted(predictions.glob("*.txt")):
        record.add(path.stem, "of the input")


def test_the_zip_holds_the_predictions_and_passes_the_check(
    format_submission: ModuleType, check_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "submission.zip"
    assert _call(format_submission, predictions, raw, out) == 0
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == sorted(path.name for path in predictions.iterdir())
        for name in archive.namelist():
            assert archive.read(name) == (predictions / name).read_bytes()
    assert check_submission.main([str(out), "--raw", str(raw)]) == 0


def test_the_same_predictions_give_the_same_bytes(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path
) -> None:
    """Neither the time nor how the lines end in the text files shows in the zip."""
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    _call(format_submission, predictions, raw, first)
    path = predictions / f"{SCENE}.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    _call(format_submission, predictions, raw, second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "is missing"),
        ("3\n" * 6, "has 6 lines, the mesh has 7 vertices"),
        ("3\n" * 8, "has 8 lines, the mesh has 7 vertices"),
        ("3\n3\n0\n3\n0\n3\n3\n", "line 3 is 0, no class of scannet200 (and 1 more"),
        ("3\n3\nfloor\n3\n3\n3\n3\n", "line 3 is 'floor', not a whole number"),
        ("3\n3\n\n3\n3\n3\n3\n", "line 3 is ''"),
        ("3\n3.0\n3\n3\n3\n3\n3\n", "line 2 is '3.0'"),
        ("3 3\n3\n3\n3\n3\n3\n3\n", "line 1 is '3 3'"),
        ("-3\n3\n3\n3\n3\n3\n3\n", "line 1 is -3, no class"),
        ("99999999999\n3\n3\n3\n3\n3\n3\n", "line 1 is '99999999999'"),
    ],
)
def test_a_bad_prediction_is_named_and_nothing_is_written(
    format_submission: ModuleType,
    raw: Path,
    predictions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    complaint: str,
) -> None:
    path = predictions / f"{SCENE}.txt"
    path.unlink() if content is None else path.write_text(content)
    out = tmp_path / "out" / "submission.zip"
    assert _call(format_submission, predictions, raw, out) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(path) in lines[0]
    assert complaint in lines[0]
    assert not out.parent.exists()


def test_every_bad_prediction_is_named(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in predictions.iterdir():
        path.write_text("no\n")
    assert _call(format_submission, predictions, raw, tmp_path / "submission.zip") == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_files_that_are_left_out_are_reported(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (predictions / "scene0011_00.txt").write_text("1\n")
    out = tmp_path / "submission.zip"
    assert _call(format_submission, predictions, raw, out) == 0
    assert "scene0011_00.txt: is not of the test split; left out" in capsys.readouterr().err
    assert "scene0011_00.txt" not in zipfile.ZipFile(out).namelist()


def test_what_predict_writes_beside_the_predictions_is_no_news(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record and its meshes stay out of the zip, without a word; a mesh of another scene gets one."""
    _record(predictions, "scannet200")
    (predictions / f"{SCENE}.ply").write_bytes(b"ply")
    (predictions / "scene0011_00.ply").write_bytes(b"ply")
    out = tmp_path / "submission.zip"
    assert _call(format_submission, predictions, raw, out) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "scene0011_00.ply: is not of the test split; left out" in lines[0]
    assert sorted(zipfile.ZipFile(out).namelist()) == sorted(f"{path.stem}.txt" for path in predictions.glob("*7*.txt"))


def test_predictions_say_which_benchmark_they_are_for(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 is the floor of the 20 classes, and a chair of the 200: such a zip would be taken, and score nothing."""
    for path in predictions.iterdir():
        path.write_text("2\n" * len(path.read_text().splitlines()))
    _record(predictions, "scannet20")
    with pytest.raises(UsageError, match=r"predictions\.json: these predictions are for scannet20; leave out"):
        _call(format_submission, predictions, raw, tmp_path / "s.zip", "--taxonomy", "scannet200")
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 0
    (predictions / f"{SCENE}.txt").write_text("1191\n" * 7)
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 1
    assert "line 1 is 1191, no class of scannet20" in capsys.readouterr().err


def test_all_files_have_to_be_of_one_prediction(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was put there, and those that an earlier call made with other settings, are named."""
    out, path = tmp_path / "s.zip", predictions / f"{SCENE}.txt"
    _record(predictions, "scannet200", tta="none")
    before = path.read_bytes()
    path.write_bytes(b"3\n" * 7)
    assert _call(format_submission, predictions, raw, out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: is another one than predictions.json tells of" in line
    path.write_bytes(before)
    assert _call(format_submission, predictions, raw, out) == 0
    out.unlink()
    PredictionRecord(predictions, {"taxonomy": "scannet200", "tta": "full"}, load_taxonomy("scannet200")).add(SCENE, "")
    capsys.readouterr()
    assert _call(format_submission, predictions, raw, out) == 1
    others = sorted(set(predictions.glob("*.txt")) - {path})
    lines = capsys.readouterr().err.splitlines()
    assert len(others) == len(lines) > 0
    for other, line in zip(others, lines, strict=True):
        assert f"{other}: is not among those that predictions.json tells of" in line
    assert not out.exists()
    (predictions / RECORD_NAME).unlink()  # as those of another program
    assert _call(format_submission, predictions, raw, out) == 0


def test_ids_are_those_of_the_chosen_benchmark(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip", "--taxonomy", "scannet20") == 1
    for path in predictions.iterdir():
        num_vertices = len(path.read_text().splitlines())
        path.write_text("39\n" * num_vertices)
        assert (read_prediction(path, num_vertices) == 39).all()
    assert 39 in load_taxonomy("scannet20").class_ids
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip", "--taxonomy", "scannet20") == 0


def test_a_failed_write_leaves_the_old_zip(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "submission.zip"
    assert _call(format_submission, predictions, raw, out) == 0
    before = out.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="No space") as caught:
        _call(format_submission, predictions, raw, out)
    assert caught.value.filename == str(out)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions", "raw", "submission.zip"]


def test_an_error_names_the_file_that_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "predictions").touch()
    with pytest.raises(OSError, match="File exists") as caught:
        write_prediction(tmp_path / "predictions" / "a.txt", np.array([1]))
    assert Path(caught.value.filename) == tmp_path / "predictions"


def test_a_mesh_that_is_not_there_is_named(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = raw / "scans_test" / SCENE / f"{SCENE}_vh_clean_2.ply"
    mesh.unlink()
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 1
    assert str(mesh) in capsys.readouterr().err


@pytest.mark.parametrize("change", ["predictions", "raw", "out", "splits"])
def test_a_wrong_call_is_a_usage_error(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, change: str
) -> None:
    options = {"predictions": predictions, "raw": raw, "out": tmp_path / "s.zip", "splits": raw / "splits"}
    options[change] = tmp_path / "absent"
    with pytest.raises(UsageError, match="absent"):
        format_submission.main([word for key, value in options.items() for word in (f"--{key}", str(value))])


def test_numbers_are_read_as_int_reads_them(tmp_path: Path) -> None:
    """Against ``int`` on each line, for all lengths of numbers and both ways to end the file."""
    ids = np.concatenate([10 ** np.arange(9), np.random.default_rng(0).integers(0, 2000, 500)])
    for end in ("\n", ""):
        path = tmp_path / "scene.txt"
        path.write_text("\n".join(map(str, ids)) + end)
        expected = [int(line) for line in path.read_text().splitlines()]
        assert read_prediction(path, len(ids)).tolist() == expected


def test_a_zip_that_is_no_submission_stays(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path
) -> None:
    """An earlier submission is replaced, somebody's own files are not."""
    out = tmp_path / "a.zip"
    assert _call(format_submission, predictions, raw, out) == 0
    assert _call(format_submission, predictions, raw, out) == 0
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("thesis.tex", "x")
    with pytest.raises(UsageError, match=r"a\.zip: is there already, and is no submission"):
        _call(format_submission, predictions, raw, out)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["thesis.tex"]


def test_a_mesh_that_was_replaced_since(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many vertices in another order: each would get the id of another one. Of what is gone nothing can be said."""
    mesh = raw / "scans_test" / SCENE / f"{SCENE}_vh_clean_2.ply"
    record = PredictionRecord(predictions, {"taxonomy": "scannet200"}, load_taxonomy("scannet200"))
    for path in sorted(predictions.glob("*.txt")):
        source = mesh if path.stem == SCENE else tmp_path / "gone.ply"
        record.add(path.stem, hash_input(mesh, with_segments=False), source=source)
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 0
    before = read_mesh(mesh)
    write_mesh(mesh, replace(before, xyz=before.xyz[::-1].copy()))
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{SCENE}.txt: was made of {mesh}, which is another one now; run the same predict again" in line


def test_a_mesh_that_was_replaced_since_it_was_prepared(
    format_submission: ModuleType, raw: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prepared scene, which was predicted, is still that of the mesh before."""
    for scene in NUM_VERTICES:
        (raw / "scans_test" / scene / f"{scene}.txt").write_text("numColorFrames = 1\n")
        write_label_map(raw / LABEL_MAP_NAME)
    assert run_script("preprocess_scannet.py", "--raw", raw, "--out", tmp_path / "out", "--workers", 1).status == 0
    record = PredictionRecord(predictions, {"taxonomy": "scannet200"}, load_taxonomy("scannet200"))
    for scene in NUM_VERTICES:
        folder = tmp_path / "out" / "test" / scene
        record.add(scene, hash_input(folder, with_segments=False), source=folder)
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 0
    mesh = raw / "scans_test" / SCENE / f"{SCENE}_vh_clean_2.ply"
    before = read_mesh(mesh)
    write_mesh(mesh, replace(before, xyz=before.xyz[::-1].copy()))
    assert _call(format_submission, predictions, raw, tmp_path / "s.zip") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{SCENE}.txt: was made of {tmp_path / 'out' / 'test' / SCENE}, whose mesh has changed since" in line
