"""Damage to all other files that commands read: scans of any format, prepared scenes, runs, configs, predictions."""

from collections.abc import Callable

from pointseg.formats.reading import READERS
from tests.formats.test_damaged_files import example
from tests.labelled.labelled_scans import write_table
from tests.siege.damage import copy_tree, damage
from tests.siege.scenery import TRAIN, Scenery
from tests.siege.trial import Siege, SkippedError, Trial
from tests.siege.verdict import require

NAME = "files"
_CPU = ("--device", "cpu")


def attack(siege: Siege, scenery: Scenery) -> None:
    """Each kind of file through each command that reads it."""
    for what, (attempt, count) in _ATTEMPTS.items():
        for trial in siege.trials(NAME, what, count):
            with trial:
                attempt(trial, scenery)


def _try_scan(trial: Trial, scenery: Scenery) -> None:
    """A scan in any format; another one, whole, in the same call is predicted all the same."""
    suffix = str(trial.rng.choice(list(READERS)))
    path = trial.folder / f"scan{suffix}"
    try:
        content = example(suffix, trial.folder)
    except ImportError as error:
        raise SkippedError(f"{suffix}: {error.name} is not installed") from None
    path.write_bytes(content)
    trial.attack = damage(path, trial.rng, sorted(trial.folder.glob("*.*")))
    whole = next(scenery.raw.glob("scans_test/*/*.ply"))
    out = trial.folder / "out"
    trial.try_out("predict", "--run", scenery.run, "--input", path, whole, "--out", out, *_CPU)
    require(
        (out / f"{whole.parent.name}.txt").is_file(), "a whole scan is not predicted, because another one is damaged"
    )
    if trial.verdict == "unharmed":
        require((out / "scan.txt").is_file(), "no prediction, and nobody says so")


def _try_votes(trial: Trial, scenery: Scenery) -> None:
    """What votes are taken in: the segments beside a raw scan, or those and the faces of a prepared one."""
    call = ("predict", "--run", scenery.run, "--vote", "segments", "--out", trial.folder / "out", *_CPU)
    if trial.rng.random() < 0.5:
        raw = next(scenery.raw.glob("scans/*"))
        folder = copy_tree(raw, trial.folder / raw.name)
        trial.attack = damage(next(folder.glob("*.segs.json")), trial.rng, sorted(folder.iterdir()))
        trial.try_out(*call, "--input", *folder.glob("*.ply"))
        return
    root = copy_tree(scenery.prepared, trial.folder / "prepared")
    split, part = [("val", "over_segment"), ("test", "face")][trial.rng.integers(2)]
    path = next((root / split).glob(f"*/{part}.npy"))
    trial.attack = damage(path, trial.rng, sorted(path.parent.iterdir()))
    checked = trial.run("check", root, "--workers", "1").status
    if trial.try_out(*call, "--data-root", root, "--split", split) and checked:
        trial.verdict = "otherwise"


def _try_labelled(trial: Trial, scenery: Scenery) -> None:
    """A labelled scan, or the table of its classes, through ``import`` and ``check``."""
    source, out = copy_tree(scenery.labelled, trial.folder / "source"), trial.folder / "out"
    table = write_table(trial.folder / "classes.tsv")
    path = table if trial.rng.random() < 0.3 else source / "train" / "a.ply"
    trial.attack = damage(path, trial.rng, [source / "val" / "c.ply", table])
    done = trial.try_out("import", source, "--out", out, "--classes", table, "--workers", "1")
    if done and not trial.try_out("check", out, "--workers", "1"):
        trial.verdict = "refused"


def _try_prepared(trial: Trial, scenery: Scenery) -> None:
    """A file of a prepared tree through ``check``, and through one of the commands that compute on it."""
    root = copy_tree(scenery.boxes, trial.folder / "boxes")
    files = sorted(path for path in root.rglob("*") if path.is_file() and "test" not in path.parts)
    path = files[trial.rng.integers(len(files))]
    trial.attack = damage(path, trial.rng, files)
    checked = trial.run("check", root, "--workers", "1").status
    run = trial.folder / "run"
    commands: list[tuple[object, ...]] = [
        (*TRAIN, f"data.root={root}", f"run.dir={run}", "train.passes=1"),
        (*TRAIN, f"data.root={root}", f"run.dir={run}", "train.passes=1", "data.cache=ram", "data.max_voxels=200"),
        ("evaluate", "--run", scenery.run, "--data-root", root, *_CPU),
        ("predict", "--run", scenery.run, "--data-root", root, "--split", "val", "--out", run, *_CPU),
        ("analyze", "--run", scenery.run, "--data-root", root, *_CPU),
    ]
    if trial.try_out(*commands[trial.rng.integers(len(commands))]) and checked:
        trial.verdict = "otherwise"


def _try_config(trial: Trial, scenery: Scenery) -> None:
    """A config, of which an earlier run has kept every key."""
    path = trial.folder / "config.yaml"
    path.write_bytes((scenery.run / "config.yaml").read_bytes())
    trial.attack = damage(path, trial.rng, [scenery.run / "classes.tsv"])
    trial.try_out(
        "train",
        "--cfg",
        path,
        f"data.root={scenery.boxes}",
        f"run.dir={trial.folder / 'run'}",
        "train.passes=1",
        "data.num_workers=0",
    )


def _try_run(trial: Trial, scenery: Scenery) -> None:
    """A file of a run, through all that goes on from it."""
    run = copy_tree(scenery.run, trial.folder / "run")
    names = ["checkpoints/last.pt", "checkpoints/best.pt", "config.yaml", "classes.tsv", "metrics.jsonl"]
    files = [run / name for name in [*names, "evaluation.json", "surroundings.json"]]
    path = files[trial.rng.choice(len(files), p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.1, 0.05])]
    trial.attack = damage(path, trial.rng, files)
    last = run / "checkpoints" / "last.pt"
    commands: list[tuple[object, ...]] = [
        (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}", "--resume"),
        (
            *TRAIN,
            f"data.root={scenery.boxes}",
            f"run.dir={trial.folder / 'new'}",
            "train.passes=1",
            f"model.init={run}",
        ),
        ("evaluate", "--run", run, *_CPU),
        ("predict", "--run", run, "--checkpoint", last, "--split", "test", "--out", trial.folder / "out", *_CPU),
        ("convert", last, "--out", trial.folder / "new"),
        ("convert", run, "--out", trial.folder / "new.pth"),
        ("analyze", "--run", run, "--plot", trial.folder / "plot.png", *_CPU),
        ("report", "--run", run, "--out", trial.folder / "report.html", *_CPU),
    ]
    trial.try_out(*commands[trial.rng.integers(len(commands))])


def _try_predictions(trial: Trial, scenery: Scenery) -> None:
    """A folder of predictions through ``submit``, or ``predict`` once more; what is handed in is then checked."""
    folder = copy_tree(scenery.predictions, trial.folder / "predictions")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    trial.attack = damage(files[trial.rng.integers(len(files))], trial.rng, files)
    zipped = trial.folder / "submission.zip"
    if trial.rng.random() < 0.3:
        scan = next(scenery.raw.glob("scans_test/*/*.ply"))
        trial.try_out("predict", "--run", scenery.run, "--input", scan, "--out", folder, *_CPU)
    elif trial.try_out("submit", "--predictions", folder, "--raw", scenery.raw, "--out", zipped):
        trial.run("check-submission", zipped, "--raw", scenery.raw, allowed=(0,))


def _try_zip(trial: Trial, scenery: Scenery) -> None:
    path = trial.folder / "submission.zip"
    path.write_bytes(scenery.submission.read_bytes())
    trial.attack = damage(path, trial.rng, [next(iter(scenery.predictions.glob("*.txt")))])
    trial.try_out("check-submission", path, "--raw", scenery.raw)


_ATTEMPTS: dict[str, tuple[Callable[[Trial, Scenery], None], int]] = {
    "scans of any format": (_try_scan, 300),
    "segments to vote in": (_try_votes, 80),
    "labelled scans": (_try_labelled, 120),
    "prepared scenes": (_try_prepared, 160),
    "configs": (_try_config, 120),
    "runs": (_try_run, 160),
    "predictions": (_try_predictions, 80),
    "zips": (_try_zip, 80),
}
