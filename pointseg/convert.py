"""``python -m pointseg.convert FILE|hf://OWNER/REPO/PATH --out RUN``, and back: ``... RUN --out FILE``."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from pointseg.atomic_directory import atomic_directory
from pointseg.command_line import CommandParser
from pointseg.commands import called, run_command
from pointseg.config import Config, DataConfig, config_from_dict, load_config
from pointseg.engine.hub import SCHEME, fetch
from pointseg.errors import DataError, UsageError
from pointseg.folder_lock import LOCK_NAME, hold_folder
from pointseg.models import PublishedNetwork
from pointseg.models.published import DEFAULT_PREFIX, name_published, read_published
from pointseg.runs.checkpoint import is_checkpoint, read_checkpoint, read_tensors, save_checkpoint, write_tensors
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import CLASS_TABLE, NAMES, Taxonomy, load_taxonomy

_FEATURES = {6: ["rgb", "normal"], 9: ["xyz", "rgb", "normal"]}
"""What the published networks take in, by how many inputs they have."""
_RECIPES = {
    ("SpUNet-v1m1", 6): "scannet200_teacher",
    ("SpUNet-v1m1", 9): "scannet200",
    ("Volt", 6): "scannet200_volt",
    ("Volt", 9): "scannet200_volt",
}
"""The config whose recipe goes on training a network, by its kind and inputs; the classes are its own."""
_DATA_ROOT = "data/scannet"
_VOXEL_SIZE_M = 0.02
"""Of the published networks."""
_COLOR_RANGES = {"0,1": (0, 1), "-1,1": (-1, 1)}
"""What black and white are to a network: since Pointcept 1.6.0, and before."""
_COLOR_RANGE = "0,1"
_CENTERS = get_args(DataConfig.model_fields["center"].annotation)
_CENTER = "extremes"
"""Of the published networks."""
_EMA = "ema_state_dict"
"""The average of the weights over the last steps, in files that have it beside ``state_dict``: it predicts better."""


def main(argv: Sequence[str]) -> None:
    """Make a run of a published checkpoint, or a published checkpoint of a run."""
    parser = CommandParser(
        "convert",
        may_be_empty=("--prefix",),
        description="Make a run of a published checkpoint of a SpUNet-v1m1 or a Volt, or such a checkpoint of a run.",
    )
    parser.add_argument(
        "source",
        metavar="FILE|hf://OWNER/REPO/PATH|RUN",
        help="a published checkpoint, here or on the Hugging Face hub, or the folder of a run",
    )
    parser.add_argument("--out", required=True, help="folder of the new run, or the checkpoint file to write")
    # Of one direction each, and without defaults here, so that one given for the other is noticed.
    parser.add_argument("--data-root", help=f"of a new run: its prepared tree (default: {_DATA_ROOT})")
    voxel_help = f"edge of a voxel of a new run (default: {_VOXEL_SIZE_M})"
    parser.add_argument("--voxel-size", dest="voxel_size_m", type=float, metavar="METRES", help=voxel_help)
    parser.add_argument("--classes", metavar="TSV", help="table of the classes of a new run; default: ScanNet's")
    parser.add_argument("--head", metavar="NAME", help="of a file with several classifiers: the one to take")
    parser.add_argument(
        "--color-range",
        choices=_COLOR_RANGES,
        metavar="LOW,HIGH",
        help="what black and white were in training: 0,1, or in files of before Pointcept 1.6.0 -1,1 (as one word: "
        f"--color-range=-1,1; default: {_COLOR_RANGE})",
    )
    parser.add_argument(
        "--center",
        choices=_CENTERS,
        help="the box whose middle was the origin in training: around all points, or robust, all but a few far away "
        f"(default: {_CENTER})",
    )
    parser.add_argument("--prefix", help=f"of the names in a file to write (default: {DEFAULT_PREFIX})")
    arguments = vars(parser.parse_args(argv))
    address, out = arguments.pop("source"), Path(arguments.pop("out"))
    given = {name: value for name, value in arguments.items() if value is not None}
    source = Path(address)
    if not address.startswith(SCHEME) and source.is_dir():
        if given.keys() - {"prefix"}:
            raise UsageError(f"only --prefix goes with a run, and {source} is one; leave the other options out")
        publish_run(source, out, **given)
    else:
        if "prefix" in given:
            raise UsageError(f"--prefix is for a file to write, and {source} is no folder of a run; leave it out")
        make_run(address, out, **given)


def make_run(
    source: str,
    run: Path,
    data_root: str = _DATA_ROOT,
    voxel_size_m: float = _VOXEL_SIZE_M,
    classes: str | None = None,
    head: str | None = None,
    color_range: str = _COLOR_RANGE,
    center: str = _CENTER,
) -> None:
    """Write a run (config.yaml, checkpoints/last.pt) that has the weights of a published checkpoint.

    Args:
        source: path or hub address of a ``state_dict``, or of a dict with one under that name.
        run: folder of the new run.
        data_root: its prepared tree.
        voxel_size_m: edge of its voxels, metres.
        classes: path of the table of its classes; None: those of the benchmark that has as many.
        head: name of the classifier to take, where there are several.
        color_range: of ``_COLOR_RANGES``.
        center: as ``data.center``.

    Raises:
        UsageError: there is no such file, table or classifier, or the run exists.
        DataError: the file can't be read, or is of no network of this house with known inputs and classes.
    """
    _refuse_overwriting(run)
    RunDirectory(run).refuse_place_of_scans(data_root, "--out")
    state, remarks = _read_state(_find_file(source), source)
    network = read_published(state, source, head)
    network = network._replace(remarks=(*remarks, *network.remarks))
    taxonomy = choose_taxonomy(network.num_classes, source, classes)
    config = make_config(network, taxonomy, source, str(run), data_root, voxel_size_m, color_range, center)
    with hold_folder(run, "converts", "choose another folder with --out"), atomic_directory(run) as temporary:
        _refuse_overwriting(run)  # one that began meanwhile
        directory = RunDirectory(temporary)
        directory.begin(config, taxonomy)
        save_checkpoint(directory.last_checkpoint, config, taxonomy, {"model": network.weights})
    print(_describe(network, taxonomy, config, run))


def _refuse_overwriting(run: Path) -> None:
    RunDirectory(run).refuse_overwriting("choose another folder with --out")
    if run.exists() and not (run.is_dir() and all(child.name == LOCK_NAME for child in run.iterdir())):
        raise UsageError(f"{run}: is there already, and is no empty folder; choose another one with --out")


def choose_taxonomy(num_classes: int, where: str, classes: str | None) -> Taxonomy:
    """The classes of a published network: those of a table, or of the benchmark that has as many.

    Raises:
        UsageError: there is no such table.
        DataError: the table, or no benchmark, has as many classes.
    """
    if classes is not None:
        taxonomy = load_taxonomy(classes)
        if taxonomy.num_classes != num_classes:
            raise DataError(f"{where}: has {num_classes} classes, and {classes} {taxonomy.num_classes}; give its own")
        return taxonomy
    benchmarks = {load_taxonomy(name).num_classes: load_taxonomy(name) for name in NAMES}
    if num_classes not in benchmarks:
        raise DataError(
            f"{where}: has {num_classes} classes, expected {' or '.join(map(str, sorted(benchmarks)))} (ScanNet); "
            "for another data set's network give the table of its classes by --classes"
        )
    return benchmarks[num_classes]


def make_config(
    network: PublishedNetwork,
    taxonomy: Taxonomy,
    where: str,
    run: str,
    data_root: str,
    voxel_size_m: float,
    color_range: str = _COLOR_RANGE,
    center: str = _CENTER,
) -> Config:
    """The recipe of such networks (``_RECIPES``), with this one's classes, sizes and inputs.

    It has no center branch, since the network was trained without one, and no teacher: it has learned from it already.

    Raises:
        DataError: the network has another number of inputs than published ones.
        UsageError: the voxel size is not above 0.
    """
    if network.in_channels not in _FEATURES:
        known = " or ".join(f"{number} ({', '.join(names)})" for number, names in _FEATURES.items())
        raise DataError(f"{where}: has {network.in_channels} inputs, expected {known}; others can't be told apart")
    name = taxonomy.name if taxonomy.is_benchmark else CLASS_TABLE
    tree = load_config(f"{_RECIPES[network.kind, network.in_channels]}.yaml").model_dump(mode="json")
    tree["taxonomy"] = name
    tree["run"]["dir"] = run
    tree["data"] |= {"root": data_root, "voxel_size_m": voxel_size_m, "features": _FEATURES[network.in_channels]}
    tree["data"] |= {"center": center, "color_range": _COLOR_RANGES[color_range]}  # as it was trained
    tree["model"] |= {**network.model, "init": None}
    tree["loss"]["collapse"]["weight"] = 0.0
    tree["distill"]["run"] = None
    return config_from_dict(tree, run)


def publish_run(run: Path, file: Path, prefix: str = DEFAULT_PREFIX) -> None:
    """Write the best (or last) weights of a run as ``{"state_dict": ...}`` with the published names.

    Args:
        run: folder of the run.
        file: to write.
        prefix: of each name, made of ``module.`` and ``backbone.``.

    Raises:
        UsageError: no such run or checkpoint, the file exists, the prefix is another one, or the run's inputs are
            not those that a published network of as many inputs has.
        DataError: the checkpoint is damaged.
    """
    if file.exists():
        raise UsageError(f"{file}: is there already; choose another name with --out")
    directory = RunDirectory(run)
    config = directory.read_config()
    if _FEATURES.get(config.in_channels) != list(config.data.features):
        known = " or ".join(f"[{', '.join(names)}]" for names in _FEATURES.values())
        raise UsageError(
            f"{run}: has the inputs [{', '.join(config.data.features)}], and a published file, which can't say so, is "
            f"read as {known}; train with one of these"
        )
    path = directory.find_checkpoint()
    state = name_published(read_checkpoint(path, config)["model"], prefix)
    network = read_published(state, str(path))
    write_tensors(file, {"state_dict": state})
    print(f"{file}: the {network.num_parameters:,} parameters of {path}, {network.size}")
    # A published file says nothing of its scenes and voxels, and of its classes only how many there are.
    options = ["--voxel-size", str(config.data.voxel_size_m), "--data-root", config.data.root]
    if config.data.color_range != _COLOR_RANGES[_COLOR_RANGE]:
        options.append("--color-range=-1,1")
    if config.data.center != _CENTER:
        options += ["--center", config.data.center]
    if not load_taxonomy(config.taxonomy).is_benchmark:
        options += ["--classes", str(directory.classes_path)]
    print(f"back again: {called('convert', str(file), '--out', 'RUN', *options)}")


def _find_file(source: str) -> Path:
    """The file itself, or the hub's in its cache."""
    if source.startswith(SCHEME):
        return fetch(source)
    if not Path(source).is_file():
        raise UsageError(f"{source}: no such file or folder; give a published checkpoint, or the folder of a run")
    return Path(source)


def _read_state(file: Path, where: str) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """The weights of a file, and a remark where it has others, too."""
    with _numpy_scalars_allowed():
        content = read_tensors(file)
    if is_checkpoint(content):
        raise UsageError(
            f"{where}: is a checkpoint of pointseg already; use it with --checkpoint {where}, or model.init={where}"
        )
    remarks: tuple[str, ...] = ()
    state = content
    if isinstance(content, dict):
        averaged = content.get(_EMA)
        if averaged is None or averaged == {}:
            state = content.get("state_dict", content)
        else:
            state, remarks = averaged, (f"the weights averaged over training ({_EMA})",)
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{where}: holds no weights; give a state_dict, or {{'state_dict': ...}}")
    return state, remarks


def _numpy_scalars_allowed() -> AbstractContextManager[object]:
    """Lets ``weights_only`` read NumPy's numbers: published files hold their best score as one.

    Nothing of them can run code. NumPy 1 and 2 have different names for what makes one.
    """
    make_scalar = np.float64(0).__reduce__()[0]
    codes = np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"
    allowed: list[Any] = [(make_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    allowed += [np.dtype, *{type(np.dtype(code)) for code in codes}]
    # An older PyTorch has no such context: there a file with such numbers is refused.
    context = getattr(torch.serialization, "safe_globals", None)
    return nullcontext() if context is None else context(allowed)


def _name_range(config: Config) -> str:
    """The colour range, and what to give where it is the other."""
    low, high = config.data.color_range
    return f"{low} to {high} (--color-range={'-1,1' if low == 0 else '0,1'}: the other)"


def _describe(network: PublishedNetwork, taxonomy: Taxonomy, config: Config, run: Path) -> str:
    """What was found, and the commands that come next."""
    lines = [
        f"{run}: a {network.kind} of {network.num_parameters:,} parameters",
        f"  {network.in_channels} inputs: {', '.join(config.data.features)}; colours {_name_range(config)}",
        f"  {network.num_classes} classes: {taxonomy.name}",
        f"  voxels of {config.data.voxel_size_m:g} m (--voxel-size: of another size)",
        f"  {network.size}",
        *(f"  {remark}" for remark in network.remarks),
        f"next, with the prepared scenes in {config.data.root}:",
        f"  {called('evaluate', '--run', str(run))}",
        f"  {called('predict', '--run', str(run), '--split', 'test', '--out', 'predictions')}",
        f"  {called('train', '--cfg', f'{run}/config.yaml', f'run.dir={run}-finetuned', f'model.init={run}')}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
