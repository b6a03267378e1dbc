"""The arguments with which a command takes a trained run, or two, and says how to predict with it."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from pointseg.commands import complain
from pointseg.config import DataConfig
from pointseg.engine.inference import TTA, Segmenter, load_segmenter
from pointseg.errors import UsageError
from pointseg.processes import choose_device
from pointseg.scans.tree import describe_absent_scenes, name_splits

Splits = str | tuple[str, ...]
"""A split, or several together."""
_MAX_RUNS = 2


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--run``, ``--checkpoint``, ``--data-root``, ``--tta``, ``--device`` and the keys of ``inference``."""
    parser.add_argument("--run", required=True, help="folder of the run")
    parser.add_argument("--checkpoint", help="a checkpoint file; default: the best of the run, or its last")
    _add_place_arguments(parser)
    parser.add_argument(
        "--tta",
        choices=TTA,
        default="none",
        help="test-time augmentation, the mean over several views; rot4: four rotations about z; full: these, as they "
        "are and mirrored in x, and in each every point of a voxel in turn, not their mean",
    )
    parser.add_argument(
        "--logit-adjustment",
        type=float,
        default=argparse.SUPPRESS,
        metavar="TAU",
        help="post-hoc logit adjustment; default: as in the run's config",
    )
    parser.add_argument(
        "--max-voxels",
        type=number_or_none,
        default=argparse.SUPPRESS,
        metavar="N",
        help="voxels in memory at a time, larger scenes in tiles; none: no tiles; default: as in the run's config",
    )
    parser.add_argument(
        "--vote",
        choices=("none", "segments"),
        default=argparse.SUPPRESS,
        help="segments: one label for each over-segment of the mesh, by the mean probability of its points; "
        "default: as in the run's config",
    )


def add_compared_runs(parser: argparse.ArgumentParser) -> None:
    """Add ``--run`` for one or two runs, ``--split``, ``--data-root`` and ``--device``."""
    parser.add_argument("--run", required=True, nargs="+", action="extend", help="folder of a run; two: compare them")
    add_split_argument(parser)
    _add_place_arguments(parser)


def add_split_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--split``, for :func:`choose_split`."""
    parser.add_argument(
        "--split", metavar="NAME", help="a folder of the tree; default: the split that the run was validated on, or val"
    )


def _add_place_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", help="another prepared tree than the run's")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")


def load_run(arguments: argparse.Namespace) -> Segmenter:
    """The trained network that the arguments of :func:`add_run_arguments` mean.

    Raises:
        PointsegError: as :func:`load_segmenter`.
    """
    choose_device(arguments.device, "--device ")  # a mistake in it is told by the name that it has here
    keys = ("logit_adjustment", "max_voxels", "vote")
    given = {key: value for key, value in vars(arguments).items() if key in keys}
    return load_segmenter(arguments.run, arguments.checkpoint, arguments.device, **given)


def refuse_many_runs(runs: Sequence[str]) -> None:
    """Raises: UsageError where ``--run`` names more than two."""
    if len(runs) > _MAX_RUNS:
        raise UsageError(f"--run: {len(runs)} runs; give one, or two to compare")


def load_compared_runs(
    arguments: argparse.Namespace, checkpoints: Sequence[str | None] | None = None
) -> list[Segmenter]:
    """The trained networks that the arguments of :func:`add_compared_runs` mean.

    Args:
        arguments: of the command.
        checkpoints: a file for each run; None: its best, or its last.

    Raises:
        PointsegError: as :func:`load_segmenter`.
    """
    choose_device(arguments.device, "--device ")
    pairs = zip(arguments.run, checkpoints or [None] * len(arguments.run), strict=True)
    return [load_segmenter(run, checkpoint, arguments.device) for run, checkpoint in pairs]


def choose_root(given: str | None, data: DataConfig) -> str:
    """The prepared tree that is asked for, or the run's.

    Raises:
        UsageError: the run's is not there, as where its relative path was meant from another folder.
    """
    if given is None and not Path(data.root).is_dir():
        raise UsageError(
            f"{data.root}: there is no such folder, and the run's config names it as the prepared tree; say where "
            "that is by --data-root"
        )
    return given or data.root


def choose_split(given: str | None, data: DataConfig) -> Splits:
    """The split that is asked for, or the one that the run was validated on, or ``val``."""
    return given or data.val_split or "val"


def warn_of_trained_splits(root: str, split: Splits, runs: Sequence[DataConfig]) -> None:
    """Say that a run was trained on what it is to be scored on: such scores say nothing of new scenes.

    Args:
        root: the tree to be scored on.
        split: of it.
        runs: what each run was trained on.
    """
    trained = frozenset[str]().union(*(_folders(data.root, data.train_split) for data in runs))
    if shared := sorted(name for name in _names(split) if trained & _folders(root, name)):
        complain(
            f"warning: a run was trained on {', '.join(shared)}: scores there say nothing of new scenes; choose "
            "others with --split"
        )


def warn_of_absent_scenes(root: str, split: Splits) -> None:
    """Say that scenes are not there, because the preparation has not made them."""
    if line := describe_absent_scenes(root, split):
        complain(f"warning: {line}")


def _names(split: Splits) -> Sequence[str]:
    return [split] if isinstance(split, str) else split


def _folders(root: str, split: Splits) -> frozenset[str]:
    """Real paths, of which a folder has one, however it was written."""
    return frozenset(os.path.realpath(Path(root) / name) for name in _names(split))


def choose_scenes(segmenters: Sequence[Segmenter], data_root: str | None, split: str | None) -> tuple[str, Splits]:
    """Prepared tree and split; those of the runs, unless the caller chooses.

    Raises:
        UsageError: two runs would be measured on different scenes or have different classes.
    """
    if len({segmenter.taxonomy.fingerprint for segmenter in segmenters}) > 1:
        raise UsageError("--run: the runs have different classes (taxonomy); compare runs of the same ones")
    data = [segmenter.config.data for segmenter in segmenters]
    choices = [(choose_root(data_root, each), choose_split(split, each)) for each in data]
    if len({_folders(*choice) for choice in choices}) > 1:
        shown = " and ".join(sorted(f"{root}, {name_splits(split)}" for root, split in choices))
        raise UsageError(f"--run: the runs were validated on {shown}; choose one with --data-root and --split")
    choice = choices[0]
    warn_of_trained_splits(*choice, data)
    warn_of_absent_scenes(*choice)
    return choice


def number_or_none(text: str) -> int | None:
    """The value of an option that is a whole number of at least 1, or ``none``."""
    if text == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, or none, got {text!r}")
    return int(text)
