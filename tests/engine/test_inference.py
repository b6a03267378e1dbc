"""Every point gets a prediction, whatever the view, and the prediction is the scene's, not the batch's."""

from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg.config import load_config
from pointseg.engine.inference import Segmenter, load_segmenter
from pointseg.engine.inference.parts import find_grid_origin
from pointseg.engine.inference.views import view_matrices
from pointseg.errors import DataError, UsageError
from pointseg.models import build_network
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene import Scene
from pointseg.taxonomy import load_taxonomy
from tests.conftest import TINY_NETWORK


@pytest.fixture(scope="module")
def segmenter(trained_run: Path) -> Segmenter:
    return load_segmenter(trained_run)


@pytest.fixture(scope="module")
def scene(prepared_root: Path) -> Scene:
    return read_scene(next((prepared_root / "val").iterdir()), load_taxonomy("scannet200"))


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
def test_every_point_is_predicted_and_mostly_right(segmenter: Segmenter, scene: Scene, tta: str) -> None:
    label = segmenter.predict_scene(scene, tta)
    assert label.shape == (scene.num_points,)
    assert label.dtype == np.int64
    assert scene.label is not None
    labelled = scene.label >= 0
    assert (label[labelled] == scene.label[labelled]).mean() > 0.5


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
def test_the_order_of_the_points_does_not_matter(segmenter: Segmenter, scene: Scene, tta: str) -> None:
    order = np.random.default_rng(0).permutation(scene.num_points)
    assert scene.rgb is not None and scene.normal is not None
    shuffled = Scene("shuffled", scene.xyz[order], scene.rgb[order], scene.normal[order])
    different = segmenter.predict_scene(shuffled, tta) != segmenter.predict_scene(scene, tta)[order]
    # `full` takes the points of a voxel in their order; and sums of floats may differ in the last digit.
    assert different.mean() <= (0.02 if tta == "full" else 0.002)


def test_full_covers_each_point_exactly_once_in_each_view(segmenter: Segmenter, scene: Scene) -> None:
    from pointseg.data.points import points_from_scene

    points = points_from_scene(scene, segmenter.config.data.features)
    seen = np.zeros(scene.num_points, dtype=int)
    for voxels, covered in segmenter._coverings.in_turn(points):
        # The voxel's features are those of the very point that it speaks for.
        own = voxels.features[voxels.voxel_of_point[covered]]
        assert torch.equal(own[:, :3], points.xyz[covered])
        seen[covered.numpy()] += 1
    assert (seen == 1).all()


def test_views_are_four_rotations_and_their_mirror_images() -> None:
    assert [len(view_matrices(tta)) for tta in ("none", "rot4", "full")] == [1, 4, 8]
    matrices = torch.stack(view_matrices("full")).round(decimals=5)
    assert len(matrices.unique(dim=0)) == 8
    assert sorted(torch.linalg.det(matrices).round().tolist()) == [-1.0] * 4 + [1.0] * 4
    assert torch.equal(matrices[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(8, 3))


def test_the_python_api_gives_ids_of_the_benchmark(trained_run: Path, segmenter: Segmenter, scene: Scene) -> None:
    loaded = pointseg.load(trained_run)
    ids = loaded.predict(scene.xyz.astype(np.float64), scene.rgb, scene.normal)
    expected = segmenter.taxonomy.class_id_from_label(segmenter.predict_scene(scene))
    np.testing.assert_array_equal(ids, expected)
    # Any array or list: a view that runs backwards, as colours are from BGR to RGB.
    backwards = np.ascontiguousarray(scene.rgb[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(loaded.predict(scene.xyz.tolist(), backwards, scene.normal), expected)
    with pytest.raises(DataError, match=r"xyz is float64 \(\), expected"):
        loaded.predict(1.0)


def test_what_the_network_needs_must_be_there(segmenter: Segmenter, scene: Scene) -> None:
    with pytest.raises(DataError, match="has no rgb, which the network takes as input; export"):
        segmenter.predict(scene.xyz, None, scene.normal)
    with pytest.raises(DataError, match="has no normal"):
        segmenter.predict(scene.xyz, scene.rgb)
    with pytest.raises(DataError, match=r"rgb is float32 .*expected uint8"):
        segmenter.predict(scene.xyz, scene.rgb.astype(np.float32), scene.normal)


@pytest.mark.parametrize("tta", ["none", "full"])
def test_a_network_without_coordinates_among_its_inputs_predicts(scene: Scene, tta: str) -> None:
    """Each prediction form gives it six inputs, not nine."""
    config = load_config("demo", [*TINY_NETWORK, "data.features=[rgb,normal]", "data.voxel_size_m=0.1"])
    cpu = torch.device("cpu")
    label = Segmenter(build_network(config, cpu), config, cpu).predict_scene(scene, tta)
    assert label.shape == (scene.num_points,)


def test_one_point_is_a_scene(segmenter: Segmenter) -> None:
    ids = segmenter.predict(np.zeros((1, 3)), np.zeros((1, 3), np.uint8), np.array([[0.0, 0.0, 1.0]]))
    assert ids.shape == (1,)


def test_an_offset_of_a_map_changes_nothing(segmenter: Segmenter, scene: Scene) -> None:
    """In float32 the second coordinate would move in steps of half a metre."""
    xyz = scene.xyz.astype(np.float64)
    expected = segmenter.predict(xyz, scene.rgb, scene.normal)
    far = xyz + np.array([689123.25, 5335765.5, 520.0])
    np.testing.assert_array_equal(segmenter.predict(far, scene.rgb, scene.normal), expected)
    with pytest.raises(DataError, match="the coordinates of point 3 are not finite"):
        far[3, 1] = np.nan
        segmenter.predict(far, scene.rgb, scene.normal)


@pytest.mark.parametrize("stray", [(1.0, 0.7, -3.0), (22.0, 0.7, 0.5)])
@pytest.mark.parametrize("tta", ["none", "rot4"])
def test_a_stray_changes_nothing_of_the_rest(segmenter: Segmenter, scene: Scene, stray: tuple, tta: str) -> None:
    """A reflection below the floor, a flying pixel: origin and voxels of all other points are what they were."""
    assert scene.rgb is not None
    assert scene.normal is not None
    added = Scene(
        "stray",
        np.vstack([scene.xyz, np.float32([stray])]),
        np.vstack([scene.rgb, scene.rgb[:1]]),
        np.vstack([scene.normal, scene.normal[:1]]),
    )
    different = segmenter.predict_scene(added, tta)[:-1] != segmenter.predict_scene(scene, tta)
    assert different.mean() <= 0.005  # rounding puts a point at the face of a voxel into the next one
    if tta == "none":
        clean, spoiled = segmenter.forward_scene(scene)[0], segmenter.forward_scene(added)[0]
        of_point = [v.features[v.voxel_of_point[: scene.num_points]] for v in (clean, spoiled)]
        assert torch.isclose(*of_point, atol=1e-4).all(dim=1).float().mean() > 0.99


@pytest.mark.parametrize("far_m", [30.0, 4990.0, 1e6])
def test_the_grid_of_a_scene_with_a_stray_begins_whole_voxels_before_it(
    segmenter: Segmenter, scene: Scene, far_m: float
) -> None:
    """In float32 it would begin a part of a voxel beside that from some kilometres on."""
    xyz = torch.from_numpy(np.vstack([scene.xyz, np.float32([[-far_m, 0.7, 0.5]])]))
    origin = find_grid_origin(xyz, segmenter.config, segmenter.network)
    assert origin is not None
    edge_m = segmenter.network.coarsest_voxel * segmenter.config.data.voxel_size_m
    steps = (torch.from_numpy(scene.xyz).amin(dim=0).double() - origin) / edge_m
    torch.testing.assert_close(steps, steps.round(), atol=1e-6, rtol=0)
    assert far_m < steps[0] * edge_m < far_m + 10 and steps[1:].abs().max() < 1e-6


@pytest.mark.parametrize("tta", ["none", "rot4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_with_the_scene(
    trained_run: Path, scene: Scene, tta: str, value: float
) -> None:
    segmenter = load_segmenter(trained_run, device="cpu")
    with torch.no_grad():
        next(reversed(list(segmenter.network.parameters())))[-1] = value
    with pytest.raises(DataError, match=rf"^{scene.name}: the network's logits are not finite, it has diverged; use "):
        segmenter.predict_scene(scene, tta)


@pytest.mark.parametrize(("key", "value"), [("voxel_size_m", 0.3), ("color_range", [-1, 1]), ("center", "extremes")])
def test_a_checkpoint_of_a_run_with_other_inputs_is_refused(
    trained_run: Path, tmp_path: Path, key: str, value: object
) -> None:
    """It would be run on voxels, colours or origins that it was not trained on, under the other run's name."""
    state = torch.load(trained_run / "checkpoints" / "best.pt", weights_only=True)
    own = tmp_path / "own.pt"
    torch.save(state, own)
    load_segmenter(trained_run, own)
    state["config"]["data"][key] = value
    torch.save(state, own)
    with pytest.raises(UsageError, match=rf"own\.pt: was trained with data\.{key} .*, and {trained_run} has"):
        load_segmenter(trained_run, own)
