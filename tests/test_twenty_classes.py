"""ScanNet's 20 classes from the prepared tree of the 200: ``scannet20.yaml`` from training to the zip."""

import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from pointseg import evaluate, predict, train
from pointseg.formats.ply import read_mesh
from pointseg.output.prediction_record import RECORD_NAME
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import load_taxonomy
from tests.conftest import TINY_NETWORK
from tests.scripts import run_script

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
NYU40_IDS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw/, prepared/ and a run/ of scannet20.yaml in it, small enough for a CPU."""
    place = tmp_path_factory.mktemp("twenty")
    counts = ["--train", "3", "--val", "1", "--test", "2", "--seed", "1", "--vertices", "4000", "--workers", "1"]
    assert run_script("make_demo_scans.py", "--out", place / "raw", *counts).status == 0
    prepare = ["--raw", place / "raw", "--out", place / "prepared", "--workers", "1"]
    assert run_script("preprocess_scannet.py", *prepare).status == 0
    paths = [f"data.root={place / 'prepared'}", f"run.dir={place / 'run'}"]
    small = "data.voxel_size_m=0.1 data.scenes_per_batch=2 data.num_workers=0 train.passes=2 train.num_threads=1"
    train.main(["--cfg", "scannet20.yaml", *TINY_NETWORK, *paths, *small.split()])
    return place


def test_training_is_of_twenty_classes(place: Path) -> None:
    directory = RunDirectory(place / "run")
    assert directory.read_config().taxonomy == "scannet20"
    assert directory.best_checkpoint.is_file()
    rows = [json.loads(line) for line in directory.metrics_path.read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows if "loss" in row)


@pytest.mark.parametrize(("tta", "max_voxels"), [("none", "none"), ("rot4", "90000")])
def test_evaluation_has_twenty_classes_and_no_groups(
    place: Path, tta: str, max_voxels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the labels of the prepared tree; the protocol says how."""
    path = place / f"evaluation_{tta}.json"
    options = ["--tta", tta, "--max-voxels", max_voxels, "--json", str(path)]
    assert not evaluate.main(["--run", str(place / "run"), *options])
    evaluation = json.loads(path.read_text())
    assert list(evaluation["per_class"]) == list(load_taxonomy("scannet20").class_names)
    assert evaluation["head"] is evaluation["common"] is evaluation["tail"] is None
    assert 0 <= evaluation["miou_all_classes"] <= evaluation["miou"] <= 1
    (scene,) = (place / "prepared" / "val").iterdir()
    label = np.load(scene / "segment20.npy")
    assert evaluation["num_points"] == (label >= 0).sum() > 0
    assert f"tta {tta}" in evaluation["protocol"]
    in_tiles = "scenes of more than 90000 voxels in tiles" in evaluation["protocol"]
    assert in_tiles == ("tiles" in evaluation["protocol"]) == (max_voxels != "none")
    shown = capsys.readouterr().out
    assert "mIoU, all 20, absent as 0" in shown
    assert "head" not in shown


def _call_script(name: str, *arguments: object) -> int:
    return runpy.run_path(str(SUBMISSIONS / f"{name}.py"))["main"]([str(word) for word in arguments])


def test_from_predictions_to_a_zip_of_nyu40_ids(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, archive = place / "predictions", place / "submission.zip"
    assert predict.main(["--run", str(place / "run"), "--split", "test", "--out", str(predictions), "--ply"]) == 0
    raw = ["--raw", place / "raw", "--split", "test"]
    assert _call_script("format_submission", "--predictions", predictions, *raw, "--out", archive) == 0
    assert _call_script("check_submission", archive, *raw, "--taxonomy", "scannet20") == 0
    assert capsys.readouterr().err.count("left out") == 0
    assert json.loads((predictions / RECORD_NAME).read_text())["settings"]["taxonomy"] == "scannet20"

    taxonomy = load_taxonomy("scannet20")
    assert set(taxonomy.class_ids.tolist()) == NYU40_IDS
    with zipfile.ZipFile(archive) as members:
        assert sorted(members.namelist()) == sorted(
            f"{path.name}.txt" for path in (place / "raw" / "scans_test").iterdir()
        )
        for name in members.namelist():
            ids = np.array(members.read(name).split(), dtype=int)
            mesh = read_mesh(place / "raw" / "scans_test" / name[:-4] / f"{name[:-4]}_vh_clean_2.ply")
            assert len(ids) == mesh.num_vertices
            assert set(ids) <= NYU40_IDS
            colors = taxonomy.colors[taxonomy.label_from_class_id(ids)]
            vertex = PlyData.read(predictions / f"{name[:-4]}.ply")["vertex"]
            written = np.stack([vertex[channel] for channel in ("red", "green", "blue")], axis=1)
            np.testing.assert_array_equal(written, colors)


def test_predictions_of_the_other_benchmark_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids of the 200 classes in a zip that is handed in for the 20."""
    raw = ["--raw", place / "raw", "--split", "test"]
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        for path in (place / "raw" / "scans_test").iterdir():
            num_vertices = read_mesh(path / f"{path.name}_vh_clean_2.ply").num_vertices
            archive.writestr(f"{path.name}.txt", "1191\n" * num_vertices)
    assert _call_script("check_submission", tmp_path / "submission.zip", *raw, "--taxonomy", "scannet20") == 1
    assert "line 1 is 1191, no class of scannet20" in capsys.readouterr().err
