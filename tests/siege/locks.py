"""Two commands that write into one folder at a time: one is refused, or they take turns; what is there is whole."""

import time
from pathlib import Path

from tests.siege.process import Outcome, Running
from tests.siege.scenery import TRAIN, Scenery, are_equal, end_alike, read_arrays
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import judge, require

NAME = "locks"


def attack(siege: Siege, scenery: Scenery) -> None:
    """The second begins a moment after the first, drawn at random, and is the same or differs in its settings."""
    for what, attempt in (
        ("two trainings", _try_trainings),
        ("--resume beside it", _try_resume),
        ("two prepare", _try_prepare),
        ("two import", _try_import),
        ("two predict", _try_predict),
    ):
        for trial in siege.trials(NAME, what, 12):
            with trial:
                attempt(trial, scenery)


def _try_trainings(trial: Trial, scenery: Scenery) -> None:
    run = trial.folder / "run"
    argv = (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}")
    outcomes = _race(trial, argv, argv, 0.3)
    done = [outcome.status == 0 for outcome in outcomes]
    require(done.count(True) == 1, f"{done.count(True)} of two trainings in one folder came to an end")
    require(end_alike(run, scenery.run), "the training that came to an end is not the one that nobody disturbed")


def _try_resume(trial: Trial, scenery: Scenery) -> None:
    run = trial.folder / "run"
    argv = (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}")
    outcomes = _race(trial, argv, (*argv, "--resume"), 1.0)
    require(any(outcome.status == 0 for outcome in outcomes), "neither came to an end")
    require(end_alike(run, scenery.run), "the training that came to an end is not the one that nobody disturbed")


def _try_prepare(trial: Trial, scenery: Scenery) -> None:
    out = trial.folder / "prepared"
    argv = ("prepare", "--raw", scenery.raw, "--out", out, "--workers", "1")
    _require_one_done(_race(trial, argv, argv, 0.1))
    require(are_equal(read_arrays(out), read_arrays(scenery.prepared)), "the tree is not what one call makes")
    trial.run("check", out, "--workers", "1", allowed=(0,))


def _try_import(trial: Trial, scenery: Scenery) -> None:
    out, alone = trial.folder / "prepared", trial.folder / "alone"
    argv = ("import", scenery.labelled, "--workers", "1", "--out")
    trial.run(*argv, alone, allowed=(0,))
    _require_one_done(_race(trial, (*argv, out), (*argv, out), 0.1))
    require(are_equal(read_arrays(out), read_arrays(alone)), "the tree is not what one call makes")


def _try_predict(trial: Trial, scenery: Scenery) -> None:
    """With views and without: no file may be of the other call, and each call that says it is done must have been."""
    alone = [trial.folder / tta for tta in ("none", "rot4")]
    argv = ("predict", "--run", scenery.run, "--split", "train", "--probabilities", "--device", "cpu")
    calls = [(*argv, "--tta", folder.name) for folder in alone]
    for call, folder in zip(calls, alone, strict=True):
        trial.run(*call, "--out", folder, allowed=(0,))
    out = trial.folder / "out"
    outcomes = _race(trial, (*calls[0], "--out", out), (*calls[1], "--out", out), 0.2)
    _require_one_done(outcomes)
    wholes = [
        (outcome.status, _predictions(out) == _predictions(folder))
        for outcome, folder in zip(outcomes, alone, strict=True)
    ]
    require(any(whole and not status for status, whole in wholes), "the folder holds files of both calls")


def _predictions(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".txt", ".npy")}


def _race(trial: Trial, one: tuple[object, ...], other: tuple[object, ...], longest_wait_s: float) -> list[Outcome]:
    """How both ended; the trial's verdict is that one was refused where it was."""
    wait_s = float(trial.rng.random()) * longest_wait_s
    trial.attack = f"{other[0]} {wait_s:.3f} s after {one[0]}"
    first: Running = trial.start(*one)
    time.sleep(wait_s)
    second = trial.start(*other)
    outcomes = [judge(running.wait()) for running in (first, second)]
    if any(outcome.status for outcome in outcomes):
        trial.verdict = "refused"
    return outcomes


def _require_one_done(outcomes: list[Outcome]) -> None:
    require(any(outcome.status == 0 for outcome in outcomes), f"neither was done: {outcomes[0].err}{outcomes[1].err}")
