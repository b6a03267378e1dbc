"""What a run tells: a progress bar for people, ``metrics.jsonl`` and TensorBoard for later."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pointseg.atomic import errors_name
from pointseg.data.batch import Batch
from pointseg.processes import Processes
from pointseg.runs.directory import RunDirectory

if TYPE_CHECKING:
    from pointseg.collapse.metrics import Measures


class Tally:
    """What the batches since the last line of training figures were like, and how long they took.

    Args:
        scenes_per_batch: of all processes together, before mixing.
    """

    RARE = ("cropped_scenes", "unaugmented_scenes")

    def __init__(self, scenes_per_batch: int) -> None:
        self._scenes_per_batch = scenes_per_batch
        self._begin()

    def add(self, batch: Batch) -> None:
        """Count one batch."""
        self._num_batches += 1
        self._num_scenes += batch.num_scenes
        self._num_cropped += batch.num_cropped
        self._num_unaugmented += batch.num_unaugmented

    def pause(self) -> None:
        """Stop the clock: what follows is no training."""
        self._seconds += time.perf_counter() - self._resumed

    def resume(self) -> None:
        """Let the clock go on."""
        self._resumed = time.perf_counter()

    def read(self, processes: Processes, teacher_s: float | None = None) -> dict[str, float]:
        """The figures, named as in ``metrics.jsonl``; the next ones begin. All processes call this at the same time.

        ``effective_batch_size`` is the mean number of scenes after mixing, ``cropped_scenes`` and
        ``unaugmented_scenes`` count scenes; all three are of all processes together. ``teacher_share`` is the share of
        the time that the teacher took, where ``teacher_s`` says how long that was.
        """
        self.pause()
        counts = np.array([self._num_scenes, self._num_cropped, self._num_unaugmented])
        num_scenes, num_cropped, num_unaugmented = processes.sum(counts).tolist()
        figures = {
            "scenes_per_s": self._num_batches * self._scenes_per_batch / self._seconds,
            "effective_batch_size": num_scenes / self._num_batches,
            "cropped_scenes": num_cropped,
            "unaugmented_scenes": num_unaugmented,
        }
        if teacher_s is not None:
            figures["teacher_share"] = teacher_s / self._seconds
        self._begin()
        return figures

    def _begin(self) -> None:
        self._num_batches = self._num_scenes = self._num_cropped = self._num_unaugmented = 0
        self._seconds = 0.0
        self.resume()


class RunLog:
    """Writes on the first process only; on the others every call does nothing."""

    def __init__(self, directory: RunDirectory, num_steps: int, first_step: int, enabled: bool) -> None:
        self._directory = directory
        self._enabled = enabled
        self._excepthook = threading.excepthook
        self._writer: SummaryWriter | None = None
        self._error_of_thread: OSError | None = None
        if enabled:
            threading.excepthook = self._ignore_full_disk
            with self._errors_name_the_folder():
                self._writer = SummaryWriter(str(directory.tensorboard_path), purge_step=first_step)
        hidden = None if enabled else True  # None: shown on a terminal, not in a file
        self._bar = tqdm(total=num_steps, initial=first_step, desc="train", unit="step", disable=hidden)

    def step_done(self) -> None:
        """Move the progress bar by one step."""
        self._bar.update()

    def log_training(self, step: int, row: Mapping[str, float]) -> None:
        """One line of training figures; names as in ``metrics.jsonl``."""
        self._write("train", step, row)
        self._bar.set_postfix_str(
            f"loss {row['loss']:.3f} = {_recognition_of(row)} + λ · collapse {row['collapse']:.3f}, "
            f"lr {row['lr']:.1e}, {row['scenes_per_s']:.1f} scenes/s"
            + "".join(f", {row[key]:.0f} {key.replace('_', ' ')}" for key in Tally.RARE if row.get(key))
        )

    def log_validation(self, step: int, pass_index: int, evaluation: Mapping[str, Any]) -> None:
        """One line of validation scores, also on the terminal."""
        names = ("miou", "miou_all_classes", "head", "common", "tail", "accuracy")
        row = {name: evaluation[name] for name in names}
        self._write("val", step, row)
        if self._enabled:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in row.items() if value is not None)
            self._bar.write(f"pass {pass_index + 1}: val {shown}")

    def log_collapse(self, step: int, measures: "Measures") -> None:
        """One line of neural-collapse measures, over all classes and by group; names as in ``metrics.jsonl``."""
        from pointseg.collapse.metrics import flatten_measures

        self._write("collapse", step, flatten_measures(measures))

    def close(self) -> None:
        """Write out what is left.

        Raises:
            OSError: that can't be written, and nothing else is wrong.
        """
        self._bar.close()
        is_ending_with_an_error = sys.exc_info()[0] is not None
        try:
            if self._writer is not None:
                with self._errors_name_the_folder():
                    self._writer.close()
                    # Of its last events the writer itself says it only where its thread was quick enough to tell it.
                    if self._error_of_thread is not None:
                        raise self._error_of_thread
        except OSError:
            if not is_ending_with_an_error:
                raise
        finally:
            threading.excepthook = self._excepthook

    def _write(self, kind: str, step: int, row: Mapping[str, float | None]) -> None:
        if self._writer is None:
            return
        self._directory.append_metrics({"kind": kind, "step": step, **row})
        with self._errors_name_the_folder():
            for name, value in row.items():
                if value is not None:
                    self._writer.add_scalar(f"{kind}/{name}", value, step)

    @contextmanager
    def _errors_name_the_folder(self) -> Iterator[None]:
        """TensorBoard's writer knows no name of a file where a disk is full."""
        path = self._directory.tensorboard_path
        with errors_name(path, path):
            yield

    def _ignore_full_disk(self, arguments: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread, which prints a traceback of the error that the next call raises."""
        error, is_of_tensorboard = arguments.exc_value, type(arguments.thread).__module__.startswith("tensorboard")
        if isinstance(error, OSError) and is_of_tensorboard:
            self._error_of_thread = error
        else:
            self._excepthook(arguments)


def _recognition_of(row: Mapping[str, float]) -> str:
    """L_PR of the labels, and of a teacher's classes where there is one."""
    own = f"recognition {row['recognition']:.3f}"
    return f"mean of {own} and taught {row['taught']:.3f}" if "taught" in row else own
