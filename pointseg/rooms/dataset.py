"""A whole folder of demo scans, as the ScanNet release lays it out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import write_text
from pointseg.atomic_directory import atomic_directory
from pointseg.errors import UsageError, regular_file
from pointseg.preparation.parallel import map_scenes
from pointseg.rooms.label_table import label_table_text
from pointseg.rooms.laws import FREQUENCY_LAWS, SCANNET200, tables_of
from pointseg.rooms.raw_files import write_annotated_scene, write_mesh
from pointseg.rooms.scan import make_scan
from pointseg.rooms.tables import read_table_text
from pointseg.scans.tree import SPLITS

FORMAT_VERSION = 1
"""Raised when the same settings give other bytes for a reason that is not in the tables."""
SETTINGS_FILE = "demo_scans.json"
FIRST_SCENE = {"train": 0, "val": 4000, "test": 7000}
MAX_SCENES = 3000
VERTICES_RANGE = (2_000, 500_000)
_TABLES = ("recipes.tsv", "shapes.tsv", "materials.tsv", "room_kinds.tsv", "nyu40.tsv")


@dataclass(frozen=True)
class RoomJob:
    """One scene to make."""

    raw: Path
    split: str
    index: int
    seed: int
    num_vertices: int
    law: str

    @property
    def scene(self) -> str:
        """``scene0000_00``; each split has its own range of numbers."""
        return f"scene{FIRST_SCENE[self.split] + self.index:04d}_00"

    @property
    def folder(self) -> Path:
        """Where the scene's files go."""
        return self.raw / ("scans_test" if self.split == "test" else "scans") / self.scene


def write_demo_scans(
    raw: Path,
    num_scenes: Mapping[str, int],
    seed: int,
    num_vertices: int,
    workers: int | None = 1,
    law: str = SCANNET200,
) -> int:
    """Write ``num_scenes`` of each split to ``raw``; scenes that are there already are kept.

    The bytes of a scene depend on ``seed``, ``num_vertices``, ``law``, its split and its index, and on nothing else.
    ``law`` is one of ``FREQUENCY_LAWS``: how many objects of each class a room has.

    Returns:
        how many scenes were made.

    Raises:
        UsageError: a number is out of range, or ``raw`` holds something else, or more scenes than asked for.
    """
    _check_settings(num_scenes, seed, num_vertices, workers, law)
    _claim_folder(raw, num_scenes, seed, num_vertices, law)
    jobs = [RoomJob(raw, split, i, seed, num_vertices, law) for split in SPLITS for i in range(num_scenes[split])]
    write_text(raw / "scannetv2-labels.combined.tsv", label_table_text())
    for split in SPLITS:
        names = "".join(f"{job.scene}\n" for job in jobs if job.split == split)
        write_text(raw / "splits" / f"scannetv2_{split}.txt", names)
    missing = [job for job in jobs if not job.folder.exists()]
    for _ in map_scenes(write_scene, missing, workers, "demo scans"):
        pass
    return len(missing)


def write_scene(job: RoomJob) -> None:
    """Make one scene and write its folder, whole or not at all."""
    scan = make_scan(job.seed, job.split, job.index, job.num_vertices, job.law)
    with atomic_directory(job.folder) as folder:
        if job.split == "test":
            write_mesh(folder / f"{job.scene}_vh_clean_2.ply", scan)
        else:
            rng = np.random.default_rng([job.seed, SPLITS.index(job.split), job.index, 1])
            write_annotated_scene(folder, job.scene, scan, rng)


def _check_settings(num_scenes: Mapping[str, int], seed: int, num_vertices: int, workers: int | None, law: str) -> None:
    for split in SPLITS:
        if not 0 <= num_scenes[split] <= MAX_SCENES:
            raise UsageError(f"--{split} {num_scenes[split]}: the number of scenes must be 0 to {MAX_SCENES}")
    if seed < 0:
        raise UsageError(f"--seed {seed}: the seed must not be negative")
    low, high = VERTICES_RANGE
    if not low <= num_vertices <= high:
        raise UsageError(f"--vertices {num_vertices}: the vertices of a scene must be {low:,} to {high:,}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: there must be at least one")
    if law not in FREQUENCY_LAWS:
        raise UsageError(f"--law {law}: the frequency law must be one of {', '.join(FREQUENCY_LAWS)}")


def _claim_folder(raw: Path, num_scenes: Mapping[str, int], seed: int, num_vertices: int, law: str) -> None:
    """Note in ``raw`` how its scans are made, or check that it is for the same scans and not fewer."""
    tables = "".join(read_table_text(name) for name in (*_TABLES, *tables_of(law)))
    made_by = f"{FORMAT_VERSION}-{hashlib.sha256(tables.encode()).hexdigest()[:12]}"
    of_scene = {"made_by": made_by, "frequency_law": law, "seed": seed, "vertices": num_vertices}
    settings = {**of_scene, **{split: num_scenes[split] for split in SPLITS}}
    path = raw / SETTINGS_FILE
    if not path.exists():
        if raw.exists() and (not raw.is_dir() or any(raw.iterdir())):
            raise UsageError(f"{raw}: holds something that is not demo scans; choose another folder for --out")
    else:
        try:
            # Folders from before there was a choice do not say their law.
            stored = json.loads(regular_file(path).read_text(encoding="utf-8"))
            existing: dict[str, Any] = {"frequency_law": SCANNET200, **stored}
            same = all(existing[key] == value for key, value in of_scene.items())
            fewer = any(num_scenes[split] < existing[split] for split in SPLITS)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError(f"{path}: can't be read; delete the folder or choose another for --out") from None
        if not same:
            raise UsageError(f"{raw}: holds demo scans of other settings; delete it or choose another folder for --out")
        if fewer:
            counts = " ".join(f"--{split} {existing[split]}" for split in SPLITS)
            raise UsageError(f"{raw}: holds more scans ({counts}); ask for as many or choose another folder for --out")
    write_text(path, json.dumps(settings, indent=2) + "\n")
