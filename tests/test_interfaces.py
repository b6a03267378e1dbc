"""Every command of the interface, once, in the order in which a person types them: from raw scans to the zip."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

import pointseg
from pointseg.formats.ply import read_mesh
from pointseg.taxonomy import load_taxonomy
from tests.conftest import TINY_NETWORK

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def call(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` at the root of the checkout and expect an exit status."""
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert result.returncode == status, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw/, prepared/ and run/ in it, made by the commands."""
    place = tmp_path_factory.mktemp("interfaces")
    counts = ["--train", "3", "--val", "1", "--test", "2", "--seed", "1", "--vertices", "4000"]
    call("data_prep/make_demo_scans.py", "--out", place / "raw", *counts)
    call("data_prep/preprocess_scannet.py", "--raw", place / "raw", "--out", place / "prepared", "--workers", "1")
    overrides = [*TINY_NETWORK, f"data.root={place / 'prepared'}", f"run.dir={place / 'run'}", "data.voxel_size_m=0.1"]
    call("-m", "pointseg.train", "--cfg", "demo.yaml", *overrides, "data.scenes_per_batch=2", "train.passes=1")
    return place


def test_check_scans(place: Path) -> None:
    call("data_prep/check_scans.py", place / "prepared")


def test_resume_and_torchrun(place: Path) -> None:
    again = call("-m", "pointseg.train", "--cfg", place / "run" / "config.yaml", status=2)
    assert "--resume" in again.stderr
    assert again.stderr.count("\n") == 1
    call("-m", "pointseg.train", "--cfg", place / "run" / "config.yaml", "--resume")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pointseg.train"]
    # Each process mixes pairs of its own scenes.
    config = ["--cfg", str(place / "run" / "config.yaml"), f"run.dir={place / 'run2'}", "data.scenes_per_batch=4"]
    call(*torchrun, *config)
    assert (place / "run2" / "checkpoints" / "last.pt").is_file()


def test_evaluate(place: Path) -> None:
    for tta in ("none", "rot4", "full"):
        path = place / f"evaluation_{tta}.json"
        shown = call("-m", "pointseg.evaluate", "--run", place / "run", "--split", "val", "--tta", tta, "--json", path)
        evaluation = json.loads(path.read_text())
        keys = "miou miou_all_classes head common tail accuracy per_class num_scenes num_points protocol"
        assert evaluation.keys() == {*keys.split(), "confusion", "classes", "scenes", "split", "weights"}
        for by_class in ("per_class", "classes"):
            assert evaluation[by_class].keys() == set(load_taxonomy("scannet200").class_names)
        assert np.shape(evaluation["confusion"]) == (200, 200)
        assert len(evaluation["scenes"]) == evaluation["num_scenes"]
        assert f"{100 * evaluation['miou']:.1f}" in shown.stdout
        assert "mostly taken for" not in shown.stdout
    tables = call("-m", "pointseg.evaluate", "--run", place / "run", "--split", "val", "--classes", "--scenes").stdout
    assert "mostly taken for" in tables
    assert all(f"\n{name} " in tables for name in evaluation["scenes"])


def test_from_predictions_to_the_zip(place: Path) -> None:
    predictions, archive = place / "predictions", place / "submission.zip"
    call("-m", "pointseg.predict", "--run", place / "run", "--split", "test", "--out", predictions, "--ply")
    raw = ["--raw", place / "raw", "--split", "test"]
    call("submissions/format_submission.py", "--predictions", predictions, *raw, "--out", archive)
    call("submissions/check_submission.py", archive, *raw)
    names = zipfile.ZipFile(archive).namelist()
    assert sorted(names) == sorted(f"{path.name}.txt" for path in (place / "raw" / "scans_test").iterdir())
    for name in names:
        mesh = read_mesh(place / "raw" / "scans_test" / name[:-4] / f"{name[:-4]}_vh_clean_2.ply")
        ids = np.array(zipfile.ZipFile(archive).read(name).split(), dtype=int)
        assert len(ids) == len(mesh.xyz)
        assert set(ids) <= set(load_taxonomy("scannet200").class_ids.tolist())
        vertex = PlyData.read(predictions / f"{name[:-4]}.ply")["vertex"]
        colors = np.stack([vertex[channel] for channel in ("red", "green", "blue")], axis=1)
        label = load_taxonomy("scannet200").label_from_class_id(ids)
        np.testing.assert_array_equal(colors, load_taxonomy("scannet200").colors[label])


def test_predict_any_mesh_as_the_python_api_does(place: Path) -> None:
    scene = next((place / "raw" / "scans_test").iterdir()).name
    path = place / "raw" / "scans_test" / scene / f"{scene}_vh_clean_2.ply"
    call("-m", "pointseg.predict", "--run", place / "run", "--input", path, "--out", place / "own", "--ply")
    written = np.loadtxt(place / "own" / f"{scene}.txt", dtype=int)
    prepared = place / "prepared" / "test" / scene
    arrays = [np.load(prepared / f"{part}.npy") for part in ("coord", "color", "normal")]
    np.testing.assert_array_equal(pointseg.load(place / "run").predict(*arrays), written)
    assert read_mesh(place / "own" / f"{scene}.ply").faces is not None


def test_convert_there_and_back(place: Path) -> None:
    """What a run publishes is a run again, with the same scores."""
    file, again = place / "published.pth", place / "again"
    published = call("-m", "pointseg.convert", place / "run", "--out", file)
    # As the first call says: a published file knows neither voxels nor scenes.
    (command,) = re.findall(r"back again: python (.*)", published.stdout)
    shown = call(*(again if word == "RUN" else word for word in shlex.split(command)))
    assert "9 inputs: xyz, rgb, normal" in shown.stdout
    for run in (place / "run", again):
        call("-m", "pointseg.evaluate", "--run", run, "--json", place / f"{run.name}.json")
    scores = [json.loads((place / f"{name}.json").read_text()) for name in ("run", "again")]
    assert scores[0].pop("weights") != scores[1].pop("weights")  # what is published has no counts of the classes
    assert scores[0] == scores[1]


def test_visualize(place: Path) -> None:
    scene = next((place / "prepared" / "val").iterdir())
    call("-m", "pointseg.predict", "--run", place / "run", "--split", "val", "--out", place / "val")
    picture = ["--scene", scene, "--pred", place / "val" / f"{scene.name}.txt", "--save"]
    call("-m", "pointseg.visualize", *picture, place / "picture.png")
    assert (place / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    call("-m", "pointseg.visualize", *picture, place / "picture.ply")
    assert len(read_mesh(place / "picture.ply").xyz) == len(np.load(scene / "coord.npy"))


def test_analyze(place: Path) -> None:
    call("-m", "pointseg.analyze", "--run", place / "run", "--json", place / "nc.json", "--plot", place / "nc.png")
    assert json.loads((place / "nc.json").read_text())
    assert (place / "nc.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.needs("itables")
def test_report(place: Path) -> None:
    run = place / "run"
    call("-m", "pointseg.evaluate", "--run", run, "--json", run / "evaluation.json")
    call("-m", "pointseg.report", "--run", run, "--out", place / "report.html")
    assert (place / "report.html").read_bytes()[:15] == b"<!DOCTYPE html>"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-m", "pointseg.train", "--cfg", "nothing.yaml"], 2, "no such config"),
        (["-m", "pointseg.train", "--cfg", "demo.yaml", "train.pases=1"], 2, "the nearest known key is train.passes"),
        (["-m", "pointseg.train"], 2, "--cfg"),
        (["-m", "pointseg.evaluate", "--run", "nowhere"], 2, "is not the folder of a run"),
        (["-m", "pointseg.predict", "--run", "{run}", "--input", "no.ply", "--out", "{out}"], 1, "no.ply"),
        (["-m", "pointseg.predict", "--run", "{run}", "--out", "{out}"], 2, "--split --input is required"),
        (["-m", "pointseg.evaluate", "--run", "{run}", "--split", "test"], 2, "has no labels"),
        (["-m", "pointseg.convert", "no.pth", "--out", "{out}"], 2, "no.pth: no such file or folder"),
        (["-m", "pointseg.convert", "README.md", "--out", "{out}"], 1, "can't be read as a checkpoint"),
        (["-m", "pointseg.longtail", "--out", "{out}", "--methods", "colapse"], 2, "the nearest is collapse"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(place: Path, arguments: list[str], status: int, message: str) -> None:
    named = [word.format(run=place / "run", out=place / "none") for word in arguments]
    result = call(*named, status=status)
    assert message in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert not (place / "none").exists()
