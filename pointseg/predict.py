"""``python -m pointseg.predict --run RUN (--split test | --input SCAN ...) --out DIR [--ply]``."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pointseg.command_line import CommandParser
from pointseg.commands import program_name, run_command
from pointseg.engine.inference import Segmenter
from pointseg.errors import PointsegError, UsageError
from pointseg.output.prediction_record import PredictionRecord, hash_files
from pointseg.output.submission import read_predicted_labels, write_prediction
from pointseg.run_arguments import add_run_arguments, load_run
from pointseg.scan_arguments import add_scan_arguments, scan_options
from pointseg.scans.formats import read_scan_file
from pointseg.scans.own_scan import ScanOptions, make_scene
from pointseg.scans.ply import Mesh, write_mesh
from pointseg.scans.prepared import geometry_files, list_scenes, read_scene
from pointseg.scans.scan_file import check_is_readable_file
from pointseg.scans.scene import Scene

_MESH_SUFFIX = "_vh_clean_2"


def main(argv: Sequence[str]) -> int:
    """Predict the scenes of a split or any meshes; a bad one is reported, the others are done.

    A scene that an earlier call finished with the same checkpoint and settings is not predicted again.
    """
    arguments = build_parser().parse_args(argv)
    segmenter = load_run(arguments)
    if arguments.split:
        paths = list_scenes(arguments.data_root or segmenter.config.data.root, arguments.split)
    else:
        paths = [Path(name) for name in arguments.input]
    _refuse_equal_names(paths)
    options = scan_options(arguments)
    given = {key: value for key, value in asdict(options).items() if value is not None}
    if given and arguments.split:
        raise UsageError("--unit, --up and --fill-color are for files given with --input; leave them out with --split")
    settings = segmenter.describe_settings(arguments.tta) | json.loads(json.dumps(given))
    record = PredictionRecord(Path(arguments.out), settings, segmenter.taxonomy)
    for path in paths:
        _refuse_to_overwrite(path, record.folder, arguments.ply)
    times: Counter[str] = Counter()
    told: set[str] = set()  # remarks; one that holds for many scans is made once
    for path in tqdm(paths, desc="predict", unit="scene", disable=True if len(paths) == 1 else None):
        try:
            times[_finish_scene(path, segmenter, record, arguments.tta, arguments.ply, options, told)] += 1
        except PointsegError as error:
            old = record.folder / f"{_scene_name(path)}.txt"
            stays = f"; {old} is of an earlier call" if old.is_file() else ""
            tqdm.write(f"{program_name()}: {error}{stays}", file=sys.stderr)
            times["failed"] += 1
    why = f" (earlier ones differ in {', '.join(record.changed)})" if record.changed else ""
    print(
        f"{len(paths) - times['failed']} of {len(paths)} scenes: {times['reused']} reused, "
        f"{times['predicted']} predicted{why}: {record.folder}/<scene>.txt, one id a vertex"
    )
    return 1 if times["failed"] else 0


def build_parser() -> CommandParser:
    """Arguments of this command."""
    parser = CommandParser("predict", description="One class id for each vertex: DIR/<scene>.txt.")
    add_run_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--split", metavar="NAME", help="a split (folder) of the run's prepared tree")
    source.add_argument("--input", nargs="+", metavar="SCAN", help="scans: PLY, OBJ, GLB, LAS, ...")
    add_scan_arguments(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the predictions")
    parser.add_argument("--ply", action="store_true", help="also write DIR/<scene>.ply in the classes' colours")
    return parser


def _finish_scene(
    path: Path,
    segmenter: Segmenter,
    record: PredictionRecord,
    tta: str,
    ply: bool,
    options: ScanOptions,
    told: set[str],
) -> str:
    """Make the files of a scene. Returns ``reused`` or ``predicted``."""
    name, taxonomy = _scene_name(path), segmenter.taxonomy
    prediction = record.folder / f"{name}.txt"
    if not path.is_dir():
        check_is_readable_file(path)
    input_sha256 = hash_files(geometry_files(path) if path.is_dir() else [path])
    is_finished = record.is_finished(name, input_sha256)
    if is_finished and not ply:
        return "reused"
    scene, mesh = _read(path, segmenter, options, told)
    if is_finished:
        label = read_predicted_labels(prediction, scene.num_points, taxonomy)
    else:
        label = segmenter.predict_scene(scene, tta)
        write_prediction(prediction, taxonomy.class_id_from_label(label))
        record.add(name, input_sha256)
    if ply:
        write_mesh(record.folder / f"{name}.ply", replace(mesh, rgb=taxonomy.colors[label]))
    return "reused" if is_finished else "predicted"


def _read(path: Path, segmenter: Segmenter, options: ScanOptions, told: set[str]) -> tuple[Scene, Mesh]:
    """A prepared scene or a mesh file, and the mesh to colour (without faces for a prepared scene)."""
    if path.is_dir():
        scene = read_scene(path, segmenter.taxonomy)
        return scene, Mesh(xyz=np.asarray(scene.xyz), faces=None, rgb=None, normal=None)
    scan = read_scan_file(path)
    needs_normal = "normal" in segmenter.config.data.features
    parts = (scan.rgb, scan.normal, scan.faces, needs_normal, scan.up_axis_hint)
    own = make_scene(_scene_name(path), scan.xyz, options, *parts, where=str(path))
    for remark in [*(f"{path}: {note}" for note in scan.notes), *own.remarks]:
        if remark not in told:
            told.add(remark)
            tqdm.write(f"{program_name()}: {remark}", file=sys.stderr)
    # In the file's coordinates, unless float32 can't keep them.
    xyz = own.scene.xyz if own.frame.offset_m.any() else scan.xyz.astype(np.float32)
    return own.scene, Mesh(xyz, scan.faces, scan.rgb, scan.normal)


def _scene_name(path: Path) -> str:
    """ScanNet's id of the scene where the file is named as in its release, else the file's stem."""
    return path.resolve().name if path.is_dir() else path.stem.removesuffix(_MESH_SUFFIX)


def _refuse_to_overwrite(path: Path, folder: Path, ply: bool) -> None:
    """No output may take the place of an input, or of a file that is no prediction, as ScanNet's <scene>.txt."""
    mesh, prediction = (folder / f"{_scene_name(path)}{suffix}" for suffix in (".ply", ".txt"))
    if ply and mesh.exists() and path.exists() and mesh.samefile(path):
        raise UsageError(f"{path}: would be written over by its own prediction; choose another folder with --out")
    if prediction.is_file():
        with open(prediction, "rb") as file:
            first = file.readline(64).strip()
        if first and not first.isdigit():
            raise UsageError(f"{prediction}: is there already and is no prediction; choose another folder with --out")


def _refuse_equal_names(paths: list[Path]) -> None:
    """Two inputs of one name would be written to one file."""
    for name, times in Counter(_scene_name(path) for path in paths).items():
        if times > 1:
            raise UsageError(f"{times} inputs are named {name}; their predictions would be one file, rename them")


if __name__ == "__main__":
    run_command(main)
