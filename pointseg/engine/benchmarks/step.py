"""The whole network: inference, a training step and their memory, every backend in a process of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from pointseg.config import Config
from pointseg.engine.benchmarks.backends import let_spconv_train_on_cpu
from pointseg.engine.benchmarks.child import Child
from pointseg.engine.benchmarks.memory import peak_memory_gib
from pointseg.engine.benchmarks.timing import measure_in_turn, speedup, stopwatch
from pointseg.engine.benchmarks.training import TrainingStep


@dataclass(frozen=True)
class StepRow:
    """One backend."""

    backend: str
    model: str
    num_voxels: int
    forward_s: float
    """Inference."""
    step_s: float
    """Forward, losses, backward and update."""
    peak_gib: float
    """Of a process that does nothing else; on a GPU, of its tensors there."""
    inference_vs_spconv: float | None
    training_vs_spconv: float | None
    wait_share: float | None
    """Share of the step in which it waits for data; None: the batch was there already."""


@dataclass(frozen=True)
class StepJob:
    """What to measure in one process."""

    config: Config
    device: torch.device
    num_threads: int
    num_voxels: int
    seed: int


class StepMeasurement:
    """What lives in the process of a :class:`StepJob`."""

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.num_threads)
        if job.config.model.backend == "spconv":
            let_spconv_train_on_cpu()
        self.device = job.device
        self.training = TrainingStep(job.config, job.device, job.num_voxels, job.seed)
        self.measure_forward = stopwatch(self.training.predict, job.device)
        self.measure_step = stopwatch(self.training.train, job.device)

    def peak_gib(self) -> float:
        """The most memory until now."""
        return peak_memory_gib(self.device)


def measure_step(
    config: Config,
    model: str,
    device: torch.device,
    num_threads: int,
    num_voxels: int,
    backends: Sequence[str],
    num_repeats: int,
    seed: int = 0,
) -> list[StepRow]:
    """Measure all backends in turn: all processes are there at the same time, and one of them works."""
    with ExitStack() as stack:
        work, children = {}, {}
        for backend in backends:
            chosen = config.model_copy(update={"model": config.model.model_copy(update={"backend": backend})})
            job = StepJob(chosen, device, num_threads, num_voxels, seed)
            child = children[backend] = stack.enter_context(Child(backend, StepMeasurement, job))
            work[backend, "forward"] = partial(child.call, "measure_forward")
            work[backend, "step"] = partial(child.call, "measure_step")
        seconds = measure_in_turn(work, num_repeats)
        peak_gib = {backend: child.call("peak_gib") for backend, child in children.items()}
    return [
        StepRow(
            backend=backend,
            model=model,
            num_voxels=num_voxels,
            forward_s=seconds[backend, "forward"],
            step_s=seconds[backend, "step"],
            peak_gib=peak_gib[backend],
            inference_vs_spconv=speedup(seconds.get(("spconv", "forward")), seconds[backend, "forward"]),
            training_vs_spconv=speedup(seconds.get(("spconv", "step")), seconds[backend, "step"]),
            wait_share=None,
        )
        for backend in backends
    ]
