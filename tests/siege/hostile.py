"""Files that try to run code or to write elsewhere. The canary is a file that none of them may make."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.siege.damage import copy_tree
from tests.siege.scenery import TRAIN, Scenery
from tests.siege.trial import Siege, Trial
from tests.siege.verdict import require

NAME = "hostile"
_CPU = ("--device", "cpu")


class _Call:
    """Pickled, this is a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._reduced


def attack(siege: Siege, scenery: Scenery) -> None:
    """Each kind many times, through commands that are drawn; in the end only what may be written is there."""
    for what, attempt in (
        ("checkpoints", _try_checkpoint),
        ("arrays", _try_array),
        ("YAML", _try_yaml),
        ("zips", _try_zip),
        ("names of scans", _try_name),
        ("names of scenes", _try_list),
        ("names of classes", _try_classes),
        ("paths in scans", _try_path),
    ):
        for trial in siege.trials(NAME, what, 25):
            with trial:
                _run_watched(trial, scenery, attempt)


def _run_watched(trial: Trial, scenery: Scenery, attempt: Callable[[Trial, Scenery, Path, Path], None]) -> None:
    """The trial may write below ``out``, and the attack has its files in ``input``; nothing else may change."""
    out, given = trial.folder / "out", trial.folder / "input"
    given.mkdir()
    scenery.make()
    before = _listing(scenery.folder)
    attempt(trial, scenery, given, out)
    made = {path.name for path in trial.folder.rglob("canary*")}
    require(not made & {"canary", "canary.npy", "canary.txt"}, "code in a file was run")
    new = {path.name for path in trial.folder.iterdir()} - {"out", "input"}
    strange = [name for name in new if not name.endswith((".out", ".err", ".argv"))]
    require(not strange, f"wrote beside its folder: {strange}")
    require(_listing(scenery.folder) == before, "wrote to what it was to read alone")


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def _payload(trial: Trial) -> object:
    """What makes the canary when it is unpickled."""
    canary = trial.folder / "canary"
    calls = [
        _Call(os.system, f"touch {canary}"),
        _Call(os.mkdir, str(canary)),
        _Call(eval, f"open({str(canary)!r}, 'w')"),
        _Call(exec, f"open({str(canary)!r}, 'w')"),
        _Call(shutil.copy, __file__, str(canary)),
        _Call(np.save, str(canary), np.zeros(1)),
        _Call(torch.save, {}, str(canary)),
    ]
    return calls[trial.rng.integers(len(calls))]


def _try_checkpoint(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    run = copy_tree(scenery.run, given / "run")
    last = run / "checkpoints" / "last.pt"
    content = torch.load(last, weights_only=True)
    part = str(trial.rng.choice([*content, "more", "all"]))
    new = _payload(trial) if part == "all" else {**content, part: _payload(trial)}
    kind = str(trial.rng.choice(["zip", "legacy", "pickle"]))
    trial.attack = f"{kind}, in {part}"
    if kind == "pickle":
        last.write_bytes(pickle.dumps(new))
    else:
        torch.save(new, last, _use_new_zipfile_serialization=kind == "zip")
    shutil.copy(last, last.with_name("best.pt"))
    commands: list[tuple[object, ...]] = [
        ("evaluate", "--run", run, *_CPU),
        ("predict", "--run", run, "--split", "test", "--out", out, *_CPU),
        (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={run}", "--resume"),
        (*TRAIN, f"data.root={scenery.boxes}", f"run.dir={out}", f"model.init={last}"),
        ("convert", last, "--out", out),
        ("convert", run, "--out", given / "new.pth"),
        ("analyze", "--run", run, *_CPU),
    ]
    trial.try_out(*commands[trial.rng.integers(len(commands))])
    require(trial.verdict == "refused", "a checkpoint with code in it is taken")


def _try_array(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    root = copy_tree(scenery.boxes, given / "boxes")
    files = sorted(root.glob("train/*/*.npy")) + sorted(root.glob("val/*/*.npy"))
    path = files[trial.rng.integers(len(files))]
    buffer = io.BytesIO()
    np.save(buffer, np.array([_payload(trial)] * 3, dtype=object), allow_pickle=True)
    pickled = pickle.dumps(_payload(trial))
    path.write_bytes(pickled if trial.rng.random() < 0.3 else buffer.getvalue())
    trial.attack = str(path.relative_to(given))
    commands: list[tuple[object, ...]] = [
        ("check", root, "--workers", "1"),
        (*TRAIN, f"data.root={root}", f"run.dir={out}", "train.passes=1"),
        ("evaluate", "--run", scenery.run, "--data-root", root, *_CPU),
        ("visualize", "--scene", path.parent, "--save", out / "a.ply"),
    ]
    trial.try_out(*commands[trial.rng.integers(len(commands))])


def _try_yaml(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    canary = trial.folder / "canary"
    tags = [
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"!!python/object/apply:os.mkdir ['{canary}']",
        f"!!python/object/new:os.system ['touch {canary}']",
        f"!!python/object/apply:builtins.open ['{canary}', 'w']",
        "!!python/name:os.system",
        "!!python/module:os",
    ]
    tag = tags[trial.rng.integers(len(tags))]
    path = copy_tree(scenery.run, given / "run") / "config.yaml"
    lines = path.read_text().splitlines()
    place = int(trial.rng.integers(len(lines)))
    if trial.rng.random() < 0.3:
        lines.insert(place, f"new: {tag}")
    else:
        lines[place] = lines[place].split(":")[0] + f": {tag}"
    path.write_text("\n".join(lines))
    trial.attack = lines[place]
    trained = (*TRAIN[:1], "--cfg", path, f"data.root={scenery.boxes}", f"run.dir={out}")
    commands: list[tuple[object, ...]] = [trained, ("evaluate", "--run", path.parent, *_CPU)]
    if trial.rng.random() < 0.3:
        commands = [(*TRAIN, f"data.root={scenery.boxes}", f"run.dir={out}", f"run.seed={tag}")]
    trial.try_out(*commands[trial.rng.integers(len(commands))])
    require(trial.verdict == "refused", "YAML with a tag of Python is taken")


def _try_zip(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    """Members that lead out of the folder, links, and names with commands in them."""
    scene = next(scenery.predictions.glob("*.txt"))
    path = given / "submission.zip"
    names = [
        "../canary",
        "../../canary.txt",
        f"{trial.folder}/canary",
        "a/../../canary",
        "..\\canary",
        "$(touch canary)",
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(scene, scene.name)
        member = zipfile.ZipInfo(names[trial.rng.integers(len(names))])
        if trial.rng.random() < 0.3:
            member.external_attr = 0o120777 << 16  # a link
        archive.writestr(member, scene.read_bytes())
    trial.attack = member.filename
    trial.try_out("check-submission", path, "--raw", scenery.raw)
    require(trial.verdict == "refused", "a zip with a member that leads out of it is taken")


_NAMES = (
    "$(touch canary)",
    "`touch canary`",
    "a; touch canary",
    "a | touch canary",
    "-rf",
    "--out",
    "a\nb",
    "a\x1b[31mb",
    "a\udcff",  # a byte that is no UTF-8
    "<script>alert(1)</script>".replace("/", "∕"),
    "%s%n{0}{x}",
    "é" * 100,
    "a" * 200,
    "..a",
    " ",
    "CON",
)


def _try_name(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    """A scan whose name is a command, or breaks a line."""
    name = str(trial.rng.choice(_NAMES))
    path = given / f"{name}.ply"
    content = next(scenery.raw.glob("scans_test/*/*.ply")).read_bytes()
    path.write_bytes(content if trial.rng.random() < 0.5 else content[:300])
    trial.attack = name
    further = [[], ["--ply"], ["--probabilities", "--features"]][trial.rng.integers(3)]
    if trial.rng.random() < 0.7:
        trial.try_out("predict", "--run", scenery.run, "--input", path, "--out", out, *further, *_CPU)
    else:
        trial.try_out("visualize", "--scene", path, "--save", out / "a.ply")


def _try_list(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    """A list that names a scene which leads out of the tree."""
    raw = copy_tree(scenery.raw, given / "raw")
    name = str(
        trial.rng.choice(["../canary", "../../canary", f"{trial.folder}/canary", "..", ".", "a/../../../canary", "/"])
    )
    with open(raw / "splits" / "scannetv2_train.txt", "a") as file:
        file.write(f"{name}\n")
    if trial.rng.random() < 0.5 and "canary" in name:
        target = raw / "scans" / name
        if target.resolve().is_relative_to(given.resolve()):
            shutil.copytree(raw / "scans" / "scene0000_00", target, dirs_exist_ok=True)
            shutil.rmtree(target)
    trial.attack = name
    trial.try_out("prepare", "--raw", raw, "--out", out, "--workers", "1")


def _try_classes(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    """A table of classes whose names are commands or markup, all the way to a trained run."""
    name = str(trial.rng.choice(_NAMES)).replace("\n", " ")
    table = given / "classes.tsv"
    text = f"id\tname\n1\tfloor\n2\t{name}\n3\tchair\n"
    table.write_bytes(text.encode("utf-8", "surrogateescape"))
    trial.attack = name
    if trial.try_out("import", scenery.labelled, "--out", out, "--classes", table, "--workers", "1"):
        trial.run("check", out, "--workers", "1")
        argv = (
            *TRAIN,
            "taxonomy=tree",
            f"data.root={out}",
            f"run.dir={out / 'run'}",
            "train.passes=1",
            "augment.mix_probability=0",
        )
        trial.run(*argv)


def _try_path(trial: Trial, scenery: Scenery, given: Path, out: Path) -> None:
    """A scan that names other files: those of the system, of the network, pipes that never end."""
    os.mkfifo(given / "pipe")
    targets = [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:9/x",
        "/dev/zero",
        "pipe",
        ".",
    ]
    target = str(trial.rng.choice(targets))
    trial.attack = target
    if trial.rng.random() < 0.5:
        accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
        view = {"buffer": 0, "byteLength": 36}
        content = {
            "asset": {"version": "2.0"},
            "buffers": [{"uri": target, "byteLength": 36}],
            "bufferViews": [view],
            "accessors": [accessor],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "nodes": [{"mesh": 0}],
            "scenes": [{"nodes": [0]}],
        }
        path = given / "scan.gltf"
        path.write_text(json.dumps(content))
    else:
        path = given / "scan.obj"
        path.write_text(f"mtllib {target}\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    trial.try_out("predict", "--run", scenery.run, "--input", path, "--out", out, *_CPU)
