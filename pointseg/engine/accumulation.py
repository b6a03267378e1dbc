"""Gradient accumulation: a batch goes through the network in parts, and has the gradients of the whole.

The usual way, a loss and a backward pass for each part, changes every loss that is no mean over points: Lovász-softmax,
and the centers of classes. Here the losses see the outputs of all parts at once. What is between input and output is
not kept: in the backward pass each part goes through the network again, and the gradients of the parts add up (Gao et
al., "Scaling deep contrastive learning batch size under memory limited setup", 2021, section 3).
"""

from dataclasses import replace

import torch
from torch.utils.checkpoint import checkpoint

from pointseg.data.batch import Batch
from pointseg.engine.network import run_network
from pointseg.models import Network, NetworkOutput
from pointseg.models.recomputation import count_once


def run_in_parts(network: Network, batch: Batch, scenes_at_once: int) -> NetworkOutput:
    """Logits (M, K) and last features (M, D) of a batch, of which so many scenes are in the network at a time.

    Batch norm takes mean and variance of each part alone, as it would of a batch of so many scenes, and its running
    statistics move with each part. What a network draws at random, it draws for each part.
    """
    outputs = [
        checkpoint(
            _run_part,
            network,
            part,
            part.features,
            use_reentrant=False,
            preserve_rng_state=True,  # the second time, a network leaves out what it left out the first time
            context_fn=count_once,
        )
        for part in batch.split(scenes_at_once)
    ]
    logits, features = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return NetworkOutput(logits, features)


def _run_part(network: Network, part: Batch, features: torch.Tensor) -> NetworkOutput:
    """Its features stand beside it for PyTorch: it keeps the random state of the devices of the tensors it is given."""
    return run_network(network, replace(part, features=features))
