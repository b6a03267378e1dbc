"""Which library does the sparse convolutions: ours, spconv, or spconv-triton."""

from dataclasses import dataclass
from typing import Any

import torch

from pointseg.errors import UsageError
from pointseg.sparse import modules
from pointseg.sparse.tensor import SparseConvTensor

BACKENDS = ("auto", "torch", "spconv", "spconv_triton")


@dataclass(frozen=True)
class Backend:
    """The names a network is written against; what they make is called as in spconv."""

    name: str
    SparseConvTensor: Any
    SparseSequential: Any
    SubMConv3d: Any
    SparseConv3d: Any
    SparseInverseConv3d: Any
    has_bfloat16: bool
    """Whether it computes in bfloat16 under an autocast to it, and not in float16."""


def backend(name: str = "auto") -> Backend:
    """The backend ``torch``, ``spconv`` or ``spconv_triton``; ``auto`` takes the fastest that works here.

    ``auto`` is spconv, then spconv-triton, then ours where there is a GPU, and ours on a CPU. Without a GPU spconv
    gets its Native algorithm, the only one that runs there.

    Raises:
        UsageError: no such backend, or it can't be used here; the line says which can, and what to install.
    """
    if name == "torch" or (name == "auto" and not torch.cuda.is_available()):
        return _torch_backend()
    from pointseg.sparse.libraries import load_spconv, load_spconv_triton, usable_here

    if name == "spconv":
        return load_spconv()
    if name == "spconv_triton":
        return load_spconv_triton()
    if name == "auto":
        for load in (load_spconv, load_spconv_triton):
            try:
                return load()
            except UsageError:
                continue
        return _torch_backend()
    raise UsageError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}; {usable_here()}")


def _torch_backend() -> Backend:
    return Backend(
        "torch",
        SparseConvTensor,
        modules.SparseSequential,
        modules.SubMConv3d,
        modules.SparseConv3d,
        modules.SparseInverseConv3d,
        has_bfloat16=True,
    )
