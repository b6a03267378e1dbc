"""The arguments with which a command takes a trained run and says how to predict with it."""

import argparse

from pointseg.engine.inference import TTA, Segmenter, load_segmenter


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--run``, ``--checkpoint``, ``--data-root``, ``--tta``, ``--device`` and the keys of ``inference``."""
    parser.add_argument("--run", required=True, help="folder of the run")
    parser.add_argument("--checkpoint", help="a checkpoint file; default: the best of the run, or its last")
    parser.add_argument("--data-root", help="another prepared tree than the run's")
    parser.add_argument("--tta", choices=TTA, default="none", help="test-time augmentation")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
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


def load_run(arguments: argparse.Namespace) -> Segmenter:
    """The trained network that the arguments of :func:`add_run_arguments` mean.

    Raises:
        PointsegError: as :func:`load_segmenter`.
    """
    keys = ("logit_adjustment", "max_voxels", "vote")
    given = {key: value for key, value in vars(arguments).items() if key in keys}
    return load_segmenter(arguments.run, arguments.checkpoint, arguments.device, **given)


def number_or_none(text: str) -> int | None:
    """The value of an option that is a whole number of at least 1, or ``none``."""
    if text == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, or none, got {text!r}")
    return int(text)
