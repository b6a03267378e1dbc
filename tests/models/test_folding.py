"""Folding batch norm into the convolutions changes no output, and not the network that was folded."""

import pytest
import torch
from torch import nn

from pointseg.models.folding import fold_batch_norm
from tests.models.test_unet import SHAPE, make_scene, small_network


@torch.no_grad()
def test_a_folded_network_predicts_the_same() -> None:
    """Every batch norm is gone, whichever layer it followed; the statistics are ones that matter."""
    network = small_network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.weight.uniform_(0.5, 2)
            module.bias.normal_(0, 0.5)
    folded = fold_batch_norm(network.train())
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())
    assert not folded.training
    features, coords = make_scene()
    expected, output = network.eval()(features, coords, 1, SHAPE), folded(features, coords, 1, SHAPE)
    for got, want in zip(output, expected, strict=True):
        assert (got - want).abs().max() < 1e-5 * want.abs().max()


@torch.no_grad()
def test_folding_twice_is_folding_once() -> None:
    once = fold_batch_norm(small_network())
    assert torch.equal(fold_batch_norm(once)(*make_scene(), 1, SHAPE).logits, once(*make_scene(), 1, SHAPE).logits)


@pytest.mark.needs("spconv")
def test_another_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend torch, got spconv"):
        fold_batch_norm(small_network(backend="spconv"))


def test_the_network_stays_as_it_was() -> None:
    network = small_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norm(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
