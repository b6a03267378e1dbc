"""A scene over the voxel budget, in tiles: as the whole scene, whatever their order, in memory that has a bound."""

import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
import pointseg.data.tiles
from pointseg.benchmarks.child import Child
from pointseg.benchmarks.memory import peak_memory_gib
from pointseg.config import load_config
from pointseg.data.points import Points
from pointseg.data.voxelize import Voxels
from pointseg.engine.evaluation import evaluate_scenes, new_statistics
from pointseg.engine.inference import TTA, Segmenter, load_segmenter, pointwise
from pointseg.engine.inference.views import view_matrices
from pointseg.errors import UsageError
from pointseg.models import NetworkOutput, build_network
from pointseg.preparation.prepared_source import write_scene
from pointseg.processes import Processes
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE
from tests.conftest import TINY_NETWORK

CPU = torch.device("cpu")
BUDGET = 4000


@pytest.fixture(scope="module")
def corridor() -> Scene:
    """Points of the four classes of the other tests' boxes, along 30 m: 300 voxels of the network's 10 cm.

    Of each four slices of voxels the first is empty, but for the very first: tiles begin in the middle of a pooled one.
    """
    rng = np.random.default_rng(0)
    xyz = (rng.random((15_000, 3)) * (30.0, 1.5, 1.0)).astype(np.float32)
    voxel = np.floor((xyz[:, 0] - xyz[:, 0].min()) / 0.1)
    xyz = xyz[(voxel % 4 > 0) | (voxel == 0)]
    label = (xyz[:, 2] * 4).astype(np.int64)
    rgb = np.clip(rng.normal(40 + 50 * label[:, None], 15, xyz.shape), 0, 255).astype(np.uint8)
    normal = rng.normal(size=xyz.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return Scene("corridor", xyz, rgb, normal.astype(np.float32), label)


@pytest.fixture(scope="module")
def whole(trained_run: Path) -> Segmenter:
    return load_segmenter(trained_run, max_voxels=None)


@pytest.fixture(scope="module")
def tiled(trained_run: Path) -> Segmenter:
    return load_segmenter(trained_run, max_voxels=BUDGET)


def _labelled_output(segmenter: Segmenter, scene: Scene) -> tuple[np.ndarray, torch.Tensor, int]:
    """Labels of the points, logits (M, K) of the voxels with a label in a fixed order, and the number of passes."""
    shown: list[tuple[torch.Tensor, torch.Tensor]] = []

    def observer(voxels: Voxels, output: NetworkOutput) -> None:
        counted = voxels.label != IGNORE
        shown.append((voxels.features[counted], output.logits[counted]))

    label = segmenter.predict_scene(scene, observer=observer)
    inputs = torch.cat([features for features, _ in shown])
    # The inputs of a voxel are the same in a tile as in the scene, to the last bit, and no two voxels share them.
    order = inputs.unique(dim=0, return_inverse=True)[1].argsort()
    return label, torch.cat([logits for _, logits in shown])[order], len(shown)


def test_with_a_margin_beyond_the_receptive_field_tiles_change_nothing(
    tiled: Segmenter, whole: Segmenter, corridor: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network sees 23 voxels far: 2 in the stem, 4 + 8 in the encoder, 4 + 2 in the decoder, 3 by pooling."""
    expected, expected_logits, num_passes = _labelled_output(whole, corridor)
    assert num_passes == 1
    monkeypatch.setattr(tiled.network, "context", 6)  # of 4 voxels
    label, logits, num_passes = _labelled_output(tiled, corridor)
    assert num_passes >= 4
    np.testing.assert_array_equal(label, expected)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-4)

    # Not because the network looks no farther than a voxel.
    monkeypatch.setattr(tiled.network, "context", 1)
    assert (_labelled_output(tiled, corridor)[1] - expected_logits).abs().max() > 1e-2


@pytest.mark.parametrize("tta", ["none", "rot4", "full"])
def test_nearly_all_labels_are_those_of_the_whole_scene(
    tiled: Segmenter, whole: Segmenter, corridor: Scene, tta: str
) -> None:
    label = tiled.predict_scene(corridor, tta)
    assert label.shape == (corridor.num_points,)
    assert (label == whole.predict_scene(corridor, tta)).mean() > 0.999


def test_without_context_more_labels_differ(
    tiled: Segmenter, whole: Segmenter, corridor: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the margin is for, and that the test above can fail."""
    monkeypatch.setattr(tiled.network, "context", 0)
    assert (tiled.predict_scene(corridor) == whole.predict_scene(corridor)).mean() < 0.999


@pytest.mark.parametrize("tta", ["none", "full"])
def test_a_scene_within_the_budget_is_predicted_to_the_bit_as_without(
    trained_run: Path, whole: Segmenter, corridor: Scene, tta: str
) -> None:
    """Also where the budget is below its points, so that its voxels have to be counted."""
    num_voxels = len(whole.forward_scene(corridor)[0].coords)
    assert num_voxels < corridor.num_points
    sums = []
    for segmenter in (whole, load_segmenter(trained_run, max_voxels=num_voxels)):
        with pytest.MonkeyPatch.context() as patch:
            logits: list[torch.Tensor] = []
            forward = segmenter._pointwise._forward

            def keep(voxels: Voxels, name: str, forward=forward, logits: list[torch.Tensor] = logits) -> NetworkOutput:
                output = forward(voxels, name)
                logits.append(output.logits)
                return output

            patch.setattr(segmenter._pointwise, "_forward", keep)
            label = segmenter.predict_scene(corridor, tta)
        sums.append((label, logits))
    np.testing.assert_array_equal(sums[0][0], sums[1][0])
    assert len(sums[0][1]) == len(sums[1][1])
    assert all(torch.equal(*pair) for pair in zip(sums[0][1], sums[1][1], strict=True))


@pytest.mark.parametrize("tta", ["none", "rot4"])
def test_the_order_of_the_tiles_does_not_matter(
    tiled: Segmenter, corridor: Scene, tta: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiled.predict_scene(corridor, tta)
    in_order = pointseg.data.tiles.cut_tiles
    monkeypatch.setattr(pointseg.data.tiles, "cut_tiles", lambda *args, **kwargs: [*in_order(*args, **kwargs)][::-1])
    np.testing.assert_array_equal(tiled.predict_scene(corridor, tta), expected)


@pytest.mark.parametrize("tta", ["rot4", "full"])
def test_one_view_is_in_memory_at_a_time(
    tiled: Segmenter, corridor: Scene, tta: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view is made after the last forward pass of the one before, all views of a tile before the next tile."""
    views: list[weakref.ref] = []
    events: list[str] = []
    in_memory: list[int] = []
    transform = pointwise.transform

    def make_view(points: Points, matrix: torch.Tensor) -> Points:
        view = transform(points, matrix)
        views.append(weakref.ref(view))
        events.append("view")
        return view

    def forward(*_: object) -> None:
        events.append("forward")
        in_memory.append(sum(view() is not None for view in views))

    monkeypatch.setattr(pointwise, "transform", make_view)
    handle = tiled.network.register_forward_hook(forward)
    tiled.predict_scene(corridor, tta)
    handle.remove()
    num_tiles = len(views) // len(view_matrices(tta))
    assert num_tiles >= 3
    assert len(views) == num_tiles * len(view_matrices(tta))
    assert max(in_memory) == 1
    assert "view view" not in " ".join(events)


def test_every_point_is_covered_once_in_each_view_of_a_tile(
    tiled: Segmenter, corridor: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean over the views of a point is that of eight probabilities: all rows of a tile's mean sum to 1."""
    rows: list[torch.Tensor] = []
    argmax = torch.Tensor.argmax
    monkeypatch.setattr(torch.Tensor, "argmax", lambda self, dim: (rows.append(self.sum(1)), argmax(self, dim=dim))[1])
    tiled.predict_scene(corridor, "full")
    sums = torch.cat(rows)
    assert len(sums) == corridor.num_points
    torch.testing.assert_close(sums, torch.ones_like(sums))


def _write(corridor: Scene, root: Path) -> Path:
    label = np.asarray(corridor.label)
    arrays = {"coord": corridor.xyz, "color": corridor.rgb, "normal": corridor.normal}
    write_scene(root / "val" / "corridor", {**arrays, "segment200": label, "instance": label}, source={})
    return root / "val" / "corridor"


def test_features_of_each_voxel_are_counted_once(
    tiled: Segmenter, whole: Segmenter, corridor: Scene, tmp_path: Path
) -> None:
    folder = _write(corridor, tmp_path)
    alone = Processes(0, 1, CPU)
    gathered, scores = [], []
    for segmenter in (whole, tiled):
        statistics = new_statistics(segmenter)
        scores.append(evaluate_scenes(segmenter, [folder], "none", alone, quiet=True, statistics=statistics))
        gathered.append(statistics)
        plain = evaluate_scenes(segmenter, [folder], "none", alone, quiet=True)
        assert plain == scores[-1]
    assert torch.equal(gathered[0].counts, gathered[1].counts)
    torch.testing.assert_close(gathered[0].centers, gathered[1].centers, rtol=0.01, atol=0.01)
    assert scores[0]["miou"] == pytest.approx(scores[1]["miou"], abs=0.01)
    assert "in tiles" not in scores[0]["protocol"]
    assert f"scenes of more than {BUDGET} voxels in tiles" in scores[1]["protocol"]


def test_a_budget_too_small_for_the_network_is_one_line(trained_run: Path, corridor: Scene) -> None:
    with pytest.raises(UsageError, match=r"corridor: can't be cut into tiles of 1 voxels with 8 voxels of context"):
        load_segmenter(trained_run, max_voxels=1).predict_scene(corridor)


def test_one_point_is_within_any_budget(trained_run: Path) -> None:
    segmenter = load_segmenter(trained_run, max_voxels=1)
    point = Scene("point", *(array[:1] for array in (np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8))))
    point.normal = np.array([[0, 0, 1]], np.float32)
    for tta in TTA:
        assert segmenter.predict_scene(point, tta).shape == (1,)


@pytest.mark.parametrize("max_voxels", [0, -5, 2.5, "many"])
def test_a_budget_that_is_none_is_refused(trained_run: Path, max_voxels: object) -> None:
    with pytest.raises(UsageError, match="inference.max_voxels: ") as error:
        pointseg.load(trained_run, max_voxels=max_voxels)
    assert "\n" not in str(error.value)


def _storey(num_points: int) -> np.ndarray:
    """(N, 3) float32: floor and walls of a storey with a room every four metres, a point every two centimetres."""
    side = int(np.sqrt(num_points / 2))
    x, y = (grid.ravel() for grid in np.indices((side, side)))
    along, up = (grid.ravel() for grid in np.indices((side, 100)))
    parts = [np.stack([x, y, np.zeros_like(x)], axis=1)]
    for wall in range(0, side, 200):
        across = np.full_like(along, wall)
        parts += [np.stack([across, along, up], axis=1), np.stack([along, across, up], axis=1)]
    return (0.02 * (np.concatenate(parts) + 0.3)).astype(np.float32)


class _Prediction:
    """A network of random weights on a storey, in a process of its own."""

    def __init__(self, num_points: int, tta: str, overrides: list[str]) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        config = load_config("demo", overrides)
        self.segmenter = Segmenter(build_network(config, CPU), config, CPU)
        xyz = _storey(num_points)
        up = np.tile(np.float32([0, 0, 1]), (len(xyz), 1))
        self.scene = Scene("storey", xyz, np.random.default_rng(0).integers(0, 256, xyz.shape, np.uint8), up)
        self.tta = tta

    def measure(self) -> tuple[int, float]:
        """Points that were predicted, and the peak of resident memory, GiB."""
        label = self.segmenter.predict_scene(self.scene, self.tta)
        assert ((label >= 0) & (label < 200)).all()
        return len(label), peak_memory_gib(CPU)


def _measure(num_points: int, tta: str, *overrides: str) -> float:
    with Child("a storey", _Prediction, num_points, tta, list(overrides)) as child:
        num_predicted, peak_gib = child.call("measure")
    print(f"{num_predicted:,} points, tta {tta}, {' '.join(overrides)}: {peak_gib:.2f} GiB")
    assert num_predicted >= num_points
    return peak_gib


@pytest.mark.slow
def test_memory_is_that_of_a_tile_not_of_the_scene() -> None:
    """The demo's network on as many voxels as points: without tiles it is 0.7 GiB, of that 0.25 for PyTorch."""
    assert _measure(250_000, "none", "data.voxel_size_m=0.02", "inference.max_voxels=80000") < 0.6


@pytest.mark.slow
def test_the_sum_over_views_is_that_of_a_tile_s_points() -> None:
    """A small network on 20 points a voxel, 200 classes: with the probabilities of all points it is 1.0 GiB."""
    overrides = [*TINY_NETWORK, "data.voxel_size_m=0.1"]
    assert _measure(600_000, "rot4", *overrides, "inference.max_voxels=8000") < 0.6


@pytest.mark.slow
@pytest.mark.skipif(
    "POINTSEG_LARGE_SCENE" not in os.environ, reason="takes minutes; set POINTSEG_LARGE_SCENE to none, rot4 or full"
)
def test_five_million_points_need_less_than_six_gigabytes() -> None:
    """With the default budget, on a CPU; without tiles, at 2.2 kB a voxel, it would be about 11 GiB."""
    assert _measure(5_000_000, os.environ["POINTSEG_LARGE_SCENE"], "data.voxel_size_m=0.02") < 6e9 / 2**30
