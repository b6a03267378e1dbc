"""What one watches while a run trains: TensorBoard in its folder, and Weights & Biases where the config asks for it."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pointseg.atomic import errors_name
from pointseg.config import Config, dump_config, flatten_config
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import Taxonomy

_SCORES = ("val/miou", "val/head", "val/common", "val/tail")
_WATCHED = {
    "train": ("loss", "recognition", "taught", "collapse", "collapse_pull", "lr", "scenes_per_s"),
    "val": ("miou", "head", "common", "tail", "accuracy"),
    "collapse": ("within_class_variability", "centers_equiangularity", "classifier_equiangularity", "alignment"),
}
"""Of what ``metrics.jsonl`` holds, by the kinds of its lines. The rest is for programs."""
_VARIED = ("loss.collapse.weight", "model.name", "optimizer.lr", "run.seed", "train.passes")
"""Keys by which runs are compared, whatever they are: as many as TensorBoard shows at first."""
_VARIED_WHERE_SET = (
    "loss.",
    "distill.",
    "inference.",
    "train.ema_decay",
    "augment.copy_paste",
    "augment.mix_probability",
)
"""What the names of others begin with, by which they are compared where they are not at their defaults."""


class Dashboard:
    """The figures, pictures and settings of a run; names of figures as in ``metrics.jsonl``.

    Args:
        directory: of the run.
        config: of the run.
        taxonomy: its classes.
        first_step: after which it goes on; what was shown of later ones is forgotten.

    Raises:
        UsageError: Weights & Biases is wanted, and can't be reached.
        OSError: the folder can't be written.
    """

    def __init__(self, directory: RunDirectory, config: Config, taxonomy: Taxonomy, first_step: int) -> None:
        self._path = directory.tensorboard_path
        self._taxonomy = taxonomy
        self._error_of_thread: OSError | None = None
        self._wandb: Any = None
        if config.train.wandb is not None:
            from pointseg.runs.weights_and_biases import begin

            self._wandb = begin(directory, config, goes_on=first_step > 0)  # first: it watches TensorBoard's writer
        self._excepthook = threading.excepthook
        threading.excepthook = self._ignore_full_disk
        with self._errors_name_the_folder():
            # Of the step itself all was shown before its checkpoint was written.
            self._writer = SummaryWriter(str(self._path), purge_step=first_step + 1 if first_step else 0)
            self._show_settings(config, first_step)

    def show(self, kind: str, step: int, row: Mapping[str, float | None]) -> None:
        """The figures of a line of ``metrics.jsonl`` that one watches."""
        with self._errors_name_the_folder():
            for name in _WATCHED[kind]:
                if (value := row.get(name)) is not None:
                    self._writer.add_scalar(f"{kind}/{name}", value, step)

    def show_classes(self, step: int, per_class: Mapping[str, float | None]) -> None:
        """The IoU of each class of the ground truth, class by class under its group."""
        groups = self._taxonomy.groups or ("classes",) * self._taxonomy.num_classes
        with self._errors_name_the_folder():
            for name, group in zip(self._taxonomy.class_names, groups, strict=True):
                if (iou := per_class[name]) is not None:
                    self._writer.add_scalar(f"val IoU {group}/{name}", iou, step)

    def show_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture of a validation scene, (H, W, 3) uint8."""
        with self._errors_name_the_folder():
            self._writer.add_image(f"val scene/{name}", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is left.

        Raises:
            OSError: that can't be written, and nothing else is wrong.
        """
        is_ending_with_an_error = sys.exc_info()[0] is not None
        try:
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
            if self._wandb is not None:
                self._wandb.finish(exit_code=int(is_ending_with_an_error))

    def _show_settings(self, config: Config, first_step: int) -> None:
        """The whole config as text, and what differs between runs as columns of a table of them."""
        text = "".join(f"    {line}\n" for line in dump_config(config).splitlines())
        self._writer.add_text("config", text, first_step)
        experiment, start, _ = hparams(choose_hparams(config), dict.fromkeys(_SCORES, 0.0))
        for summary in (experiment, start):
            self._writer.file_writer.add_summary(summary)

    @contextmanager
    def _errors_name_the_folder(self) -> Iterator[None]:
        """TensorBoard's writer knows no name of a file where a disk is full."""
        with errors_name(self._path, self._path):
            yield

    def _ignore_full_disk(self, arguments: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread, which prints a traceback of the error that the next call raises."""
        error, is_of_tensorboard = arguments.exc_value, type(arguments.thread).__module__.startswith("tensorboard")
        if isinstance(error, OSError) and is_of_tensorboard:
            self._error_of_thread = error
        else:
            self._excepthook(arguments)


def choose_hparams(config: Config) -> dict[str, str | float | bool]:
    """The few keys by which runs are compared in a table: what mostly varies, and which methods are on.

    A column for each of the hundred keys shows nothing; the whole config is there as text.
    """
    values, defaults = flatten_config(config.model_dump(mode="json")), flatten_config(Config().model_dump(mode="json"))
    on = [key for key in values if key.startswith(_VARIED_WHERE_SET) and values[key] != defaults[key]]
    return {
        key: value if isinstance(value := values[key], bool | int | float | str) else json.dumps(value)
        for key in dict.fromkeys((*_VARIED, *on))
    }
