"""One run in a process of its own: train, score, write ``result.json``. The run comes as a line on stdin."""

import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from types import FrameType
from typing import Any, BinaryIO

import torch

from pointseg.atomic import atomic_file, write_text
from pointseg.commands import run_command
from pointseg.config import Config, dump_config
from pointseg.engine.analysis import measure_network
from pointseg.engine.evaluation import count_scenes, new_statistics, summarize_scores
from pointseg.engine.inference import Segmenter, load_segmenter
from pointseg.engine.machine import describe_surroundings
from pointseg.engine.trainer import Trainer
from pointseg.errors import StoppedError
from pointseg.folder_lock import hold_folder
from pointseg.laboratory.plan import PlannedRun, read_claim, read_result
from pointseg.metrics import score
from pointseg.processes import Processes, choose_device, set_num_threads
from pointseg.runs.directory import RunDirectory
from pointseg.runs.history import read_history
from pointseg.scans.prepared import list_scenes
from pointseg.scans.tree import SPLITS

_COUNT_EVERY_S = 20.0
"""What a run that is killed forgets of its time, at most."""


def main(argv: Sequence[str]) -> None:
    """Do the run that stands on stdin; when stdin ends before, stop as Ctrl-C would."""
    signal.signal(signal.SIGTERM, _stop)
    # Unbuffered: a buffered reader holds a lock while it waits, and Python can't leave then.
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    run = PlannedRun.from_json(stdin.readline().decode())
    threading.Thread(target=_stop_at_end_of, args=(stdin,), daemon=True).start()
    do_alone(run)


def do_alone(run: PlannedRun) -> None:
    """Do a run, unless another process has done it meanwhile.

    Raises:
        UsageError: another process has begun another run in its folder.
    """
    # One that a killed comparison left is still at its last step.
    with hold_folder(Path(run.directory), "trains", "choose another --out", wait=True):
        if read_result(run) is None:
            do_run(run)


def do_run(run: PlannedRun) -> None:
    """Train or go on training, then score the weights of the last step, and write the result."""
    config = run.read_config()
    device = choose_device(config.run.device)
    set_num_threads(config.train.num_threads)
    if run.trains:
        train(run, config, device)
    else:
        borrow_weights(run, config)
    # The last weights and not the best: the budget is the same for all, and val chooses nothing.
    segmenter = load_segmenter(run.directory, RunDirectory(run.directory).last_checkpoint, config.run.device)
    result = {
        "method": run.method,
        "seed": run.seed,
        "trained_as": run.trained_as,
        "fingerprint": run.fingerprint,
        "training_minutes": _training_seconds(run) / 60 if run.trains else None,
        "collapse_pull": _pull_at_the_end(RunDirectory(run.directory)),
        **describe_surroundings(device),
        **measure(segmenter, config, device),
    }
    write_text(run.result_path, json.dumps(result, allow_nan=False) + "\n")


def train(run: PlannedRun, config: Config, device: torch.device) -> None:
    """Train to the end."""
    with _counting_time(run):
        Trainer(config, Processes(0, 1, device), resume=True).run()


@contextmanager
def _counting_time(run: PlannedRun) -> Iterator[None]:
    """Keep count in the claim of the time over all calls that a run takes, also where one is killed."""
    seconds_before, start, ends = _training_seconds(run), time.perf_counter(), threading.Event()

    def count() -> None:
        while not ends.wait(_COUNT_EVERY_S):
            _claim_folder(run, seconds_before + time.perf_counter() - start)

    count_now_and_then = threading.Thread(target=count, daemon=True)
    _claim_folder(run, seconds_before)  # before the first step: the folder is this run's from here on
    count_now_and_then.start()
    try:
        yield
    finally:
        ends.set()
        count_now_and_then.join()
        _claim_folder(run, seconds_before + time.perf_counter() - start)


def borrow_weights(run: PlannedRun, config: Config) -> None:
    """Make a run directory with the last checkpoint of another run and this one's config."""
    _claim_folder(run, 0.0)
    directory = RunDirectory(run.directory)
    with atomic_file(directory.last_checkpoint) as temporary:
        shutil.copyfile(RunDirectory(run.source).last_checkpoint, temporary)
    write_text(directory.config_path, dump_config(config))


def measure(segmenter: Segmenter, config: Config, device: torch.device) -> dict[str, Any]:
    """``scores`` (split -> the keys of the evaluation JSON, and ``voxel_accuracy``), ``confusion`` (split -> (K, K)
    vertices, rows ground truth and columns prediction) and ``measures`` (split -> measure -> group -> value).

    Training rooms are scored as they are, without augmentation: neural collapse belongs to the phase in which they
    are learned by heart.
    """
    alone, scores, confusion, measures = Processes(0, 1, device), {}, {}, {}
    for split in SPLITS:
        statistics = new_statistics(segmenter)
        folders = list_scenes(config.data.root, split)
        counts = count_scenes(segmenter, folders, "none", alone, quiet=True, statistics=statistics)
        of_split = summarize_scores(score(counts.confusion), segmenter, len(folders), "none")
        scores[split] = {**of_split, "voxel_accuracy": counts.voxel_accuracy}
        confusion[split] = counts.confusion.counts[:, :-1].tolist()
        measures[split] = measure_network(segmenter, statistics)
    return {"scores": scores, "confusion": confusion, "measures": measures}


def _pull_at_the_end(directory: RunDirectory) -> float | None:
    """How strongly the branch pulled, on average over the last tenth of the training; None where none did."""
    rows = read_history(directory, ("train",))["train"]
    pulls = [pull for row in rows if (pull := row.get("collapse_pull")) is not None]
    return fmean(pulls[-math.ceil(len(pulls) / 10) :]) if pulls else None


def _claim_folder(run: PlannedRun, training_s: float) -> None:
    claim = {"method": run.method, "seed": run.seed, "fingerprint": run.fingerprint, "training_s": training_s}
    write_text(run.claim_path, json.dumps(claim, indent=1) + "\n")


def _training_seconds(run: PlannedRun) -> float:
    """Time spent so far, calls that were cut off included."""
    claim = read_claim(run)
    return float(claim["training_s"]) if claim else 0.0


def _stop(number: int, frame: FrameType | None) -> None:
    raise StoppedError("stopped")


def _stop_at_end_of(stdin: BinaryIO) -> None:
    """Stdin ends when the parent wants it, and also when the parent dies: no child outlives it for long."""
    stdin.read(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_command(main)
