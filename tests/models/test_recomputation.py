"""Activation checkpointing changes what is kept, and nothing else."""

import pytest
import torch
from torch.nn import functional as F

from pointseg.config import load_config
from pointseg.errors import UsageError
from pointseg.models import SparseUNet, build_network
from tests.models.test_unet import SHAPE, make_scene, small_network


def _step(network: SparseUNet) -> dict[str, torch.Tensor]:
    """Output, all gradients and all buffers of one training step."""
    features, coords = make_scene()
    features.requires_grad_()
    output = network.train()(features, coords, 1, SHAPE)
    F.cross_entropy(output.logits, torch.arange(len(features)) % 5).backward()
    assert features.grad is not None
    grads = {f"grad of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert len(grads) == sum(1 for _ in network.parameters())
    return {"logits": output.logits, "grad of input": features.grad, **grads, **dict(network.named_buffers())}


def test_gradients_and_running_statistics_are_the_same() -> None:
    """Computing a block for the second time must not count its batch twice."""
    plain, checkpointed = _step(small_network()), _step(small_network(checkpoint_activations=True))
    assert plain.keys() == checkpointed.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(checkpointed[name], expected, rtol=1e-5, atol=1e-7, msg=name)


def test_the_backward_pass_keeps_less_than_two_thirds() -> None:
    """Of what all layers of SpUNet-34 keep, as its channels and blocks are but for their width."""

    def kept_bytes(checkpoint_activations: bool) -> int:
        torch.manual_seed(0)
        channels = (8, 16, 32, 64, 64, 32, 24, 24)
        network = SparseUNet(4, 5, 8, channels, checkpoint_activations=checkpoint_activations).train()
        parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = network(*make_scene(2000), 1, SHAPE)
        # Inside a checkpointed block the inner hooks see nothing; its inputs are kept by the graph itself.
        inputs = [] if not checkpoint_activations else _inputs_of_blocks(network)
        del output
        return sum(kept.values()) + sum(inputs)

    assert kept_bytes(True) < kept_bytes(False) * 2 / 3


def _inputs_of_blocks(network: SparseUNet) -> list[int]:
    sizes: list[int] = []
    hooks = []
    for stage in (*network.enc, *network.dec):
        for block in stage.children():
            hook = block.register_forward_pre_hook(
                lambda _, inputs: sizes.append(inputs[0].features.numel() * inputs[0].features.element_size())
            )
            hooks.append(hook)
    network(*make_scene(2000), 1, SHAPE)
    for hook in hooks:
        hook.remove()
    return sizes


def test_prediction_is_as_without() -> None:
    features, coords = make_scene()
    with torch.no_grad():
        expected = small_network()(features, coords, 1, SHAPE).logits
        output = small_network(checkpoint_activations=True)(features, coords, 1, SHAPE).logits
    torch.testing.assert_close(output, expected, rtol=0, atol=0)


@pytest.mark.needs("spconv")
@pytest.mark.usefixtures("spconv_on_cpu")
def test_spconv_makes_each_neighbour_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stem, two strided layers and three resolutions: neither later layers nor the backward pass make them anew."""
    from spconv.pytorch import ops

    made: list[None] = []
    make = ops.get_indice_pairs
    monkeypatch.setattr(
        ops, "get_indice_pairs", lambda *args, **options: (made.append(None), make(*args, **options))[1]
    )
    counts = []
    for checkpoint_activations in (False, True):
        made.clear()
        _step(small_network(backend="spconv", checkpoint_activations=checkpoint_activations))
        counts.append(len(made))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("backend", ["spconv", "spconv_triton"])
def test_a_library_of_gpus_is_refused_on_the_cpu_of_a_machine_that_has_one(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = load_config("demo", [f"model.backend={backend}"])
    with pytest.raises(
        UsageError, match=f"{backend} computes on this machine's GPU; on the CPU use model.backend=torch"
    ):
        build_network(config, torch.device("cpu"))
