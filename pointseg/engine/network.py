"""The network of a config, and a batch through it."""

from pathlib import Path

import torch

from pointseg.config import Config
from pointseg.data.batch import Batch
from pointseg.engine.checkpoint import load_weights, read_checkpoint
from pointseg.models.unet import SparseUNet, UNetOutput
from pointseg.sparse import padded_spatial_shape
from pointseg.taxonomy import load_taxonomy


def build_network(config: Config, device: torch.device) -> SparseUNet:
    """The U-Net of the config on ``device``: random weights, or those of ``model.init``."""
    network = SparseUNet(
        config.in_channels,
        load_taxonomy(config.taxonomy).num_classes,
        stem_channels=config.model.stem_channels,
        channels=config.model.channels,
        layers=config.model.layers,
        backend=choose_backend(config.model.backend, device),
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = config.model.norm_momentum
    if config.model.init is not None:
        path = Path(config.model.init)
        load_weights(network, read_checkpoint(path, config)["model"], path)
    return network.to(device)


def choose_backend(name: str, device: torch.device) -> str:
    """``auto`` means the torch engine for a network on the CPU, whatever GPUs there are."""
    return "torch" if name == "auto" and device.type == "cpu" else name


def run_network(network: torch.nn.Module, batch: Batch, num_stages: int) -> UNetOutput:
    """Logits (M, K) and last-layer features (M, D) of a batch."""
    shape = padded_spatial_shape(batch.extent, num_stages)
    return network(batch.features, batch.coords, batch.num_scenes, shape)
