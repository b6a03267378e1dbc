"""Networks. A further one is a file here with a :class:`Network`, a line in ``_BUILDERS``, and a name in the config."""

from collections.abc import Callable

import torch

from pointseg.config import Config, ModelConfig
from pointseg.errors import UsageError
from pointseg.models.network import Network, NetworkOutput, PublishedNetwork, count_parameters
from pointseg.models.unet import SIZES, SparseUNet, build_unet
from pointseg.taxonomy import load_taxonomy

__all__ = [
    "NAMES",
    "Network",
    "NetworkOutput",
    "PublishedNetwork",
    "SparseUNet",
    "build_network",
    "count_parameters",
]


def _build_volt(model: ModelConfig, in_channels: int, num_classes: int, backend: str) -> Network:
    from pointseg.models.volt import build_volt  # a U-Net needs none of it

    return build_volt(model, in_channels, num_classes, backend)


_BUILDERS: dict[str, Callable[[ModelConfig, int, int, str], Network]] = {
    **dict.fromkeys(SIZES, build_unet),
    **dict.fromkeys(("volt_s", "volt_b"), _build_volt),
}
NAMES = tuple(_BUILDERS)
"""What ``model.name`` can be."""


def build_network(config: Config, device: torch.device) -> Network:
    """The network that ``model.name`` says, for the config's inputs and classes, with random weights on ``device``.

    Raises:
        UsageError: the keys of ``model`` do not fit each other, or the backend can't be used here.
    """
    model = config.model
    # `auto` means our own engine for a network on the CPU, whatever GPUs there are.
    backend = "torch" if model.backend == "auto" and device.type == "cpu" else model.backend
    if backend in ("spconv", "spconv_triton") and device.type == "cpu" and torch.cuda.is_available():
        # They choose their kernels by whether there is a GPU, and not by where the tensors are.
        raise UsageError(f"model.backend={backend} computes on this machine's GPU; on the CPU use model.backend=torch")
    num_classes = load_taxonomy(config.taxonomy).num_classes
    try:
        network = _BUILDERS[model.name](model, config.in_channels, num_classes, backend)
    except ValueError as error:
        raise UsageError(f"model: {error}") from None
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = model.norm_momentum
    return network.to(device)
