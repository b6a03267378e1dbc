"""A transformer in the place of the U-Net: what trains, resumes, predicts and measures knows no difference."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg.engine.trainer import StopRequest
from pointseg.errors import StoppedError
from pointseg.models.volt import Volt
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train

VOLT = ["model.name=volt_s", "model.dim=64", "model.depth=2", "model.decoder_channels=32", "model.drop_path=0.5"]


@pytest.fixture
def overrides(tiny_overrides: list[str]) -> list[str]:
    """For a run of seconds; the U-Net's sizes are not a Volt's."""
    of_unet = ("model.stem_channels", "model.channels", "model.layers")
    kept = [key for key in tiny_overrides if not key.startswith(of_unet)]
    sizes = [f"{key}=null" for key in of_unet]
    return [*kept, *sizes, *VOLT, "optimizer.name=adamw", "optimizer.lr=0.003", "loss.lovasz=1"]


def _losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["kind"] == "train"]


def test_it_learns_with_center_collapse_and_predicts_in_tiles(
    overrides: list[str], prepared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rooms here are four patches long: less than the context of a tile, which is one patch for this test."""
    train(["--cfg", "demo.yaml", *overrides, "train.passes=12", "loss.collapse.weight=0.5"])
    losses = _losses(tmp_path / "run")
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    scene = read_scene(list_scenes(prepared_root, "val")[0], load_taxonomy("scannet200"))
    whole = pointseg.load(tmp_path / "run")
    labels = whole.predict_scene(scene)
    num_voxels = len(whole.forward_scene(scene)[0].coords)
    monkeypatch.setattr(Volt, "context", 1)
    tiled = pointseg.load(tmp_path / "run", max_voxels=num_voxels - 1)
    sizes: list[int] = []
    tiled.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    of_tiles = tiled.predict_scene(scene)
    assert len(sizes) >= 2
    assert max(sizes) < num_voxels
    assert float(np.mean(labels[scene.label >= 0] == scene.label[scene.label >= 0])) > 0.4
    assert 0.6 < float(np.mean(of_tiles == labels)) <= 1


def test_a_resumed_run_is_the_same(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(["--cfg", "demo.yaml", *overrides])
    stopped = [*overrides, f"run.dir={tmp_path / 'stopped'}"]
    with monkeypatch.context() as patch:
        steps = iter(range(100))
        patch.setattr(StopRequest, "requested", property(lambda _: next(steps) >= 3, lambda *_: None), raising=False)
        with pytest.raises(StoppedError):
            train(["--cfg", "demo.yaml", *stopped])
    train(["--cfg", "demo.yaml", *stopped, "--resume"])
    assert _losses(tmp_path / "stopped") == _losses(tmp_path / "run")
    weights = [torch.load(tmp_path / run / "checkpoints" / "last.pt")["model"] for run in ("run", "stopped")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
