"""SpUNet-v1m1 as others publish it, written down a second time: names and shapes, and the network in bare spconv.

Nothing here uses our network. The scheme is that of Pointcept's SpUNet-v1m1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM, CHANNELS, LAYERS = 6, (8, 12, 10, 14), (1, 2, 2, 1)


def published_state(
    in_channels: int = 9,
    num_classes: int = 20,
    stem: int = STEM,
    channels: Sequence[int] = CHANNELS,
    layers: Sequence[int] = LAYERS,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A ``state_dict`` without prefix: random weights, and statistics of batch norm that matter."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> None:
        bound = (inputs * kernel**3) ** -0.5
        shape = (outputs, kernel, kernel, kernel, inputs)
        state[f"{name}.weight"] = torch.empty(shape).uniform_(-bound, bound, generator=generator)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.empty(width).uniform_(0.5, 1.5, generator=generator)
        state[f"{name}.bias"] = torch.randn(width, generator=generator)
        state[f"{name}.running_mean"] = torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = torch.empty(width).uniform_(0.1, 2.0, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1234)

    def blocks(name: str, count: int, inputs: int, width: int) -> None:
        for i in range(count):
            before = inputs if i == 0 else width
            for part, channels_in in (("1", before), ("2", width)):
                conv(f"{name}.block{i}.conv{part}", channels_in, width, 3)
                norm(f"{name}.block{i}.bn{part}", width)
            if before != width:
                conv(f"{name}.block{i}.proj.0", before, width, 1)
                norm(f"{name}.block{i}.proj.1", width)

    stages = len(channels) // 2
    conv("conv_input.0", in_channels, stem, 5)
    norm("conv_input.1", stem)
    fine = [stem, *channels[:stages]]
    for s in range(stages):
        width, below = channels[-1 - s], channels[-2 - s]
        conv(f"down.{s}.0", fine[s], fine[s + 1], 2)
        norm(f"down.{s}.1", fine[s + 1])
        blocks(f"enc.{s}", layers[s], fine[s + 1], fine[s + 1])
        conv(f"up.{s}.0", below, width, 2)
        norm(f"up.{s}.1", width)
        blocks(f"dec.{s}", layers[-1 - s], width + fine[s], width)
    conv("final", channels[-1], num_classes, 1)
    state["final.bias"] = torch.randn(num_classes, generator=generator)
    return state


class BareNetwork(nn.Module):
    """The published network in modules of spconv alone, on a CPU; takes a :func:`published_state`."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.stages = sum(name.startswith("down.") and name.endswith(".0.weight") for name in state)
        for name, value in state.items():
            if value.dim() == 5:
                layer = name.removesuffix(".weight")
                self._add(layer, _make_conv(layer, value, bias=f"{layer}.bias" in state))
            elif name.endswith("running_mean"):
                norm = nn.BatchNorm1d(len(value), eps=1e-3, momentum=0.01)
                self._add(name.removesuffix(".running_mean"), norm)
        self.load_state_dict(state)
        self.eval()

    def _add(self, name: str, module: nn.Module) -> None:
        """Put a module where a dotted name says, whatever containers that takes."""
        parent: nn.Module = self
        *containers, last = name.split(".")
        for container in containers:
            if container not in dict(parent.named_children()):
                parent.add_module(container, nn.Module())
            parent = parent.get_submodule(container)
        parent.add_module(last, module)

    @torch.no_grad()
    def forward(self, features: Tensor, cells: Tensor) -> Tensor:
        """Logits (M, K) of one scene: features (M, C) of voxels at ``cells`` (M, 3)."""
        import spconv.pytorch as spconv

        indices = F.pad(cells, (1, 0)).int().contiguous()
        tensor = spconv.SparseConvTensor(features, indices, (cells.amax(0) + 97).tolist(), 1)
        tensor = self._conv_norm_relu("conv_input", tensor)
        skips = []
        for s in range(self.stages):
            skips.append(tensor)
            tensor = self._blocks(f"enc.{s}", self._conv_norm_relu(f"down.{s}", tensor))
        for s in reversed(range(self.stages)):
            tensor, skip = self._conv_norm_relu(f"up.{s}", tensor), skips[s]
            tensor = tensor.replace_feature(torch.cat([tensor.features, skip.features], dim=1))
            tensor = self._blocks(f"dec.{s}", tensor)
        return self.final(tensor).features

    def _conv_norm_relu(self, name: str, tensor: Any) -> Any:
        tensor = self.get_submodule(f"{name}.0")(tensor)
        return tensor.replace_feature(F.relu(self.get_submodule(f"{name}.1")(tensor.features)))

    def _blocks(self, name: str, tensor: Any) -> Any:
        for block in self.get_submodule(name).children():
            shortcut = tensor.features
            if hasattr(block, "proj"):
                shortcut = block.proj.get_submodule("1")(block.proj.get_submodule("0")(tensor).features)
            tensor = block.conv1(tensor)
            tensor = tensor.replace_feature(F.relu(block.bn1(tensor.features)))
            tensor = block.conv2(tensor)
            tensor = tensor.replace_feature(F.relu(block.bn2(tensor.features) + shortcut))
        return tensor


def _make_conv(name: str, weight: Tensor, bias: bool) -> nn.Module:
    """The convolution that a name of the scheme stands for; maps of voxels are shared within a resolution."""
    import spconv.pytorch as spconv
    from spconv.core import ConvAlgo

    outputs, kernel, _, _, inputs = weight.shape
    options = {"kernel_size": kernel, "bias": bias, "algo": ConvAlgo.Native}
    if kernel == 1:
        return spconv.SubMConv3d(inputs, outputs, **options)
    part, stage = name.split(".")[:2]
    if part == "down":
        return spconv.SparseConv3d(inputs, outputs, stride=2, indice_key=f"down{stage}", **options)
    if part == "up":
        return spconv.SparseInverseConv3d(inputs, outputs, indice_key=f"down{stage}", **options)
    if part == "conv_input":
        return spconv.SubMConv3d(inputs, outputs, padding=1, indice_key="stem", **options)
    level = int(stage) + (part == "enc")
    return spconv.SubMConv3d(inputs, outputs, padding=1, indice_key=f"level{level}", **options)
