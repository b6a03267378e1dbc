"""Activation checkpointing: blocks of which a training step keeps the input alone, and computes the rest again.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016), for blocks of sparse convolutions.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)
"""Whether a backward pass is computing a block for the second time: its batch has been counted already."""


def run_and_forget(function: Callable[..., Any], *tensors: Any) -> Any:
    """``function(*tensors)``, with the same gradients, of which nothing between is kept for the backward pass.

    Args:
        function: sparse tensors -> a sparse tensor of the voxels of the last one. What it draws at random would be
            drawn anew.
        tensors: sparse tensors of any backend.
    """

    def features_of(*features: Tensor) -> Tensor:
        output = function(*(t.replace_feature(f) for t, f in zip(tensors, features, strict=True)))
        # spconv hands neighbour maps on in a copy of the input's. The layers after these, and these again in the
        # backward pass, are to find them where they look.
        tensors[-1].indice_dict.update(output.indice_dict)
        return output.features

    features = checkpoint(
        features_of,
        *(tensor.features for tensor in tensors),
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=count_once,
    )
    return tensors[-1].replace_feature(features)


def count_once() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For ``context_fn`` of a checkpoint: batch norm counts in the first computation, and not in the second."""
    return nullcontext(), _second_time()


@contextmanager
def _second_time() -> Iterator[None]:
    token = recomputing.set(True)
    try:
        yield
    finally:
        recomputing.reset(token)
