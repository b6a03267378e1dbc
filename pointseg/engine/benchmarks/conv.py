"""One submanifold convolution 3x3x3: every backend, against spconv and against the machine's matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pointseg import sparse
from pointseg.data.batch import Batch
from pointseg.engine.benchmarks.backends import let_spconv_train_on_cpu
from pointseg.engine.benchmarks.matmul import MatrixProduct
from pointseg.engine.benchmarks.surface import count_pairs, fill_batch
from pointseg.engine.benchmarks.timing import measure_in_turn, speedup, stopwatch


@dataclass(frozen=True)
class ConvRow:
    """One backend and number of channels, in and out."""

    backend: str
    channels: int
    num_voxels: int
    forward_ms: float
    """Without gradients. Neighbour maps are made before: all layers of a resolution share them."""
    backward_ms: float
    """To the gradients of input and weight."""
    forward_vs_spconv: float | None
    training_vs_spconv: float | None
    """Of a whole pass with gradients, forward and backward."""
    matmul_share: float
    """Rate of the forward, in needed operations, over the machine's rate for a large float32 product."""


def measure_conv(
    device: torch.device,
    coords: torch.Tensor,
    channels: Sequence[int],
    backends: Sequence[str],
    num_repeats: int,
    seed: int = 0,
) -> list[ConvRow]:
    """Measure all backends of one number of channels in turn, with the matrix product among them.

    Args:
        device: where to compute.
        coords: (M, 3) int32 voxels, unique, not negative; on the CPU.
        channels: in and out, for each row.
        backends: of ``pointseg.sparse.backend``.
        num_repeats: measurements to take the median of.
        seed: of the features.
    """
    if "spconv" in backends:
        let_spconv_train_on_cpu()
    batch = fill_batch([coords], in_channels=1, num_classes=1, seed=seed).to(device)
    num_pairs = count_pairs(coords)
    rows = []
    for width in channels:
        rows += _measure_width(device, batch, num_pairs, width, backends, num_repeats)
    return rows


def _measure_width(
    device: torch.device, batch: Batch, num_pairs: int, channels: int, backends: Sequence[str], num_repeats: int
) -> list[ConvRow]:
    product = MatrixProduct(device)
    work = {("product", "forward"): product.measurement}
    for backend in backends:
        layer = _Layer(backend, batch, channels)
        work[backend, "forward"] = stopwatch(layer.predict, device)
        work[backend, "training"] = stopwatch(layer.train, device)
        work[backend, "backward"] = layer.measure_backward
    seconds = measure_in_turn(work, num_repeats)
    best_rate = product.num_flops / seconds["product", "forward"]
    return [
        ConvRow(
            backend=backend,
            channels=channels,
            num_voxels=len(batch.coords),
            forward_ms=1e3 * seconds[backend, "forward"],
            backward_ms=1e3 * seconds[backend, "backward"],
            forward_vs_spconv=speedup(seconds.get(("spconv", "forward")), seconds[backend, "forward"]),
            training_vs_spconv=speedup(seconds.get(("spconv", "training")), seconds[backend, "training"]),
            matmul_share=2 * num_pairs * channels**2 / seconds[backend, "forward"] / best_rate,
        )
        for backend in backends
    ]


class _Layer:
    """A convolution of one backend with its input."""

    def __init__(self, backend: str, batch: Batch, channels: int) -> None:
        library = sparse.backend(backend)
        device = batch.coords.device
        self.layer = library.SubMConv3d(channels, channels, 3, padding=1, bias=False, indice_key="surface").to(device)
        self.features = torch.randn(len(batch.coords), channels, device=device)
        self.output_gradient = torch.randn_like(self.features)
        voxels = library.SparseConvTensor(self.features, batch.coords, list(batch.extent), batch.num_scenes)
        with torch.no_grad():
            # The output carries the neighbour map; in training mode it holds what the backward needs, too.
            self.voxels = self.layer.train()(voxels)

    def predict(self) -> None:
        """Forward as in inference."""
        self.layer.eval()
        with torch.inference_mode():
            self.layer(self.voxels.replace_feature(self.features))

    def train(self) -> None:
        """Forward and backward."""
        self._backward(self._forward())

    def measure_backward(self) -> float:
        """Seconds of the backward alone."""
        output = self._forward()
        return stopwatch(lambda: self._backward(output), output.device)()

    def _forward(self) -> torch.Tensor:
        self.layer.train()
        return self.layer(self.voxels.replace_feature(self.features.requires_grad_())).features

    def _backward(self, output: torch.Tensor) -> None:
        torch.autograd.grad(output, [self.features, *self.layer.parameters()], self.output_gradient)
