"""A trained network that teaches another one: what it says of each voxel is learned by a second classifier.

As Volt was trained (arXiv 2604.19609): the network and its teacher see the same batch, and the last features serve two
classifiers, one for the labels and one for the classes that the teacher finds most likely. The first alone predicts.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from pointseg.config import Config
from pointseg.data.batch import Batch
from pointseg.data.voxelize import VoxelInputs
from pointseg.engine.inference import Segmenter, load_segmenter
from pointseg.engine.network import autocast, choose_amp, run_network
from pointseg.errors import DataError, UsageError
from pointseg.runs.checkpoint import describe_other_names
from pointseg.scans.prepared import geometry_parts
from pointseg.taxonomy import load_taxonomy

_PART_OF_FEATURE = {"xyz": "coord", "rgb": "color", "normal": "normal"}


class Teacher:
    """The network of the run ``distill.run``, in evaluation mode. It is no part of the network that learns from it.

    Args:
        config: of the network that learns.
        device: where that is.

    Raises:
        UsageError: there is no such run, or it is of other classes, voxels or scans than the config; the line names
            the key.
        DataError: its checkpoint is damaged.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        assert config.distill.run is not None
        self._name = f"distill.run={config.distill.run}"
        given = Path(config.distill.run)
        run, checkpoint = (given.parent.parent, given) if given.is_file() else (given, None)
        try:
            segmenter = load_segmenter(run, checkpoint, device.type)
        except UsageError as error:
            raise UsageError(f"distill.run: {error}") from None
        self._refuse_misfit(segmenter, config)
        self.remark = self._compare_names(segmenter, config)
        """A line on what should be known of it; None: there is nothing."""
        self.inputs = VoxelInputs(segmenter.config.data.features, segmenter.config.data.color_range)
        """What it takes of each voxel."""
        assert segmenter.weights_sha256 is not None, "it is from a checkpoint"
        self.weights_sha256 = segmenter.weights_sha256
        self._network = segmenter.network.eval().requires_grad_(False)
        self._amp = choose_amp(config.train.amp, self._network)
        self._scenes_at_once = config.train.scenes_at_once
        self._clock = DeviceClock(device)
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    def refuse_scenes(self, folders: Sequence[Path]) -> None:
        """Refuse prepared scenes that lack what the teacher takes.

        Raises:
            UsageError: one does.
        """
        for folder in folders:
            there = geometry_parts(folder)
            for feature in self.inputs.features:
                if _PART_OF_FEATURE[feature] not in there:
                    raise UsageError(
                        f"{self._name}: takes {feature} as input, and {folder} has no {_PART_OF_FEATURE[feature]}.npy; "
                        "add it, or choose a teacher with other data.features"
                    )

    def label(self, batch: Batch) -> torch.Tensor:
        """(M,) int64: the class that it finds most likely for each voxel, also where the batch has no label.

        Args:
            batch: on the device; with ``teacher_features`` where the teacher's inputs are others.
        """
        features = batch.features if batch.teacher_features is None else batch.teacher_features
        seen = batch.with_features(features)
        parts = [seen] if self._scenes_at_once is None else seen.split(self._scenes_at_once)
        with self._clock.running(), torch.no_grad(), autocast(self._amp, features.device):
            logits = [run_network(self._network, part).logits for part in parts]
            for part in logits:  # the most likely of NaN would be the first class
                self._finite &= part.sum(dtype=torch.float32).isfinite()
            return torch.cat([part.argmax(dim=1) for part in logits])

    def refuse_not_finite(self) -> None:
        """Ask whether all that it has said so far was finite. The host waits for the device.

        Raises:
            DataError: it was not.
        """
        if not self._finite:
            helps = "choose another teacher"
            remedy = helps if self._amp == "none" else f"set train.amp=none, or {helps}"
            raise DataError(f"{self._name}: its logits are not finite, so it teaches nothing; {remedy}")

    def read_seconds(self) -> float:
        """Time that it took since this was last asked for. The host waits for the device."""
        return self._clock.read()

    def _refuse_misfit(self, segmenter: Segmenter, config: Config) -> None:
        own, taught = segmenter.config.data, config.data
        if segmenter.taxonomy.ids_fingerprint != load_taxonomy(config.taxonomy).ids_fingerprint:
            raise UsageError(
                f"{self._name}: knows other classes ({segmenter.taxonomy.name}, {segmenter.taxonomy.num_classes}) than "
                f"taxonomy={config.taxonomy}; choose a teacher of the same classes"
            )
        keys = ["voxel_size_m"] + (["center"] if "xyz" in own.features else [])
        for key in keys:
            if getattr(own, key) != getattr(taught, key):
                raise UsageError(
                    f"{self._name}: was trained with data.{key}={getattr(own, key)}, and this config has "
                    f"{getattr(taught, key)}; set data.{key}={getattr(own, key)}, or choose another teacher"
                )

    def _compare_names(self, segmenter: Segmenter, config: Config) -> str | None:
        if segmenter.taxonomy.fingerprint == load_taxonomy(config.taxonomy).fingerprint:
            return None
        return f"{self._name}: {describe_other_names(config)}"


class DeviceClock:
    """Seconds of what a device does in some blocks. Nothing waits for it before they are read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """A block that counts."""
        if self._device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._events.append((begin, end))
        else:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start

    def read(self) -> float:
        """The sum since it was last read."""
        for begin, end in self._events:
            end.synchronize()
            self._seconds += begin.elapsed_time(end) / 1000
        seconds, self._seconds, self._events = self._seconds, 0.0, []
        return seconds
