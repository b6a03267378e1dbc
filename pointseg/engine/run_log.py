"""What a run tells: a bar or lines for people, ``metrics.jsonl`` for programs, TensorBoard for later."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pointseg.data.batch import Batch
from pointseg.processes import Processes
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import GROUPS, Taxonomy

if TYPE_CHECKING:
    from pointseg.collapse.metrics import Measures
    from pointseg.engine.trainer import Trainer
    from pointseg.runs.dashboard import Dashboard
    from pointseg.scans.scene import Scene

_BAR = "{n_fmt}/{total_fmt} {bar} {remaining} left{postfix}"
_SMALLEST_BAR = 4


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


@contextmanager
def open_log(trainer: "Trainer") -> Iterator["RunLog"]:
    """The log of a training that begins or goes on; the first process says what training it is.

    Raises:
        UsageError, OSError: as :class:`pointseg.runs.dashboard.Dashboard`.
    """
    directory, taxonomy, first_step = trainer.directory, trainer.taxonomy, trainer.progress.step
    with ExitStack() as stack:
        dashboard = None
        if trainer.processes.is_first:
            from pointseg.engine.run_header import describe_training
            from pointseg.runs.dashboard import Dashboard

            dashboard = stack.enter_context(Dashboard(directory, trainer.config, taxonomy, first_step))
            print(describe_training(trainer), flush=True)
        yield stack.enter_context(closing(RunLog(directory, taxonomy, trainer.num_steps, first_step, dashboard)))


class RunLog:
    """On a terminal a bar; elsewhere a line whenever figures are logged.

    Args:
        directory: of the run.
        taxonomy: its classes.
        num_steps: of the whole training.
        first_step: done already.
        dashboard: what shows the figures later, and is ended by whoever began it; without one nothing is written, as
            on all processes but the first.
    """

    def __init__(
        self,
        directory: RunDirectory,
        taxonomy: Taxonomy,
        num_steps: int,
        first_step: int,
        dashboard: "Dashboard | None" = None,
    ) -> None:
        self._directory = directory
        self._taxonomy = taxonomy
        self._num_steps = num_steps
        self._first_step = first_step
        self._dashboard = dashboard
        self._began = time.perf_counter()
        hidden = True if dashboard is None else None  # None: shown on a terminal, not in a file
        self._bar = tqdm(total=num_steps, initial=first_step, disable=hidden, bar_format=_BAR, dynamic_ncols=True)

    @property
    def _tells_lines(self) -> bool:
        return self._dashboard is not None and bool(self._bar.disable)

    def step_done(self) -> None:
        """Move the progress bar by one step."""
        self._bar.update()

    def log_training(self, step: int, row: Mapping[str, float]) -> None:
        """One line of training figures; names as in ``metrics.jsonl``."""
        self._write("train", step, row)
        parts = describe_losses(row)
        if self._tells_lines:
            print(f"step {step}/{self._num_steps}: {', '.join(parts)}{self._time_left(step)}", flush=True)
        else:
            self._bar.set_postfix_str(fit_parts(parts, self._width_beside_the_bar()))

    def log_validation(self, step: int, pass_index: int, evaluation: Mapping[str, Any]) -> None:
        """One line of validation scores, also on the terminal."""
        names = ("miou", "miou_all_classes", "head", "common", "tail", "accuracy")
        self._write("val", step, {name: evaluation[name] for name in names})
        if self._dashboard is not None:
            self._dashboard.show_classes(step, evaluation["per_class"])
            self._bar.write(f"pass {pass_index + 1}: {describe_scores(evaluation)}")
            sys.stdout.flush()

    def log_scene(self, step: int, scene: "Scene", predicted: np.ndarray) -> None:
        """A picture of a validation scene, with its predicted labels, (N,)."""
        if self._dashboard is not None:
            from pointseg.output.point_picture import draw_prediction

            self._dashboard.show_picture(step, scene.name, draw_prediction(scene, predicted, self._taxonomy))

    def log_collapse(self, step: int, measures: "Measures") -> None:
        """One line of neural-collapse measures, over all classes and by group; names as in ``metrics.jsonl``."""
        from pointseg.collapse.metrics import flatten_measures

        self._write("collapse", step, flatten_measures(measures))

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _write(self, kind: str, step: int, row: Mapping[str, float | None]) -> None:
        if self._dashboard is not None:
            self._directory.append_metrics({"kind": kind, "step": step, **row})
            self._dashboard.show(kind, step, row)

    def _time_left(self, step: int) -> str:
        """At the mean speed since the beginning, validations included."""
        done, left = step - self._first_step, self._num_steps - step
        seconds = (time.perf_counter() - self._began) / done * left if done else 0.0
        return f", {tqdm.format_interval(seconds)} left" if left else ""

    def _width_beside_the_bar(self) -> int:
        counts, time_left = f"{self._num_steps}/{self._num_steps} ", " 00:00:00 left, "
        return shutil.get_terminal_size().columns - len(counts) - _SMALLEST_BAR - len(time_left) - 1


def describe_losses(row: Mapping[str, float]) -> list[str]:
    """A row of training figures in words, the most important first; names as in ``metrics.jsonl``.

    The loss alone where nothing but the labels teaches: it is then ``recognition``.
    """
    made_of = [name for name in ("recognition", "taught", "collapse") if row.get(name)]
    losses = [f"{name} {row[name]:.3f}" for name in ("loss", *(made_of if len(made_of) > 1 else ()))]
    rare = [f"{row[key]:.0f} {key.replace('_', ' ')}" for key in Tally.RARE if row.get(key)]
    return [*losses, f"lr {row['lr']:.1e}", f"{row['scenes_per_s']:.1f} scenes/s", *rare]


def fit_parts(parts: list[str], width: int) -> str:
    """As many of the parts as fit into a line, and the first in any case."""
    shown = parts[0]
    for part in parts[1:]:
        if len(shown) + len(", ") + len(part) > width:
            break
        shown = f"{shown}, {part}"
    return shown


def describe_scores(evaluation: Mapping[str, Any]) -> str:
    """The scores of a validation in one line, in percent."""

    def percent(key: str) -> str:
        return "-" if evaluation[key] is None else f"{100 * evaluation[key]:.1f}"

    groups = [f"{group} {percent(group)}" for group in GROUPS if evaluation[group] is not None]
    of_groups = f" ({', '.join(groups)})" if groups else ""
    return f"val mIoU {percent('miou')}{of_groups}, accuracy {percent('accuracy')}"
