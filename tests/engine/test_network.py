"""A network of a config: what it says when a GPU is full."""

from pathlib import Path

import pytest
import torch

from pointseg.engine.inference import load_segmenter
from pointseg.errors import DataError, UsageError
from pointseg.models import SparseUNet
from pointseg.predict import main as predict
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train


def _fail(*_: object) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee the documentation.")


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forward pass fails as it does on a GPU without memory."""
    monkeypatch.setattr(SparseUNet, "forward", _fail)


@pytest.mark.usefixtures("full_gpu")
def test_a_batch_without_memory_is_one_line_with_its_sizes_and_ways_out(tiny_overrides: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        train(["--cfg", "demo.yaml", *tiny_overrides])
    message = str(caught.value)
    assert "\n" not in message
    assert "too little memory for 2 scene(s) of " in message
    assert "the largest, scene116" in message
    for way in ("data.scenes_per_batch", "data.max_points", "model.checkpoint_activations=true", "train.amp=fp16"):
        assert way in message


@pytest.mark.usefixtures("full_gpu")
def test_a_scan_without_memory_is_one_line_with_its_name(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(["--run", str(trained_run), "--split", "val", "--out", str(tmp_path / "out")]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "too little memory" in line]
    assert [line.split("the largest, ")[1].split(",")[0] for line in lines] == ["scene11800_00", "scene11801_00"]
    assert all("--device cpu" in line for line in lines)


@pytest.mark.parametrize("place", ["pointseg.data.loader.augment", "pointseg.data.loader.make_batch"])
def test_a_scene_without_memory_is_not_called_damaged(
    place: str, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where scenes are made ready on the GPU, beside the network."""
    monkeypatch.setattr(place, _fail)
    with pytest.raises(
        DataError, match=r"too little memory for the scenes that are made ready; .*data\.device=cpu"
    ) as e:
        train(["--cfg", "demo.yaml", *tiny_overrides])
    assert "\n" not in str(e.value)


def test_a_sum_over_views_without_memory_is_one_line_with_its_scene(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pointseg.engine.inference.pointwise._Sum.add", _fail)
    words = ["--run", str(trained_run), "--split", "val", "--tta", "rot4", "--out", str(tmp_path / "out")]
    assert predict(words) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "too little memory" in line]
    assert [line.split("memory for ")[1].split(",")[0] for line in lines] == ["scene11800_00", "scene11801_00"]


def test_bf16_predicts_nearly_the_same(trained_run: Path, prepared_root: Path) -> None:
    """A label differs now and then, the logits in all points. On a CPU only a caller of PyTorch can ask for it."""
    from pointseg.scans.prepared import read_scene

    segmenter = load_segmenter(trained_run, device="cpu")
    scene = read_scene(next((prepared_root / "val").iterdir()), load_taxonomy("scannet200"))
    exact = segmenter.forward_scene(scene)[1].logits
    with torch.autocast("cpu", torch.bfloat16):
        rounded = segmenter.forward_scene(scene)[1].logits
    assert rounded.dtype == torch.bfloat16
    assert 0 < (exact - rounded).abs().max() < 5e-2 * exact.abs().max()
    assert (exact.argmax(1) == rounded.argmax(1)).float().mean() > 0.95


@pytest.mark.parametrize("key", ["train.amp", "inference.amp"])
def test_training_in_bf16_is_refused_on_a_cpu_before_it_begins(
    key: str, tiny_overrides: list[str], tmp_path: Path
) -> None:
    """It would take several times as long as float32; no folder of a run is begun."""
    with pytest.raises(UsageError, match=rf"^{key}=bf16 needs a GPU: .*set {key} to none$"):
        train(["--cfg", "demo.yaml", *tiny_overrides, "run.device=cpu", f"{key}=bf16"])
    assert not (tmp_path / "run").exists()


def test_predicting_in_bf16_is_refused_on_a_cpu(trained_run: Path) -> None:
    """Whatever the run was trained in, which does not matter for its predictions."""
    with pytest.raises(UsageError, match=r"^inference\.amp=bf16 needs a GPU"):
        load_segmenter(trained_run, device="cpu", amp="bf16")
