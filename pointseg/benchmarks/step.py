"""The whole network: inference, a training step and its memory, every backend in processes of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pointseg.benchmarks.backends import BARE, let_spconv_train_on_cpu
from pointseg.benchmarks.bare_spconv import BarePrediction, BareTrainingStep, check_coarsest_level
from pointseg.benchmarks.child import Child
from pointseg.benchmarks.memory import peak_memory_gib
from pointseg.benchmarks.surface import fill_batch, find_coords
from pointseg.benchmarks.timing import measure_in_turn, speedup, stopwatch
from pointseg.benchmarks.training import PredictionStep, TrainingStep
from pointseg.benchmarks.waiting import measure_wait_share
from pointseg.config import Config
from pointseg.data.loader import choose_data_device
from pointseg.taxonomy import load_taxonomy


@dataclass(frozen=True)
class StepRow:
    """One backend."""

    backend: str
    model: str
    num_voxels: int
    """Of the batch."""
    forward_s: float
    """Inference."""
    step_s: float
    """Forward, losses, backward and update."""
    peak_gib: float
    """Of a process that does nothing but training steps; on a GPU, of its tensors there."""
    inference_vs_spconv: float | None
    """Against the network in bare spconv, or where that was not measured against ours on spconv; the same below."""
    training_vs_spconv: float | None
    wait_share: float | None
    """Share of the time in which steps with a loader wait for data; None: the batch was there already."""


@dataclass(frozen=True)
class StepJob:
    """What to measure in one process."""

    config: Config
    device: torch.device
    num_threads: int
    num_voxels: int
    """Of a scene that is made."""
    num_scenes: int
    scene: Path | None
    seed: int
    occupied: float = 1.0
    """Share of the made surface's voxels that hold a vertex."""
    num_steps_with_loader: int = 0
    """To measure ``wait_share``; 0: not."""
    backend: str = "torch"
    trains: bool = False

    def find_scenes(self) -> list[torch.Tensor]:
        """Voxels (M, 3) of each scene of the batch."""
        seeds = range(self.seed, self.seed + self.num_scenes)
        return [find_coords(self.num_voxels, self.scene, seed, self.occupied) for seed in seeds]


# (bare, trains) -> what is measured
_WORK: dict[tuple[bool, bool], Any] = {
    (False, False): PredictionStep,
    (False, True): TrainingStep,
    (True, False): BarePrediction,
    (True, True): BareTrainingStep,
}


class StepMeasurement:
    """What lives in the process of a :class:`StepJob`."""

    def __init__(self, job: StepJob) -> None:
        torch.set_num_threads(job.num_threads)
        if "spconv" in job.backend:
            let_spconv_train_on_cpu()
        model = job.config.model.model_copy(update={"backend": "spconv" if job.backend == BARE else job.backend})
        data = job.config.data.model_copy(update={"scenes_per_batch": job.num_scenes})
        config = job.config.model_copy(update={"model": model, "data": data})
        batch = fill_batch(job.find_scenes(), config.in_channels, load_taxonomy(config.taxonomy).num_classes, job.seed)
        self.job = job
        self.config = config
        self.num_voxels = len(batch.coords)
        self.device = job.device
        build = _WORK[job.backend == BARE, job.trains]
        self.measure = stopwatch(build(config, job.device, batch, job.seed).run, job.device)

    def read_num_voxels(self) -> int:
        """Of the batch."""
        return self.num_voxels

    def peak_gib(self) -> float:
        """The most memory until now."""
        return peak_memory_gib(self.device)

    def wait_share(self) -> float | None:
        """Of steps with a loader; None where that is not asked for, or nothing of ours trains."""
        job = self.job
        if not job.trains or not job.num_steps_with_loader or job.backend == BARE:
            return None
        return measure_wait_share(
            self.config, job.device, job.num_voxels, job.scene, job.num_steps_with_loader, job.seed
        )


def measure_step(job: StepJob, model: str, backends: Sequence[str], num_repeats: int) -> list[StepRow]:
    """Measure all backends, predicting and training, each in a process of its own.

    On a CPU in turn: all processes are there at the same time, and one of them works. A GPU has no memory for all of
    them, and nobody else: there one process follows the other.

    Args:
        job: what all have in common.
        model: what a row calls the network.
        backends: of ``pointseg.sparse.backend``, and ``BARE``.
        num_repeats: measurements to take the median of.

    Raises:
        UsageError: there is no such scene, it is too small, or the loader can't work where the config wants it to.
    """
    if job.num_steps_with_loader:
        choose_data_device(job.config.data.device, job.device)
    if BARE in backends:
        check_coarsest_level(job.config, job.find_scenes())
    names = [(backend, trains) for backend in backends for trains in (False, True)]
    at_a_time = 1 if job.device.type == "cuda" else len(names)
    measured: dict[tuple[str, bool], _Measured] = {}
    for first in range(0, len(names), at_a_time):
        measured |= _measure_together(job, names[first : first + at_a_time], num_repeats)
    seconds = {name: values.seconds for name, values in measured.items()}
    reference = BARE if BARE in backends else "spconv"
    return [
        StepRow(
            backend=backend,
            model=model,
            num_voxels=measured[backend, True].num_voxels,
            forward_s=seconds[backend, False],
            step_s=seconds[backend, True],
            peak_gib=measured[backend, True].peak_gib,
            inference_vs_spconv=speedup(seconds.get((reference, False)), seconds[backend, False]),
            training_vs_spconv=speedup(seconds.get((reference, True)), seconds[backend, True]),
            wait_share=measured[backend, True].wait_share,
        )
        for backend in backends
    ]


class _Measured(NamedTuple):
    """Of one process."""

    seconds: float
    peak_gib: float
    wait_share: float | None
    num_voxels: int


def _measure_together(
    job: StepJob, names: Sequence[tuple[str, bool]], num_repeats: int
) -> dict[tuple[str, bool], _Measured]:
    """Each (backend, whether it trains) in a process; they are measured in turn, and gone when this returns."""
    with ExitStack() as stack:
        children = {
            (backend, trains): stack.enter_context(
                Child(backend, StepMeasurement, replace(job, backend=backend, trains=trains))
            )
            for backend, trains in names
        }
        seconds = measure_in_turn(
            {name: partial(child.call, "measure") for name, child in children.items()}, num_repeats
        )
        return {
            name: _Measured(
                seconds[name], child.call("peak_gib"), child.call("wait_share"), child.call("read_num_voxels")
            )
            for name, child in children.items()
        }
