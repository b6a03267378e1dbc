"""One state_dict, two libraries: the U-Net under ours and under spconv gives the same numbers on a CPU."""

import pytest
import torch
from torch.nn import functional as F

from pointseg.models import SparseUNet
from tests.sparse.dense_reference import random_voxels

pytestmark = pytest.mark.needs("spconv")


@pytest.fixture
def networks(spconv_on_cpu: None) -> tuple[SparseUNet, SparseUNet]:
    """Ours and spconv's, with the same weights."""
    torch.manual_seed(0)
    sizes = {"stem_channels": 8, "channels": (8, 12, 16, 12, 8, 8), "layers": (1, 2, 1, 1, 1, 1)}
    ours, theirs = SparseUNet(6, 5, **sizes), SparseUNet(6, 5, **sizes, backend="spconv")  # type: ignore[arg-type]
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_spconv(networks: tuple[SparseUNet, SparseUNet], training: bool) -> None:
    coords = random_voxels(3000, (24, 24, 24), batch_size=2)
    features = torch.randn(3000, 6)
    results = []
    for network in networks:
        network.train(training)
        inputs = features.clone().requires_grad_()
        output = network(inputs, coords, 2, (24, 24, 24))
        loss = F.cross_entropy(output.logits, torch.arange(3000) % 5)
        grads = torch.autograd.grad(loss, [inputs, *network.parameters()])
        results.append((output.logits, output.features, *grads))
    for got, want in zip(*results, strict=True):
        assert (got - want).abs().max() <= 1e-4 * max(want.abs().max().item(), 1e-3)


def test_no_voxels_are_taken_by_spconv_too(networks: tuple[SparseUNet, SparseUNet]) -> None:
    for network in networks:
        output = network(torch.zeros(0, 6), torch.zeros(0, 4, dtype=torch.int32), 1, (8, 8, 8))
        assert output.logits.shape == (0, 5)
        assert output.features.shape == (0, 8)
        output.logits.sum().backward()
