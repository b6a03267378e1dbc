"""Published Volt checkpoints to runs, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

import pointseg
from pointseg.config import load_config
from pointseg.convert import main as convert
from pointseg.errors import DataError, UsageError
from pointseg.scans.scene import Scene
from tests.models.published_volt_files import literal_volt, published_volt_state

JOINT = {"ScanNet": 20, "ScanNet200": 200, "ScanNet++": 100}


def _write(path: Path, state: dict[str, torch.Tensor], **others: object) -> Path:
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}, **others}, path)
    return path


def _scene() -> Scene:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400, 3)).astype(np.float32)
    return Scene(
        name="room",
        xyz=(rng.random((400, 3)) * (0.5, 0.4, 0.3)).astype(np.float32),
        rgb=rng.integers(0, 256, (400, 3)).astype(np.uint8),
        normal=normal / np.linalg.norm(normal, axis=1, keepdims=True),
    )


@pytest.mark.parametrize("color_range", [None, "0,1", "-1,1"])
def test_a_converted_run_computes_what_the_literal_network_does(color_range: str | None, tmp_path: Path) -> None:
    """Colours of before Pointcept 1.6.0 lie in -1..1."""
    state = published_volt_state()
    options = [] if color_range is None else [f"--color-range={color_range}"]
    convert([str(_write(tmp_path / "volt.pth", state)), "--out", str(tmp_path / "run"), *options])
    voxels, output = pointseg.load(tmp_path / "run").forward_scene(_scene())
    features = voxels.features.clone()
    if color_range == "-1,1":
        assert float(features[:, :3].min()) < -0.9
    else:
        assert float(features[:, :3].min()) >= 0 and float(features[:, :3].max()) <= 1
    expected = literal_volt(state, features, voxels.coords)
    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-4)


def test_the_wanted_classifier_of_several_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = published_volt_state(heads=JOINT)
    file = str(_write(tmp_path / "joint.pth", state))
    with pytest.raises(UsageError, match=r"3 classifiers, ScanNet \(20 classes\), ScanNet200 \(200 classes\).*--head"):
        convert([file, "--out", str(tmp_path / "run")])
    with pytest.raises(UsageError, match="has no classifier Matterport; give --head one of ScanNet "):
        convert([file, "--out", str(tmp_path / "run"), "--head", "Matterport"])
    assert not (tmp_path / "run").exists()
    convert([file, "--out", str(tmp_path / "run"), "--head", "ScanNet200"])
    assert "the classifier ScanNet200, and not ScanNet (20 classes), ScanNet++ (100" in capsys.readouterr().out
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt")["model"]
    assert torch.equal(weights["head.weight"], state["seg_heads.ScanNet200.weight"])
    with pytest.raises(DataError, match=r"100 classes, expected 20 or 200 \(ScanNet\)"):
        convert([file, "--out", str(tmp_path / "other"), "--head", "ScanNet++"])


def test_its_recipe_is_that_of_a_volt_without_a_teacher(tmp_path: Path) -> None:
    """It has learned from one already; and a run has to train where no teacher's run is."""
    run = tmp_path / "run"
    convert([str(_write(tmp_path / "volt.pth", published_volt_state())), "--out", str(run)])
    config, recipe = load_config(str(run / "config.yaml")), load_config("scannet200_volt")
    for section in ("augment", "optimizer", "train", "inference"):
        assert getattr(config, section) == getattr(recipe, section)
    assert (config.distill.run, config.loss.collapse.weight) == (None, 0)
    assert (config.loss.lovasz, config.loss.label_smoothing) == (1.0, 0.1)


def test_averaged_weights_are_taken_where_there_are_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, averaged = published_volt_state(seed=0), published_volt_state(seed=1)
    ema = {f"module.{name}": value for name, value in averaged.items()}
    convert([str(_write(tmp_path / "volt.pth", last, ema_state_dict=ema)), "--out", str(tmp_path / "run")])
    assert "averaged over training (ema_state_dict)" in capsys.readouterr().out
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt")["model"]
    assert torch.equal(weights["tokenizer.proj.weight"], averaged["backbone.tokenizer.proj.weight"])


@pytest.mark.parametrize("averaged", [None, {}])
def test_no_averaged_weights_are_none(averaged: object, tmp_path: Path) -> None:
    state = published_volt_state()
    file = _write(tmp_path / "volt.pth", state, ema_state_dict=averaged)
    convert([str(file), "--out", str(tmp_path / "run")])
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt")["model"]
    assert torch.equal(weights["head.weight"], state["seg_heads.Default.weight"])


@pytest.mark.parametrize("averaged", [torch.zeros(3), [1, 2], "0.999", {"decay": 0.999}])
def test_averages_that_are_no_weights_are_refused(averaged: object, tmp_path: Path) -> None:
    """Not skipped: who averaged weights wants those."""
    file = _write(tmp_path / "volt.pth", published_volt_state(), ema_state_dict=averaged)
    with pytest.raises(DataError, match="holds no weights"):
        convert([str(file), "--out", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == [file]


def test_file_to_run_to_file_to_run_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    file = _write(tmp_path / "volt.pth", published_volt_state())
    convert([str(file), "--out", str(tmp_path / "first")])
    convert([str(tmp_path / "first"), "--out", str(tmp_path / "back.pth")])
    names = torch.load(tmp_path / "back.pth")["state_dict"].keys()
    assert names == {f"module.{name}" for name in published_volt_state() if not name.startswith("distill_heads")}
    convert([str(tmp_path / "back.pth"), "--out", str(tmp_path / "second")])
    first, second = (torch.load(tmp_path / run / "checkpoints" / "last.pt")["model"] for run in ("first", "second"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("backbone.blocks.1.attn.qkv.bias", "lost", r"blocks\.1\.attn\.qkv\.bias is missing"),
        ("backbone.decoder.unembed.proj.weight", "cut", r"unembed\.proj\.weight is \(999, 8\), expected \(1000, 8\)"),
        ("backbone.blocks.0.norm1.weight", "nan", r"blocks\.0\.norm1\.weight has values that are not finite"),
        ("backbone.blocks.0.ls1.gamma", "more", r"blocks\.0\.ls1\.gamma is not of this network"),
        ("seg_heads.Default.weight", "lost", "has no seg_heads, and so no classifier"),
    ],
)
def test_each_misfit_is_named_and_nothing_is_written(name: str, change: str, message: str, tmp_path: Path) -> None:
    state = published_volt_state()
    if change == "lost":
        del state[name]
    elif change == "more":
        state[name] = torch.ones(64)
    else:
        state[name] = state[name][1:] if change == "cut" else state[name] * float("nan")
    with pytest.raises(DataError, match=message):
        convert([str(_write(tmp_path / "volt.pth", state)), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_unet_has_no_named_classifiers(tmp_path: Path) -> None:
    from tests.models.published_files import published_state

    torch.save({"state_dict": published_state()}, tmp_path / "unet.pth")
    with pytest.raises(UsageError, match="has one classifier, without a name; leave --head out"):
        convert([str(tmp_path / "unet.pth"), "--out", str(tmp_path / "run"), "--head", "Default"])
