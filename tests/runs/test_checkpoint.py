"""A checkpoint is written whole, read without running code, and refused where it does not fit."""

import errno
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.config import Config, load_config
from pointseg.errors import DataError, UsageError, describe_os_error
from pointseg.runs.checkpoint import load_weights, read_checkpoint, save_checkpoint
from pointseg.taxonomy import load_taxonomy

CLASSES = load_taxonomy("scannet200")


@pytest.fixture
def config() -> Config:
    return load_config("demo")


def test_a_checkpoint_is_stamped_and_loads_with_weights_only(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(
        path, config, load_taxonomy(config.taxonomy), {"model": {"w": torch.ones(2)}, "progress": {"step": 3}}
    )
    raw = torch.load(path, weights_only=True)
    assert raw["config"] == config.model_dump(mode="json")
    assert raw["pointseg"]
    state = read_checkpoint(path, config)
    assert state["progress"] == {"step": 3}
    assert torch.equal(state["model"]["w"], torch.ones(2))


def test_what_does_not_fit_is_refused_in_one_line(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(UsageError, match="no such checkpoint; train first"):
        read_checkpoint(path, config)
    save_checkpoint(path, config, CLASSES, {"model": {}})
    with pytest.raises(UsageError, match="trained on scannet200 with other classes than this scannet20"):
        read_checkpoint(path, load_config("scannet20"))
    with pytest.raises(
        UsageError, match="trained with inputs xyz, rgb, normal, the config has xyz; set data.features="
    ):
        read_checkpoint(path, load_config("demo", ["data.features=[xyz]"]))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_file_is_refused_in_one_line(config: Config, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {"w": torch.ones(1000)}})
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(DataError, match="can't be read as a checkpoint") as caught:
        read_checkpoint(path, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_cut_off_anywhere_is_refused_by_its_name(config: Config, tmp_path: Path, seed: int) -> None:
    """At every byte of its ends, and at a hundred others: never an error that names no file."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {"w": torch.ones(1000)}})
    content = path.read_bytes()
    rng = np.random.default_rng(seed)
    ends = [*range(seed, 90, 3), *range(len(content) - 1 - seed, len(content) - 90, -3)]
    for size in [*ends, *rng.integers(len(content), size=100).tolist()]:
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="; give another copy of the file, or train again") as caught:
            read_checkpoint(path, config)
        assert str(caught.value).startswith(f"{path}: can't be read as a checkpoint (")
        assert "\n" not in str(caught.value)


def test_a_changed_byte_of_the_weights_is_found(config: Config, tmp_path: Path) -> None:
    """PyTorch reads past it: the network would have another weight."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {"w": torch.full((1000,), 1.5)}})
    content = path.read_bytes()
    at = content.index(torch.full((10,), 1.5).numpy().tobytes()) + 2000
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert not torch.equal(torch.load(path)["model"]["w"], torch.full((1000,), 1.5))
    with pytest.raises(DataError, match="it is cut off or damaged"):
        read_checkpoint(path, config)


def test_weights_of_another_kind_are_named() -> None:
    network = torch.nn.Linear(3, 2)
    for odd in (torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3).to_sparse(), torch.zeros(2, 3, device="meta")):
        with pytest.raises(UsageError, match="1 weights do not fit the network .weight is torch"):
            load_weights(network, {"weight": odd, "bias": torch.zeros(2)}, Path("x.pt"))


def test_a_file_of_something_else_is_refused(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(DataError, match="is no checkpoint of pointseg"):
        read_checkpoint(path, config)


def test_a_file_whose_code_would_have_to_run_is_refused(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"model": {}, "arguments": path}, path)
    with pytest.raises(DataError, match=r"holds pathlib\S*, and reading that would run code of the file") as caught:
        read_checkpoint(path, config)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_refused_without_a_word_of_pytorch(config: Config, tmp_path: Path) -> None:
    """Of the protocol that Python writes by default, which PyTorch warns of."""
    path = tmp_path / "other.pt"
    path.write_bytes(pickle.dumps({"model": {}, "arguments": path}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match="that would run code|can't be read as a checkpoint"):
            read_checkpoint(path, config)
    assert not told


def test_other_classes_are_read_where_they_are_asked_for(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {}})
    assert read_checkpoint(path, load_config("scannet20"), any_classes=True)["config"]["taxonomy"] == "scannet200"
    with pytest.raises(UsageError, match="trained with inputs xyz, rgb, normal, the config has xyz"):
        read_checkpoint(path, load_config("scannet20", ["data.features=[xyz]"]), any_classes=True)


def test_weights_that_do_not_fit_are_named() -> None:
    network = torch.nn.Linear(3, 2)
    state = {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(
        UsageError, match=r"3 weights .*bias is missing; extra is not .*; weight is \(2, 4\), expected \(2, 3\)"
    ):
        load_weights(network, state, Path("x.pt"))


def test_a_full_disk_keeps_the_old_checkpoint_and_is_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {}, "progress": {"step": 1}})

    def fill_the_disk(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OSError) as caught:
        save_checkpoint(path, config, CLASSES, {"model": {}})
    assert (
        describe_os_error(caught.value) == f"{path}: the disk is full; free some space and run the same command again"
    )
    assert read_checkpoint(path, config)["progress"] == {"step": 1}


def test_a_failed_write_keeps_the_old_checkpoint(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {}, "progress": {"step": 1}})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, config, CLASSES, {"model": lambda: None})
    assert read_checkpoint(path, config)["progress"] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "spoil",
    [
        *(
            {"config": config}
            for config in ({}, None, {"data": {}}, {"data": {"features": 7}}, {"data": {"features": [7]}})
        ),
        *({"model": model} for model in ({"w": 1.0}, None, {7: torch.ones(2)})),
        {"taxonomy": None},
    ],
)
def test_a_checkpoint_whose_parts_are_something_else_is_refused(
    config: Config, tmp_path: Path, spoil: dict[str, object]
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, config, CLASSES, {"model": {"w": torch.ones(2)}})
    torch.save({**torch.load(path, weights_only=True), **spoil}, path)
    with pytest.raises(DataError, match="is no checkpoint of pointseg"):
        read_checkpoint(path, config)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["weight", "running_var"])
def test_weights_that_are_not_finite_are_named(name: str, value: float) -> None:
    """Buffers too. The largest comparison with NaN is false, so that such a network says wall of every point."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    key = "0.weight" if name == "weight" else "1.running_var"
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state[key].view(-1)[0] = value
    with pytest.raises(DataError, match=rf"^run/last\.pt: 1 of 7 weights are not finite, first {key}: .*diverged; use"):
        load_weights(model, state, Path("run/last.pt"))
    assert all(weight.isfinite().all() for weight in model.state_dict().values()), "and nothing was copied"
