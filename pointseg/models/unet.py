"""The sparse U-Net; its defaults are SpUNet-34 of the published ScanNet recipes, weight for weight."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.config import ModelConfig
from pointseg.models.network import Extent, Network, NetworkOutput
from pointseg.models.recomputation import recomputing, run_and_forget
from pointseg.sparse import Backend, padded_spatial_shape
from pointseg.sparse import backend as find_backend

_CHANNEL_MULTIPLE = 8
"""Channels are rounded to it when a width is chosen: matrix products are fastest on multiples of 8."""


class UNetSize(NamedTuple):
    """What decides how large a :class:`pointseg.models.SparseUNet` is; the names are those of its arguments."""

    stem_channels: int
    channels: tuple[int, ...]
    layers: tuple[int, ...]


# SpUNet-34 as published. The other two have the residual blocks of MinkUNet14 and MinkUNet18 (Choy et al., "4D
# Spatio-Temporal ConvNets", CVPR 2019), and all else from it.
_CHANNELS = (32, 64, 128, 256, 256, 128, 96, 96)
SIZES = {
    "spunet14": UNetSize(32, _CHANNELS, (1, 1, 1, 1, 1, 1, 1, 1)),
    "spunet18": UNetSize(32, _CHANNELS, (2, 2, 2, 2, 2, 2, 2, 2)),
    "spunet34": UNetSize(32, _CHANNELS, (2, 3, 4, 6, 2, 2, 2, 2)),
}


def build_unet(model: ModelConfig, in_channels: int, num_classes: int, backend: str) -> "SparseUNet":
    """The network of a config. Raises: ValueError where channels and layers do not fit, or sizes are a Volt's."""
    foreign = [key for key in ("dim", "depth", "decoder_channels") if getattr(model, key) is not None]
    if foreign:
        raise ValueError(f"{model.name} has no {', '.join(foreign)}; set channels and layers instead")
    size = choose_size(
        model.name, stem_channels=model.stem_channels, channels=model.channels, layers=model.layers, width=model.width
    )
    return SparseUNet(
        in_channels,
        num_classes,
        **size._asdict(),
        backend=backend,
        checkpoint_activations=model.checkpoint_activations,
    )


def choose_size(
    name: str,
    *,
    stem_channels: int | None = None,
    channels: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    width: float = 1.0,
) -> UNetSize:
    """The named size, with what is given in place of its own.

    Args:
        name: of ``SIZES``.
        stem_channels: None takes the named size's, here and below.
        channels: encoder from fine to coarse, then decoder from coarse to fine.
        layers: residual blocks, in the same order.
        width: factor on all channels, above 0; where it is not 1 they are rounded to multiples of 8, 8 at least.

    Raises:
        ValueError: no size has this name, or the width is not above 0.
    """
    if name not in SIZES:
        raise ValueError(f"expected a size of {', '.join(SIZES)}, got {name!r}")
    if not width > 0:
        raise ValueError(f"width: expected a factor above 0, got {width}")
    named = SIZES[name]
    return UNetSize(
        _scale(named.stem_channels if stem_channels is None else stem_channels, width),
        tuple(_scale(number, width) for number in (named.channels if channels is None else channels)),
        tuple(named.layers if layers is None else layers),
    )


class VoxelBatchNorm(nn.BatchNorm1d):
    """Batch norm over the voxels of a batch; same parameters, buffers and results as ``nn.BatchNorm1d``.

    Two differences. A training batch of fewer than two voxels, whose variance means nothing and which torch
    refuses, is normalised with the running statistics and leaves them as they are: a grid of a small scene can
    have a single voxel at the coarsest level. And a batch that a backward pass computes again
    (:mod:`pointseg.models.recomputation`) is not counted twice in the running statistics.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (M, C)."""
        if self.training and features.shape[0] < 2:
            return F.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        if self.training and recomputing.get():
            # Copies, and not None: autograd has to find as many tensors as the first time.
            assert self.running_mean is not None and self.running_var is not None
            mean, variance = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(features, mean, variance, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(features)


# As in the published network.
make_norm = partial(VoxelBatchNorm, eps=1e-3, momentum=0.01)


def make_conv_norm_relu(backend: Backend, convolution: Any) -> Any:
    """``convolution`` followed by batch norm and ReLU, as children 0, 1 and 2."""
    return backend.SparseSequential(convolution, make_norm(convolution.out_channels), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """``ReLU(norm2(conv2(ReLU(norm1(conv1(x))))) + shortcut(x))`` with 3x3x3 submanifold convolutions.

    The shortcut is the identity, or a 1x1x1 convolution and batch norm where the channels differ (He et al., 2016).

    Args:
        backend: what makes the convolutions.
        in_channels, out_channels: of the features.
        indice_key: names the neighbour map that all blocks of one resolution share.
    """

    def __init__(self, backend: Backend, in_channels: int, out_channels: int, indice_key: str) -> None:
        super().__init__()
        make_conv = partial(backend.SubMConv3d, kernel_size=3, padding=1, bias=False, indice_key=indice_key)
        self.conv1 = make_conv(in_channels, out_channels)
        self.bn1 = make_norm(out_channels)
        self.conv2 = make_conv(out_channels, out_channels)
        self.bn2 = make_norm(out_channels)
        self.proj = None
        if in_channels != out_channels:
            shortcut = backend.SubMConv3d(in_channels, out_channels, kernel_size=1, bias=False)
            self.proj = backend.SparseSequential(shortcut, make_norm(out_channels))

    def forward(self, tensor: Any) -> Any:
        """A sparse tensor of the same voxels, with ``out_channels``."""
        shortcut = tensor if self.proj is None else self.proj(tensor)
        hidden = self.conv1(tensor)
        hidden = hidden.replace_feature(F.relu_(self.bn1(hidden.features)))
        hidden = self.conv2(hidden)
        # In place: neither batch norm nor convolution needs its output in the backward pass.
        return hidden.replace_feature(self.bn2(hidden.features).add_(shortcut.features).relu_())


class SparseUNet(Network):
    """U-Net of residual blocks on voxels: S halvings of the grid, then S doublings with skip connections.

    With the default channels and layers this is SpUNet-34, and its ``state_dict`` has the published keys. Stage
    ``s`` of the encoder has ``layers[s]`` blocks of ``channels[s]`` at 1/2^(s+1) of the resolution; the decoder
    goes on through the second half of both, back to full resolution. All backends share one ``state_dict``.

    Args:
        in_channels: features a voxel.
        num_classes: logits a voxel.
        stem_channels: after the first convolution (5x5x5) and in the full-resolution skip.
        channels: 2 S numbers, encoder then decoder.
        layers: 2 S numbers of residual blocks, encoder then decoder.
        backend: a name that :func:`pointseg.sparse.backend` takes.
        checkpoint_activations: whether training keeps only the inputs of each residual block (of the first of a
            decoder stage: what comes up and the skip connection) and computes what is in it again in the backward
            pass. Gradients and running statistics are the same.

    Raises:
        ValueError: ``channels`` and ``layers`` are not 2 S positive numbers each, or another count is not positive.
        UsageError: the backend can't be used here.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        stem_channels: int = 32,
        channels: Sequence[int] = (32, 64, 128, 256, 256, 128, 96, 96),
        layers: Sequence[int] = (2, 3, 4, 6, 2, 2, 2, 2),
        backend: str = "torch",
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(in_channels, num_classes, stem_channels, channels, layers)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.num_stages = len(channels) // 2
        self.coarsest_voxel = 2**self.num_stages
        self.feature_channels = channels[-1]
        self.checkpoint_activations = checkpoint_activations
        self._backend = find_backend(backend)
        self.has_bfloat16 = self._backend.has_bfloat16

        make = self._backend
        stem = make.SubMConv3d(in_channels, stem_channels, kernel_size=5, padding=1, bias=False, indice_key="stem")
        self.conv_input = make_conv_norm_relu(make, stem)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.enc = nn.ModuleList()
        self.dec = nn.ModuleList()
        skip_channels = [stem_channels, *channels[: self.num_stages]]
        # From fine to coarse: stage s of the decoder comes back to the resolution before down[s].
        decoder_channels = [*channels[: self.num_stages - 1 : -1], channels[self.num_stages - 1]]
        for s in range(self.num_stages):
            fine, coarse = skip_channels[s], skip_channels[s + 1]
            down = make.SparseConv3d(fine, coarse, kernel_size=2, stride=2, bias=False, indice_key=f"spconv{s + 1}")
            self.down.append(make_conv_norm_relu(make, down))
            self.enc.append(self._make_blocks(layers[s], coarse, coarse, f"subm{s + 1}"))
            below, here = decoder_channels[s + 1], decoder_channels[s]
            up = make.SparseInverseConv3d(below, here, kernel_size=2, bias=False, indice_key=f"spconv{s + 1}")
            self.up.append(make_conv_norm_relu(make, up))
            self.dec.append(self._make_blocks(layers[-1 - s], here + fine, here, f"subm{s}"))
        self.final = make.SubMConv3d(self.feature_channels, num_classes, kernel_size=1, padding=1, bias=True)
        self._init_weights()

    def _make_blocks(self, num_blocks: int, in_channels: int, out_channels: int, indice_key: str) -> nn.ModuleDict:
        widths = [in_channels] + [out_channels] * num_blocks
        blocks = {
            f"block{i}": ResidualBlock(self._backend, widths[i], out_channels, indice_key) for i in range(num_blocks)
        }
        return nn.ModuleDict(blocks)

    def _init_weights(self) -> None:
        """As published: blocks, stem and classifier from a truncated normal; strided layers keep their own start."""
        resampling = {module for stage in (*self.down, *self.up) for module in stage.modules()}
        for module in self.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.dim() == 5 and module not in resampling:
                nn.init.trunc_normal_(weight, std=0.02)
        nn.init.zeros_(self.final.bias)

    @property
    def backend_name(self) -> str:
        """The backend in use; never ``auto``."""
        return self._backend.name

    def spatial_shape(self, extent: Extent) -> Extent:
        """A multiple of the coarsest voxels on each axis: halving drops no voxel then."""
        return padded_spatial_shape(extent, self.num_stages)

    def classifier_weight(self) -> Tensor:
        """(K, D) on the CPU, as :meth:`Network.classifier_weight`.

        The last layer is a 1x1x1 convolution whose weight has the shape (K, 1, 1, 1, D), but spconv (and our engine
        with it) reads the memory of such a weight as (D, K).
        """
        weight = self.final.weight.detach().cpu()
        return weight.reshape(self.feature_channels, self.num_classes).T.contiguous()

    def for_inference(self) -> "SparseUNet":
        """With our own engine a copy whose convolutions do what batch norm did; another backend's network itself."""
        if self.backend_name != "torch":
            return self
        from pointseg.models.folding import fold_batch_norm  # training needs none of it

        return fold_batch_norm(self)

    def forward(self, features: Tensor, coords: Tensor, batch_size: int, spatial_shape: Extent) -> NetworkOutput:
        """Logits and last features of each voxel.

        Args:
            features: (M, in_channels) float32.
            coords: (M, 4) int32 (batch, x, y, z), not negative, each once; sorted is fastest.
            batch_size: number of scenes.
            spatial_shape: larger than the coordinates on each axis. A shape that is not a multiple of
                2**num_stages loses the voxels of its last planes; :func:`pointseg.sparse.padded_spatial_shape`
                gives one that loses none.

        Raises:
            ValueError: ``features`` is not (M, in_channels), or the backend refuses the coordinates.
        """
        if features.dim() != 2 or features.shape[1] != self.in_channels:
            raise ValueError(f"features: expected (M, {self.in_channels}), got {tuple(features.shape)}")
        if features.shape[0] == 0 and self.backend_name != "torch":
            return self._empty_output(features)
        tensor = self._backend.SparseConvTensor(features, coords, spatial_shape, batch_size)
        tensor = self.conv_input(tensor)
        skips = []
        run = run_and_forget if self._forgets() else _call
        for down, blocks in zip(self.down, self.enc, strict=True):
            skips.append(tensor)
            tensor = down(tensor)
            for block in blocks.children():
                tensor = run(block, tensor)
        for up, blocks in zip(reversed(self.up), reversed(self.dec), strict=True):
            first, *others = blocks.children()
            tensor = run(partial(_join, up, first), tensor, skips.pop())
            for block in others:
                tensor = run(block, tensor)
        return NetworkOutput(self.final(tensor).features, tensor.features)

    def _forgets(self) -> bool:
        return self.checkpoint_activations and self.training and torch.is_grad_enabled()

    def _empty_output(self, features: Tensor) -> NetworkOutput:
        """No rows, but on the graph; spconv takes no tensor without voxels."""
        nothing = self.final.weight.sum() * 0.0
        return NetworkOutput(
            features.new_zeros((0, self.num_classes)) + nothing,
            features.new_zeros((0, self.feature_channels)) + nothing,
        )


def _join(up: nn.Module, block: nn.Module, coarse: Any, skip: Any) -> Any:
    """The coarse features brought up to the voxels of the skip connection, beside its features, through a block."""
    return block(skip.replace_feature(torch.cat([up(coarse).features, skip.features], dim=1)))


def _call(function: Callable[..., Any], *tensors: Any) -> Any:
    return function(*tensors)


def _check_sizes(
    in_channels: int, num_classes: int, stem_channels: int, channels: Sequence[int], layers: Sequence[int]
) -> None:
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes), ("stem_channels", stem_channels)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if len(channels) < 2 or len(channels) % 2 or len(channels) != len(layers):
        raise ValueError(
            "channels and layers: expected the same even number of each, encoder then decoder, "
            f"got {len(channels)} and {len(layers)}"
        )
    if min(channels) < 1 or min(layers) < 1:
        raise ValueError(f"channels and layers: expected numbers >= 1, got {tuple(channels)} and {tuple(layers)}")


def _scale(channels: int, width: float) -> int:
    if width == 1:
        return channels
    return max(_CHANNEL_MULTIPLE, round(channels * width / _CHANNEL_MULTIPLE) * _CHANNEL_MULTIPLE)
