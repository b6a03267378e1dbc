"""One submanifold convolution 3x3x3: every backend, against spconv and against the machine's matrix product."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch

from pointseg import sparse
from pointseg.benchmarks.backends import let_spconv_train_on_cpu
from pointseg.benchmarks.child import Child
from pointseg.benchmarks.matmul import MatrixProduct
from pointseg.benchmarks.memory import peak_memory_gib
from pointseg.benchmarks.surface import count_pairs, fill_batch
from pointseg.benchmarks.timing import Measurement, measure_in_turn, speedup, stopwatch


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
    peak_gib: float
    """Of a process that does nothing else; on a GPU, of its tensors there."""


@dataclass(frozen=True)
class ConvJob:
    """What to measure in one process."""

    device: torch.device
    num_threads: int
    coords: torch.Tensor
    """(M, 3) int32 voxels, unique, not negative; on the CPU."""
    seed: int
    backend: str = "torch"
    channels: int = 32


def measure_conv(job: ConvJob, channels: Sequence[int], backends: Sequence[str], num_repeats: int) -> list[ConvRow]:
    """Measure all backends of one number of channels in turn, with the matrix product among them.

    Args:
        job: what all have in common.
        channels: in and out, for each row.
        backends: of ``pointseg.sparse.backend``.
        num_repeats: measurements to take the median of.
    """
    num_pairs = count_pairs(job.coords)
    rows = []
    for width in channels:
        rows += _measure_width(replace(job, channels=width), num_pairs, backends, num_repeats)
    return rows


def _measure_width(job: ConvJob, num_pairs: int, backends: Sequence[str], num_repeats: int) -> list[ConvRow]:
    product = MatrixProduct(job.device)
    work: dict[tuple[str, str], Measurement] = {("product", "forward"): product.measurement}
    with ExitStack() as stack:
        children = {
            backend: stack.enter_context(Child(backend, ConvMeasurement, replace(job, backend=backend)))
            for backend in backends
        }
        for backend, child in children.items():
            for name in ("forward", "training", "backward"):
                work[backend, name] = partial(child.call, f"measure_{name}")
        seconds = measure_in_turn(work, num_repeats)
        peak_gib = {backend: child.call("peak_gib") for backend, child in children.items()}
    best_rate = product.num_flops / seconds["product", "forward"]
    return [
        ConvRow(
            backend=backend,
            channels=job.channels,
            num_voxels=len(job.coords),
            forward_ms=1e3 * seconds[backend, "forward"],
            backward_ms=1e3 * seconds[backend, "backward"],
            forward_vs_spconv=speedup(seconds.get(("spconv", "forward")), seconds[backend, "forward"]),
            training_vs_spconv=speedup(seconds.get(("spconv", "training")), seconds[backend, "training"]),
            matmul_share=2 * num_pairs * job.channels**2 / seconds[backend, "forward"] / best_rate,
            peak_gib=peak_gib[backend],
        )
        for backend in backends
    ]


class ConvMeasurement:
    """What lives in the process of a :class:`ConvJob`: a convolution of one backend with its input."""

    def __init__(self, job: ConvJob) -> None:
        torch.set_num_threads(job.num_threads)
        if job.backend == "spconv":
            let_spconv_train_on_cpu()
        library = sparse.backend(job.backend)
        batch = fill_batch([job.coords], in_channels=job.channels, num_classes=1, seed=job.seed).to(job.device)
        layer = library.SubMConv3d(job.channels, job.channels, 3, padding=1, bias=False, indice_key="surface")
        self.device = job.device
        self.layer = layer.to(job.device)
        self.features = batch.features
        self.output_gradient = torch.randn_like(self.features)
        voxels = library.SparseConvTensor(self.features, batch.coords, list(batch.extent), batch.num_scenes)
        with torch.no_grad():
            # The output carries the neighbour map; in training mode it holds what the backward needs, too.
            self.voxels = self.layer.train()(voxels)
        self.measure_forward = stopwatch(self._predict, job.device)
        self.measure_training = stopwatch(lambda: self._backward(self._forward()), job.device)

    def measure_backward(self) -> float:
        """Seconds of the backward alone."""
        output = self._forward()
        return stopwatch(lambda: self._backward(output), self.device)()

    def peak_gib(self) -> float:
        """The most memory until now."""
        return peak_memory_gib(self.device)

    def _predict(self) -> None:
        self.layer.eval()
        with torch.inference_mode():
            self.layer(self.voxels.replace_feature(self.features))

    def _forward(self) -> torch.Tensor:
        self.layer.train()
        return self.layer(self.voxels.replace_feature(self.features.requires_grad_())).features

    def _backward(self, output: torch.Tensor) -> None:
        torch.autograd.grad(output, [self.features, *self.layer.parameters()], self.output_gradient)
