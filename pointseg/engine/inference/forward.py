"""The network's call: voxels of a scene in, logits and last features out."""

import torch

from pointseg.config import Config
from pointseg.data.batch import collate
from pointseg.data.voxelize import Voxels
from pointseg.engine.network import (
    autocast,
    choose_amp,
    explain_out_of_memory,
    refuse_bf16_on_cpu,
    run_network,
)
from pointseg.errors import DataError
from pointseg.models import Network, NetworkOutput

LESS_MEMORY = (
    "lower inference.max_voxels (--max-voxels), use --device cpu, or inference.amp: fp16 in the run's config.yaml"
)


class Forward:
    """A network in evaluation mode, in the precision of the config, without gradients.

    Args:
        network: on ``device``, in any mode. It is put in evaluation mode itself, or stays as it is and a copy predicts
            (:meth:`~pointseg.models.network.Network.for_inference`).
        config: of its run.
        device: where it is.

    Raises:
        UsageError: ``inference.amp`` is bf16, and the device a CPU.
    """

    def __init__(self, network: Network, config: Config, device: torch.device) -> None:
        refuse_bf16_on_cpu("inference.amp", config.inference.amp, device)
        self.network = network.for_inference()
        self._amp = choose_amp(config.inference.amp, network)
        self._device = device

    def __call__(self, voxels: Voxels, name: str) -> NetworkOutput:
        """Logits (M, K) and last features (M, D) of the voxels of one scene, on the network's device.

        Raises:
            DataError: a GPU's memory is too small; the line says for what, and what helps. Or a logit is not finite.
        """
        batch = collate([(name, voxels)]).to(self._device)
        self.network.eval()
        amp = autocast(self._amp, self._device)
        with torch.inference_mode(), explain_out_of_memory(batch, LESS_MEMORY), amp:
            output = run_network(self.network, batch)
        # The sum is not finite where one of them is not, and takes no memory. Most of NaN would be the first class.
        if not output.logits.sum(dtype=torch.float32).isfinite():
            helps = "use another checkpoint, or train with a lower optimizer.lr"
            remedy = helps if self._amp == "none" else f"try inference.amp: none in the run's config.yaml, or {helps}"
            raise DataError(f"{name}: the network's logits are not finite, it has diverged; {remedy}")
        return output
