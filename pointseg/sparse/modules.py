"""Sparse convolution layers with spconv's names, arguments and weight layout, in plain PyTorch."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pointseg.sparse.convolution import sparse_convolution
from pointseg.sparse.neighbours import ConvGeometry, NeighbourMap, expand3, map_strided, map_submanifold
from pointseg.sparse.tensor import SparseConvTensor

IntOrThree = int | Sequence[int]


class SparseModule(nn.Module):
    """A module that takes and returns a :class:`SparseConvTensor`."""


class SparseSequential(SparseModule):
    """A chain of modules: sparse ones get the tensor, all others only its features.

    Takes modules in order, or one ``OrderedDict`` of named modules, or keyword arguments.
    """

    def __init__(self, *modules: Any, **named: nn.Module) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            named = {**modules[0], **named}
            modules = ()
        for index, module in enumerate(modules):
            self.add_module(str(index), module)
        for name, module in named.items():
            self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.children())

    def __getitem__(self, index: int) -> nn.Module:
        return list(self.children())[index]

    def add(self, module: nn.Module, name: str | None = None) -> None:
        """Append a module, by default under its number."""
        self.add_module(str(len(self)) if name is None else name, module)

    def forward(self, tensor: SparseConvTensor) -> SparseConvTensor:
        """Run the chain."""
        for module in self.children():
            if isinstance(module, SparseModule):
                tensor = module(tensor)
            else:
                tensor = tensor.replace_feature(module(tensor.features))
        return tensor


class _SparseConvolutionLayer(SparseModule):
    """Weight, bias and checks that all convolution layers share.

    The weight is (out, kx, ky, kz, in) as in spconv 2.x. A 1x1x1 layer is a matrix product, and there spconv reads
    the same memory as an (in, out) matrix; so do we, because published weights were trained that way.
    """

    def __init__(
        self, in_channels: int, out_channels: int, geometry: ConvGeometry, bias: bool, indice_key: str | None
    ) -> None:
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if not isinstance(channels, int) or channels < 1:
                raise ValueError(f"{name}: expected an int >= 1, got {channels!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.geometry = geometry
        self.indice_key = indice_key
        self.weight = nn.Parameter(torch.empty(out_channels, *geometry.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(fan in), as spconv and torch's own convolutions start."""
        bound = 1.0 / math.sqrt(self.in_channels * self.geometry.num_offsets)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Show the arguments, as torch's own layers do."""
        geometry = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={geometry.kernel_size}, stride={geometry.stride}, "
            f"padding={geometry.padding}, bias={self.bias is not None}, indice_key={self.indice_key!r}"
        )

    @property
    def _num_channels(self) -> int:
        return max(self.in_channels, self.out_channels)

    @property
    def _is_matrix_product(self) -> bool:
        return self.geometry.num_offsets == 1 and self.geometry.stride == (1, 1, 1)

    def _multiply(self, tensor: SparseConvTensor) -> SparseConvTensor:
        weight = self.weight.view(self.in_channels, self.out_channels)
        return tensor.replace_feature(F.linear(tensor.features, weight.t(), self.bias))

    def _check_channels(self, tensor: SparseConvTensor) -> None:
        if tensor.features.shape[1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected features of {self.in_channels} channels, "
                f"got {tuple(tensor.features.shape)}"
            )

    def _check_same_geometry(self, found: NeighbourMap, tensor: SparseConvTensor) -> None:
        if found.geometry != self.geometry or not found.inputs.is_same(tensor.voxels):
            raise ValueError(
                f"indice_key {self.indice_key!r} belongs to {found.geometry} on {len(found.inputs.indices)} voxels, "
                f"this layer has {self.geometry} on {tensor.num_voxels} others; give it a key of its own"
            )


class SubMConv3d(_SparseConvolutionLayer):
    """Submanifold convolution: outputs exactly where the inputs are (Graham et al., 2018).

    Layers with the same ``indice_key`` share one neighbour map. ``padding`` is taken for spconv's sake and plays no
    part: the kernel is centred.

    Raises:
        ValueError: an argument is not what it has to be; an even kernel size has no centre and is refused.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrThree,
        stride: IntOrThree = 1,
        padding: IntOrThree = 0,
        dilation: IntOrThree = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ) -> None:
        kernel = expand3("kernel_size", kernel_size, 1)
        expand3("padding", padding, 0)
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"kernel_size: a submanifold convolution needs odd sizes, got {kernel_size!r}")
        if expand3("stride", stride, 1) != (1, 1, 1):
            raise ValueError(f"stride: a submanifold convolution has stride 1, got {stride!r}; use SparseConv3d")
        geometry = ConvGeometry(kernel, dilation=expand3("dilation", dilation, 1))
        super().__init__(in_channels, out_channels, geometry, bias, indice_key)

    def forward(self, tensor: SparseConvTensor) -> SparseConvTensor:
        """(M, in) features to (M, out) features of the same voxels.

        Raises:
            ValueError: the channels do not fit, or the key's map is of another layer.
        """
        self._check_channels(tensor)
        if self._is_matrix_product:
            return self._multiply(tensor)
        found = tensor.find_indice_pair(self.indice_key)
        if found is None:
            found = map_submanifold(tensor.voxels, tensor.spatial_shape, self.geometry, self._num_channels)
            if self.indice_key is not None:
                tensor.indice_dict[self.indice_key] = found
        elif not found.submanifold:
            raise ValueError(f"indice_key {self.indice_key!r} belongs to a strided convolution; give it one of its own")
        self._check_same_geometry(found, tensor)
        features = sparse_convolution(tensor.features, self.weight, found.forward, found.backward, self.bias)
        return tensor.replace_feature(features)


class SparseConv3d(_SparseConvolutionLayer):
    """Strided convolution: outputs wherever a voxel is under the kernel, sorted by (batch, x, y, z).

    Its ``indice_key`` names the neighbour map that :class:`SparseInverseConv3d` needs to come back, so two layers
    of one network can't have the same. See :class:`SparseConvTensor` for what is dropped at the border.

    Raises:
        ValueError: an argument is not what it has to be.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrThree,
        stride: IntOrThree = 1,
        padding: IntOrThree = 0,
        dilation: IntOrThree = 1,
        bias: bool = True,
        indice_key: str | None = None,
    ) -> None:
        geometry = ConvGeometry(
            expand3("kernel_size", kernel_size, 1),
            expand3("stride", stride, 1),
            expand3("padding", padding, 0),
            expand3("dilation", dilation, 1),
        )
        super().__init__(in_channels, out_channels, geometry, bias, indice_key)
        if self._is_matrix_product and geometry.padding != (0, 0, 0):
            raise ValueError(f"padding: must be 0 where kernel_size and stride are 1, got {padding!r}")

    def forward(self, tensor: SparseConvTensor) -> SparseConvTensor:
        """(M, in) features to (M', out) features of the coarser voxels.

        Raises:
            ValueError: the channels do not fit, or an earlier layer has the key.
        """
        self._check_channels(tensor)
        if self._is_matrix_product:
            return self._multiply(tensor)
        if tensor.find_indice_pair(self.indice_key) is not None:
            raise ValueError(f"indice_key {self.indice_key!r} is taken by an earlier layer; give this one its own")
        found = map_strided(tensor.voxels, tensor.spatial_shape, self.geometry, self._num_channels)
        if self.indice_key is not None:
            tensor.indice_dict[self.indice_key] = found
        features = sparse_convolution(tensor.features, self.weight, found.forward, found.backward, self.bias)
        return tensor.derive(features, found.outputs, found.output_shape)


class SparseInverseConv3d(_SparseConvolutionLayer):
    """The way back of a :class:`SparseConv3d` with the same ``indice_key``: its inputs' voxels are the outputs here.

    Raises:
        ValueError: an argument is not what it has to be; at a call, no strided layer left a map under the key, or
            that layer had another kernel size or output.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: IntOrThree, indice_key: str, bias: bool = True
    ) -> None:
        if not isinstance(indice_key, str) or not indice_key:
            raise ValueError(f"indice_key: expected the key of a SparseConv3d, got {indice_key!r}")
        super().__init__(
            in_channels, out_channels, ConvGeometry(expand3("kernel_size", kernel_size, 1)), bias, indice_key
        )

    def forward(self, tensor: SparseConvTensor) -> SparseConvTensor:
        """(M', in) features of the coarse voxels to (M, out) features of the fine ones.

        Raises:
            ValueError: the channels do not fit, or no strided layer of the same kernel and voxels left a map under
                the key.
        """
        self._check_channels(tensor)
        found = tensor.find_indice_pair(self.indice_key)
        if found is None or found.submanifold:
            raise ValueError(f"indice_key {self.indice_key!r}: no SparseConv3d with this key has run on this tensor")
        if found.geometry.kernel_size != self.geometry.kernel_size:
            raise ValueError(
                f"indice_key {self.indice_key!r} has kernel size {found.geometry.kernel_size}, "
                f"this layer {self.geometry.kernel_size}"
            )
        if not found.outputs.is_same(tensor.voxels):
            raise ValueError(
                f"indice_key {self.indice_key!r} led to {len(found.outputs.indices)} voxels, got {tensor.num_voxels} "
                "others"
            )
        features = sparse_convolution(tensor.features, self.weight, found.backward, found.forward, self.bias)
        return tensor.derive(features, found.inputs, found.input_shape)
