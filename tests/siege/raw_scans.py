"""Damaged raw scans through ``prepare`` and ``check``."""

from pathlib import Path

import numpy as np

from tests.siege.damage import copy_tree, damage
from tests.siege.scenery import Scenery, are_equal, read_arrays
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import require

NAME = "raw scans"
_FILES = {
    "mesh": ("scans/scene0000_00/*.ply", 500),
    "segments": ("scans/scene0001_00/*.segs.json", 400),
    "aggregation": ("scans/scene0002_00/*.aggregation.json", 400),
    "information": ("scans/scene0000_00/scene0000_00.txt", 250),
    "test mesh": ("scans_test/*/*.ply", 150),
    "several files": ("scans/scene0000_00/*", 200),
    "table and lists": ("*[st]/*.txt", 100),
}
_FRESH_SHARE, _CHECKED_SHARE = 0.02, 0.5
"""Of trials with interpreters of their own, and of trees that are checked."""


def attack(siege: Siege, scenery: Scenery) -> None:
    """Two thousand scans; the other scans of the tree have to come out as if nothing were wrong with it."""
    for what, (pattern, count) in _FILES.items():
        for trial in siege.trials(NAME, what, count):
            with trial:
                _try_scan(trial, scenery, what, pattern)


def _try_scan(trial: Trial, scenery: Scenery, what: str, pattern: str) -> None:
    raw, out = copy_tree(scenery.raw, trial.folder / "raw"), trial.folder / "prepared"
    whole = sorted(path for path in raw.rglob("*") if path.is_file())
    targets = sorted(raw.glob(pattern))
    if what == "table and lists":
        targets += [raw / "scannetv2-labels.combined.tsv"] * 2
    times = int(trial.rng.integers(2, 4)) if what == "several files" else 1
    chosen = [targets[i] for i in trial.rng.choice(len(targets), times, replace=False)]
    trial.attack = "; ".join(damage(path, trial.rng, whole) for path in chosen)
    fresh = trial.rng.random() < _FRESH_SHARE
    prepared = trial.run("prepare", "--raw", raw, "--out", out, "--workers", "1", fresh=fresh)
    if out.is_dir() and trial.rng.random() < _CHECKED_SHARE:
        trial.run("check", out, "--workers", "1", fresh=fresh)
    trial.verdict = "refused" if prepared.status else "unharmed"

    expected, made = read_arrays(scenery.prepared), read_arrays(out)
    _require_sane(made)
    if what == "table and lists":
        if not prepared.status and not are_equal(made, expected):
            trial.verdict = "otherwise"
        return
    damaged = chosen[0].parent.name
    for is_damaged in (False, True):
        before, after = (
            {name: array for name, array in arrays.items() if (damaged in name) == is_damaged}
            for arrays in (expected, made)
        )
        if not is_damaged:
            require(are_equal(before, after), "a whole scan came out otherwise, because another one is damaged")
        elif not after:
            require(prepared.status == 1 and damaged in prepared.err, f"{damaged} is missing, and nobody says so")
        elif not prepared.status and not are_equal(before, after):
            trial.verdict = "otherwise"


def _require_sane(arrays: dict[str, np.ndarray]) -> None:
    """What is in a prepared scene is what a prepared scene holds."""
    for name, array in arrays.items():
        folder, kind = str(Path(name).parent), Path(name).stem
        num_vertices = len(arrays[f"{folder}/coord.npy"])
        if kind == "face":
            require(array.shape[1:] == (3,) and array.min() >= 0 and array.max() < num_vertices, f"{name}: no faces")
            continue
        require(len(array) == num_vertices > 0, f"{name}: {array.shape}, not one for each vertex")
        if kind in ("coord", "normal"):
            require(array.dtype == np.float32 and np.isfinite(array).all(), f"{name}: is not finite float32")
        if kind.startswith("segment"):
            require(
                array.min() >= -1 and array.max() < int(kind.removeprefix("segment")), f"{name}: labels of no class"
            )
