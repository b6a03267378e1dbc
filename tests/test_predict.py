"""``python -m pointseg.predict`` again: finished scenes are reused, and only where everything is as it was."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from pointseg import predict
from pointseg.engine.inference import PointOutput, Segmenter, load_segmenter
from pointseg.errors import UsageError
from pointseg.folder_lock import LOCK_NAME, hold_folder
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.output.prediction_record import RECORD_NAME, fingerprint
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import load_taxonomy
from tests.scans.rooms import furnished_room


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A run of its own, to be changed."""
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    """Two val scenes of its own, to be changed."""
    shutil.copytree(prepared_root / "val", tmp_path / "prepared" / "val")
    return tmp_path / "prepared"


class _Call:
    """``predict --split val``, with a count of the scenes that went through the network."""

    def __init__(self, run: Path, root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words = ["--run", str(run), "--split", "val", "--data-root", str(root), "--out", str(out)]
        self.predicted: list[str] = []
        original = Segmenter.infer_scene

        def count(segmenter: Segmenter, scene, *arguments, **named) -> PointOutput:
            self.predicted.append(scene.name)
            return original(segmenter, scene, *arguments, **named)

        monkeypatch.setattr(Segmenter, "infer_scene", count)

    def __call__(self, *more: str, status: int = 0) -> list[str]:
        self.predicted.clear()
        assert predict.main([*self.words, *more]) == status
        return self.predicted


@pytest.fixture
def call(run: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Call:
    return _Call(run, root, tmp_path / "out", monkeypatch)


def test_a_second_call_predicts_nothing_and_says_so(
    call: _Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = call()
    assert len(scenes) == 2
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert written.keys() == {"scene11800_00.txt", "scene11801_00.txt", RECORD_NAME}
    assert "2 of 2 scenes: 0 reused, 2 predicted: " in capsys.readouterr().out
    assert call() == []
    assert capsys.readouterr().out.startswith("2 of 2 scenes: 2 reused, 0 predicted: ")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == written


def test_the_record_says_what_made_the_predictions(call: _Call, run: Path, tmp_path: Path) -> None:
    call("--tta", "rot4", "--logit-adjustment", "0.5", "--max-voxels", "70000")
    settings = json.loads((tmp_path / "out" / RECORD_NAME).read_text())["settings"]
    assert settings.pop("pointseg")
    assert settings.pop("checkpoint") == load_segmenter(run).weights_sha256
    assert settings == {
        "taxonomy": "scannet200",
        "features": ["xyz", "rgb", "normal"],
        "color_range": [0, 1],
        "center": "robust",
        "voxel_size_m": 0.1,
        "tta": "rot4",
        "amp": "none",
        "logit_adjustment": 0.5,
        "max_voxels": 70000,
        "vote": "none",
    }


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        (["--tta", "rot4"], "tta"),
        (["--logit-adjustment", "0.5"], "logit_adjustment"),
        (["--max-voxels", "70000"], "max_voxels"),
        (["--max-voxels", "none"], "max_voxels"),
    ],
)
def test_another_setting_predicts_again_and_is_named(
    call: _Call, option: list[str], changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call()
    assert len(call(*option)) == 2
    assert f"0 reused, 2 predicted (earlier ones differ in {changed}): " in capsys.readouterr().out
    assert call(*option) == []


def test_another_checkpoint_predicts_again_and_a_copy_of_the_same_does_not(
    call: _Call, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the content that counts: training puts another best.pt in the place of the first."""
    call()
    best = RunDirectory(run).best_checkpoint
    shutil.copy(best, tmp_path / "elsewhere.pt")
    assert call("--checkpoint", str(tmp_path / "elsewhere.pt")) == []
    state = torch.load(best, weights_only=True)
    state["model"]["final.bias"][3] += 1e-3
    torch.save(state, best)
    assert len(call()) == 2
    assert "(earlier ones differ in checkpoint)" in capsys.readouterr().out
    state["class_counts"]["points"][3] += 1
    torch.save(state, best)
    assert len(call()) == 2


def test_another_input_predicts_that_scene_again(call: _Call, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = call()[:]
    path = root / "val" / second / "color.npy"
    color = np.load(path)
    color[0, 0] ^= 1
    np.save(path, color)
    assert call() == [second]
    assert "1 reused, 1 predicted: " in capsys.readouterr().out
    assert first != second


def test_a_prediction_that_was_touched_is_made_again(call: _Call, tmp_path: Path) -> None:
    call()
    path = tmp_path / "out" / "scene11800_00.txt"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert call() == ["scene11800_00"]
    assert path.read_bytes() == good


def test_without_the_record_nothing_there_is_a_prediction(call: _Call, tmp_path: Path) -> None:
    """Labels made by hand have the form of a prediction, too."""
    call()
    (tmp_path / "out" / RECORD_NAME).unlink()
    with pytest.raises(UsageError, match=r"scene11800_00\.txt: is there already, and predictions.json does not"):
        call()
    for path in (tmp_path / "out").glob("*.txt"):
        path.unlink()
    assert len(call()) == 2


def test_an_interrupted_scene_is_not_finished(call: _Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while its prediction is written, or between that and the record. What is there then is ours."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for stopped in ("pointseg.predict.write_prediction", "pointseg.predict.PredictionRecord.add"):
        with monkeypatch.context() as patch:
            patch.setattr(stopped, interrupt)
            with pytest.raises(KeyboardInterrupt):
                call()
        assert json.loads((tmp_path / "out" / RECORD_NAME).read_text())["scenes"] == {}
    assert (tmp_path / "out" / "scene11800_00.txt").exists()
    assert len(call()) == 2


@pytest.mark.parametrize("ending", [".txt", ".ply", ".probabilities.npy", ".features.npy"])
def test_no_file_of_somebody_is_written_over(call: _Call, tmp_path: Path, ending: str) -> None:
    """Labels in ScanNet's own format, one id a line, and arrays of the same name."""
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / f"scene11800_00{ending}"
    mine.write_text("3\n4\n")
    with pytest.raises(UsageError, match=f"{re.escape(mine.name)}: is there already, and predictions.json does not"):
        call("--ply", "--probabilities", "--features")
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["3\n4\n"]


def test_the_suffix_decides_how_the_same_bytes_are_read(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven numbers a line are colour and label in a .txt, and intensity and colour in a .pts."""
    scan = tmp_path / "room.txt"
    rows = np.random.default_rng(0).random((50, 3))
    scan.write_text("\n".join(f"{x} {y} {z} 9 10 20 30" for x, y, z in rows))
    words = ["--run", str(trained_run), "--out", str(tmp_path / "out"), "--input"]
    assert predict.main([*words, str(scan)]) == 0
    assert predict.main([*words, str(scan)]) == 0
    assert "1 reused, 0 predicted" in capsys.readouterr().out
    assert predict.main([*words, str(scan.rename(tmp_path / "room.pts"))]) == 0
    assert "0 reused, 1 predicted" in capsys.readouterr().out


def test_a_mesh_asked_for_later_is_made_once(call: _Call, tmp_path: Path) -> None:
    """It holds the confidence, which the prediction alone does not say."""
    call()
    assert len(call("--ply")) == 2
    assert call("--ply") == []
    ids = np.loadtxt(tmp_path / "out" / "scene11800_00.txt", dtype=int)
    taxonomy = load_taxonomy("scannet200")
    colors = taxonomy.colors[taxonomy.label_from_class_id(ids)]
    vertex = PlyData.read(tmp_path / "out" / "scene11800_00.ply")["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[name] for name in ("red", "green", "blue")], axis=1), colors)


def test_a_bad_scene_is_one_line_and_its_old_prediction_is_not_passed_off_as_new(
    call: _Call, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call()
    path = root / "val" / "scene11800_00" / "coord.npy"
    xyz = np.load(path)
    xyz[7, 1] = np.nan
    np.save(path, xyz)
    capsys.readouterr()
    assert call(status=1) == []
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("pointseg: ")]
    assert len(lines) == 1
    assert "scene11800_00: the coordinates of point 7 are not finite; mend" in lines[0]
    assert lines[0].endswith("scene11800_00.txt is of an earlier call")
    assert captured.out.startswith("1 of 2 scenes: 1 reused, 0 predicted: ")


def test_a_scene_that_can_t_be_cut_is_one_line_and_the_others_are_done(
    call: _Call, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second scene is one point, which is within any budget."""
    folder = root / "val" / "scene11801_00"
    for path in folder.glob("*.npy"):
        np.save(path, np.load(path)[:1])
    assert call("--max-voxels", "20", status=1) == ["scene11800_00", "scene11801_00"]
    captured = capsys.readouterr()
    assert "scene11800_00: can't be cut into tiles of 20 voxels with 8 voxels of context" in captured.err
    assert captured.out.startswith("1 of 2 scenes: 0 reused, 1 predicted: ")


def test_a_mesh_is_known_by_its_content(call: _Call, run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.random((50, 3), dtype=np.float32)
    normal = np.tile(np.float32([0, 0, 1]), (50, 1))
    path = tmp_path / "room.ply"
    call.words = ["--run", str(run), "--input", str(path), "--out", str(tmp_path / "own")]
    write_mesh(path, Mesh(xyz, rgb=np.zeros((50, 3), np.uint8), normal=normal))
    assert call() == ["room"]
    assert call() == []
    write_mesh(path, Mesh(xyz, rgb=np.ones((50, 3), np.uint8), normal=normal))
    assert call() == ["room"]


def test_calls_with_other_settings_do_not_share_a_folder(call: _Call, run: Path, tmp_path: Path) -> None:
    """Those with the same may: their files go together."""
    out = tmp_path / "out"
    settings = load_segmenter(run).describe_settings("none")
    with hold_folder(out, "predicts", "", share=fingerprint(settings)):
        message = r"out: PID \d+ on .* predicts here with other settings since .* choose another folder with --out"
        with pytest.raises(UsageError, match=message):
            call("--tta", "rot4")
        assert [path.name for path in out.iterdir()] == [LOCK_NAME]
        assert len(call()) == 2
    assert len(call("--tta", "rot4")) == 2
    assert {path.suffix for path in out.iterdir()} == {".txt", ".json"}


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many"])
def test_a_budget_below_one_is_a_wrong_call(call: _Call, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--max-voxels: expected a whole number of at least 1, or none, got") as error:
        call(f"--max-voxels={text}")
    assert "\n" not in str(error.value)
    assert error.value.exit_status == 2
    assert not (tmp_path / "out").exists()


def test_no_file_is_written_over_but_a_prediction(trained_run: Path, tmp_path: Path) -> None:
    """Neither the mesh that is predicted nor ScanNet's own <scene>.txt."""
    rng = np.random.default_rng(0)
    mesh = tmp_path / "room.ply"
    normal = np.tile(np.array([0, 0, 1], dtype=np.float32), (50, 1))
    colors = rng.integers(0, 256, (50, 3), dtype=np.uint8)
    write_mesh(mesh, Mesh(xyz=rng.random((50, 3), dtype=np.float32), faces=None, rgb=colors, normal=normal))
    before = mesh.read_bytes()
    arguments = ["--run", str(trained_run), "--input", str(mesh), "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="written over by its own prediction"):
        predict.main([*arguments, "--ply"])
    assert mesh.read_bytes() == before
    text = tmp_path / "room.txt"
    text.write_text("axisAlignment = 1 0 0 0\n")
    with pytest.raises(UsageError, match=r"room\.txt: is there already, and predictions\.json does not name it"):
        predict.main(arguments)
    text.unlink()
    assert predict.main(arguments) == 0
    assert predict.main(arguments) == 0
    assert len(text.read_text().split()) == 50


def test_scans_of_other_formats(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An OBJ is predicted a line a vertex; a pipe and an unknown kind are a line each, and block nothing."""
    xyz = np.random.default_rng(0).random((50, 3))
    rows = [f"v {x} {y} {z} 0.5 0.5 0.5" for x, y, z in xyz] + ["f 1 2 3", "f 4 5"]
    (tmp_path / "room.obj").write_text("\n".join(rows))
    os.mkfifo(tmp_path / "pipe.ply")
    (tmp_path / "room.doc").write_text("no scan")
    words = ["--run", str(trained_run), "--out", str(tmp_path / "out"), "--input"]
    assert predict.main([*words, str(tmp_path / "room.obj"), str(tmp_path / "pipe.ply")]) == 1
    assert len((tmp_path / "out" / "room.txt").read_text().splitlines()) == 50
    captured = capsys.readouterr().err
    assert "room.obj: 1 of 2 faces have fewer than three corners and were dropped" in captured
    assert "pipe.ply: is a pipe or a device; give the file of a scan" in captured
    assert predict.main([*words, str(tmp_path / "room.doc")]) == 1
    assert "room.doc: is of a kind that is not read" in capsys.readouterr().err


def test_arrays_and_mesh_are_written_and_reused(
    call: _Call, run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, flags = tmp_path / "out", ("--probabilities", "--features", "--ply")
    assert len(call(*flags)) == 2
    assert "with <scene>.ply, <scene>.probabilities.npy, <scene>.features.npy" in capsys.readouterr().out
    name = "scene11800_00"
    expected = load_segmenter(run).predict_scan(root / "val" / name, probabilities=True, features=True)
    np.testing.assert_array_equal(np.loadtxt(out / f"{name}.txt", dtype=int), expected.ids)
    for key in ("probabilities", "features"):
        written = np.load(out / f"{name}.{key}.npy")
        assert written.dtype == np.float16
        np.testing.assert_allclose(written, getattr(expected, key), atol=2e-3, rtol=2e-3)
    columns = json.loads((out / RECORD_NAME).read_text())["classes"][1:]
    assert len(columns) == np.load(out / f"{name}.probabilities.npy").shape[1]
    assert all(call(*some) == [] for some in (flags, flags[:1], flags[1:], ()))


def test_a_file_asked_for_later_predicts_again_and_keeps_the_others(call: _Call, tmp_path: Path) -> None:
    call("--probabilities")
    path = tmp_path / "out" / "scene11800_00.probabilities.npy"
    before = path.read_bytes()
    assert len(call("--features")) == 2
    assert path.read_bytes() == before
    assert call("--features", "--probabilities") == []
    path.unlink()
    assert call("--features", "--probabilities") == ["scene11800_00"]


def test_probabilities_of_an_outdated_prediction_are_removed(
    call: _Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("--probabilities")
    capsys.readouterr()
    assert len(call("--tta", "rot4")) == 2
    assert "removed 2 files that went with earlier predictions of these scenes" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
def test_arrays_in_tiles_are_nearly_those_of_the_whole(run: Path, tmp_path: Path, tta: str) -> None:
    """Of a corridor of 30 m, in tiles of 4,000 voxels and at once."""
    rng = np.random.default_rng(0)
    xyz = (rng.random((12_000, 3)) * (30.0, 1.5, 1.0)).astype(np.float32)
    label = (xyz[:, 2] * 4).astype(np.int64)
    rgb = np.clip(rng.normal(40 + 50 * label[:, None], 15, xyz.shape), 0, 255).astype(np.uint8)
    normal = np.tile(np.float32([0, 0, 1]), (len(xyz), 1))
    write_mesh(tmp_path / "corridor.ply", Mesh(xyz, None, rgb, normal))
    arrays = {}
    for budget in ("4000", "none"):
        words = ["--run", str(run), "--input", str(tmp_path / "corridor.ply"), "--out", str(tmp_path / budget)]
        assert predict.main([*words, "--max-voxels", budget, "--tta", tta, "--probabilities", "--features"]) == 0
        for key in ("probabilities", "features"):
            arrays[budget, key] = np.load(tmp_path / budget / f"corridor.{key}.npy").astype(np.float32)
    for key in ("probabilities", "features"):
        difference = np.abs(arrays["4000", key] - arrays["none", key]).max(axis=1)
        assert (difference < 0.05 * np.abs(arrays["none", key]).max()).mean() > 0.99, key
    np.testing.assert_allclose(arrays["4000", "probabilities"].sum(axis=1), 1, atol=0.02)


def test_the_last_lines_say_which_classes_were_found(
    call: _Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all scenes of the call: reused ones count as predicted ones do."""
    call()
    first = capsys.readouterr().out.splitlines()[1:]
    ids = np.concatenate([np.loadtxt(path, dtype=int) for path in (tmp_path / "out").glob("*.txt")])
    values, counts = np.unique(ids, return_counts=True)
    taxonomy = load_taxonomy("scannet200")
    name = taxonomy.class_names[taxonomy.label_from_class_id(values[counts.argmax()])]
    assert first[0].startswith(f"1,200 points of {len(values)} classes: {name} {100 * counts.max() / 1200:.1f}%")
    (tmp_path / "out" / "scene11800_00.txt").unlink()
    assert call() == ["scene11800_00"]
    assert capsys.readouterr().out.splitlines()[1:] == first


def test_a_scan_is_predicted_again_when_its_picture_changed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "any name.mtl").write_text("newmtl m\nKd 1 0 0\n")
    lines = ["mtllib any name.mtl", "v 0 0 0", "v 1 0 0", "v 0 1 0", "usemtl m", "f 1 2 3"]
    (tmp_path / "room.obj").write_text("\n".join(lines))
    words = ["--run", str(run), "--input", str(tmp_path / "room.obj"), "--out", str(tmp_path / "out")]
    told = []
    for color in ("1 0 0", "1 0 0", "0 0 1"):
        (tmp_path / "any name.mtl").write_text(f"newmtl m\nKd {color}\n")
        assert predict.main(words) == 0
        told.append("1 reused" in capsys.readouterr().out)
    assert told == [False, True, False]


def test_points_without_a_place_have_the_id_of_no_class(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xyz = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    xyz[[3, 7]] = np.nan
    mesh = Mesh(xyz, None, np.zeros((50, 3), np.uint8), np.tile(np.float32([0, 0, 1]), (50, 1)))
    write_mesh(tmp_path / "room.ply", mesh)
    words = ["--run", str(run), "--input", str(tmp_path / "room.ply"), "--out", str(tmp_path / "out")]
    assert predict.main(words) == 0
    captured = capsys.readouterr()
    assert (
        "room.ply: the coordinates of 2 of 50 points are not finite or beyond 1e12; they get no class" in captured.err
    )
    assert captured.out.endswith("2 points have no class\n")
    ids = np.loadtxt(tmp_path / "out" / "room.txt", dtype=int)
    assert np.flatnonzero(ids == 0).tolist() == [3, 7]
    assert predict.main(words) == 0
    assert "1 reused" in capsys.readouterr().out


def test_a_full_disk_leaves_no_prediction(call: _Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail, raising=False)
        with pytest.raises(OSError, match="No space left") as error:
            call("--probabilities")
    assert error.value.filename == str(tmp_path / "out" / "scene11800_00.probabilities.npy")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RECORD_NAME]


def test_a_mesh_of_somebody_is_not_written_over(run: Path, tmp_path: Path) -> None:
    """A scan in another format, and beside it a mesh of the same name."""
    rng = np.random.default_rng(0)
    (tmp_path / "room.xyz").write_text(
        "\n".join(" ".join(map(str, [*xyz, 10, 20, 30, 0, 0, 1])) for xyz in rng.random((50, 3)))
    )
    write_mesh(tmp_path / "room.ply", Mesh(np.zeros((1, 3), np.float32)))
    before = (tmp_path / "room.ply").read_bytes()
    words = ["--run", str(run), "--input", str(tmp_path / "room.xyz"), "--out", str(tmp_path), "--ply"]
    with pytest.raises(UsageError, match=r"room\.ply: is there already, and predictions.json does not name it"):
        predict.main(words)
    assert (tmp_path / "room.ply").read_bytes() == before
    (tmp_path / "room.ply").unlink()
    assert predict.main(words) == 0
    assert predict.main([*words, "--tta", "rot4"]) == 0
    # Nor is an input, under whatever suffix a table of points comes.
    (tmp_path / "points.txt").write_text((tmp_path / "room.xyz").read_text())
    with pytest.raises(UsageError, match=r"points\.txt: would be written over by its own prediction"):
        predict.main(["--run", str(run), "--input", str(tmp_path / "points.txt"), "--out", str(tmp_path)])


def test_a_scan_in_millimetres_with_y_up_is_predicted_as_in_metres(
    call: _Call, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the options it has the labels of the same room in metres; without them one line says what it looks like."""
    xyz, normal = furnished_room()
    rgb = np.zeros((len(xyz), 3), np.uint8)
    turned = [array @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) for array in (xyz * 1000, normal)]
    for name, (points, normals, color) in {
        "plain": (xyz, normal, rgb),
        "other": (*turned, rgb),
        "grey": (xyz, normal, None),
    }.items():
        write_mesh(tmp_path / f"{name}.ply", Mesh(points.astype(np.float32), None, color, normals.astype(np.float32)))
    out = tmp_path / "own"

    def predicted(name: str, *options: str, status: int = 0) -> np.ndarray:
        call.words = ["--run", str(run), "--input", str(tmp_path / f"{name}.ply"), "--out", str(out)]
        call(*options, status=status)
        return np.loadtxt(out / f"{name}.txt") if not status else np.empty(0)

    expected = predicted("plain")
    assert "give --unit" not in capsys.readouterr().err
    predicted("other")
    line = capsys.readouterr().err
    assert "other.ply: is " in line
    assert "give --unit mm --up=y, or" in line
    # Rounding puts a point at the face of a voxel into the next one.
    assert (predicted("other", "--unit", "mm", "--up=y") != expected).mean() < 0.005
    assert "give --unit" not in capsys.readouterr().err
    predicted("grey", status=1)
    assert "--fill-color R,G,B" in capsys.readouterr().err
    np.testing.assert_array_equal(predicted("grey", "--fill-color", "0,0,0"), expected)
    with pytest.raises(UsageError, match="expected three whole numbers 0..255 with commas between, got '0,0,256'"):
        call("--fill-color", "0,0,256")


def test_two_scans_of_one_name_do_not_take_each_others_place(
    call: _Call, run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As rooms of S3DIS's areas are called alike. One that was moved, or is the same, is no other one."""
    call()
    shutil.copytree(root / "val", root / "Area_2")
    words = ["--run", str(run), "--data-root", str(root), "--split", "Area_2", "--out", str(tmp_path / "out")]
    assert predict.main(words) == 0
    assert "2 reused" in capsys.readouterr().out
    name = "scene11800_00"
    before = (tmp_path / "out" / f"{name}.txt").read_bytes()
    np.save(root / "Area_2" / name / "coord.npy", np.load(root / "Area_2" / name / "coord.npy") * 1.5)
    assert predict.main(words) == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if name in line)
    assert f"Area_2/{name}: is called as {root / 'val' / name}, whose prediction is in" in line
    assert (tmp_path / "out" / f"{name}.txt").read_bytes() == before
    shutil.rmtree(root / "val" / name)
    assert predict.main(words) == 0


def test_what_a_killed_call_had_begun_is_removed_while_nobody_else_writes(
    call: _Call, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    begun = [".writing-scene11800_00-0123abcd.txt", ".writing-scene11800_00.probabilities-0123abcd.npy"]
    begun += [".writing-predictions-0123abcd.json"]
    other = ".writing-scene9999_00.probabilities-0123abcd.npy"
    for name in (*begun, other):
        (out / name).write_bytes(b"half")
    with hold_folder(out, "predicts", "", share=fingerprint(load_segmenter(run).describe_settings("none"))):
        call()
        assert [name for name in begun if not (out / name).exists()] == []
    call()
    assert [path.name for path in out.glob(".writing-*")] == [other]


def test_a_scan_whose_name_is_no_utf8_is_predicted_as_any(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And --input that is given twice adds up."""
    xyz = np.random.default_rng(0).random((50, 3))
    scans = [tmp_path / name for name in (os.fsdecode(b"g\xfcn.xyz"), os.fsdecode(b"a.\xfc"), "room.xyz")]
    for scan in scans:
        scan.write_text("\n".join(f"{x} {y} {z} 9 10 20" for x, y, z in xyz))
    out = tmp_path / "out"
    words = ["--run", str(run), "--out", str(out), "--ply", "--probabilities"]
    for reused in (0, 2):
        assert predict.main([*words, *(f"--input={scan}" for scan in scans)]) == 1
        captured = capsys.readouterr()
        assert captured.out.startswith(f"2 of 3 scenes: {reused} reused, {2 - reused} predicted: ")
        assert "a.\\udcfc: is of a kind that is not read" in captured.err
    assert len(list(out.glob("*.txt"))) == 2
