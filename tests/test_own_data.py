"""docs/own_data.md: what it tells people to type takes ten labelled scans to a network and its predictions."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from pointseg import __main__ as program
from pointseg.scans.prepared import read_scene
from pointseg.taxonomy import read_class_table
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK
from tests.labelled.labelled_scans import NAMES, make_room, write_ply, write_rooms, write_table

PAGE = Path(__file__).parents[1] / "docs" / "own_data.md"
# So that the page's network trains in seconds, and learns three classes that colour tells apart.
SMALL = [*TINY_NETWORK, *PLAIN_AUGMENTATION, "data.voxel_size_m=0.1", "optimizer.lr=0.02", "train.num_threads=1"]


def commands_of(heading: str) -> list[list[str]]:
    """The arguments of each ``pointseg`` line in the blocks below a heading of the page."""
    (section,) = re.findall(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert lines and all(line.startswith("pointseg ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def run(arguments: list[str]) -> int:
    """``pointseg ARGUMENTS``; training gets a small network."""
    return program.main([*arguments, *(SMALL if arguments[0] == "train" else [])]) or 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with scans/, new/ and classes.tsv, from which the commands are called."""
    write_rooms(tmp_path / "scans", [f"room{i}" for i in range(10)])
    xyz, label = make_room(77)
    write_ply(tmp_path / "new" / "room.ply", xyz, label=("int", label))
    write_table(tmp_path / "classes.tsv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_ten_labelled_scans_to_predictions(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the page succeeds, and the network has learned what can be learned."""
    commands = commands_of("Your own classes")
    assert [words[0] for words in commands] == [
        "import",
        "check",
        "train",
        "evaluate",
        "visualize",
        "predict",
        "import",
    ]
    for words in commands:
        if words[0] == "visualize":
            pytest.importorskip("matplotlib")
        capsys.readouterr()
        assert run(words) == 0, words
    assert "0 scenes prepared, 10 were done and still valid" in capsys.readouterr().out
    ids = np.loadtxt(place / "predictions" / "room.txt", dtype=int)
    truth = make_room(77)[1]
    assert set(ids) <= set(NAMES)
    assert (ids == truth).mean() > 0.8
    assert (place / "predictions" / "room.ply").is_file()
    assert (place / "room4.png").is_file()
    assert read_class_table(place / "runs" / "own" / "classes.tsv").class_names == tuple(NAMES.values())


def test_trees_of_other_programs(place: Path) -> None:
    """Pointcept's layout: areas, ``segment.npy`` in a column of int16, rooms of one name, nothing of ours."""
    for seed, room in enumerate(("Area_1/office_1", "Area_1/office_2", "Area_2/office_1", "Area_5/office_1")):
        xyz, label = make_room(seed)
        folder = place / "areas" / room
        folder.mkdir(parents=True)
        np.save(folder / "coord.npy", xyz.astype(np.float32))
        np.save(folder / "color.npy", np.repeat(60 * label[:, None], 3, axis=1).astype(np.uint8))
        np.save(folder / "normal.npy", np.tile(np.float32([0, 0, 1]), (len(xyz), 1)))
        np.save(folder / "segment.npy", (label - 1).astype(np.int16)[:, None])
        np.save(folder / "instance.npy", label.astype(np.int16)[:, None])
    commands = commands_of("Other data sets")
    assert [words[0] for words in commands] == ["check", "train"]
    for words in commands:
        assert run(words) == 0, words
    scene = read_scene(place / "areas" / "Area_5" / "office_1", read_class_table(place / "classes.tsv"))
    assert scene.label is not None and scene.label.dtype == np.int64
    assert run(["evaluate", "--run", "runs/areas", "--split", "Area_5", "--json", "e.json"]) == 0
    assert list(json.loads((place / "e.json").read_text())["per_class"]) == list(NAMES.values())
    assert run(["predict", "--run", "runs/areas", "--split", "Area_5", "--out", "predictions"]) == 0
    assert len((place / "predictions" / "office_1.txt").read_text().split()) == scene.num_points
