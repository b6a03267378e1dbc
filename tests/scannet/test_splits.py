"""Split lists."""

from pathlib import Path

import pytest

from pointseg.errors import DataError, UsageError
from pointseg.scannet.splits import find_split_dir, read_split, read_splits
from pointseg.scans.tree import SPLITS

BENCHMARK = find_split_dir(Path("nowhere"), None)


def write_lists(folder: Path, **lists: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in lists.items():
        (folder / f"scannetv2_{split}.txt").write_text("\n".join(names.split()) + "\n")
    return folder


def test_benchmark_lists():
    """The lists of the benchmark: 1201, 312 and 100 scenes, no scene in two."""
    assert {split: len(scenes) for split, scenes in read_splits(BENCHMARK).items()} == {
        "train": 1201,
        "val": 312,
        "test": 100,
    }


def test_order_and_blank_lines(tmp_path):
    folder = write_lists(tmp_path, train="b a")
    # As Windows writes it, with a mark at its beginning.
    (folder / "scannetv2_val.txt").write_bytes(b"\xef\xbb\xbfd \r\n\r\nc")
    assert read_split(folder, "train") == ["b", "a"]
    assert read_split(folder, "val") == ["d", "c"]


def test_where_the_lists_are_sought(tmp_path):
    """What is given, else the raw data's, else the benchmark's."""
    raw, given = tmp_path / "raw", tmp_path / "given"
    (raw / "splits").mkdir(parents=True)
    given.mkdir()
    assert find_split_dir(raw, None) == BENCHMARK
    write_lists(raw / "splits", train="a")
    assert find_split_dir(raw, None) == raw / "splits"
    assert find_split_dir(raw, given) == given
    with pytest.raises(UsageError, match="is no folder"):
        find_split_dir(raw, tmp_path / "no")


def test_lists_of_other_names_are_not_passed_over(tmp_path):
    """The benchmark's would be taken in their place, with other scenes in val."""
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("scene0000_00\n")
    with pytest.raises(UsageError, match=r"splits: has val\.txt, and not scannetv2_train\.txt, _val and _test; rename"):
        find_split_dir(tmp_path, None)


@pytest.mark.parametrize("split", SPLITS)
def test_scene_in_two_splits(tmp_path, split):
    """A scene in train and test is found from whichever of the two is read."""
    folder = write_lists(tmp_path, train="a b", val="c", test="d a")
    if split == "val":
        assert read_split(folder, split) == ["c"]
    else:
        with pytest.raises(DataError, match="; a scene belongs to one split"):
            read_split(folder, split)


def test_bad_lists(tmp_path):
    folder = write_lists(tmp_path, train="a b a", val="../a")
    with pytest.raises(DataError, match=r"scannetv2_train.txt: names a twice"):
        read_split(folder, "train")
    with pytest.raises(DataError, match="no scene name"):
        read_split(write_lists(tmp_path / "other", val="../a"), "val")
    with pytest.raises(UsageError, match=r"scannetv2_test.txt: there is no such list"):
        read_split(folder, "test")
    with pytest.raises(UsageError, match="choose one of train, val, test"):
        read_split(folder, "dev")


@pytest.mark.parametrize("line", ["# my scenes", "scene0001_00  # the first", "scene0001_00.txt"])
def test_a_line_that_is_no_scene(tmp_path, line):
    """It would be a scene that is in the list and not in the raw data."""
    folder = write_lists(tmp_path, train="a")
    with (folder / "scannetv2_train.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match="is no scene of ScanNet"):
        read_split(folder, "train")
