"""Full disks, a /dev/shm that holds next to nothing, and next to no open files."""

import resource
from collections.abc import Callable
from pathlib import Path

from tests.siege.isolation import fill_disk, mount_disk, run_isolated
from tests.siege.process import Outcome
from tests.siege.scenery import TRAIN, Scenery, end_alike, read_weights
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import complaints, require

NAME = "disks"
_DISK_BYTES = 4 * 2**20


def attack(siege: Siege, scenery: Scenery) -> None:
    """Each in mounts of its own; once there is room, the same command does all of its work."""
    for what, attempt, count in (
        ("training", _try_training, 40),
        ("other commands", _try_command, 40),
        ("/dev/shm", _try_shared_memory, 6),
        ("open files", _try_open_files, 6),
    ):
        for trial in siege.trials(NAME, what, count, least=2):
            with trial:
                scenery.make()  # here, since what is made in there stays in there
                run_isolated(trial, attempt, scenery)


def _try_training(trial: Trial, scenery: Scenery) -> str:
    """Until the disk is full, then to the end; a checkpoint that was there still is there."""
    disk = trial.folder / "disk"
    mount_disk(disk, _DISK_BYTES)
    run = disk / "run"
    argv = (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}")
    size = sum(path.stat().st_size for path in scenery.run.rglob("*") if path.is_file())
    num_free = int(size * 1.3 * trial.rng.random())
    trial.attack = f"{num_free} bytes free"
    ballast = fill_disk(disk, num_free)
    outcome = trial.run(*argv, allowed=(0, 1))
    _require_full(outcome)
    for path in run.glob("checkpoints/*.pt"):
        read_weights(path)
    ballast.unlink()
    trial.run(*argv, "--resume", allowed=(0,))
    require(end_alike(run, scenery.run), "the resumed run ends otherwise than on a disk with room")
    return "refused" if outcome.status else "unharmed"


def _try_command(trial: Trial, scenery: Scenery) -> str:
    disk = trial.folder / "disk"
    mount_disk(disk, _DISK_BYTES)
    commands: list[tuple[object, ...]] = [
        ("prepare", "--raw", scenery.raw, "--workers", "1", "--out"),
        ("import", scenery.labelled, "--workers", "1", "--out"),
        ("predict", "--run", scenery.run, "--split", "val", "--ply", "--probabilities", "--features", "--out"),
        ("submit", "--predictions", scenery.predictions, "--raw", scenery.raw, "--out"),
        ("evaluate", "--run", scenery.run, "--json"),
        ("convert", scenery.run, "--out"),
        ("demo-scans", "--train", "1", "--val", "0", "--test", "0", "--vertices", "2000", "--workers", "1", "--out"),
    ]
    command = commands[trial.rng.integers(len(commands))]
    name = {"submit": "out.zip", "evaluate": "out.json", "convert": "out.pth"}.get(str(command[0]), "out")
    trial.run(*command, trial.folder / name, allowed=(0,))
    size = sum(
        path.stat().st_size for path in [trial.folder / name, *(trial.folder / name).rglob("*")] if path.is_file()
    )
    num_free = int(size * 1.2 * trial.rng.random())
    trial.attack = f"{command[0]} with {num_free} of {size} bytes free"
    ballast = fill_disk(disk, num_free)
    outcome = trial.run(*command, disk / name, allowed=(0, 1))
    _require_full(outcome)
    ballast.unlink()
    trial.run(*command, disk / name, allowed=(0,))
    require(_files(disk / name) == _files(trial.folder / name), "once there is room, not everything is made")
    return "refused" if outcome.status else "unharmed"


def _files(path: Path) -> dict[str, bytes]:
    """What was made, less records that say when and where."""
    paths = [path] if path.is_file() else [child for child in path.rglob("*") if child.is_file()]
    return {
        str(child.relative_to(path)): b"" if child.suffix in (".json", ".npz") else child.read_bytes()
        for child in paths
    }


def _require_full(outcome: Outcome) -> None:
    if outcome.status:
        require("disk is full" in outcome.err, f"does not say that the disk is full: {outcome.err}")


def _try_shared_memory(trial: Trial, scenery: Scenery) -> str:
    num_bytes = int(trial.rng.choice([4096, 16384, 65536]))
    trial.attack = f"{num_bytes} bytes"
    mount_disk(Path("/dev/shm"), num_bytes)
    return _train_in_workers(trial, scenery, None)


def _try_open_files(trial: Trial, scenery: Scenery) -> str:
    most = int(trial.rng.choice([16, 24, 32, 48]))
    trial.attack = f"{most} open files"
    return _train_in_workers(trial, scenery, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))


def _train_in_workers(trial: Trial, scenery: Scenery, prelude: Callable[[], None] | None) -> str:
    argv = (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={trial.folder / 'run'}", "data.num_workers=2")
    outcome = trial.run(*argv, "train.passes=8", allowed=(0, 1), prelude=prelude)
    if outcome.status:
        require(len(complaints(outcome)) == 1, f"not one line: {outcome.err}")
    return "refused" if outcome.status else "unharmed"
