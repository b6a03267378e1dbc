"""A published checkpoint becomes a run that computes the same, or is refused with every misfit by name; and back."""

import io
import json
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pointseg.config import load_config
from pointseg.convert import main as convert
from pointseg.engine.inference import load_segmenter
from pointseg.errors import DataError, UsageError
from pointseg.evaluate import main as evaluate
from pointseg.models.published import name_published, read_published
from pointseg.predict import main as predict
from pointseg.runs.checkpoint import save_checkpoint
from pointseg.runs.directory import RunDirectory
from pointseg.scans.scene import Scene
from pointseg.sparse import SparseConvTensor, SubMConv3d
from pointseg.taxonomy import load_taxonomy
from pointseg.train import main as train
from tests.models.published_files import CHANNELS, LAYERS, STEM, BareNetwork, published_state
from tests.models.published_volt_files import published_volt_state

PREFIXES = ("", "module.", "backbone.", "module.backbone.", "backbone.module.")
FEATURES = {6: ("rgb", "normal"), 9: ("xyz", "rgb", "normal")}


def write_file(path: Path, state: dict[str, Any], prefix: str = "module.backbone.") -> Path:
    torch.save({"state_dict": {prefix + name: value for name, value in state.items()}}, path)
    return path


def convert_state(folder: Path, state: dict[str, Tensor], *options: str, prefix: str = "module.backbone.") -> Path:
    """The run made of a published file with these weights."""
    convert([str(write_file(folder / "file.pth", state, prefix)), "--out", str(folder / "run"), *options])
    return folder / "run"


def weights_of(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["model"]


def assert_same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].dtype == value.dtype, name
        assert torch.equal(got[name], value), name


def make_scene(num_points: int = 1500) -> Scene:
    """Points in a box whose three edges differ, on no regular pattern."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(num_points, 3))
    return Scene(
        name="box",
        xyz=(rng.random((num_points, 3)) * (1.3, 0.8, 0.45)).astype(np.float32),
        rgb=rng.integers(0, 256, (num_points, 3), dtype=np.uint8),
        normal=(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
    )


# What is computed


@pytest.mark.needs("spconv")
@pytest.mark.usefixtures("spconv_on_cpu")
@pytest.mark.parametrize(("in_channels", "num_classes"), [(6, 20), (9, 200)])
def test_a_converted_run_computes_what_bare_spconv_does(in_channels: int, num_classes: int, tmp_path: Path) -> None:
    """Four stages; from the points of a scene, through voxels and folded batch norm. Other axes give other numbers."""
    state = published_state(
        in_channels, num_classes, channels=(8, 12, 16, 20, 18, 14, 12, 10), layers=(1, 2, 1, 1, 1, 1, 2, 1)
    )
    segmenter = load_segmenter(convert_state(tmp_path, state, "--voxel-size", "0.05"), device="cpu")
    voxels, output = segmenter.forward_scene(make_scene())
    assert sorted(voxels.coords.amax(0).tolist()) == [8, 15, 25]
    assert voxels.features.shape[1] == in_channels

    bare = BareNetwork(state)
    want = bare(voxels.features, voxels.coords)
    scale = want.abs().max()
    assert (output.logits - want).abs().max() <= 1e-4 * scale

    turned = bare(voxels.features, voxels.coords[:, [2, 1, 0]])
    assert (turned - want).abs().max() > 0.05 * scale
    # Kernels turned as well: the same again, so it is the order of the axes that made the difference.
    kernels = {name: value.transpose(1, 3) if value.dim() == 5 else value for name, value in state.items()}
    both = BareNetwork(kernels)(voxels.features, voxels.coords[:, [2, 1, 0]])
    assert (both - want).abs().max() <= 1e-4 * scale


@pytest.mark.needs("spconv")
@pytest.mark.usefixtures("spconv_on_cpu")
@pytest.mark.parametrize("name", ["final", "dec.0.block0.proj.0"])
def test_a_1x1x1_weight_is_an_in_out_matrix_in_memory(name: str) -> None:
    """As spconv reads it and as we do, although its shape says (out, 1, 1, 1, in)."""
    import spconv.pytorch as spconv

    state = published_state()
    weight = state[f"{name}.weight"]
    bias = state.get(f"{name}.bias", torch.zeros(weight.shape[0]))
    (outputs, *kernel, inputs), features = weight.shape, torch.randn(50, weight.shape[-1])
    assert kernel == [1, 1, 1]
    assert outputs != inputs
    cells = torch.stack([torch.arange(50) * 0, torch.arange(50), torch.arange(50) % 3, torch.arange(50) % 7], 1).int()
    theirs = BareNetwork(state).get_submodule(name)(spconv.SparseConvTensor(features, cells, [50, 3, 7], 1)).features
    layer = SubMConv3d(inputs, outputs, kernel_size=1, bias=True)
    layer.load_state_dict({"weight": weight, "bias": bias})
    ours = layer(SparseConvTensor(features, cells, (50, 3, 7), 1)).features
    torch.testing.assert_close(theirs, features @ weight.view(inputs, outputs) + bias)
    torch.testing.assert_close(ours, theirs)
    as_its_shape_says = features @ weight.view(outputs, inputs).T + bias
    assert (as_its_shape_says - theirs).abs().max() > 0.1


# What is found in a file


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_prefix_is_stripped_and_every_weight_taken_as_it_is(prefix: str, tmp_path: Path) -> None:
    state = published_state()
    run = convert_state(tmp_path, state, prefix=prefix)
    assert_same(weights_of(run / "checkpoints" / "last.pt"), state)


@pytest.mark.parametrize("in_channels", [6, 9])
@pytest.mark.parametrize("num_classes", [20, 200])
def test_inputs_classes_and_sizes_are_read_off_the_shapes(
    in_channels: int, num_classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = published_state(in_channels, num_classes)
    run = convert_state(tmp_path, state, "--data-root", "some: where", "--voxel-size", "0.03")
    config = load_config(str(run / "config.yaml"))
    assert config.taxonomy == f"scannet{num_classes}"
    assert config.data.features == FEATURES[in_channels]
    assert (config.data.root, config.data.voxel_size_m) == ("some: where", 0.03)
    assert (config.model.stem_channels, config.model.channels, config.model.layers) == (STEM, CHANNELS, LAYERS)
    assert config.loss.collapse.weight == 0
    assert config.run.dir == str(run)
    recipe = load_config({6: "scannet200_teacher", 9: "scannet200"}[in_channels])
    for section in ("augment", "optimizer", "train", "inference"):
        assert getattr(config, section) == getattr(recipe, section)

    shown = capsys.readouterr().out
    num_parameters = sum(v.numel() for k, v in state.items() if "running" not in k and "num_batches" not in k)
    for part in (
        f"a SpUNet-v1m1 of {num_parameters:,} parameters",
        f"{in_channels} inputs: {', '.join(FEATURES[in_channels])}",
        f"{num_classes} classes: scannet{num_classes}",
        "voxels of 0.03 m (--voxel-size: of another size)",
        "stem 6, channels 8 12 | 10 14, blocks 1 2 | 2 1",
        f"pointseg evaluate --run {run}",
        f"pointseg train --cfg {run}/config.yaml run.dir={run}-finetuned model.init={run}",
    ):
        assert part in shown


def test_the_published_size_is_spunet34(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And 2 cm voxels of data/scannet, unless another thing is said."""
    state = published_state(9, 200, 32, (32, 64, 128, 256, 256, 128, 96, 96), (2, 3, 4, 6, 2, 2, 2, 2))
    config = load_config(str(convert_state(tmp_path, state) / "config.yaml"))
    assert config.model.name == "spunet34"
    assert config.model.channels == (32, 64, 128, 256, 256, 128, 96, 96)
    assert (config.data.root, config.data.voxel_size_m) == ("data/scannet", 0.02)
    assert "39,187,304 parameters" in capsys.readouterr().out


def test_old_files_without_batch_counters_get_zeros_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = published_state()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    run = convert_state(tmp_path, old)
    want = {name: value * (0 if name.endswith("num_batches_tracked") else 1) for name, value in state.items()}
    assert_same(weights_of(run / "checkpoints" / "last.pt"), want)
    assert f"{len(state) - len(old)} num_batches_tracked are not in the file and became 0" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_becomes_float32_and_it_is_said(dtype: torch.dtype) -> None:
    """Also where a tensor lies in memory in another order than its shape."""
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in published_state().items()}
    strided = {k: v.transpose(0, 4).contiguous().transpose(0, 4) if v.dim() == 5 else v for k, v in state.items()}
    network = read_published(strided, "file")
    assert_same(network.weights, {k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    assert all(value.is_contiguous() for value in network.weights.values())
    assert network.remarks == (f"weights of {str(dtype).removeprefix('torch.')} became float32",)


@pytest.mark.parametrize("numpy_core", ["core", "_core"])
def test_optimizer_epoch_and_a_score_of_numpy_may_stand_beside_the_weights(numpy_core: str, tmp_path: Path) -> None:
    """NumPy 1 wrote its numbers under another name than NumPy 2; both are read under either."""
    module = nn.Linear(2, 2)
    content = {
        "epoch": 3,
        "state_dict": {f"module.backbone.{name}": value for name, value in published_state().items()},
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9).state_dict(),
        "best_metric_value": np.float64(0.75),
        "counts": [np.float32(1.0), np.int64(2), np.bool_(True)],
    }
    torch.save(content, tmp_path / "saved.pth")
    with zipfile.ZipFile(tmp_path / "saved.pth") as saved, zipfile.ZipFile(tmp_path / "file.pth", "w") as file:
        for name in saved.namelist():
            content_bytes = saved.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray\nscalar\n" in content_bytes or np.__version__.startswith("1")
                for core in (b"numpy._core.multi", b"numpy.core.multi"):
                    content_bytes = content_bytes.replace(core, f"numpy.{numpy_core}.multi".encode())
            file.writestr(name, content_bytes)
    convert([str(tmp_path / "file.pth"), "--out", str(tmp_path / "run")])
    assert_same(weights_of(tmp_path / "run" / "checkpoints" / "last.pt"), published_state())


def test_a_bare_state_dict_is_a_file_too(tmp_path: Path) -> None:
    torch.save(published_state(), tmp_path / "bare.pth")
    convert([str(tmp_path / "bare.pth"), "--out", str(tmp_path / "run")])
    assert_same(weights_of(tmp_path / "run" / "checkpoints" / "last.pt"), published_state())


# What is refused


def test_every_misfit_is_named_in_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    """A tensor of another shape does not mislead the size that all others agree on."""
    state: dict[str, Any] = {f"module.backbone.{name}": value for name, value in published_state().items()}
    del state["module.backbone.down.0.0.weight"], state["module.backbone.final.bias"]
    del state["module.backbone.conv_input.0.weight"]
    state["module.backbone.seg_head.weight"] = torch.zeros(20, 14)
    state["module.backbone.enc.1.block7x.conv1.weight"] = torch.zeros(1)
    state["module.backbone.down.1.0.weight"] = torch.zeros(13, 2, 2, 2, 8)
    state["module.backbone.dec.0.block0.bn1.running_var"][0] = float("nan")
    state["module.backbone.dec.1.block0.bn1.weight"] = [1.0] * 10
    state["module.backbone.dec.1.block1.bn2.weight"] = torch.ones(10, dtype=torch.int32)
    state["module.up.0.1.bias"] = torch.zeros(14)
    torch.save({"state_dict": state}, tmp_path / "file.pth")
    with pytest.raises(DataError) as caught:
        convert([str(tmp_path / "file.pth"), "--out", str(tmp_path / "run")])
    message = str(caught.value)
    assert "\n" not in message
    before, _, rest = message.partition("blocks 1 2 | 2 1: ")
    assert before.endswith("file.pth: 10 weights do not fit a SpUNet-v1m1 of stem 6, channels 8 12 | 10 14, ")
    assert rest.removesuffix("; give a whole checkpoint of that network").split("; ") == [
        "conv_input.0.weight is missing",
        "dec.0.block0.bn1.running_var has values that are not finite",
        "dec.1.block0.bn1.weight is no tensor but list",
        "dec.1.block1.bn2.weight is torch.int32, expected torch.float32",
        "down.0.0.weight is missing",
        "down.1.0.weight is (13, 2, 2, 2, 8), expected (12, 2, 2, 2, 8)",
        "enc.1.block7x.conv1.weight is not of this network",
        "final.bias is missing",
        "seg_head.weight is not of this network",
        "up.0.1.bias is there twice, once as module.up.0.1.bias",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]


@pytest.mark.parametrize("change", ["lost", "other shape", "renamed"])
def test_no_single_misfit_is_overlooked(change: str) -> None:
    """Whichever weight it is; only a lost counter is none."""
    sizes: dict[str, Any] = {"channels": (4, 4), "layers": (1, 1), "stem": 4}
    for name in published_state(**sizes):
        state = published_state(**sizes)
        value = state.pop(name)
        if change == "lost" and name.endswith("num_batches_tracked"):
            assert read_published(state, "file").weights[name] == 0
            continue
        if change == "other shape":
            state[name] = torch.cat([value.reshape(-1, *value.shape[1:])] * 2)
        if change == "renamed":
            state[f"{name}_"] = value
        with pytest.raises(DataError, match=rf"file: [12] weights do not fit .*: {name}_? is "):
            read_published(state, "file")


@pytest.mark.parametrize("state", [published_state(), published_volt_state()], ids=["unet", "volt"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda value: value.to(torch.complex64), "is torch.complex64, expected torch.float32"),
        (lambda value: value.int(), "is torch.int32, expected torch.float32"),
        (lambda value: value.to_sparse(), "is torch.sparse_coo on cpu, expected plain numbers"),
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "is torch.qint8, expected"),
        (lambda value: value.to("meta"), "is torch.strided on meta, expected plain numbers"),
        (lambda value: torch.nested.nested_tensor([value.flatten(), value.flatten()[1:]]), "is no tensor but tuple"),
        (lambda value: value * torch.nan, "has values that are not finite"),
        (lambda value: value.double() * 1e300, "has values that are not finite"),
        (lambda value: value.flatten()[:1].clone().expand(value.shape), "repeats its numbers"),
        (lambda value: value.flatten()[0], r"is \(\), expected"),
        (lambda value: None, "is no tensor but NoneType"),
        (lambda value: value.numpy(), "is no tensor but ndarray"),
    ],
)
def test_a_tensor_of_another_kind_is_named(
    state: dict[str, Tensor], spoil: Callable[[Tensor], object], message: str
) -> None:
    """In any place, also where the size of the network is read off."""
    for name, value in state.items():
        if not value.is_floating_point() or value.dim() < 2 or name.startswith("distill_heads"):
            continue
        with pytest.raises((DataError, UsageError)) as caught:
            read_published({**state, name: spoil(value)}, "file.pth")
        text = str(caught.value)
        # What the size is read off may also end it: then the file is no such network.
        own = name.removeprefix("backbone.").replace("seg_heads.Default", "head")
        assert re.search(rf"{re.escape(own)} {message}", text) or re.search("is no Volt|has no seg_heads", text)
        assert "\n" not in text


def test_a_small_file_of_a_huge_network_takes_no_memory() -> None:
    """A million inputs and channels of one number: 4 TB, if anybody looked at each."""
    state = {**published_volt_state(), "backbone.tokenizer.proj.weight": torch.zeros(1).expand(10**6, 10**6)}
    with pytest.raises(DataError, match="tokenizer.proj.weight repeats its numbers"):
        read_published(state, "file.pth")


def test_another_network_is_none_of_ours() -> None:
    with pytest.raises(DataError, match=r"file: is no SpUNet-v1m1, nothing in it is named down\.0 or enc\.0, up\.0"):
        read_published({"module.backbone.embedding.stem.weight": torch.zeros(3)}, "file")
    state = {k: v for k, v in published_state().items() if not k.startswith(("up.1.", "dec.1."))}
    with pytest.raises(DataError, match=r"nothing in it is named up\.1 or dec\.1;"):
        read_published(state, "file")


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 0), (1, 2, 3, 0, 4)])
def test_layouts_of_older_spconv_are_refused(order: tuple[int, ...]) -> None:
    state = {k: v.permute(order) if v.dim() == 5 else v for k, v in published_state().items()}
    with pytest.raises(DataError, match=r"\d+ weights have the layout of an older spconv, kernel first \(conv_input"):
        read_published(state, "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 13}, r"has 13 classes, expected 20 or 200 \(ScanNet\)"),
        ({"in_channels": 3}, r"has 3 inputs, expected 6 \(rgb, normal\) or 9 \(xyz, rgb, normal\)"),
    ],
)
def test_other_classes_and_inputs_are_refused(arguments: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        convert_state(tmp_path, published_state(**arguments))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


class Setting:
    """Stands for what only its own program can read."""


def damage(content: bytes) -> bytes:
    return content[: len(content) // 2]


def save_with_code(content: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": published_state(), "config": Setting()}, buffer)
    return buffer.getvalue()


def save_numbers(content: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"epoch": 3}}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage, "can't be read as a checkpoint"),
        (lambda content: b"", "can't be read as a checkpoint"),
        (lambda content: b"ply\nformat ascii 1.0\n", "it is no file of torch.save"),
        (lambda content: b"hello world\n", "it is no file of torch.save"),
        (save_with_code, r"holds \S*Setting, and reading that would run code of the file; where you trust it"),
        (save_numbers, "holds no weights; give a state_dict"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    spoil: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    file = write_file(tmp_path / "file.pth", published_state())
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        convert([str(file), "--out", str(tmp_path / "run")])
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    run = convert_state(tmp_path, published_state())
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"has a checkpoint already; choose another folder with --out"):
        convert_state(tmp_path, published_state(seed=1))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    for out in ("work", "file.pth"):
        with pytest.raises(UsageError, match="is there already, and is no empty folder"):
            convert([str(tmp_path / "file.pth"), "--out", str(tmp_path / out)])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    scene = tmp_path / "tree" / "train" / "run"
    with pytest.raises(UsageError, match="run: lies among the scenes of .*tree; choose another folder .* with --out"):
        convert([str(tmp_path / "file.pth"), "--out", str(scene), "--data-root", str(tmp_path / "tree")])
    assert not scene.exists()
    assert (tmp_path / "work" / "thesis.txt").read_text() == "years"
    (tmp_path / "empty").mkdir()
    convert([str(tmp_path / "file.pth"), "--out", str(tmp_path / "empty")])
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {
        "classes.tsv",
        "config.yaml",
        "metrics.jsonl",
        "checkpoints",
    }


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pointseg.convert.save_checkpoint", fill_the_disk)
    with pytest.raises(OSError) as caught:
        convert_state(tmp_path, published_state())
    assert caught.value.filename == str(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]


def test_calls_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    run = convert_state(tmp_path, published_state())
    out = ["--out", str(tmp_path / "out")]
    for arguments, message in (
        ([str(tmp_path / "nothing.pth"), *out], "no such file or folder; give a published checkpoint"),
        ([str(tmp_path / "file.pth"), *out, "--prefix", "module."], "--prefix is for a file to write"),
        (
            [str(tmp_path / "file.pth"), *out, "--voxel-size", "0"],
            "data.voxel_size_m: .* than or equal to 0.0001",
        ),
        ([str(run), *out, "--data-root", "data"], "only --prefix goes with a run"),
        ([str(run), *out, "--prefix", "student."], "prefix 'student.': expected module. and backbone."),
        ([str(run), "--out", str(tmp_path / "file.pth")], "is there already; choose another name"),
        ([str(tmp_path), *out], "is not the folder of a run"),
        ([str(run / "checkpoints" / "last.pt"), *out], "is a checkpoint of pointseg already; use it with"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(arguments)
        assert not (tmp_path / "out").exists()


# And back


@pytest.mark.parametrize("options", [[], ["--prefix", ""], ["--prefix", "backbone."]])
def test_file_to_run_to_file_to_run_is_the_same_bit_for_bit(options: list[str], tmp_path: Path) -> None:
    run = convert_state(tmp_path, published_state())
    convert([str(run), "--out", str(tmp_path / "back.pth"), *options])
    content = torch.load(tmp_path / "back.pth", weights_only=True)
    assert content.keys() == {"state_dict"}
    prefix = options[1] if options else "module.backbone."
    assert_same(content["state_dict"], {prefix + name: value for name, value in published_state().items()})
    convert([str(tmp_path / "back.pth"), "--out", str(tmp_path / "again")])
    assert_same(weights_of(tmp_path / "again" / "checkpoints" / "last.pt"), published_state())


@pytest.mark.parametrize("num_classes", [6, 20])
def test_the_command_back_keeps_own_classes_and_the_origin(
    num_classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty own classes would else be those of ScanNet, and six be refused."""
    table = tmp_path / "mine.tsv"
    table.write_text("id\tname\n" + "".join(f"{label + 7}\tmine{label}\n" for label in range(num_classes)))
    state = published_state(num_classes=num_classes)
    options = ["--classes", str(table), "--center", "robust", "--color-range=-1,1", "--voxel-size", "0.03"]
    run = convert_state(tmp_path, state, *options)
    capsys.readouterr()
    convert([str(run), "--out", str(tmp_path / "back.pth")])
    words = shlex.split(capsys.readouterr().out.partition("back again: pointseg convert ")[2])
    convert([str(tmp_path / "again") if word == "RUN" else word for word in words])
    again = RunDirectory(tmp_path / "again")
    assert again.classes_path.read_text() == (run / "classes.tsv").read_text()
    before = RunDirectory(run).read_config()
    assert before.data.center == "robust"
    assert again.read_config().data == before.data


def test_the_best_weights_are_published_and_else_the_last(tmp_path: Path) -> None:
    directory = RunDirectory(convert_state(tmp_path, published_state()))
    config = directory.read_config()
    save_checkpoint(
        directory.best_checkpoint, config, load_taxonomy(config.taxonomy), {"model": published_state(seed=1)}
    )
    convert([str(directory.path), "--out", str(tmp_path / "best.pth")])
    got = torch.load(tmp_path / "best.pth", weights_only=True)["state_dict"]
    assert_same(got, name_published(published_state(seed=1)))
    assert not torch.equal(got["module.backbone.final.bias"], published_state()["final.bias"])


def test_inputs_that_a_published_file_can_not_tell_are_not_published(tmp_path: Path) -> None:
    """Six inputs are read as colours and normals; coordinates and normals would come back as those."""
    run = convert_state(tmp_path, published_state(6))
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("  - rgb\n", "  - xyz\n"))
    with pytest.raises(UsageError, match=r"has the inputs \[xyz, normal\], and a published file, which can't say so"):
        convert([str(run), "--out", str(tmp_path / "back.pth")])
    assert not (tmp_path / "back.pth").exists()


# What comes next


@pytest.mark.parametrize("in_channels", [6, 9])
def test_a_converted_run_is_evaluated_and_predicts(in_channels: int, prepared_root: Path, tmp_path: Path) -> None:
    options = ["--data-root", str(prepared_root), "--voxel-size", "0.1"]
    run = convert_state(tmp_path, published_state(in_channels), *options)
    evaluate(["--run", str(run), "--device", "cpu", "--json", str(tmp_path / "scores.json")])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["num_scenes"] == 2
    assert len(scores["per_class"]) == 20
    predict(["--run", str(run), "--device", "cpu", "--split", "test", "--out", str(tmp_path / "predictions")])
    (file,) = (tmp_path / "predictions").glob("*.txt")
    assert len(file.read_text().split()) == 600


@pytest.fixture
def finetuning(prepared_root: Path, tmp_path: Path) -> list[str]:
    """Arguments of a training of one pass that moves no weight, from a converted run of 20 classes."""
    run = convert_state(tmp_path, published_state(), "--data-root", str(prepared_root), "--voxel-size", "0.1")
    return [
        *("--cfg", str(run / "config.yaml"), f"model.init={run}", f"run.dir={tmp_path / 'finetuned'}"),
        *("run.device=cpu", "data.num_workers=0", "data.scenes_per_batch=2", "train.passes=1", "train.num_threads=1"),
        *("optimizer.name=adamw", "optimizer.lr=1e-12", "data.val_split=null"),
    ]


def finetuned_weights(folder: Path) -> dict[str, Tensor]:
    """Without the statistics of batch norm, which follow the scenes."""
    weights = weights_of(folder / "finetuned" / "checkpoints" / "last.pt")
    return {name: value for name, value in weights.items() if "running" not in name and "num_batches" not in name}


def test_finetuning_on_the_same_classes_goes_on_from_every_weight(
    finetuning: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the center branch on, which is no part of the network."""
    train([*finetuning, "loss.collapse.weight=0.5"])
    assert "at random" not in capsys.readouterr().err
    for name, value in finetuned_weights(tmp_path).items():
        torch.testing.assert_close(value, published_state()[name], atol=1e-8, rtol=0)
    rows = [json.loads(line) for line in (tmp_path / "finetuned" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["collapse"] > 0


@pytest.mark.parametrize("init", ["run", "run/checkpoints/last.pt"])
def test_finetuning_on_other_classes_starts_the_classifier_at_random_and_says_so(
    init: str, finetuning: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*finetuning, f"model.init={tmp_path / init}", "taxonomy=scannet200"])
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    assert (
        f"final.weight and final.bias start at random: {checkpoint} was trained on scannet20, with other classes than "
        "this scannet200; all other weights are its\n"
    ) in capsys.readouterr().err
    weights = finetuned_weights(tmp_path)
    assert weights["final.weight"].shape == (200, 1, 1, 1, CHANNELS[-1])
    assert weights["final.weight"].std() > 0.01
    state = published_state()
    for name in weights.keys() - {"final.weight", "final.bias"}:
        torch.testing.assert_close(weights[name], state[name], atol=1e-8, rtol=0)


def test_other_inputs_and_evaluation_with_other_classes_stay_refused(finetuning: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"was trained with inputs xyz, rgb, normal, the config has rgb, normal; set"):
        train([*finetuning, "data.features=[rgb,normal]"])
    assert not (tmp_path / "finetuned").exists()
    other = tmp_path / "other"
    convert([str(write_file(tmp_path / "o.pth", published_state(num_classes=200))), "--out", str(other)])
    checkpoint = RunDirectory(tmp_path / "run").last_checkpoint
    with pytest.raises(UsageError, match="trained on scannet20 with other classes than this scannet200"):
        evaluate(["--run", str(other), "--checkpoint", str(checkpoint)])


def test_a_converted_run_holds_no_training_to_resume(finetuning: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UsageError, match=f"holds weights alone.*begin a new run from them with model.init={run} run"):
        train([*finetuning, f"run.dir={run}", "model.init=null", "--resume"])


def test_a_published_file_as_it_is_is_no_start_and_the_command_that_makes_one_is_named(
    finetuning: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"is no checkpoint of pointseg; .* pointseg convert .*file"):
        train([*finetuning, f"model.init={tmp_path / 'file.pth'}"])
