"""The batch norm that takes any number of voxels."""

import pytest
import torch
from torch import nn

from pointseg.models.unet import VoxelBatchNorm


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_torchs_from_two_voxels_on(training: bool) -> None:
    """Outputs, gradients, running statistics and state_dict keys equal those of nn.BatchNorm1d."""
    ours, theirs = VoxelBatchNorm(3, momentum=0.2).train(training), nn.BatchNorm1d(3, momentum=0.2).train(training)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    features = torch.randn(50, 3) * 3 + 1
    first, second = features.clone().requires_grad_(), features.clone().requires_grad_()
    output, expected = ours(first), theirs(second)
    torch.testing.assert_close(output, expected)
    (output.sin().sum()).backward()
    (expected.sin().sum()).backward()
    torch.testing.assert_close(first.grad, second.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


@pytest.mark.parametrize("num_voxels", [0, 1])
def test_below_two_voxels_training_normalises_as_evaluation_and_learns_no_statistics(num_voxels: int) -> None:
    norm = VoxelBatchNorm(3)
    norm(torch.randn(20, 3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    features = torch.randn(num_voxels, 3)
    output = norm(features)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    torch.testing.assert_close(output, norm.eval()(features))
