"""The average of the weights is what its formula says, and is what predicts."""

import copy
import json
from pathlib import Path

import pytest
import torch

import pointseg
from pointseg.config import load_config
from pointseg.engine.averaging import WeightAverage
from pointseg.engine.evaluation import evaluate_scenes
from pointseg.engine.trainer import Trainer
from pointseg.errors import DataError, UsageError
from pointseg.models import build_network
from pointseg.processes import Processes
from pointseg.scans.prepared import list_scenes
from pointseg.train import main as train
from tests.conftest import TINY_NETWORK

CPU = torch.device("cpu")


def _literal(weights_of_step: list[dict[str, torch.Tensor]], decay: float, name: str) -> torch.Tensor:
    average = weights_of_step[0][name].double()
    for weights in weights_of_step[1:]:
        average = decay * average + (1 - decay) * weights[name].double()
    return average


def test_weights_are_averaged_and_running_statistics_copied() -> None:
    network = build_network(load_config("demo", [*TINY_NETWORK]), CPU)
    average = WeightAverage(network, 0.7)
    generator, steps = torch.Generator().manual_seed(0), []
    for _ in range(5):
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator))
        average.update(network)
        steps.append(copy.deepcopy(network.state_dict()))
    averaged = average.network.state_dict()
    parameters = dict(network.named_parameters())
    assert parameters.keys() < averaged.keys()
    for name, value in averaged.items():
        expected = _literal(steps, 0.7, name).to(value.dtype) if name in parameters else steps[-1][name]
        torch.testing.assert_close(value, expected)


@pytest.fixture(scope="module")
def averaged_run(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A run of six steps with a high rate, and its weights after each of them."""
    run = tmp_path_factory.mktemp("averaged") / "run"
    keys = [f"data.root={prepared_root}", f"run.dir={run}", "data.voxel_size_m=0.1", "data.scenes_per_batch=2"]
    keys += ["train.passes=2", "train.num_threads=1", "train.log_every=1", "train.ema_decay=0.6", "optimizer.lr=0.02"]
    step, weights = Trainer.train_step, []

    def step_and_note(self: Trainer, batch: object) -> object:
        losses = step(self, batch)
        weights.append(copy.deepcopy(self.network.state_dict()))
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", step_and_note)
        train(["--cfg", "demo", *TINY_NETWORK, *keys])
    return run, weights


def test_checkpoints_hold_the_average_and_what_training_goes_on_from(averaged_run: tuple[Path, list[dict]]) -> None:
    run, weights = averaged_run
    assert len(weights) == 6
    last, best = (torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True) for name in ("last", "best"))
    for name, value in last["newest_model"].items():
        torch.testing.assert_close(value, weights[-1][name], rtol=0, atol=0)
    for name, value in last["model"].items():
        is_copied = not value.is_floating_point() or "running" in name
        expected = weights[-1][name] if is_copied else _literal(weights, 0.6, name).float()
        torch.testing.assert_close(value, expected)
        assert torch.equal(value, best["model"][name])
    assert "newest_model" not in best
    assert any(not torch.equal(last["model"][name], last["newest_model"][name]) for name in last["model"])


def test_validation_and_prediction_use_the_average(averaged_run: tuple[Path, list[dict]], prepared_root: Path) -> None:
    run, weights = averaged_run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    segmenter = pointseg.load(run)
    folders = list_scenes(prepared_root, "val")
    scores = evaluate_scenes(segmenter, folders, "none", Processes(0, 1, CPU), quiet=True)
    assert [row["accuracy"] for row in rows if row["kind"] == "val"] == [scores["accuracy"]]
    newest = build_network(segmenter.config, CPU)
    newest.load_state_dict(weights[-1])
    of_newest = type(segmenter)(newest, segmenter.config, CPU)
    assert (
        evaluate_scenes(of_newest, folders, "none", Processes(0, 1, CPU), quiet=True)["accuracy"] != scores["accuracy"]
    )


def test_a_run_is_resumed_with_its_average_alone(averaged_run: tuple[Path, list[dict]], prepared_root: Path) -> None:
    run, _ = averaged_run
    resume = ["--cfg", str(run / "config.yaml"), "--resume"]
    with pytest.raises(UsageError, match=r"can't resume with another train\.ema_decay"):
        train([*resume, "train.ema_decay=null"])
    path = run / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    del state["newest_model"]
    whole = path.read_bytes()
    torch.save(state, path)
    try:
        with pytest.raises(DataError, match="its newest_model is missing, so training can't go on from it"):
            train(resume)
    finally:
        path.write_bytes(whole)
