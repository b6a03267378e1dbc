"""Two processes compute what one does."""

import os
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

import pointseg
from pointseg.config import load_config
from pointseg.engine.network import run_network
from pointseg.engine.objective import Objective
from pointseg.engine.sync_batch_norm import SyncBatchNorm, synchronize_batch_norm
from pointseg.errors import UsageError
from pointseg.models import volt
from pointseg.models.unet import VoxelBatchNorm
from pointseg.processes import choose_device, join_processes, set_num_threads
from tests.conftest import free_ports
from tests.engine.test_accumulation import OF_UNET, VOLT, make_batch
from tests.engine.test_accumulation import _build as build_objective


def _join(rank: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(13, 4, generator=generator) * 3 + 7, torch.randn(13, 4, generator=generator)


def _normalise(norm: nn.BatchNorm1d, features: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    features = features.clone().requires_grad_()
    output = norm(features)
    (output * weights).sum().backward()
    assert features.grad is not None and norm.weight.grad is not None
    return {
        "output": output.detach(),
        "input_gradient": features.grad,
        "weight_gradient": norm.weight.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "num_batches": norm.num_batches_tracked,
    }


def _trained(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    norm.running_mean.fill_(5.0)
    norm.running_var.fill_(2.0)
    return norm


def _run_half(rank: int, port: int, folder: Path) -> None:
    _join(rank, port)
    features, weights = _data()
    half = slice(0, 5) if rank == 0 else slice(5, 13)
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.world_size) == (rank, 2)
        torch.save(_normalise(SyncBatchNorm(4), features[half], weights[half]), folder / f"{rank}.pt")
        one = slice(0, 1 - rank)
        torch.save(_normalise(_trained(SyncBatchNorm(4)), features[one], weights[one]), folder / f"one {rank}.pt")
        np.testing.assert_array_equal(processes.sum(np.array([rank + 1, 10])), [3, 20])
        assert processes.any(rank == 1)
        assert not processes.any(False)
        norm = nn.BatchNorm1d(4)
        norm.running_mean.fill_(rank + 1)
        processes.share_buffers(norm)
        assert norm.running_mean.tolist() == [1, 1, 1, 1]


def test_batch_norm_over_two_processes_is_batch_norm_over_all_points(tmp_path: Path) -> None:
    """Outputs, input gradients and running statistics, with unequal numbers of points, and of one point in all."""
    mp.spawn(_run_half, args=(free_ports(1)[0], tmp_path), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    expected = _normalise(nn.BatchNorm1d(4), *_data())
    for name in ("output", "input_gradient"):
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), expected[name], atol=1e-5, rtol=1e-4)
    for name in ("running_mean", "running_var", "num_batches"):
        for half in halves:
            torch.testing.assert_close(half[name], expected[name])
    total = halves[0]["weight_gradient"] + halves[1]["weight_gradient"]
    torch.testing.assert_close(total, expected["weight_gradient"], atol=1e-5, rtol=1e-4)

    first, second = (torch.load(tmp_path / f"one {rank}.pt", weights_only=True) for rank in range(2))
    expected = _normalise(_trained(VoxelBatchNorm(4)), *(part[:1] for part in _data()))
    torch.testing.assert_close(first, expected)
    assert second["output"].shape == (0, 4)
    for name in ("running_mean", "running_var", "num_batches"):
        assert torch.equal(second[name], expected[name])


def _leave_out_blocks(rank: int, port: int, folder: Path) -> None:
    """Which blocks each leaves out for three scenes, and what is drawn after these, and after two scenes or three."""
    _join(rank, port)
    drawn: list[torch.Tensor] = []
    draw = volt.draw_kept

    def watch(scene: torch.Tensor, batch_size: int, chance: float) -> torch.Tensor:
        kept = draw(scene, batch_size, chance)
        drawn.append(kept[scene.diff(prepend=scene.new_full((1,), -1)) > 0] > 0)
        return kept

    with pytest.MonkeyPatch.context() as patch, join_processes("cpu"):
        patch.setattr(volt, "draw_kept", watch)
        then = []
        for num_scenes, scenes_at_once in ((3, None), (2 + rank, None), (2 + rank, 1)):
            objective = _build_volt(scenes_at_once)
            torch.manual_seed(5)
            objective.run_network(make_batch(num_scenes))
            then.append(torch.rand(4))
        torch.save((torch.cat(drawn[:2]), torch.stack(then)), folder / f"{rank}.pt")


def _build_volt(scenes_at_once: int | None) -> Objective:
    return build_objective(load_config("demo", [*OF_UNET, *VOLT, "model.drop_path=0.5"]), scenes_at_once).train()


def test_each_process_leaves_out_blocks_for_its_own_scenes_and_then_draws_what_all_do(tmp_path: Path) -> None:
    """However many scenes it has, and parts of its batch."""
    mp.spawn(_leave_out_blocks, args=(free_ports(1)[0], tmp_path), nprocs=2)
    (first, then), (second, then_too) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first.shape == second.shape == (6, 2) and not torch.equal(first, second)
    assert torch.equal(then, then_too)


def test_a_process_that_is_alone_draws_as_its_network_does() -> None:
    objective, batch = _build_volt(None), make_batch(3)
    results = []
    for run in (objective.run_network, partial(run_network, objective.network)):
        torch.manual_seed(5)
        results.append((run(batch).logits, torch.rand(4)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_replacing_batch_norm_keeps_its_state() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4, eps=1e-3, momentum=0.01)))
    module(torch.randn(10, 3))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    synchronize_batch_norm(module)
    assert isinstance(module[1][0], SyncBatchNorm)
    assert (module[1][0].eps, module[1][0].momentum) == (1e-3, 0.01)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(module.state_dict()[k], before[k]) for k in before)


def test_frozen_batch_norm_stays_frozen_when_it_is_synchronised() -> None:
    """The maps of a center branch that do not learn have one."""
    module = nn.Sequential(nn.BatchNorm1d(4).requires_grad_(False), nn.BatchNorm1d(4))
    synchronize_batch_norm(module)
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, False, True, True]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_asking_for_a_gpu_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="finds no GPU; install a CUDA build"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("evaluate", ["--run", "a"]),
        ("predict", ["--run", "a", "--input", "b.ply", "--out", "c"]),
        ("analyze", ["--run", "a"]),
        pytest.param("report", ["--run", "a", "--out", "a.html"], marks=pytest.mark.needs("itables")),
        ("benchmark", ["conv"]),
    ],
)
def test_a_gpu_that_is_not_there_is_told_by_the_option_that_asked(
    monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^--device cuda: .*, or use --device cpu$"):
        import_module(f"pointseg.{command}").main([*arguments, "--device", "cuda"])
    with pytest.raises(UsageError, match=r"^device=cuda: .*, or use device=cpu$"):
        pointseg.load("a", device="cuda")


def test_synchronised_layers_stay_where_the_network_is() -> None:
    """A device that is not the CPU, and holds nothing."""
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(2))).to("meta")
    synchronize_batch_norm(module)
    assert {type(layer) for layer in module.modules()} == {nn.Sequential, SyncBatchNorm}
    assert all(tensor.is_meta for tensor in module.state_dict().values())


def test_more_threads_than_the_system_starts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP would end the process, without a word or with a line of its own."""
    before = torch.get_num_threads()
    with pytest.raises(UsageError, match=r"train.num_threads=100000: this process may use .+; choose \d+ at"):
        set_num_threads(100_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    with pytest.raises(UsageError, match="train.num_threads=17: this process may use one core; choose 16 at most"):
        set_num_threads(17)
    set_num_threads(0)
    assert torch.get_num_threads() == before
