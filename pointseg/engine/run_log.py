"""What a run tells: a progress bar for people, ``metrics.jsonl`` and TensorBoard for later."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pointseg.collapse.metrics import Measures, flatten_measures
from pointseg.engine.run_directory import RunDirectory


class RunLog:
    """Writes on the first process only; on the others every call does nothing."""

    def __init__(self, directory: RunDirectory, num_steps: int, first_step: int, enabled: bool) -> None:
        self._directory = directory
        self._enabled = enabled
        self._writer = SummaryWriter(str(directory.tensorboard_path), purge_step=first_step) if enabled else None
        hidden = None if enabled else True  # None: shown on a terminal, not in a file
        self._bar = tqdm(total=num_steps, initial=first_step, desc="train", unit="step", disable=hidden)

    def step_done(self) -> None:
        """Move the progress bar by one step."""
        self._bar.update()

    def log_training(self, step: int, row: Mapping[str, float]) -> None:
        """One line of training figures; names as in ``metrics.jsonl``."""
        self._write("train", step, row)
        self._bar.set_postfix_str(
            f"loss {row['loss']:.3f} = pr {row['recognition']:.3f} + λ·cr {row['collapse']:.3f}, "
            f"lr {row['lr']:.1e}, {row['scenes_per_s']:.1f} scenes/s"
        )

    def log_validation(self, step: int, pass_index: int, evaluation: Mapping[str, Any]) -> None:
        """One line of validation scores, also on the terminal."""
        names = ("miou", "miou_all_classes", "head", "common", "tail", "accuracy")
        row = {name: evaluation[name] for name in names}
        self._write("val", step, row)
        if self._enabled:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in row.items() if value is not None)
            self._bar.write(f"pass {pass_index + 1}: val {shown}")

    def log_collapse(self, step: int, measures: Measures) -> None:
        """One line of neural-collapse measures, over all classes and by group; names as in ``metrics.jsonl``."""
        self._write("collapse", step, flatten_measures(measures))

    def close(self) -> None:
        """Write out what is left."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def _write(self, kind: str, step: int, row: Mapping[str, float | None]) -> None:
        if self._writer is None:
            return
        self._directory.append_metrics({"kind": kind, "step": step, **row})
        for name, value in row.items():
            if value is not None:
                self._writer.add_scalar(f"{kind}/{name}", value, step)
