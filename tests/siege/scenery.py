"""What is attacked, whole: raw scans, prepared scenes, a trained run, files of every format. Made once a siege."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK, write_boxes
from tests.labelled.labelled_scans import write_rooms
from tests.scannet.raw_scans import write_raw_tree
from tests.siege.process import Running
from tests.siege.verdict import judge, require

TRAIN = (
    "train",
    "--cfg",
    "demo.yaml",
    *TINY_NETWORK,
    *PLAIN_AUGMENTATION,
    "augment.mix_probability=0.5",
    "data.voxel_size_m=0.1",
    "data.scenes_per_batch=2",
    "train.passes=3",
    "train.validate_every=1",
    "train.log_every=1",
    "train.num_threads=1",
    "run.device=cpu",
)
"""A training of six steps and three validations, less its ``data.root`` and ``run.dir``."""


class Scenery:
    """Whole files, in a folder; nobody writes to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def make(self) -> None:
        """Make all of it, which otherwise is made when it is needed."""
        for part in (self.prepared, self.labelled, self.submission):
            require(part.exists(), f"{part} was not made")

    @cached_property
    def raw(self) -> Path:
        """Four raw scans, of which three are labelled."""
        write_raw_tree(self.folder / "raw")
        return self.folder / "raw"

    @cached_property
    def prepared(self) -> Path:
        """The prepared tree of the raw scans."""
        self._run("prepare", "--raw", self.raw, "--out", self.folder / "prepared", "--workers", "1")
        return self.folder / "prepared"

    @cached_property
    def boxes(self) -> Path:
        """Prepared scenes to train on."""
        for split, num_scenes in (("train", 4), ("val", 2), ("test", 2)):
            write_boxes(self.folder / "boxes", split, num_scenes, num_points=150)
        return self.folder / "boxes"

    @cached_property
    def labelled(self) -> Path:
        """Labelled rooms as PLY files, to be imported."""
        write_rooms(self.folder / "labelled", ["train/a", "train/b", "val/c"])
        return self.folder / "labelled"

    @cached_property
    def run(self) -> Path:
        """A run trained on the boxes, never interrupted, and evaluated."""
        run = self.train("run")
        self._run("evaluate", "--run", run, "--json", run / "evaluation.json")
        return run

    @cached_property
    def predictions(self) -> Path:
        """Predictions of the run for the raw test scan."""
        out = self.folder / "predictions"
        self._run("predict", "--run", self.run, "--input", *self.raw.glob("scans_test/*/*.ply"), "--out", out)
        return out

    @cached_property
    def submission(self) -> Path:
        """The zip of the predictions."""
        path = self.folder / "submission.zip"
        self._run("submit", "--predictions", self.predictions, "--raw", self.raw, "--out", path)
        return path

    def train(self, name: str, *keys: str) -> Path:
        """A run with some keys of its own, in a folder of this name."""
        run = self.folder / name
        if not run.exists():
            self._run(*TRAIN, f"data.root={self.boxes}", f"run.dir={run}", *keys)
        return run

    def _run(self, *argv: object) -> None:
        outcome = judge(Running(tuple(map(str, argv)), self.folder).wait())
        require(outcome.status == 0, f"the scenery can't be made: pointseg {argv}: {outcome.err}")


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Path below the folder -> array, for each ``.npy`` in it."""
    return {str(path.relative_to(folder)): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def are_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two folders of :func:`read_arrays` hold the same to the bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


def read_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """The weights of a checkpoint."""
    content = torch.load(checkpoint, weights_only=True)
    return {name: tensor.numpy() for name, tensor in content["model"].items()}


def read_metrics(run: Path) -> list[dict[str, object]]:
    """The lines of ``metrics.jsonl`` without the one figure that is a time."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "scenes_per_s"} for row in rows]


def end_alike(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights and have logged the same, to the last bit."""
    files = ("checkpoints/last.pt", "checkpoints/best.pt")
    return read_metrics(one) == read_metrics(other) and all(
        are_equal(read_weights(one / file), read_weights(other / file)) for file in files
    )
