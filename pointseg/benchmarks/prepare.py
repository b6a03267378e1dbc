"""A raw scan to a prepared scene, as one process of the preparation does it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pointseg.benchmarks.timing import measure_in_turn, stopwatch
from pointseg.preparation.jobs import prepare_scene
from pointseg.rooms import write_demo_scans
from pointseg.scannet.preparation import RawSceneJob, describe_scene
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, read_label_map, read_raw_scene, scan_folder
from pointseg.scannet.splits import read_split


@dataclass(frozen=True)
class PrepareRow:
    """One scan."""

    num_vertices: int
    ms_per_100k_vertices: float
    """Read the raw files, make labels and normals, write the prepared scene."""


def measure_prepare(num_vertices: int, num_repeats: int, seed: int = 0) -> list[PrepareRow]:
    """Make a demo scan of about ``num_vertices`` and prepare it, each time into a new folder."""
    with TemporaryDirectory() as temporary:
        raw, prepared = Path(temporary) / "raw", Path(temporary) / "prepared"
        write_demo_scans(raw, {"train": 1, "val": 0, "test": 0}, seed, num_vertices)
        (name,) = read_split(raw / "splits", "train")
        folder = scan_folder(raw, name, "train")
        label_map = read_label_map(raw / LABEL_MAP_NAME)
        numbers = itertools.count()

        def prepare_once() -> None:
            outcome = prepare_scene(RawSceneJob(folder, prepared / str(next(numbers)) / name, label_map))
            assert outcome.status == "written", outcome.reason

        seconds = measure_in_turn({"scan": stopwatch(prepare_once, torch.device("cpu"))}, num_repeats)
        num_made = describe_scene(read_raw_scene(folder, label_map, align=True, labelled=True))["num_points"]
        return [PrepareRow(num_made, 1e3 * seconds["scan"] * 100_000 / num_made)]
