"""A scan from its file as one object: what is said of each point, in the order of the file, whatever the file lacks."""

from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg.engine.inference import PointArrays, PointOutput, Segmenter, Wanted, load_segmenter
from pointseg.errors import DataError, UsageError
from pointseg.formats.mesh import Mesh
from pointseg.formats.ply import write_mesh
from pointseg.formats.scan_file import ScanFile
from pointseg.models import build_network
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, load_taxonomy

CLASSES = load_taxonomy("scannet200")


@pytest.fixture(scope="module")
def segmenter(trained_run: Path) -> Segmenter:
    return load_segmenter(trained_run)


@pytest.fixture(scope="module")
def scene(prepared_root: Path) -> Scene:
    return read_scene(list_scenes(prepared_root, "val")[0], CLASSES)


def _write(path: Path, scene: Scene, xyz: np.ndarray | None = None, faces: np.ndarray | None = None) -> Path:
    rgb, normal = np.asarray(scene.rgb), np.asarray(scene.normal)
    xyz = np.asarray(scene.xyz) if xyz is None else xyz
    write_mesh(path, ScanFile(path, xyz, faces, rgb, normal))
    return path


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
def test_all_that_is_said_of_a_scan_fits_together(segmenter: Segmenter, scene: Scene, tta: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "room.ply", scene)
    prediction = segmenter.predict_scan(path, tta, probabilities=True, features=True)
    assert isinstance(prediction, pointseg.Prediction)
    np.testing.assert_array_equal(prediction.ids, segmenter.predict(scene.xyz, scene.rgb, scene.normal, tta=tta))
    np.testing.assert_array_equal(prediction.labels, CLASSES.label_from_class_id(prediction.ids))
    assert [CLASSES.class_names[label] for label in prediction.labels] == prediction.names.tolist()
    assert prediction.probabilities is not None and prediction.features is not None
    assert prediction.probabilities.dtype == prediction.features.dtype == np.float16
    assert prediction.probabilities.shape == (600, 200)
    assert prediction.features.shape == (600, segmenter.network.feature_channels)
    chosen = prediction.probabilities[np.arange(600), prediction.labels]
    np.testing.assert_allclose(chosen, prediction.confidence, atol=1e-3)
    assert (chosen == prediction.probabilities.max(axis=1)).all()
    np.testing.assert_allclose(prediction.probabilities.astype(np.float32).sum(axis=1), 1, atol=0.01)
    if tta == "none":  # the mean over views of probabilities is not what the mean of features gives
        weight, bias = segmenter.network.classifier_weight().numpy(), segmenter.network.final.bias.detach().numpy()
        logits = prediction.features.astype(np.float32) @ weight.T + bias
        assert (logits.argmax(axis=1) == prediction.labels).mean() > 0.99


def test_what_was_not_asked_for_is_none(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    prediction = segmenter.predict_scan(str(_write(tmp_path / "room.ply", scene)))
    assert prediction.probabilities is None and prediction.features is None
    assert prediction.confidence.shape == (600,)


def test_a_prepared_scene_is_a_scan_too(segmenter: Segmenter, prepared_root: Path) -> None:
    folder = list_scenes(prepared_root, "val")[0]
    expected = segmenter.predict_scene(read_scene(folder, CLASSES))
    np.testing.assert_array_equal(segmenter.predict_scan(folder).labels, expected)


def test_the_shown_form_says_what_was_found(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    prediction = segmenter.predict_scan(_write(tmp_path / "room.ply", scene), probabilities=True)
    shown = repr(prediction)
    assert shown.startswith("Prediction(room: 600 points, ")
    assert "probabilities (600, 200)" in shown
    name, share = next(iter(prediction.shares.items()))
    assert f"{name} {100 * share:.1f}%" in shown
    assert sum(prediction.shares.values()) == pytest.approx(1)
    assert list(prediction.shares.values()) == sorted(prediction.shares.values(), reverse=True)
    assert (prediction.names == name).mean() == pytest.approx(share)
    assert len(prediction) == 600


def test_points_without_a_place_get_no_class_and_change_nothing(
    segmenter: Segmenter, scene: Scene, tmp_path: Path
) -> None:
    """A depth sensor's cloud has NaN where it saw nothing. Faces at such points are left out, normals too."""
    lost = np.arange(0, 600, 7)
    xyz = np.asarray(scene.xyz).copy()
    xyz[lost[::2]], xyz[lost[1::2], 1] = np.nan, np.inf
    kept = np.setdiff1d(np.arange(600), lost)
    whole = segmenter.predict_scan(_write(tmp_path / "lost.ply", scene, xyz), probabilities=True, features=True)
    few = Scene("few", scene.xyz[kept], scene.rgb[kept], scene.normal[kept])
    alone = segmenter.infer_scene(few, wanted=Wanted(True, True, True))
    for name, value in vars(alone).items():
        if name == "label":
            continue
        array = getattr(whole, name)
        # Sums of floats may differ in the last digit from one pass to the next.
        np.testing.assert_allclose(array[kept], value.numpy(), rtol=1e-2, atol=1e-3, err_msg=name)
    assert (whole.labels[kept] == alone.label.numpy()).mean() > 0.99
    assert (whole.labels[lost] == IGNORE).all() and (whole.ids[lost] == 0).all()
    assert not whole.confidence[lost].any() and not whole.probabilities[lost].any() and not whole.features[lost].any()
    assert set(whole.names[lost]) == {""}
    assert "86 without a place" in repr(whole)
    assert "the coordinates of 86 of 600 points are not finite or beyond 1e12; they get no class" in whole.remarks[0]
    assert sum(whole.shares.values()) == pytest.approx(1)


def test_a_face_at_a_lost_point_spoils_no_normal(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    xyz = np.asarray(scene.xyz).copy()
    xyz[0] = np.nan
    faces = np.array([[0, 1, 2], [1, 2, 3], [3, 4, 0]], dtype=np.int32)
    path = tmp_path / "mesh.ply"
    write_mesh(path, ScanFile(path, xyz, faces, np.asarray(scene.rgb)))
    got = segmenter.predict_scan(path)
    write_mesh(path, Mesh(xyz[1:], faces[1:2] - 1, np.asarray(scene.rgb)[1:]))
    np.testing.assert_array_equal(got.labels[1:], segmenter.predict_scan(path).labels)
    assert got.labels[0] == IGNORE


def test_a_scan_without_any_place_is_refused(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    path = _write(tmp_path / "void.ply", scene, np.full((600, 3), np.nan, np.float32))
    with pytest.raises(DataError, match=r"void\.ply: no point has finite coordinates; export"):
        segmenter.predict_scan(path)


def test_unit_and_axis_of_a_file_are_said_by_name(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    """In millimetres with y up the scan is another one; said so, it is the same. The file's coordinates stay."""
    turned = np.asarray(scene.xyz, dtype=np.float64)[:, [0, 2, 1]] * (1000, 1000, -1000)
    normal = np.ascontiguousarray(np.asarray(scene.normal)[:, [0, 2, 1]] * np.float32([1, 1, -1]))
    path = tmp_path / "room.ply"
    write_mesh(path, ScanFile(path, turned, None, np.asarray(scene.rgb), normal))
    expected = segmenter.predict_scene(scene)
    assert (segmenter.predict_scan(path, unit="mm", up="y").labels == expected).mean() > 0.99
    assert (segmenter.predict_scan(path).labels == expected).mean() < 0.9
    with pytest.raises(UsageError, match="unit 'km' is not known"):
        segmenter.predict_scan(path, unit="km")


def test_a_scan_without_colours_gets_the_one_that_is_said(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "grey.ply"
    write_mesh(path, Mesh(np.asarray(scene.xyz), None, None, np.asarray(scene.normal)))
    with pytest.raises(DataError, match=r"grey\.ply: has no rgb, which the network takes"):
        segmenter.predict_scan(path)
    grey = np.full((600, 3), 100, np.uint8)
    expected = segmenter.predict(scene.xyz, grey, scene.normal)
    assert (segmenter.predict_scan(path, fill_color=(100, 100, 100)).ids == expected).mean() > 0.99


def test_a_prepared_scene_needs_nothing_said(segmenter: Segmenter, prepared_root: Path) -> None:
    with pytest.raises(UsageError, match="is a prepared scene, in metres with z up and in its own colours; leave out"):
        segmenter.predict_scan(list_scenes(prepared_root, "val")[0], unit="mm")


def test_one_point_is_a_scan(segmenter: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "point.ply"
    write_mesh(path, Mesh(np.zeros((1, 3), np.float32), None, np.zeros((1, 3), np.uint8), np.float32([[0, 0, 1]])))
    for tta in ("none", "full"):
        prediction = segmenter.predict_scan(path, tta, probabilities=True)
        assert (len(prediction), list(prediction.shares.values())) == (1, [1.0])
        assert repr(prediction).startswith("Prediction(point: 1 point, 1 of 200 classes")


def test_normals_are_checked_where_the_network_takes_them(segmenter: Segmenter, scene: Scene) -> None:
    normal = scene.normal.copy()
    normal[[3, 9]] *= 0.5
    with pytest.raises(
        DataError, match=r"2 of 600 normals are not of unit length \(that of point 3 has 0\.5\); divide"
    ):
        segmenter.predict(scene.xyz, scene.rgb, normal)
    normal[3, 0] = np.nan
    with pytest.raises(DataError, match="the numbers of the normal of point 3 are not finite"):
        segmenter.predict(scene.xyz, scene.rgb, normal)
    # As some formats keep them: in bytes.
    in_bytes = np.rint(scene.normal * 127) / 127
    assert segmenter.predict(scene.xyz, scene.rgb, in_bytes).shape == (600,)


def test_a_segmenter_says_what_it_is(trained_run: Path, segmenter: Segmenter) -> None:
    shown = repr(segmenter)
    trained = build_network(segmenter.config, torch.device("cpu"))
    num_parameters = sum(parameter.numel() for parameter in trained.parameters())
    for part in (str(trained_run), "spunet", f"{num_parameters:,} parameters", "200 classes (scannet200)"):
        assert part in shown
    assert "takes xyz, rgb, normal in voxels of 0.1 m" in shown
    assert shown.endswith("8 last features; on cpu)")
    assert "\n" not in shown


def test_arrays_are_filled_in_any_order_and_by_voxel() -> None:
    arrays = PointArrays(6, row=torch.tensor([5, 1, 2]))
    arrays.put(torch.tensor([2]), PointOutput(torch.tensor([7])))
    arrays.put(torch.tensor([0, 1]), PointOutput(torch.tensor([3, 4, 9])), voxel=torch.tensor([2, 0]))
    assert arrays.collect().label.tolist() == [IGNORE, 3, 7, IGNORE, IGNORE, 9]
    assert arrays.collect().confidence is None


def test_the_result_is_exported_without_importing_pytorch_before() -> None:
    assert pointseg.Segmenter is Segmenter
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pointseg.nothing  # noqa: B018


def test_a_stray_of_a_file_does_not_make_it_too_wide(segmenter: Segmenter, scene: Scene, tmp_path: Path) -> None:
    """It gets a class as the others, which get those that they have without it."""
    xyz = np.asarray(scene.xyz).copy()
    expected = segmenter.predict_scan(_write(tmp_path / "room.ply", scene, xyz)).labels
    xyz[5] = 5e7
    found = segmenter.predict_scan(_write(tmp_path / "wide.ply", scene, xyz)).labels
    assert (np.delete(found, 5) == np.delete(expected, 5)).mean() > 0.99


def test_a_scene_too_wide_is_named(segmenter: Segmenter, scene: Scene) -> None:
    """As one of another program's tree may be."""
    xyz = np.asarray(scene.xyz).copy()
    xyz[5] = 5e7
    with pytest.raises(DataError, match=r"a scene of .* voxels of .* m is too large to index"):
        segmenter.predict_scene(Scene("wide", xyz, scene.rgb, scene.normal))


def test_a_prepared_scene_takes_no_options(segmenter: Segmenter, prepared_root: Path) -> None:
    folder = list_scenes(prepared_root, "val")[0]
    with pytest.raises(UsageError, match="is a prepared scene, in metres with z up"):
        segmenter.predict_scan(folder, unit="mm")


def test_a_device_that_is_none(trained_run: Path) -> None:
    with pytest.raises(UsageError, match="device=tpu: is no device; use auto, cpu or cuda"):
        load_segmenter(trained_run, device="tpu")
