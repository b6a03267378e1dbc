"""A prediction counts as finished while its settings, its input and it itself are what they were."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from pointseg.errors import DataError
from pointseg.output import prediction_record
from pointseg.output.prediction_record import RECORD_NAME, SUFFIXES, PredictionRecord, hash_files, read_taxonomy
from pointseg.output.submission import write_prediction
from pointseg.taxonomy import load_taxonomy, parse_class_table

CLASSES = load_taxonomy("scannet20")
SETTINGS = {"checkpoint": "c1", "tta": "none", "features": ["xyz", "rgb"], "max_voxels": None, "taxonomy": "scannet20"}


def _finish(folder: Path, scene: str, input_sha256: str = "i1", settings: dict = SETTINGS) -> PredictionRecord:
    write_prediction(folder / f"{scene}.txt", np.arange(1, 4))
    record = PredictionRecord(folder, settings, CLASSES)
    record.add(scene, input_sha256)
    return record


def test_a_finished_scene_is_known_to_a_later_call_with_equal_settings(tmp_path: Path) -> None:
    _finish(tmp_path, "a")
    record = PredictionRecord(tmp_path, {**SETTINGS, "features": ("xyz", "rgb")}, CLASSES)
    assert record.changed == []
    assert record.is_finished("a", "i1")
    assert not record.is_finished("a", "i2")
    assert not record.is_finished("b", "i1")


def test_calls_that_share_a_folder_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each keeps 25 scenes, all at the same time."""
    together = threading.Barrier(4)

    def finish(call: int) -> None:
        record = PredictionRecord(tmp_path, SETTINGS, CLASSES)
        together.wait(30)
        for index in range(25):
            write_prediction(tmp_path / f"{call}_{index}.txt", np.arange(1, 4))
            record.add(f"{call}_{index}", "i1")

    threads = [threading.Thread(target=finish, args=(call,)) for call in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = PredictionRecord(tmp_path, SETTINGS, CLASSES)
    assert all(record.is_finished(f"{call}_{index}", "i1") for call in range(4) for index in range(25))
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt", ".json"}


@pytest.mark.parametrize("key", SETTINGS)
def test_any_other_setting_makes_all_outdated_and_is_named(tmp_path: Path, key: str) -> None:
    _finish(tmp_path, "a")
    record = PredictionRecord(tmp_path, {**SETTINGS, key: "another"}, CLASSES)
    assert record.changed == [key]
    assert not record.is_finished("a", "i1")
    # What the new settings finish is alone in the record.
    _finish(tmp_path, "b", settings=record.settings)
    assert list(json.loads((tmp_path / RECORD_NAME).read_text())["scenes"]) == ["b"]


def test_a_setting_that_one_of_the_two_lacks_is_another_setting(tmp_path: Path) -> None:
    _finish(tmp_path, "a")
    fewer = {key: value for key, value in SETTINGS.items() if key != "checkpoint"}
    assert PredictionRecord(tmp_path, fewer, CLASSES).changed == ["checkpoint"]
    assert PredictionRecord(tmp_path, {**SETTINGS, "new": 1}, CLASSES).changed == ["new"]


def test_a_changed_or_missing_prediction_is_not_finished(tmp_path: Path) -> None:
    record = _finish(tmp_path, "a")
    assert record.is_finished("a", "i1")
    (tmp_path / "a.txt").write_text("1\n2\n")
    assert not record.is_finished("a", "i1")
    (tmp_path / "a.txt").unlink()
    assert not record.is_finished("a", "i1")


def test_an_input_that_can_t_be_read_is_never_finished(tmp_path: Path) -> None:
    record = _finish(tmp_path, "a")
    assert hash_files([tmp_path / "a.txt", tmp_path / "none"]) is None
    record.scenes["a"]["input"] = None
    assert not record.is_finished("a", None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"settings": 1, "scenes": {}}',
        '{"settings": {}}',
        "\x00",
        '{"settings": {}, "scenes": {"a": 3}}',
    ],
)
def test_a_record_that_can_t_be_read_is_none(tmp_path: Path, content: str) -> None:
    _finish(tmp_path, "a")
    (tmp_path / RECORD_NAME).write_text(content)
    record = PredictionRecord(tmp_path, SETTINGS, CLASSES)
    assert not record.is_finished("a", "i1")
    assert record.changed == []
    record.add("a", "i1")
    assert PredictionRecord(tmp_path, SETTINGS, CLASSES).is_finished("a", "i1")


def test_what_another_call_finishes_meanwhile_is_kept(tmp_path: Path) -> None:
    first = _finish(tmp_path, "a")
    _finish(tmp_path, "b")
    write_prediction(tmp_path / "c.txt", np.arange(3))
    first.add("c", "i1")
    record = PredictionRecord(tmp_path, SETTINGS, CLASSES)
    assert all(record.is_finished(scene, "i1") for scene in "abc")


def test_an_interrupted_record_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finish(tmp_path, "a")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prediction_record, "write_text", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _finish(tmp_path, "b")
    record = PredictionRecord(tmp_path, SETTINGS, CLASSES)
    assert record.is_finished("a", "i1")
    assert not record.is_finished("b", "i1")


def test_the_hash_is_of_the_content_in_order(tmp_path: Path) -> None:
    for name, content in (("a", b"12"), ("b", b"3"), ("c", b"123")):
        (tmp_path / name).write_bytes(content)
    # sha256 of "123"
    expected = "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"
    assert hash_files([tmp_path / "a", tmp_path / "b"]) == hash_files([tmp_path / "c"]) == expected
    assert hash_files([tmp_path / "b", tmp_path / "a"]) != expected


def test_the_record_says_which_classes_the_predictions_are_of(tmp_path: Path) -> None:
    assert read_taxonomy(tmp_path) is None
    _finish(tmp_path, "a")
    assert read_taxonomy(tmp_path) is CLASSES


def test_the_record_holds_own_classes_whole(tmp_path: Path) -> None:
    own = parse_class_table("id\tname\tr\tg\tb\n7\tpipe\t1\t2\t3\n2\tvalve\t4\t5\t6\n", "plant", "x")
    write_prediction(tmp_path / "a.txt", np.array([7, 2]))
    PredictionRecord(tmp_path, {"taxonomy": own.fingerprint}, own).add("a", "i1")
    read = read_taxonomy(tmp_path)
    assert read is not None
    assert read.class_names == ("pipe", "valve")
    assert read.colors.tolist() == own.colors.tolist()
    assert read.fingerprint == own.fingerprint


def _write_further(folder: Path, *keys: str) -> None:
    for key in keys:
        (folder / f"a{SUFFIXES[key]}").write_bytes(key.encode())


def test_files_that_are_wanted_have_to_be_there_and_of_the_same_prediction(tmp_path: Path) -> None:
    _write_further(tmp_path, "ply", "features")
    record = _finish(tmp_path, "a")
    assert record.is_finished("a", "i1")
    assert not record.is_finished("a", "i1", ["ply"])  # there, but nobody knows of what
    record.add("a", "i1", ["ply", "features"])
    later = PredictionRecord(tmp_path, SETTINGS, CLASSES)
    assert later.is_finished("a", "i1", ["ply", "features"])
    assert not later.is_finished("a", "i1", ["ply", "probabilities"])
    assert not later.is_finished("a", "i2", ["ply"])
    (tmp_path / "a.features.npy").write_bytes(b"changed")
    assert later.is_finished("a", "i1", ["ply"])
    assert not later.is_finished("a", "i1", ["features"])
    (tmp_path / "a.ply").unlink()
    assert not later.is_finished("a", "i1", ["ply"])


def test_what_goes_with_the_same_prediction_is_kept_and_still_known(tmp_path: Path) -> None:
    _write_further(tmp_path, "probabilities")
    _finish(tmp_path, "a").add("a", "i1", ["probabilities"])
    _write_further(tmp_path, "ply")
    assert PredictionRecord(tmp_path, SETTINGS, CLASSES).add("a", "i1", ["ply"]) == []
    assert PredictionRecord(tmp_path, SETTINGS, CLASSES).is_finished("a", "i1", ["ply", "probabilities"])


@pytest.mark.parametrize("what", ["settings", "input", "prediction"])
def test_what_went_with_another_prediction_is_removed(tmp_path: Path, what: str) -> None:
    """But for what was changed since: that is no longer ours."""
    _write_further(tmp_path, "ply", "probabilities", "features")
    _finish(tmp_path, "a").add("a", "i1", ["ply", "probabilities", "features"])
    (tmp_path / "a.ply").write_bytes(b"edited")
    if what == "prediction":
        write_prediction(tmp_path / "a.txt", np.arange(2, 5))
    settings = {**SETTINGS, "checkpoint": "c2"} if what == "settings" else SETTINGS
    record = PredictionRecord(tmp_path, settings, CLASSES)
    removed = record.add("a", "i2" if what == "input" else "i1", ["features"])
    assert removed == [tmp_path / "a.probabilities.npy"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "a.ply", "a.features.npy", RECORD_NAME}
    assert not record.is_finished("a", "i2" if what == "input" else "i1", ["ply"])


def _supersede(folder: Path) -> None:
    """Scene a with these settings, from a scan that is there, then scene b with others."""
    (folder / "first").mkdir()
    (folder / "first" / "a.ply").touch()
    write_prediction(folder / "a.txt", np.arange(1, 4))
    _write_further(folder, "probabilities")
    PredictionRecord(folder, SETTINGS, CLASSES).add("a", "i1", ["probabilities"], folder / "first" / "a.ply")
    _finish(folder, "b", settings={**SETTINGS, "up": "x"})


@pytest.mark.parametrize("settings", [SETTINGS, {**SETTINGS, "up": "x"}])
def test_what_was_predicted_with_other_settings_is_still_of_its_scan(tmp_path: Path, settings: dict) -> None:
    """And never finished, though its files are as they were."""
    _supersede(tmp_path)
    record = PredictionRecord(tmp_path, settings, CLASSES)
    assert not record.is_finished("a", "i1")
    with pytest.raises(DataError, match=r"is called as .*first/a\.ply, whose prediction is in"):
        record.refuse_other_source("a", tmp_path / "second" / "a.ply")
    record.refuse_other_source("a", tmp_path / "first" / "a.ply")


def test_what_went_with_a_prediction_of_other_settings_is_removed_after_a_call_between(tmp_path: Path) -> None:
    _supersede(tmp_path)
    record = PredictionRecord(tmp_path, {**SETTINGS, "up": "x"}, CLASSES)
    assert record.add("a", "i1") == [tmp_path / "a.probabilities.npy"]
    assert json.loads((tmp_path / RECORD_NAME).read_text())["superseded"] == {}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"settings": 3, "scenes": []}'])
def test_a_broken_record_says_no_classes_and_is_no_prediction(content: bytes, tmp_path: Path) -> None:
    """To show ids by the classes of another benchmark would be wrong without a word."""
    (tmp_path / RECORD_NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"predictions\.json: is damaged"):
        read_taxonomy(tmp_path)
    record = PredictionRecord(tmp_path, {"tta": "none"}, load_taxonomy("scannet20"))
    assert record.scenes == {}
    assert not record.is_finished("scene", "0" * 64)
