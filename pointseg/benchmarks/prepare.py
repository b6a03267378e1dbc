"""A scan to a prepared scene, as one process does it: raw ScanNet, and a labelled PLY of the same vertices."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.formats.ply import write_mesh
from pointseg.labelled.scan_job import Reading, ScanJob
from pointseg.preparation.jobs import SceneJob, prepare_scene
from pointseg.rooms import write_demo_scans
from pointseg.scannet.preparation import RawSceneJob
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, RawScene, read_label_map, read_raw_scene, scan_folder
from pointseg.scannet.splits import read_split
from pointseg.scans.own_scan import ScanOptions
from pointseg.taxonomy import load_taxonomy


@dataclass(frozen=True)
class PrepareRow:
    """One scan."""

    source: str
    """``scannet``, the raw files, or ``import``, a binary PLY with faces, colours, labels and objects."""
    num_vertices: int
    ms_per_100k_vertices: float
    """Read the files, make labels and normals, write the prepared scene."""


def measure_prepare(num_vertices: int, num_repeats: int, seed: int = 0) -> list[PrepareRow]:
    """Make a demo scan of about ``num_vertices`` and prepare it, each time into a new folder."""
    with TemporaryDirectory() as temporary:
        raw, prepared = Path(temporary) / "raw", Path(temporary) / "prepared"
        write_demo_scans(raw, {"train": 1, "val": 0, "test": 0}, seed, num_vertices)
        (name,) = read_split(raw / "splits", "train")
        folder = scan_folder(raw, name, "train")
        label_map = read_label_map(raw / LABEL_MAP_NAME)
        scene = read_raw_scene(folder, label_map, align=True, labelled=True)
        labelled = write_labelled_ply(Path(temporary) / f"{name}.ply", scene)
        own_classes = replace(load_taxonomy("scannet200"), segment="segment")
        jobs: dict[str, Callable[[Path], SceneJob]] = {
            "scannet": lambda out: RawSceneJob(folder, out, label_map),
            "import": lambda out: ScanJob(labelled, out, own_classes, Reading(ScanOptions())),
        }
        numbers = itertools.count()

        def prepare_once(make_job: Callable[[Path], SceneJob]) -> None:
            outcome = prepare_scene(make_job(prepared / str(next(numbers)) / name))
            assert outcome.status == "written", outcome.reason

        calls = {s: stopwatch(partial(prepare_once, make), torch.device("cpu")) for s, make in jobs.items()}
        seconds = measure_in_turn(calls, num_repeats)
        num_made = scene.mesh.num_vertices
        return [PrepareRow(source, num_made, 1e3 * seconds[source] * 100_000 / num_made) for source in jobs]


def write_labelled_ply(path: Path, scene: RawScene) -> Path:
    """The scan as a labelled PLY: x y z, colours, ``label`` (a class id) and ``instance`` of each vertex, and faces."""
    mesh, annotation = scene.mesh, scene.annotation
    assert annotation is not None, "demo scans have one"
    class_id = load_taxonomy("scannet200").class_id_from_label(annotation.label200)
    write_mesh(path, replace(mesh, normal=None), {"label": class_id, "instance": annotation.instance})
    return path
