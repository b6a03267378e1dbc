"""A batch that goes through the network in parts has the gradients of the whole, whatever the losses are."""

import copy
import weakref

import pytest
import torch

from pointseg.config import Config, load_config
from pointseg.data.batch import Batch, collate
from pointseg.data.class_counts import ClassCounts
from pointseg.data.voxelize import Voxels
from pointseg.engine.accumulation import run_in_parts
from pointseg.engine.network import run_network
from pointseg.engine.objective import Objective
from pointseg.models import Network, NetworkOutput, build_network
from tests.conftest import TINY_NETWORK

CPU = torch.device("cpu")
VOLT = ("model.name=volt_s", "model.dim=64", "model.depth=3", "model.decoder_channels=32")
OF_UNET = ("model.stem_channels=null", "model.channels=null", "model.layers=null", "model.width=1.0")
LOSSES = ("loss.label_smoothing=0.1", "loss.lovasz=1", "loss.collapse.weight=0.5", "loss.collapse.scope=batch")


def make_batch(num_scenes: int = 5) -> Batch:
    scenes = []
    for index in range(num_scenes):
        generator = torch.Generator().manual_seed(index)
        coords = torch.randint(0, 12, (80 + 60 * index, 3), generator=generator, dtype=torch.int32).unique(dim=0)
        features = torch.randn(len(coords), 9, generator=generator, dtype=torch.float64)
        labels = torch.randint(-1, 9, (len(coords),), generator=generator)
        scenes.append((f"scene{index}", Voxels(coords, features, labels, torch.arange(len(coords)))))
    return collate(scenes)


def _build(config: Config, scenes_at_once: int | None) -> Objective:
    torch.manual_seed(0)
    network = build_network(config, CPU)
    counts = ClassCounts(torch.full((200,), 50), torch.full((200,), 3))
    return Objective(network, config.loss, counts, scenes_at_once=scenes_at_once).double()


def _gradients(objective: Objective, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    total = objective(batch).total
    total.backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    assert len(gradients) > 20
    return total.detach(), gradients


@pytest.mark.parametrize("scenes_at_once", [1, 2, 4])
@pytest.mark.parametrize("model", [TINY_NETWORK, (*OF_UNET, *VOLT)], ids=["unet", "volt"])
def test_the_gradients_are_those_of_one_large_batch(model: tuple[str, ...], scenes_at_once: int) -> None:
    """Of mean losses, of Lovász-softmax and of the centers of classes, with batch norm's statistics as they are."""
    config = load_config("demo", [*model, *LOSSES])
    whole, in_parts = _build(config, None), _build(config, scenes_at_once)
    for objective in (whole, in_parts):
        objective.eval()
    expected, gradients = _gradients(whole, make_batch())
    total, found = _gradients(in_parts, make_batch())
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("model", [TINY_NETWORK, (*OF_UNET, *VOLT)], ids=["unet", "volt"])
def test_in_training_each_part_is_a_batch_to_batch_norm_and_counted_once(model: tuple[str, ...]) -> None:
    """Against the parts one by one, all of whose activations are kept; a Volt leaves out the same blocks twice."""
    config = load_config("demo", [*model, "model.drop_path=0.5"])
    batch = make_batch()
    network = _build(config, None).network.train()
    literal = copy.deepcopy(network)

    torch.manual_seed(2)
    outputs = [run_network(literal, part) for part in batch.split(2)]
    expected = torch.cat([output.logits for output in outputs])
    expected.square().mean().backward()
    torch.manual_seed(2)
    output = run_in_parts(network, batch, 2)
    output.logits.square().mean().backward()

    torch.testing.assert_close(output.logits, expected)
    for (name, own), other in zip(network.named_parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=name)
    for (name, own), other in zip(network.named_buffers(), literal.buffers(), strict=True):
        torch.testing.assert_close(own, other, msg=name)


def test_no_part_is_kept_while_another_is_computed() -> None:
    """Not in the forward pass, and in the backward pass, where each goes through the network again, only its own."""
    objective = _build(load_config("demo", [*TINY_NETWORK]), 2).train()
    kept: list[weakref.ref] = []
    outputs: set[int] = set()
    num_alive: list[int] = []

    def note_kept(network: Network, inputs: tuple) -> None:
        alive = {tensor.data_ptr() for tensor in (reference() for reference in kept) if tensor is not None}
        num_alive.append(len(alive - outputs))

    def note_output(network: Network, inputs: tuple, output: NetworkOutput) -> None:
        outputs.add(output.features.data_ptr())  # through a ReLU in place it is a norm's output, too

    def note_activation(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        kept.append(weakref.ref(output))

    objective.network.register_forward_pre_hook(note_kept)
    objective.network.register_forward_hook(note_output)
    norms = [module for module in objective.network.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.register_forward_hook(note_activation)
    total = objective(make_batch()).total
    assert (len(kept), num_alive) == (3 * len(norms), [0, 0, 0])
    total.backward()
    assert (len(kept), num_alive) == (6 * len(norms), [0] * 6)
