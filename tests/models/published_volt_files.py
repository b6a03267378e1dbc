"""Volt as its authors publish it, written down a second time: names and shapes, and what it computes, voxel by voxel.

Nothing here uses our network.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def published_volt_state(
    in_channels: int = 6,
    heads: Mapping[str, int] = {"Default": 20},
    dim: int = 64,
    depth: int = 2,
    width: int = 8,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A ``state_dict`` without ``module.``: random weights, and statistics of batch norm that matter."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    def norm(name: str, channels: int, is_batch_norm: bool = False) -> None:
        state[f"{name}.weight"] = torch.empty(channels).uniform_(0.5, 1.5, generator=generator)
        state[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.1
        if is_batch_norm:
            state[f"{name}.running_mean"] = torch.randn(channels, generator=generator)
            state[f"{name}.running_var"] = torch.empty(channels).uniform_(0.1, 2.0, generator=generator)
            state[f"{name}.num_batches_tracked"] = torch.tensor(1234)

    linear("backbone.tokenizer.proj", 125 * in_channels, dim)
    for i in range(depth):
        block = f"backbone.blocks.{i}"
        norm(f"{block}.norm1", dim)
        norm(f"{block}.norm2", dim)
        linear(f"{block}.attn.qkv", dim, 3 * dim)
        linear(f"{block}.attn.proj", dim, dim)
        norm(f"{block}.attn.q_norm", 64)
        norm(f"{block}.attn.k_norm", 64)
        linear(f"{block}.mlp.fc1", dim, 4 * dim)
        linear(f"{block}.mlp.fc2", 4 * dim, dim)
    norm("backbone.decoder.pre.0", dim, is_batch_norm=True)
    linear("backbone.decoder.pre.2", dim, width, bias=False)
    norm("backbone.decoder.pre.3", width, is_batch_norm=True)
    linear("backbone.decoder.unembed.proj", width, 125 * width, bias=False)
    state["backbone.decoder.unembed.bias"] = torch.randn(width, generator=generator)
    norm("backbone.decoder.post.0", width, is_batch_norm=True)
    for head, num_classes in heads.items():
        linear(f"seg_heads.{head}", width, num_classes)
        linear(f"distill_heads.{head}", width, num_classes)
    return state


@torch.no_grad()
def literal_volt(state: Mapping[str, Tensor], features: Tensor, cells: Tensor, head: str = "Default") -> Tensor:
    """Logits (M, K) of one scene: features (M, C) of voxels at ``cells`` (M, 3), in loops over patches and heads."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def layer_norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def batch_norm_gelu(name: str, x: Tensor) -> Tensor:
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-3).sqrt()
        return F.gelu((x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"])

    def turn(x: Tensor, patch: tuple[int, ...]) -> Tensor:
        turned = x.clone()
        frequencies = [(axis, i / (n - 1)) for axis, n in enumerate((12, 12, 8)) for i in range(n)]
        for pair, (axis, exponent) in enumerate(frequencies):
            angle = patch[axis] / 100**exponent
            a, b = x[2 * pair], x[2 * pair + 1]
            turned[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
            turned[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
        return turned

    patch_of = [tuple(axis // 5 for axis in cell) for cell in cells.tolist()]
    patches = sorted(set(patch_of))
    volumes = torch.zeros(len(patches), 5, 5, 5, features.shape[1])
    for feature, patch, cell in zip(features, patch_of, cells.tolist(), strict=True):
        volumes[patches.index(patch), cell[0] % 5, cell[1] % 5, cell[2] % 5] = feature
    tokens = linear("backbone.tokenizer.proj", volumes.flatten(1))
    depth = sum(name.endswith("qkv.weight") for name in state)
    for i in range(depth):
        block = f"backbone.blocks.{i}"
        q, k, v = linear(f"{block}.attn.qkv", layer_norm(f"{block}.norm1", tokens)).chunk(3, dim=1)
        heads = []
        for channels in range(0, tokens.shape[1], 64):
            here = slice(channels, channels + 64)
            own = [
                torch.stack(
                    [turn(row, patch) for row, patch in zip(layer_norm(name, part[:, here]), patches, strict=True)]
                )
                for name, part in ((f"{block}.attn.q_norm", q), (f"{block}.attn.k_norm", k))
            ]
            heads.append((own[0] @ own[1].T / 8).softmax(1) @ v[:, here])
        tokens = tokens + linear(f"{block}.attn.proj", torch.cat(heads, dim=1))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", layer_norm(f"{block}.norm2", tokens)))
        tokens = tokens + linear(f"{block}.mlp.fc2", hidden)
    narrow = linear("backbone.decoder.pre.2", batch_norm_gelu("backbone.decoder.pre.0", tokens))
    narrow = batch_norm_gelu("backbone.decoder.pre.3", narrow)
    width = narrow.shape[1]
    unfolded = linear("backbone.decoder.unembed.proj", narrow).view(len(patches), 5, 5, 5, width)
    read = [
        unfolded[patches.index(patch), cell[0] % 5, cell[1] % 5, cell[2] % 5]
        for patch, cell in zip(patch_of, cells.tolist(), strict=True)
    ]
    last = batch_norm_gelu("backbone.decoder.post.0", torch.stack(read) + state["backbone.decoder.unembed.bias"])
    return linear(f"seg_heads.{head}", last)
