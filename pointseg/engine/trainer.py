"""The training loop."""

import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from pointseg.config import Config
from pointseg.data.batch import Batch
from pointseg.data.class_counts import ClassCounts, count_classes
from pointseg.data.loader import TrainingLoader, derive_seed
from pointseg.data.voxelize import VoxelInputs
from pointseg.engine.network import autocast, choose_amp, explain_out_of_memory, refuse_bf16_on_cpu
from pointseg.engine.objective import Losses, Objective
from pointseg.engine.optimizer import Update, build_schedule
from pointseg.engine.run_log import Tally, open_log
from pointseg.engine.run_scenes import find_run_scenes
from pointseg.errors import StoppedError, UsageError
from pointseg.folder_lock import refuse_if_lost
from pointseg.models import Network, build_network
from pointseg.processes import Processes, StopRequest, set_num_threads
from pointseg.runs.checkpoint import load_initial_weights, read_checkpoint, save_checkpoint
from pointseg.runs.directory import RunDirectory
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from pointseg.engine.averaging import WeightAverage
    from pointseg.engine.teacher import Teacher

_WEIGHTS = ("model", "class_counts", "progress")
"""What of the state is kept of the best weights."""
_LESS_MEMORY = (
    "set train.scenes_at_once=1, data.max_voxels or model.checkpoint_activations=true, lower data.scenes_per_batch or "
    "data.max_points, or use train.amp=fp16"
)
_SAME_CLASSES = "leave ids and order of the classes as they were, or begin a new run with run.dir=PATH"


@dataclass
class Progress:
    """Where training stands."""

    pass_index: int = 0
    batch_index: int = 0
    step: int = 0
    best_miou: float = -1.0
    validation_is_due: bool = False


class Trainer:
    """One run: everything that is built once, and the loop over passes and batches."""

    def __init__(self, config: Config, processes: Processes, resume: bool = False) -> None:
        assert config.run.dir is not None
        self.config = config
        self.processes = processes
        self.directory = RunDirectory(config.run.dir)
        device = processes.device
        refuse_bf16_on_cpu("train.amp", config.train.amp, device)
        refuse_bf16_on_cpu("inference.amp", config.inference.amp, device)  # now, and not at the first validation
        torch.manual_seed(config.run.seed)
        set_num_threads(config.train.num_threads)

        self.network = build_network(config, device)
        last = self.directory.last_checkpoint
        earlier = read_checkpoint(last, config, remedy=_SAME_CLASSES) if resume and last.is_file() else None
        if config.model.init is not None and earlier is None:
            remark = load_initial_weights(self.network, config)
            if remark is not None and processes.is_first:
                print(remark, file=sys.stderr)
        if config.train.freeze == "features":
            self.network.freeze_features()
        self.taxonomy = load_taxonomy(config.taxonomy)
        self.scenes = find_run_scenes(config, self.taxonomy)
        self.teacher = self.load_teacher()
        if processes.world_size > 1:
            from pointseg.engine.agreement import refuse_unequal_starts

            refuse_unequal_starts(self, earlier)
        self.class_counts = self.count_classes(earlier)
        self.taxonomy = self.taxonomy.with_counted_groups(self.class_counts.points.tolist())
        self.objective = self.build_objective().to(device)
        if config.train.sync_batch_norm and processes.world_size > 1:
            from pointseg.engine.sync_batch_norm import synchronize_batch_norm

            synchronize_batch_norm(self.objective)

        with explain_out_of_memory("all scenes at once", "use data.cache=ram or none"):
            rank, world_size, folders = processes.rank, processes.world_size, self.scenes.train
            self.loader = TrainingLoader(folders, config, rank, world_size, device, self.taxonomy, self.teacher_inputs)
        self.num_steps = config.train.passes * self.loader.batches_per_pass
        self.amp = choose_amp(config.train.amp, self.network)
        self.update = Update(self.objective, config.optimizer, self.amp, device)
        self.schedule = build_schedule(self.update.optimizer, config.optimizer, self.num_steps)
        self.average = self.build_average()
        self.progress = Progress()
        if earlier is not None:
            from pointseg.engine.resuming import restore

            restore(self, earlier)
        elif processes.is_first:
            from pointseg.engine.scene_warnings import warn_of_missing_classes, warn_of_shared_scenes

            warn_of_missing_classes(self.class_counts, config, self.taxonomy)
            warn_of_shared_scenes(self.scenes.train, self.scenes.val)
        self.parallel = DistributedDataParallel(self.objective) if processes.world_size > 1 else self.objective

    def load_teacher(self) -> "Teacher | None":
        """The network that teaches this one, where the config names one.

        Raises:
            PointsegError: it can't be loaded, or does not fit the config or the scenes.
        """
        if self.config.distill.run is None:
            return None
        from pointseg.engine.teacher import Teacher

        teacher = Teacher(self.config, self.processes.device)
        teacher.refuse_scenes(self.scenes.train)
        if teacher.remark is not None and self.processes.is_first:
            print(teacher.remark, file=sys.stderr)
        return teacher

    @property
    def teacher_inputs(self) -> VoxelInputs | None:
        """What the teacher takes of each voxel, where it is other than what the network takes."""
        data = self.config.data
        own = VoxelInputs(data.features, data.color_range)
        return None if self.teacher is None or self.teacher.inputs == own else self.teacher.inputs

    def count_classes(self, earlier: dict[str, Any] | None) -> ClassCounts:
        """The classes of the training split, as the run counted them when it began.

        Raises:
            DataError: as :func:`count_classes`.
            UsageError: no point has a label, from which alone, with a teacher too, the classifier that predicts learns.
        """
        if earlier is not None and "class_counts" in earlier:
            return ClassCounts.from_state_dict(earlier["class_counts"])
        counts, data = count_classes(self.scenes.train, self.taxonomy), self.config.data
        if not counts.points.any():
            raise UsageError(
                f"{data.root}: no point of its scenes in {name_splits(data.train_split)} has a label to learn from; "
                "label some, or set data.train_split to scenes with labels"
            )
        return counts

    def build_objective(self) -> Objective:
        """The network with its losses.

        Raises:
            UsageError: the config's center branch can't be built.
        """
        try:
            return Objective(
                self.network,
                self.config.loss,
                self.class_counts,
                0.0 if self.teacher is None else self.config.distill.weight,
                self.config.train.scenes_at_once,
            )
        except ValueError as error:
            raise UsageError(f"loss: {error}") from None

    def build_average(self) -> "WeightAverage | None":
        """The average of the weights, where the config wants one."""
        if self.config.train.ema_decay is None:
            return None
        from pointseg.engine.averaging import WeightAverage

        return WeightAverage(self.network, self.config.train.ema_decay)

    @property
    def predictor(self) -> Network:
        """The network that is validated, and kept to predict: that with the averaged weights, or the one trained."""
        return self.network if self.average is None else self.average.network

    @property
    def branch_moves_features(self) -> bool:
        """Whether there is a center branch, and features that can follow it."""
        return self.objective.collapse is not None and self.config.train.freeze != "features"

    def run(self) -> None:
        """Train to the end, or until a signal asks to stop: then the checkpoint is written first."""
        config, progress = self.config, self.progress
        if self.processes.is_first and progress.step == 0:
            self.directory.begin(config, self.taxonomy)
        self.stop = StopRequest(self.processes.world_size)
        with self.stop, open_log(self) as self.log, closing(self.loader), self.loader.explain_dead_worker():
            self.tally = Tally(config.data.scenes_per_batch)
            while progress.pass_index < config.train.passes or progress.validation_is_due:
                if progress.validation_is_due:
                    self.validate()
                    progress.validation_is_due = False
                else:
                    with explain_out_of_memory("the scenes that are made ready", f"{_LESS_MEMORY}, or data.device=cpu"):
                        self.train_pass()
                # Before a validation, too: whatever it finds wrong, the pass is not lost.
                self.save_last()

    def train_pass(self) -> None:
        """What is left of the pass.

        Raises:
            StoppedError: a signal asked to stop; the checkpoint is written.
        """
        progress = self.progress
        self.tally.resume()
        for batch in self.loader.batches(progress.pass_index, progress.batch_index):
            # Each process asks the others before every step; so it also notices here if one is gone.
            if self.processes.any(self.stop.requested):
                self.save_last()
                raise StoppedError(f"{self.directory.path}: stopped after step {progress.step}; --resume goes on")
            losses = self.train_step(batch.to(self.processes.device))
            progress.batch_index += 1
            progress.step += 1
            self.log.step_done()
            self.tally.add(batch)
            if self.is_step_to_log(progress.step):
                self.log_losses(losses)
        self.tally.pause()
        progress.pass_index, progress.batch_index = progress.pass_index + 1, 0
        progress.validation_is_due = self.is_pass_to_validate()

    def train_step(self, batch: Batch) -> Losses:
        """Forward, backward, update."""
        self.parallel.train()
        if self.config.train.freeze == "features":
            self.network.eval()  # batch norm's statistics are part of the features
        # What is drawn in a step depends on seed and step alone. So a resumed run draws the same, and so do all
        # processes, which share the dropout of centers. The loader's seeds of pass 0 are the same numbers; others here
        # would change what a run that is resumed had drawn so far.
        torch.manual_seed(derive_seed(self.config.run.seed, 0, self.progress.step))
        self.objective.collapse_weight = self.collapse_weight()
        with explain_out_of_memory(batch, _LESS_MEMORY):
            teacher_labels = None if self.teacher is None else self.teacher.label(batch)
            with autocast(self.amp, self.processes.device):
                measures_pull = self.branch_moves_features and self.is_step_to_log(self.progress.step + 1)
                losses: Losses = self.parallel(batch, teacher_labels, measures_pull)
            self.rate = self.update.optimizer.param_groups[0]["lr"]
            self.update(losses.total)
        if self.average is not None:
            self.average.update(self.network)
        if self.progress.step + 1 < self.num_steps:
            self.schedule.step()
        return losses

    def collapse_weight(self) -> float:
        """λ of the coming step: it rises from 0 in even steps, stays, and falls to 0 after the last step."""
        collapse, step = self.config.loss.collapse, self.progress.step
        warmup_steps = round(collapse.warmup_share * self.num_steps)
        decay_steps = round(collapse.decay_share * self.num_steps)
        risen = min(1.0, step / warmup_steps) if warmup_steps else 1.0
        left = min(1.0, (self.num_steps - step) / decay_steps) if decay_steps else 1.0
        return collapse.weight * risen * left

    def is_step_to_log(self, step: int) -> bool:
        """Every n-th step, and the last."""
        return step % self.config.train.log_every == 0 or step == self.num_steps

    def log_losses(self, losses: Losses) -> None:
        """Read the losses of all processes, check and log them: in such a step alone the loop waits for the device."""
        total, recognition, collapse, taught, pull = self.processes.mean(torch.stack(losses).detach()).tolist()
        if not total < float("inf"):
            from pointseg.engine.divergence import diverged

            raise diverged(self, f"the loss is {total} at step {self.progress.step}")
        if self.teacher is not None:
            self.teacher.refuse_not_finite()
        self.log.log_training(
            self.progress.step,
            {
                "loss": total,
                "recognition": recognition,
                "collapse": collapse,
                **({"collapse_pull": pull} if self.branch_moves_features else {}),
                **({} if self.teacher is None else {"taught": taught}),
                "lr": self.rate,
                **self.tally.read(self.processes, None if self.teacher is None else self.teacher.read_seconds()),
            },
        )

    def is_pass_to_validate(self) -> bool:
        """After every n-th pass and after the last, where there is a validation split."""
        if not self.scenes.val:
            return False
        every, done = self.config.train.validate_every, self.progress.pass_index
        return done == self.config.train.passes or (every > 0 and done % every == 0)

    def validate(self) -> None:
        """Evaluate by the official rule; keep the weights if they are the best so far.

        Raises:
            StoppedError: a signal asked to stop; the last checkpoint says that the validation is due.
        """
        from pointseg.engine.validation import validate  # all that predicting takes, and no step needs

        self.processes.share_buffers(self.predictor)
        miou = validate(self)
        if miou > self.progress.best_miou:
            self.progress.best_miou = miou
            if self.processes.is_first:
                refuse_if_lost(self.directory.path)
                weights = {key: value for key, value in self.state().items() if key in _WEIGHTS}
                save_checkpoint(self.directory.best_checkpoint, self.config, self.taxonomy, weights)

    def save_last(self) -> None:
        """Write everything that resuming needs.

        Raises:
            DataError: training has diverged since the last loss was logged; the checkpoint stays as it was.
            UsageError: the run's folder was moved away meanwhile.
        """
        from pointseg.engine.divergence import diverged, find_not_finite  # which no step needs

        state = self.state()
        part = find_not_finite(state)
        # All processes leave together; batch norm's statistics differ from one to the other.
        if self.processes.any(part is not None):
            raise diverged(self, f"its {part or 'model'} is not finite after step {self.progress.step}")
        if self.processes.is_first:
            refuse_if_lost(self.directory.path)
            save_checkpoint(self.directory.last_checkpoint, self.config, self.taxonomy, state)

    def state(self) -> dict[str, Any]:
        """All that training changes or depends on, beside config and scenes."""
        collapse, taught_classifier = self.objective.collapse, self.objective.taught_classifier
        further: dict[str, Any] = {}
        if self.average is not None:
            further["newest_model"] = self.network.state_dict()
        if self.teacher is not None and taught_classifier is not None:
            further |= {"teacher": self.teacher.weights_sha256, "taught_classifier": taught_classifier.state_dict()}
        return {
            "model": self.predictor.state_dict(),
            **further,
            "collapse": None if collapse is None else collapse.state_dict(),
            "class_counts": self.class_counts.state_dict(),
            "train_scenes": self.scenes.train_names,
            "validated_on": self.scenes.validated_on,
            "optimizer": self.update.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.update.scaler.state_dict(),
            "progress": vars(self.progress),
        }
