"""Commands that are killed, stopped or interrupted at any moment, and called again until they are done."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.siege import moments
from tests.siege.process import Outcome, Running
from tests.siege.scenery import TRAIN, Scenery, end_alike, read_metrics
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import complaints, judge, require

NAME = "kills"
_TIDY = ("prepare", "import", "predict")
"""Commands that also clear what a killed one left; the others may not write to their folder alone."""
TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
_SETTINGS = {
    "train": (),
    "train, workers": ("data.num_workers=2",),
    "train, cache": (
        "data.cache=ram",
        "optimizer.name=sgd",
        "loss.collapse.preset=paper",
        "augment.elastic_probability=1",
    ),
}
# Of training: what is sent, how the moment is chosen, how often in full.
_KINDS: tuple[tuple[str, tuple[int, ...], str, int], ...] = (
    ("SIGKILL between calls", (KILL,), "call", 22),
    ("SIGKILL by the clock", (KILL,), "clock", 16),
    ("SIGKILL at a file", (KILL,), "file", 28),
    ("SIGTERM", (TERM,), "call", 14),
    ("SIGTERM twice", (TERM, TERM), "call", 14),
    ("SIGINT", (INT,), "call", 10),
    ("SIGINT twice", (INT, INT), "call", 8),
    ("SIGTERM at a file", (TERM, TERM), "file", 14),
)


def attack(siege: Siege, scenery: Scenery) -> None:
    """Training first, which has to end with the weights and figures of a run that nobody touched; then the others."""
    for kind, signals, moment, count in _KINDS:
        for trial in siege.trials(NAME, kind, count):
            with trial:
                _try_training(trial, scenery, signals, moment)
    for what, command in _COMMANDS.items():
        for trial in siege.trials(NAME, what, 15):
            with trial:
                _try_command(trial, scenery, command)


def _try_training(trial: Trial, scenery: Scenery, signals: tuple[int, ...], moment: str) -> None:
    setting = str(trial.rng.choice(list(_SETTINGS)))
    name = f"run-{setting.replace(', ', '-')}"
    keys, run = _SETTINGS[setting], trial.folder / "run"
    whole = scenery.train(name, *keys)
    argv = (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}", *keys)
    num_calls, num_steps, seconds = _measure(scenery, name, argv, run)
    trial.attack = setting
    resume: tuple[str, ...] = ()
    for _ in range(int(trial.rng.integers(1, 3))):
        share = trial.rng.random()
        trial.attack += f", {signals} at {share:.3f} of all ({moment})"
        if moment == "clock":
            running = trial.start(*argv, *resume)
            time.sleep(share * seconds)
            running.signal(signals[0])
        else:
            prelude = {
                "call": moments.signal_at_call(1 + int(share * num_calls), signals, int(trial.rng.integers(20, 5000))),
                "file": moments.signal_at_file_step(1 + int(share * num_steps), run, signals),
            }[moment]
            running = trial.start(*argv, *resume, prelude=prelude)
        _check_stop(running.wait(), signals, run)
        resume = ("--resume",)
    require(trial.run(*argv, "--resume").status == 0, "can't be resumed")
    require(end_alike(run, whole), "the resumed run ends otherwise than one that nobody stopped")
    _require_no_leftovers(run)


def _check_stop(outcome: Outcome, signals: tuple[int, ...], run: Path) -> None:
    """A run that was stopped in time has lost no step; one that came to its end has not noticed."""
    judge(outcome, allowed=(0, 130, -signals[0]))
    # "interrupted": before the first step and after the last, where nothing can be lost.
    if outcome.status != 130 or signals == (INT, INT) or "interrupted" in outcome.err:
        return
    require("--resume" in outcome.err, f"stopped without a word on how to go on: {outcome.err}")
    num_logged = max((row["step"] for row in read_metrics(run)), default=0)
    step = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["progress"]["step"]
    require(num_logged <= step, f"{num_logged} steps were done, and the checkpoint has {step}")
    require(
        re.search(rf"step {step}\b", complaints(outcome)[-1]),
        f"the checkpoint is of step {step}, and the line says: {outcome.err}",
    )


def _measure(scenery: Scenery, name: str, argv: tuple[str, ...], run: Path) -> tuple[int, int, float]:
    """Calls, steps in the file system and seconds of a training that nobody stops; measured once."""
    kept = scenery.folder / f"moments-{name}"
    if not kept.exists():
        folder = scenery.folder / f"measured-{name}"
        folder.mkdir()
        own = tuple(word.replace(str(run), str(folder / "run")) for word in argv)
        counts = folder / "counts"
        outcome = judge(Running(own, folder, prelude=moments.counting(folder / "run", counts)).wait(), allowed=(0,))
        kept.write_text(f"{counts.read_text()} {outcome.seconds}")
    num_calls, num_steps, seconds = kept.read_text().split()
    return int(num_calls), int(num_steps), float(seconds)


def _prepare(scenery: Scenery, out: Path) -> tuple[object, ...]:
    return ("prepare", "--raw", scenery.raw, "--out", out, "--workers", "1")


def _prepare_in_workers(scenery: Scenery, out: Path) -> tuple[object, ...]:
    return ("prepare", "--raw", scenery.raw, "--out", out, "--workers", "2")


def _import(scenery: Scenery, out: Path) -> tuple[object, ...]:
    return ("import", scenery.labelled, "--out", out, "--workers", "1")


def _predict(scenery: Scenery, out: Path) -> tuple[object, ...]:
    return ("predict", "--run", scenery.run, "--split", "val", "--out", out, "--ply", "--probabilities")


def _submit(scenery: Scenery, out: Path) -> tuple[object, ...]:
    return ("submit", "--predictions", scenery.predictions, "--raw", scenery.raw, "--out", out / "submission.zip")


_COMMANDS: dict[str, Callable[[Scenery, Path], tuple[object, ...]]] = {
    "prepare": _prepare,
    "prepare, workers": _prepare_in_workers,
    "import": _import,
    "predict": _predict,
    "submit": _submit,
}


def _try_command(trial: Trial, scenery: Scenery, command: Callable[[Scenery, Path], tuple[object, ...]]) -> None:
    """Killed once or twice at a step in the file system, or by the clock; then it does what it does undisturbed."""
    whole, out = trial.folder / "whole", trial.folder / "out"
    measured = trial.folder / "measured"
    whole_run = trial.start(*command(scenery, whole), prelude=moments.counting(whole, measured))
    seconds = judge(whole_run.wait(), allowed=(0,)).seconds
    num_steps = int(measured.read_text().split()[1])
    for _ in range(int(trial.rng.integers(1, 3))):
        share = trial.rng.random()
        trial.attack += f"killed at {share:.3f} of all "
        if trial.rng.random() < 0.3:
            running = trial.start(*command(scenery, out))
            time.sleep(share * seconds)
            running.signal(KILL)
        else:
            prelude = moments.signal_at_file_step(1 + int(share * num_steps), out)
            running = trial.start(*command(scenery, out), prelude=prelude)
        judge(running.wait(), allowed=(0, -KILL))
    trial.run(*command(scenery, out), allowed=(0,))
    require(_content(out) == _content(whole), "what is there in the end is not what an undisturbed call makes")
    if str(command(scenery, out)[0]) in _TIDY:
        _require_no_leftovers(out)


def _content(folder: Path) -> dict[str, bytes]:
    """What a command made, less reports, which say when and where it was called."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if ".writing-" not in str(path)}


def _require_no_leftovers(folder: Path) -> None:
    left = [str(path.relative_to(folder)) for path in folder.rglob(".writing-*")]
    require(not left, f"what killed writes left is never cleared: {', '.join(left)}")
