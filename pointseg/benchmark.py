"""``python -m pointseg.benchmark conv|step|data|prepare|regularizer|evaluate [--json FILE]``."""

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pointseg.atomic import write_text
from pointseg.benchmarks.backends import BACKENDS, BARE, choose_backends, choose_backends_of
from pointseg.benchmarks.conv import ConvJob, measure_conv
from pointseg.benchmarks.data import measure_data
from pointseg.benchmarks.evaluate import measure_evaluate
from pointseg.benchmarks.prepare import measure_prepare
from pointseg.benchmarks.regularizer import measure_regularizer
from pointseg.benchmarks.report import build_report, format_report
from pointseg.benchmarks.step import StepJob, measure_step
from pointseg.benchmarks.surface import find_coords
from pointseg.benchmarks.timing import limit_threads
from pointseg.command_line import CommandParser
from pointseg.commands import run_command
from pointseg.config import load_config
from pointseg.models import NAMES
from pointseg.output.own_files import check_output_file
from pointseg.processes import choose_device

_STEPS_WITH_LOADER = 10
_CHANNELS = (32, 96, 256)


def main(argv: Sequence[str]) -> None:
    """Measure, print a table, and write the same as JSON."""
    arguments = build_parser().parse_with_overrides(argv)
    inputs = [Path(given) for name in ("scene", "cfg") if (given := getattr(arguments, name, None))]
    check_output_file(arguments.json, "--json", inputs)
    device = choose_device(arguments.device, "--device ")
    with limit_threads(arguments.threads) as num_threads:
        rows = run_benchmark(arguments, device, num_threads)
    report = build_report(arguments.benchmark, device, num_threads, rows)
    try:
        print(format_report(report))
    finally:  # also where nobody reads to the end, as before ``| head``
        if arguments.json:
            write_text(arguments.json, json.dumps(report, indent=1) + "\n")


def run_benchmark(arguments: Namespace, device: torch.device, num_threads: int) -> Sequence[Any]:
    """The rows of the benchmark that was asked for."""
    name, repeats, seed = arguments.benchmark, arguments.repeats, arguments.seed
    if name == "conv":
        backends = choose_backends(arguments.backends, device)
        coords = find_coords(arguments.voxels, arguments.scene, seed)
        return measure_conv(
            ConvJob(device, num_threads, coords, seed), arguments.channels or _CHANNELS, backends, repeats
        )
    if name == "step":
        model = Path(arguments.cfg).stem if arguments.cfg else arguments.model
        size = [] if arguments.cfg else [f"model.name={model}"]
        config = load_config(arguments.cfg or "scannet200", [*size, *arguments.overrides])
        backends = choose_backends_of(config.model.name, arguments.backends, device)
        job = StepJob(
            config,
            device,
            num_threads,
            arguments.voxels,
            arguments.scenes,
            arguments.scene,
            seed,
            occupied=arguments.occupied,
            num_steps_with_loader=_STEPS_WITH_LOADER if arguments.end_to_end else 0,
        )
        return measure_step(job, model, backends, repeats)
    if name == "data":
        config = load_config(arguments.cfg, arguments.overrides)
        return measure_data(config, arguments.vertices, arguments.scene, repeats, seed)
    if name == "prepare":
        return measure_prepare(arguments.vertices, repeats, seed)
    if name == "regularizer":
        return measure_regularizer(load_config(arguments.cfg), device, arguments.voxels, repeats, seed)
    assert name == "evaluate", name
    return measure_evaluate(load_config(arguments.cfg), device, arguments.vertices, repeats, seed)


def build_parser() -> CommandParser:
    """One subcommand a benchmark; what all of them take comes after its name, too."""
    parser = CommandParser("benchmark", description="How fast is it, and how much memory does it take?")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")

    conv = benchmarks.add_parser("conv", help="one submanifold convolution 3x3x3, every backend")
    _add_voxels(conv, 120_000)
    _add_scene(conv)
    # Were they the default of the parser, those that are given would be added to them.
    shown = " ".join(map(str, _CHANNELS))
    conv.add_argument(
        "--channels", type=_positive, nargs="+", action="extend", metavar="N", help=f"in and out; default: {shown}"
    )
    _add_backends(conv)
    _add_shared(conv, repeats=5)

    step = benchmarks.add_parser("step", help="inference and a training step of a network, every backend")
    _add_voxels(step, 80_000)
    step.add_argument(
        "--occupied",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="of the voxels of the surface that is made: those with a vertex; 0.15 is like a mesh of large triangles",
    )
    step.add_argument("--scenes", type=_positive, default=1, help="of --voxels each in the batch")
    _add_scene(step)
    network = step.add_mutually_exclusive_group()
    network.add_argument("--model", choices=NAMES, default="spunet34", help="with the recipe of scannet200.yaml")
    network.add_argument("--cfg", metavar="NAME", help="take network, losses and optimiser of this config, no teacher")
    step.add_argument(
        "--end-to-end",
        action="store_true",
        help="also train with a loader on scenes that are made, and say for which share of the time it is waited for",
    )
    _add_backends(step, BARE)
    _add_shared(step, repeats=3)
    step.add_overrides()

    data = benchmarks.add_parser("data", help="load, augment, voxelise and collate a scene, on one core")
    data.add_argument("--vertices", type=_positive, default=150_000, help="of the scene that is made")
    _add_scene(data)
    data.add_argument("--cfg", metavar="NAME", default="scannet200", help="config whose recipe to take")
    data.add_overrides()
    _add_shared(data, repeats=10, one_core=True)

    prepare = benchmarks.add_parser("prepare", help="prepare a raw scan, and import a labelled one, on one core")
    prepare.add_argument("--vertices", type=_positive, default=100_000, help="of the scan that is made, about")
    _add_shared(prepare, repeats=5, one_core=True)

    regularizer = benchmarks.add_parser("regularizer", help="center branch and averaged weights beside a training step")
    _add_voxels(regularizer, 80_000)
    regularizer.add_argument("--cfg", metavar="NAME", default="scannet200", help="config of network and branch")
    _add_shared(regularizer, repeats=3)

    evaluate = benchmarks.add_parser("evaluate", help="evaluate a scene: voxelise, predict, count")
    evaluate.add_argument("--vertices", type=_positive, default=100_000, help="of the scene that is made")
    evaluate.add_argument("--cfg", metavar="NAME", default="demo", help="config whose network to take")
    _add_shared(evaluate, repeats=5)
    return parser


def _add_voxels(parser: CommandParser, default: int) -> None:
    parser.add_argument("--voxels", type=_positive, default=default, help="of the surface that is made")


def _add_scene(parser: CommandParser) -> None:
    parser.add_argument("--scene", type=Path, metavar="PREPARED", help="folder of a prepared scene; default: make one")


def _add_backends(parser: CommandParser, *others: str) -> None:
    choices = (*BACKENDS, *others)
    known = ", ".join(choices)
    parser.add_argument(
        "--backends",
        nargs="+",
        action="extend",
        choices=choices,
        metavar="NAME",
        help=f"of {known}; default: all that work here",
    )


def _add_shared(parser: CommandParser, repeats: int, one_core: bool = False) -> None:
    parser.add_argument("--repeats", type=_positive, default=repeats, help="measurements to take the median of")
    parser.add_argument("--seed", type=_seed, default=0, help="of what is made")
    parser.add_argument("--json", metavar="FILE", help="write the rows here, too")
    if one_core:
        parser.set_defaults(device="cpu", threads=1)
    else:
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
        parser.add_argument("--threads", type=_positive, help="CPU threads; default: what PyTorch chooses")


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None
    if not 0.01 <= number <= 1:
        raise ArgumentTypeError(f"{text} is not within 0.01 to 1")
    return number


def _positive(text: str) -> int:
    number = _whole(text)
    if number < 1:
        raise ArgumentTypeError(f"{text} is below 1")
    return number


def _seed(text: str) -> int:
    number = _whole(text)
    if not 0 <= number < 2**63:
        raise ArgumentTypeError(f"{text} is not within 0 to {2**63 - 1}")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None


if __name__ == "__main__":
    run_command(main)
