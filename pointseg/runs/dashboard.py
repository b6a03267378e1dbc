"""What one watches while a run trains: TensorBoard in its folder, and Weights & Biases where the config asks for it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType

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
    """The figures, pictures and settings of a run; names of figures as in ``metrics.jsonl``. A context manager.

    It ends with what is left written out, unless it ends with an error: then that is not hidden by another.

    Args:
        directory: of the run.
        config: of the run.
        taxonomy: its classes.
        first_step: after which it goes on; what was shown of later ones is forgotten.

    Raises:
        UsageError: where it begins: Weights & Biases is wanted, and can't be reached.
        OSError: the folder can't be written.
    """

    def __init__(self, directory: RunDirectory, config: Config, taxonomy: Taxonomy, first_step: int) -> None:
        self._directory = directory
        self._path = directory.tensorboard_path
        self._config = config
        self._taxonomy = taxonomy
        self._first_step = first_step
        self._error_of_thread: OSError | None = None

    def __enter__(self) -> "Dashboard":
        first_step = self._first_step
        with ExitStack() as stack:
            if self._config.train.wandb is not None:  # first: it watches TensorBoard's writer
                from pointseg.runs.weights_and_biases import logged_run

                stack.enter_context(logged_run(self._directory, self._config, goes_on=first_step > 0))
            stack.enter_context(self._full_disk_is_told_once())
            with self._errors_name_the_folder():
                # Of the step itself all was shown before its checkpoint was written.
                self._writer = SummaryWriter(str(self._path), purge_step=first_step + 1 if first_step else 0)
                stack.push(self._close_writer)
                self._show_settings(self._config, first_step)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, traceback)

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

    def _close_writer(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write out what is left; a disk that is full then is told where nothing else is wrong."""
        try:
            with self._errors_name_the_folder():
                self._writer.close()
                # Of its last events the writer itself says it only where its thread was quick enough to tell it.
                if self._error_of_thread is not None:
                    raise self._error_of_thread
        except OSError:
            if error is None:
                raise

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

    @contextmanager
    def _full_disk_is_told_once(self) -> Iterator[None]:
        """TensorBoard writes in a thread, which prints a traceback of the error that the next call raises."""
        before = threading.excepthook

        def keep_full_disk(arguments: threading.ExceptHookArgs) -> None:
            error, is_of_tensorboard = arguments.exc_value, type(arguments.thread).__module__.startswith("tensorboard")
            if isinstance(error, OSError) and is_of_tensorboard:
                self._error_of_thread = error
            else:
                before(arguments)

        threading.excepthook = keep_full_disk
        try:
            yield
        finally:
            threading.excepthook = before


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
