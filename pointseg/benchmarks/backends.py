"""Which backends are measured here, and what spconv needs for it."""

from collections.abc import Sequence

import torch

from pointseg import sparse
from pointseg.errors import UsageError
from pointseg.models.unet import SIZES as UNET_SIZES

BACKENDS = ("torch", "spconv", "spconv_triton")
BARE = "bare_spconv"
"""No backend of ours, but the plainest network in spconv (``bare_spconv``): what the whole network is held against."""


def choose_backends(wanted: Sequence[str] | None, device: torch.device, with_bare: bool = False) -> list[str]:
    """The backends to measure: ``wanted``, or all that can be imported and compute on the device.

    Args:
        wanted: of ``BACKENDS`` and ``BARE``; None for all.
        device: where to compute.
        with_bare: whether ``BARE`` is one of all.

    Raises:
        UsageError: one that is wanted can't be used.
    """
    if wanted is not None:
        for name in wanted:
            sparse.backend("spconv" if name == BARE else name)
        return list(dict.fromkeys(wanted))
    if device.type == "cpu" and torch.cuda.is_available():
        return ["torch"]  # the others would take their GPU kernels
    found = [name for name in BACKENDS if _is_importable(name)]
    return [*found, BARE] if with_bare and "spconv" in found else found


def choose_backends_of(model: str, wanted: Sequence[str] | None, device: torch.device) -> list[str]:
    """The backends to measure a whole network with; one without sparse convolutions is PyTorch's own.

    Args:
        model: of ``pointseg.models.NAMES``.
        wanted: as :func:`choose_backends` takes it.
        device: where to compute.

    Raises:
        UsageError: one that is wanted can't be used, or plays no part in this network.
    """
    if model in UNET_SIZES:
        return choose_backends(wanted, device, with_bare=True)
    if wanted not in (None, ["torch"]):
        raise UsageError(f"--backends: {model} has no sparse convolutions; leave it out")
    return ["torch"]


def let_spconv_train_on_cpu() -> None:
    """Let spconv's backward run without a GPU: it asks for the CUDA stream even for CPU tensors.

    For measurements only. It changes spconv for the whole process.
    """
    if not torch.cuda.is_available():
        import spconv.pytorch.ops

        spconv.pytorch.ops.get_current_stream = lambda: 0


def _is_importable(backend: str) -> bool:
    try:
        sparse.backend(backend)
    except UsageError:
        return False
    return True
