"""The network of a config, and a batch through it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from pointseg.config import Config
from pointseg.data.batch import Batch
from pointseg.engine.checkpoint import load_weights, read_checkpoint
from pointseg.engine.run_directory import RunDirectory
from pointseg.errors import DataError
from pointseg.models import SparseUNet, UNetOutput, choose_size
from pointseg.sparse import padded_spatial_shape
from pointseg.taxonomy import load_taxonomy


def build_network(config: Config, device: torch.device) -> SparseUNet:
    """The U-Net of the config on ``device``, with random weights."""
    model = config.model
    size = choose_size(
        model.name,
        stem_channels=model.stem_channels,
        channels=model.channels,
        layers=model.layers,
        width=model.width,
    )
    network = SparseUNet(
        config.in_channels,
        load_taxonomy(config.taxonomy).num_classes,
        **size._asdict(),
        backend=choose_backend(model.backend, device),
        checkpoint_activations=model.checkpoint_activations,
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = model.norm_momentum
    return network.to(device)


def load_initial_weights(network: SparseUNet, config: Config) -> str | None:
    """Copy the weights of ``model.init``, a run or a checkpoint, into the network of the config.

    The classifier of other classes stays as it is; all else has to fit.

    Returns:
        None: everything was copied; else what was not, and why, in words.

    Raises:
        UsageError: there is no such checkpoint, or it is of other inputs or sizes.
        DataError: it is damaged, or no checkpoint of pointseg.
    """
    assert config.model.init is not None
    path = Path(config.model.init)
    if path.is_dir():
        path = RunDirectory(path).find_checkpoint()
    checkpoint = read_checkpoint(path, config, any_classes=True)
    weights = checkpoint["model"]
    if checkpoint["taxonomy"] == load_taxonomy(config.taxonomy).fingerprint:
        load_weights(network, weights, path)
        return None
    classifier = {name: value for name, value in network.state_dict().items() if name.startswith("final.")}
    load_weights(network, {**weights, **classifier}, path)
    return (
        f"{' and '.join(classifier)} start at random: {path} was trained on {checkpoint['config'].get('taxonomy')}, "
        f"with other classes than this {config.taxonomy}; all other weights are its"
    )


def choose_backend(name: str, device: torch.device) -> str:
    """``auto`` means the torch engine for a network on the CPU, whatever GPUs there are."""
    return "torch" if name == "auto" and device.type == "cpu" else name


def autocast(amp: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass in mixed precision: ``none``, ``fp16`` (on a GPU, else none) or ``bf16``."""
    if amp == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    if amp == "fp16" and device.type == "cuda":
        return torch.autocast(device.type, torch.float16)
    return nullcontext()


@contextmanager
def explain_out_of_memory(what: Batch | str, remedy: str) -> Iterator[None]:
    """Say what a GPU has no memory for, of a batch how large it is, and what helps.

    Raises:
        DataError: in place of PyTorch's error.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        if isinstance(what, str):
            raise DataError(f"the GPU has too little memory for {what}; {remedy}") from None
        num_voxels = torch.bincount(what.coords.cpu()[:, 0], minlength=what.num_scenes).tolist()
        largest = max(num_voxels)
        raise DataError(
            f"the GPU has too little memory for {what.num_scenes} scene(s) of {sum(num_voxels):,} voxels together "
            f"(the largest, {what.names[num_voxels.index(largest)]}, has {largest:,}); {remedy}"
        ) from None


def run_network(network: torch.nn.Module, batch: Batch, num_stages: int) -> UNetOutput:
    """Logits (M, K) and last-layer features (M, D) of a batch."""
    shape = padded_spatial_shape(batch.extent, num_stages)
    return network(batch.features, batch.coords, batch.num_scenes, shape)
