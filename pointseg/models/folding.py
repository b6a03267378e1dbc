"""Batch norm folded into the convolution before it: the same network for inference, with fewer passes over memory."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pointseg.models.unet import ResidualBlock, SparseUNet


def fold_batch_norm(network: SparseUNet) -> SparseUNet:
    """A copy for inference whose convolutions do what batch norm did after them.

    In evaluation mode batch norm is ``a·x + b`` a channel, ``a = γ / sqrt(σ² + ε)`` and ``b = β - a μ``; after a
    convolution that is a convolution with ``a`` times the weight and the bias ``b``.

    Args:
        network: of our own engine, in any mode; it stays as it is. (On a CPU, spconv takes no bias.)

    Returns:
        the copy, in evaluation mode and without gradients. Its ``state_dict`` is another one: it is not to be saved.

    Raises:
        ValueError: the network is of another backend.
    """
    if network.backend_name != "torch":
        raise ValueError(f"expected a network of the backend torch, got {network.backend_name}")
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for parent, conv_name, norm_name in list(_pairs(folded)):
        _fold(parent.get_submodule(conv_name), parent.get_submodule(norm_name))
        setattr(parent, norm_name, nn.Identity())
    return folded


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(parent, name of a convolution, name of the batch norm that follows it)."""
    for module in network.modules():
        names = [("conv1", "bn1"), ("conv2", "bn2")] if isinstance(module, ResidualBlock) else [("0", "1")]
        for convolution, norm in names:
            if isinstance(getattr(module, norm, None), nn.BatchNorm1d):
                yield module, convolution, norm


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    if weight[0, ..., 0].numel() == 1:  # a 1x1x1 weight is an (in, out) matrix in memory
        weight.view(weight.shape[-1], weight.shape[0]).mul_(scale)
    else:
        weight.mul_(scale.view(-1, 1, 1, 1, 1))
    assert convolution.bias is None, "a convolution before a batch norm has no bias"
    convolution.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
