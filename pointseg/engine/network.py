"""A batch through a network: precision, what is drawn in it, and what to say when a GPU is full."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist

from pointseg.data.batch import Batch
from pointseg.errors import DataError, UsageError
from pointseg.models import Network, NetworkOutput
from pointseg.processes import count_processes


def autocast(amp: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass in mixed precision: ``none``, ``fp16`` (on a GPU, else none) or ``bf16``."""
    if amp == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    if amp == "fp16" and device.type == "cuda":
        return torch.autocast(device.type, torch.float16)
    return nullcontext()


def choose_amp(amp: str, network: Network) -> str:
    """The config's mixed precision as the network has it: fp16, and what that needs, for a bf16 that is not there."""
    return "fp16" if amp == "bf16" and not network.has_bfloat16 else amp


def refuse_bf16_on_cpu(key: str, amp: str, device: torch.device) -> None:
    """bfloat16 takes longer than float32 on a CPU, also on one that multiplies in it.

    The engine's products have thousands of row counts, and the library makes a kernel anew for most of them.

    Raises:
        UsageError: ``amp``, which ``key`` has, is bf16, and the device is a CPU.
    """
    if amp == "bf16" and device.type == "cpu":
        raise UsageError(f"{key}=bf16 needs a GPU: on a CPU it takes longer than float32; set {key} to none")


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


@contextmanager
def drawing_alone(device: torch.device) -> Iterator[None]:
    """A block in which each process draws its own numbers; after it all that were seeded alike go on alike.

    A process that is alone draws as it would without, and what is drawn after the block, for all processes together, is
    what one would draw. Nothing makes the host wait for the device.
    """
    if count_processes() == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(torch.initial_seed() + 1 + dist.get_rank())  # each step has a seed
        yield


def run_network(network: Network, batch: Batch) -> NetworkOutput:
    """Logits (M, K) and last-layer features (M, D) of a batch."""
    return network(batch.features, batch.coords, batch.num_scenes, network.spatial_shape(batch.extent))
