"""An exponential moving average of the weights: it predicts, and training goes on from the newest weights.

Averaged iterates: Polyak and Juditsky (SIAM J. Control Optim. 1992); as here, with a fixed decay, in Tarvainen and
Valpola, "Mean teachers are better role models" (NeurIPS 2017), eq. 1.
"""

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pointseg.models import Network


class WeightAverage:
    """w̄ = decay · w̄ + (1 - decay) · w after each step, and w̄ = w after the first.

    The running statistics of batch norm are averages already; the newest ones are copied.

    Args:
        network: whose weights are averaged, on its device.
        decay: 0 <= decay < 1; of w̄ after n steps, weights of more than a few times 1 / (1 - decay) steps ago have no
            part.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay)).requires_grad_(False)

    @property
    def network(self) -> Network:
        """The network with the averaged weights."""
        network = self._averaged.module
        assert isinstance(network, Network), "it is a copy of one"
        return network

    def update(self, network: Network) -> None:
        """Take in the weights of a step; the host waits for nothing."""
        self._averaged.update_parameters(network)

    def go_on_from(self, num_steps: int) -> None:
        """Say after how many steps the weights that :attr:`network` now has were the average."""
        self._averaged.n_averaged.fill_(num_steps)
