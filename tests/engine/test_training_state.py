"""A checkpoint whose parts are not what training wrote is refused in one line, before any of it is loaded."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pointseg import evaluate
from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.engine.objective import Losses
from pointseg.engine.resuming import check_resumable, restore
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError, PointsegError, StoppedError
from pointseg.processes import Processes
from pointseg.runs.checkpoint import read_checkpoint
from pointseg.train import main

NAN = float("nan")
ODD = {"none": None, "number": 7, "nan": NAN, "text": "abc", "list": [1, 2], "empty": {}, "tensor": torch.ones(3)}
PARTS = ("optimizer", "schedule", "scaler", "progress", "collapse")


@pytest.fixture(scope="module")
def stopped(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, dict[str, Any]]:
    """A trainer as it is built at the beginning, and the state of its run after four of six steps."""
    from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK

    run = tmp_path_factory.mktemp("stopped")
    options = [*TINY_NETWORK, *PLAIN_AUGMENTATION, f"data.root={prepared_root}", f"run.dir={run}", "train.passes=2"]
    options += ["data.voxel_size_m=0.1", "data.scenes_per_batch=2", "train.num_threads=1", "optimizer.name=adamw"]
    step = Trainer.train_step

    def stop_after_the_fourth(self: Trainer, batch: Batch) -> Losses:
        self.stop.requested = self.progress.step == 3
        return step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", stop_after_the_fourth)
        with pytest.raises(StoppedError):
            main(["--cfg", "demo.yaml", *options])
    config = load_config("demo.yaml", options)
    trainer = Trainer(config, Processes(0, 1, torch.device("cpu")))
    return trainer, read_checkpoint(trainer.directory.last_checkpoint, config)


def put(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """What puts a value at a place in a state."""

    def change(state: Any) -> None:
        for key in place[:-1]:
            state = state[key]
        state[place[-1]] = value

    return change


CHANGES = {f"{part}={name}": put(part, value=value) for part in PARTS for name, value in ODD.items()}
del CHANGES["scaler=empty"]  # that of a run on a CPU
CHANGES |= {
    f"progress.{key}={name}": put("progress", key, value=value)
    for key in ("pass_index", "batch_index", "step", "validation_is_due")
    for name, value in {**ODD, "negative": -1, "huge": 10**30}.items()
}
CHANGES |= {
    f"optimizer.{key}={name}": put("optimizer", "param_groups", 0, key, value=value)
    for key in ("lr", "betas", "weight_decay", "params")
    for name, value in {**ODD, "negative": -0.1}.items()
}
CHANGES |= {
    f"optimizer.exp_avg={name}": put("optimizer", "state", 0, "exp_avg", value=value)
    for name, value in {**ODD, "integers": torch.zeros(8, 5, 5, 5, 9, dtype=torch.int64)}.items()
}
CHANGES |= {
    "optimizer.state=of no parameter": put("optimizer", "state", 10**6, value={}),
    "optimizer.groups=two": lambda state: state["optimizer"]["param_groups"].append({}),
    "best_miou=nan": put("progress", "best_miou", value=NAN),
    "schedule.last_epoch=other": put("schedule", "last_epoch", value=1),
    "schedule.total_steps=other": put("schedule", "total_steps", value=7),
    "train_scenes=number": put("train_scenes", value=5),
    **{f"{part} missing": lambda state, part=part: state.pop(part) for part in PARTS if part != "optimizer"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_odd_part_is_refused(stopped: tuple[Trainer, dict[str, Any]], name: str) -> None:
    """Named with the file, in one line; and nothing of it was loaded."""
    trainer, state = stopped
    state = copy.deepcopy(state)
    CHANGES[name](state)
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    with pytest.raises(PointsegError) as caught:
        restore(trainer, state)
    text = str(caught.value)
    assert text.startswith(f"{trainer.directory.last_checkpoint}: ")
    assert "\n" not in text
    assert ";" in text
    assert all(torch.equal(value, before[key]) for key, value in trainer.network.state_dict().items())
    assert trainer.progress.step == 0


def test_what_training_wrote_is_not_refused(stopped: tuple[Trainer, dict[str, Any]], tmp_path: Path) -> None:
    """Nor is that of another PyTorch, which has other names in its groups and its schedule."""
    trainer, state = stopped
    run = shutil.copytree(trainer.directory.path, tmp_path / "run")
    state = copy.deepcopy(state)
    for names, group in ((("capturable", "maximize"), state["optimizer"]["param_groups"][0]),):
        for name in names:
            group.pop(name)
        group["of_a_later_version"] = 1
    state["schedule"].pop("_is_initial", None)
    torch.save(state, run / "checkpoints" / "last.pt")
    main(["--cfg", str(run / "config.yaml"), f"run.dir={run}", "--resume"])
    assert torch.load(run / "checkpoints" / "last.pt")["progress"]["step"] == 6


@pytest.mark.parametrize(
    "counts",
    [
        *(None, 7, {}, {"points": None, "scenes": None}, {"points": torch.ones(200), "scenes": torch.ones(200)}),
        {"points": torch.full((200,), -1), "scenes": torch.ones(200, dtype=torch.int64)},
        {"points": torch.ones(3, dtype=torch.int64), "scenes": torch.ones(3, dtype=torch.int64)},
    ],
)
def test_odd_counts_of_classes_are_refused_wherever_a_checkpoint_is_read(
    trained_run: Path, tmp_path: Path, counts: object
) -> None:
    state = torch.load(trained_run / "checkpoints" / "best.pt", weights_only=True)
    path = tmp_path / "odd.pt"
    torch.save({**state, "class_counts": counts}, path)
    with pytest.raises(DataError, match=r"odd\.pt: its class_counts are no counts") as caught:
        evaluate.main(["--run", str(trained_run), "--checkpoint", str(path)])
    assert "\n" not in str(caught.value)


def test_other_scenes_are_still_told_from_none(stopped: tuple[Trainer, dict[str, Any]]) -> None:
    trainer, state = stopped
    with pytest.raises(PointsegError, match="began with 5 training scenes, and .* has 1"):
        check_resumable(state, trainer.config, ["another"], Path("runs/a/checkpoints/last.pt"))
