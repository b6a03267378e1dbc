"""Classes that get other names after training are the same classes: ids and their order decide."""

from pathlib import Path

import pytest
import torch

import pointseg
from pointseg.errors import UsageError
from pointseg.taxonomy import read_class_table
from pointseg.train import main as train
from tests.conftest import PLAIN_AUGMENTATION, TINY_NETWORK
from tests.labelled.labelled_scans import NAMES, write_rooms, write_table
from tests.labelled.test_import import import_scans

RENAMED = {id_: f"another {name}" for id_, name in NAMES.items()}
SMALL = [*TINY_NETWORK, *PLAIN_AUGMENTATION, "data.voxel_size_m=0.1", "train.num_threads=1", "train.passes=1"]


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """The arguments of a training that has ended, in tmp_path / "run". Its classes have got other names since."""
    write_rooms(tmp_path / "scans", ["train/a", "train/b", "val/c"])
    tree = tmp_path / "tree"
    assert import_scans(tmp_path / "scans", tree, "--classes", write_table(tmp_path / "classes.tsv")).status == 0
    call = ["--cfg", "demo", "taxonomy=tree", f"data.root={tree}", f"run.dir={tmp_path / 'run'}", *SMALL]
    train(call)
    write_table(tree / "classes.tsv", RENAMED)
    return call


def test_a_resumed_run_has_the_names_of_now(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*call, "--resume"])
    run, table = tmp_path / "run", tmp_path / "tree" / "classes.tsv"
    assert f"note: {run}: its classes have the names in {table} from here on\n" in capsys.readouterr().err
    assert read_class_table(run / "classes.tsv").class_names == tuple(RENAMED.values())
    assert pointseg.load(run).taxonomy.class_names == tuple(RENAMED.values())


def test_weights_of_the_same_classes_are_taken_with_the_classifier(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    keys = [f"run.dir={tmp_path / 'next'}", f"model.init={run}", f"distill.run={run}", "optimizer.lr=1e-12"]
    train([*call, *keys])
    told = capsys.readouterr().err
    for given in (f"{run / 'checkpoints' / 'best.pt'}", f"distill.run={run}"):
        assert f"{given}: its classes have the ids of {tmp_path / 'tree' / 'classes.tsv'} and other names; " in told
    before, after = (
        torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["model"]["final.weight"]
        for folder in (run, tmp_path / "next")
    )
    torch.testing.assert_close(after, before, atol=1e-8, rtol=0)


def test_a_training_with_other_ids_is_told_what_a_training_can_do(call: list[str], tmp_path: Path) -> None:
    table = write_table(tmp_path / "tree" / "classes.tsv", dict(reversed(NAMES.items())))
    with pytest.raises(UsageError) as caught:
        train([*call, "--resume"])
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'checkpoints' / 'last.pt'}: was trained with other classes than {table} has now; "
        "leave ids and order of the classes as they were, or begin a new run with run.dir=PATH"
    )
