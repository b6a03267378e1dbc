"""What the rest of the house knows of a network."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Extent = tuple[int, int, int]


class NetworkOutput(NamedTuple):
    """What a network says of each voxel."""

    logits: Tensor
    """(M, num_classes)."""
    features: Tensor
    """(M, feature_channels), what the classifier sees."""


class Network(nn.Module):
    """Voxels in, logits and last features out. Trainer, losses, center branch, inference and laboratory know no more.

    A subclass sets the attributes and has :meth:`forward` and :meth:`classifier_weight`; the rest has defaults.

    Attributes:
        in_channels: features of a voxel.
        num_classes: logits of a voxel.
        feature_channels: last features of a voxel.
        coarsest_voxel: edge of the coarsest voxels that the network pools, in voxels. A grid that is moved by a
            multiple of it is pooled as before.
        context: how far the network is let see around the core of a tile, in coarsest voxels.
        has_bfloat16: whether it computes in bfloat16 under an autocast to it; where not, in float16.
        classifier_prefix: what the names of the classifier's weights begin with in the ``state_dict``.
    """

    in_channels: int
    num_classes: int
    feature_channels: int
    coarsest_voxel: int = 1
    context: int = 2
    has_bfloat16: bool = True
    classifier_prefix: str = "final."

    def forward(self, features: Tensor, coords: Tensor, batch_size: int, spatial_shape: Extent) -> NetworkOutput:
        """Logits and last features of each voxel.

        Args:
            features: (M, in_channels) float32.
            coords: (M, 4) int32 (batch, x, y, z), not negative, each once, sorted.
            batch_size: number of scenes.
            spatial_shape: of :meth:`spatial_shape`.
        """
        raise NotImplementedError

    def classifier_weight(self) -> Tensor:
        """(K, D) on the CPU: row k gives the logit of class k, logits = features @ rowsᵀ + bias."""
        raise NotImplementedError

    def spatial_shape(self, extent: Extent) -> Extent:
        """The grid that :meth:`forward` wants for voxels of an extent (one more than the largest on each axis)."""
        return extent

    @property
    def backend_name(self) -> str | None:
        """What computes its sparse convolutions, never ``auto``; None: it has none."""
        return None

    def freeze_features(self) -> None:
        """Let only the classifier learn."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(self.classifier_prefix))

    def for_inference(self) -> "Network":
        """A network that predicts the same, faster where that can be: itself, or a copy that is not to be saved."""
        return self


def count_parameters(network: nn.Module, learning: bool = False) -> int:
    """How many parameters a network has; of one :meth:`Network.for_inference` fewer, since batch norm has none there.

    Args:
        network: as it is trained.
        learning: whether those of frozen layers are left out.
    """
    return sum(value.numel() for value in network.parameters() if value.requires_grad or not learning)


class PublishedNetwork(NamedTuple):
    """A whole network that was found in somebody else's checkpoint."""

    kind: str
    """What its authors call it."""
    in_channels: int
    num_classes: int
    model: Mapping[str, Any]
    """Keys of the config's section ``model`` that build it."""
    size: str
    """How large it is, in words."""
    weights: dict[str, torch.Tensor]
    """Its ``state_dict`` in this house: float32, and int64 for ``num_batches_tracked``."""
    remarks: tuple[str, ...]
    """What was not taken as it stood in the file, in words."""

    @property
    def num_parameters(self) -> int:
        """Of all layers, without batch norm's statistics."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(value.numel() for name, value in self.weights.items() if not name.endswith(statistics))
