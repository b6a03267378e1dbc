"""Preparation in shards: the tree and its report are in the end those of one run, whatever happened on the way."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from pointseg.atomic_directory import atomic_directory
from pointseg.errors import UsageError
from pointseg.preparation import jobs
from pointseg.scannet import tree_preparation
from pointseg.scannet.sharding import Shard, assign_scenes, parse_shard
from pointseg.scannet.splits import read_splits
from pointseg.scans.tree import SPLITS
from tests.scannet.raw_scans import write_raw_scan, write_raw_tree
from tests.scripts import BENCHMARK_LISTS, DATA_PREP, run_script

SCENES = {
    "train": ["scene0000_00", "scene0000_01", "scene0001_00", "scene0002_00"],
    "val": ["scene0003_00", "scene0004_00"],
    "test": ["scene0707_00"],
}
OF_TWO = {1: ["train/scene0000_00", "train/scene0001_00", "val/scene0003_00", "test/scene0707_00"]}
OF_TWO[2] = ["train/scene0000_01", "train/scene0002_00", "val/scene0004_00"]


@pytest.fixture
def raw(tmp_path):
    write_raw_tree(tmp_path / "raw", SCENES)
    return tmp_path / "raw"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


@pytest.fixture
def whole(raw, tmp_path):
    """Prepares in one run, and returns the content of all files of the tree."""

    def prepare_whole():
        prepare(raw, tmp_path / "whole")
        return read_files(tmp_path / "whole")

    return prepare_whole


def prepare(raw, out, shard=None):
    options = () if shard is None else ("--shard", shard)
    return run_script("preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", 1, *options)


def read_files(root) -> dict[str, bytes]:
    """Path -> content of all files but the parts of the report."""
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {path: content for path, content in files.items() if ".shard-" not in path}


def read_report(out) -> dict:
    return json.loads((out / "preprocess_report.json").read_text())


def pending(out) -> list[str]:
    return [f"{row['shard']} {row['split']}/{row['scene']}" for row in read_report(out)["pending"]]


def break_scene(raw, scene):
    (raw / "scans" / scene / f"{scene}.aggregation.json").write_text("{}")


def mend_scene(raw, scene):
    write_raw_scan(raw / "scans" / scene)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1613, 2000])
def test_every_scene_of_the_benchmark_has_one_shard(count):
    """Complete, disjoint and balanced, the numbers of each split too; the scans of one room are spread."""
    lists = read_splits(BENCHMARK_LISTS)
    number_of_scene = assign_scenes(lists, count)
    assert number_of_scene.keys() == {(split, scene) for split in SPLITS for scene in lists[split]}
    for keys in (number_of_scene, *([(split, scene) for scene in lists[split]] for split in SPLITS)):
        sizes = [0] * count
        for key in keys:
            sizes[number_of_scene[key] - 1] += 1
        assert max(sizes) - min(sizes) <= 1
    if count > 2:
        room = [number_of_scene["train", f"scene0191_0{k}"] for k in range(3)]
        assert len(set(room)) == 3


def test_shards_do_their_scenes_and_no_others(raw, out):
    """Also when the lists name a scene that isn't there (yet): what is there stays with its shard."""
    shutil.move(raw / "scans" / "scene0000_00", raw / "later")
    assert prepare(raw, out, "2/2").status == 0
    assert sorted(f"{p.parent.name}/{p.name}" for p in out.glob("*/*")) == sorted(OF_TWO[2])
    shutil.move(raw / "later", raw / "scans" / "scene0000_00")
    assert prepare(raw, out, "1/2").status == 0
    assert sorted(f"{p.parent.name}/{p.name}" for p in out.glob("*/*")) == sorted(OF_TWO[1] + OF_TWO[2])


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 3, 1]])
def test_the_last_shard_completes_the_report(raw, out, whole, order):
    """In any order: who is missing is said until the last one, then the tree is byte for byte that of one run."""
    break_scene(raw, "scene0001_00")  # the third scene: of shard 3
    expected = whole()
    for done, number in enumerate(order, start=1):
        finished = prepare(raw, out, f"{number}/3")
        assert finished.status == (1 if number == 3 else 0)
        assert len(finished.error_lines) == (1 if number == 3 else 0)
        missing = sorted(order[done:])
        assert sorted({row.split()[0] for row in pending(out)}) == [f"{k}/3" for k in missing]
        if missing:
            named = ", ".join(f"{k}/3" for k in missing)
            assert f"not prepared yet: {len(pending(out))} scenes, of the shards {named}; " in finished.out
            assert "are done" not in finished.out.partition("\n")[2]
    assert "all 3 shards are done, 1 scenes failed in all" in finished.out
    assert read_files(out) == expected
    assert read_report(out)["failed"][0]["scene"] == "scene0001_00"


def test_more_shards_than_scenes(raw, out, whole):
    for number in range(1, 10):
        assert prepare(raw, out, f"{number}/9").status == 0
    assert read_files(out) == whole()


def test_shards_at_the_same_time(raw, out, whole):
    """Three processes on one tree."""
    expected = whole()
    command = [sys.executable, DATA_PREP / "preprocess_scannet.py", "--raw", raw, "--out", out, "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(DATA_PREP.parent)}
    running = [subprocess.Popen([*command, "--shard", f"{k}/3"], env=environment) for k in (1, 2, 3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert read_files(out) == expected


@pytest.mark.parametrize("again", [False, True])
def test_two_shards_that_end_at_once(raw, out, whole, monkeypatch, again):
    """Shard 2 ends while shard 1 makes the report, which then lacks it, and writes last: it looks again.

    The second time, shard 2 leaves a part with the same failures as before, and shard 1 must notice all the same.
    """
    if again:
        for number in (1, 2):
            prepare(raw, out, f"{number}/2")
        for scene in ("scene0000_00", "scene0002_00"):
            mend_scene(raw, scene)
    real, made = tree_preparation.build_report, []

    def build_report(*args, **kwargs):
        report = real(*args, **kwargs)
        made.append(report)
        if len(made) == 1:
            assert prepare(raw, out, "2/2").status == 0
        return report

    monkeypatch.setattr(tree_preparation, "build_report", build_report)
    assert prepare(raw, out, "1/2").status == 0
    monkeypatch.undo()
    assert {row["shard"] for row in made[0]["pending"]} == {"2/2"}
    assert read_files(out) == whole()


KILL = """
import os, runpy, sys
script, moment, step, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.dirname(script)))
name, number = moment.split(":")
real, calls = getattr(os, name), []
def call(*arguments, **options):
    calls.append(arguments)
    if len(calls) == int(number) and step == "before":
        os.kill(os.getpid(), 9)
    result = real(*arguments, **options)
    if len(calls) == int(number):
        os.kill(os.getpid(), 9)
    return result
setattr(os, name, call)
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("mkdir:2", "after"),  # a scene's folder is there, and empty
        ("replace:1", "before"),  # it is complete, and not in its place
        ("replace:2", "after"),
        ("replace:5", "before"),  # all scenes are there, the shard's part of the report is not
        ("replace:6", "before"),  # nor the report
        ("replace:6", "after"),
    ],
)
def test_a_shard_that_is_killed_goes_on(raw, out, whole, moment, step):
    """At any moment: the other shard isn't harmed, the check says what is missing, the same call does the rest."""
    assert prepare(raw, out, "2/2").status == 0
    script = DATA_PREP / "preprocess_scannet.py"
    options = ["--raw", raw, "--out", out, "--workers", "1", "--shard", "1/2"]
    command = [sys.executable, "-c", KILL, script, moment, step, *options]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert prepare(raw, out, "2/2").status == 0
    num_done = len([key for key in OF_TWO[1] if (out / key / "source.json").is_file()])
    assert len(pending(out)) == 4 - num_done
    checked = run_script("check_scans.py", out, "--workers", 1)
    leftovers = [*out.glob(".writing-*"), *out.glob("*/.writing-*")]
    assert len(checked.error_lines) == len(pending(out)) + len(leftovers)
    for row in pending(out):
        shard, _, key = row.partition(" ")
        command_line = f"python data_prep/preprocess_scannet.py --raw {raw} --out {out} --shard {shard}"
        assert f"check_scans.py: {out}/{key}: is not prepared yet; run: {command_line}" in checked.error_lines
    again = prepare(raw, out, "1/2")
    assert again.status == 0
    assert f"shard 1/2: {4 - num_done} scenes prepared, {num_done} were done" in again.out
    for leftover in out.glob(".writing-*"):  # of the report; the check has named it
        leftover.unlink()
    assert read_files(out) == whole()
    assert run_script("check_scans.py", out, "--workers", 1).status == 0


def test_a_second_run_writes_nothing(raw, out):
    for number in (1, 2):
        prepare(raw, out, f"{number}/2")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    for number in (2, 1):
        assert "0 scenes prepared" in prepare(raw, out, f"{number}/2").out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_parts_of_another_number_of_shards_do_no_harm(raw, out, whole):
    """What shards of three once said does not count for shards of two, and is gone in the end."""
    break_scene(raw, "scene0000_01")
    for number in (1, 2, 3):
        prepare(raw, out, f"{number}/3")
    mend_scene(raw, "scene0000_01")
    assert prepare(raw, out, "1/2").status == 0
    assert read_report(out)["failed"] == []
    assert pending(out) == ["2/2 train/scene0000_01"]
    prepare(raw, out, "2/2")
    assert read_files(out) == whole()
    assert sorted(path.name for path in out.glob("*.shard-*")) == [
        "preprocess_report.shard-1-of-2.json",
        "preprocess_report.shard-2-of-2.json",
    ]


@pytest.mark.parametrize("what", ["mended", "still bad", "broken part", "no part"])
def test_failures_of_an_earlier_run_of_the_same_shards(raw, out, what):
    """A failure counts as long as the raw files are those that failed; after that, its shard has to run again."""
    break_scene(raw, "scene0000_01")
    for number in (1, 2):
        prepare(raw, out, f"{number}/2")
    part = out / "preprocess_report.shard-2-of-2.json"
    if what == "mended":
        mend_scene(raw, "scene0000_01")
    elif what == "broken part":
        part.write_text('{"failed": [{"split":')
    elif what == "no part":
        part.unlink()
    assert prepare(raw, out, "1/2").status == 0
    failed = [row["scene"] for row in read_report(out)["failed"]]
    assert (failed, pending(out)) == (
        (["scene0000_01"], []) if what == "still bad" else ([], ["2/2 train/scene0000_01"])
    )


def test_a_run_without_shards_ends_it(raw, out, whole):
    """It goes over all scenes, so no part of a shard counts any more."""
    prepare(raw, out, "1/2")
    assert prepare(raw, out).status == 0
    assert read_files(out) == whole()
    assert list(out.glob("*.shard-*")) == []


def test_scene_of_an_earlier_run_that_waits(raw, out):
    """A scene that changed since is pending, and named as stale, until its shard has run."""
    prepare(raw, out)
    mend_scene(raw, "scene0000_01")
    finished = prepare(raw, out, "1/2")
    assert finished.status == 0
    assert pending(out) == ["2/2 train/scene0000_01"]
    assert "train/scene0000_01, which is from an earlier run and not prepared again yet" in finished.out


def test_scene_in_no_list_fails_no_shard(raw, out):
    """A note of each shard, for it concerns none; the check has it as a problem."""
    write_raw_scan(raw / "scans" / "scene0900_00")
    for number in (1, 2):
        done = prepare(raw, out, f"{number}/2")
        assert (done.status, done.err) == (0, "")
        assert f"note: {raw}: 1 scenes are in no list" in done.out
    assert run_script("check_scans.py", out, "--workers", 1).status == 1


def test_another_run_on_the_same_scene_is_faster(raw, out, monkeypatch):
    """Two runs on one tree: the slower one finds the scene there, and takes it; any other error stays one."""
    real = jobs.write_scene

    def write_scene(folder, arrays, source):
        real(folder, arrays, source)  # the other run
        with atomic_directory(folder.parent / "ours") as temporary:
            (temporary / "coord.npy").touch()
        os.replace(folder.parent / "ours", folder)  # as the end of atomic_directory, after it saw no folder

    monkeypatch.setattr(jobs, "write_scene", write_scene)
    done = prepare(raw, out, "2/2")
    assert done.status == 0
    assert "0 scenes prepared, 3 were done" in done.out

    def fail(folder, arrays, source):
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(folder))

    monkeypatch.setattr(jobs, "write_scene", fail)
    failed = prepare(raw, out, "1/2")
    assert failed.status == 1
    assert failed.error_lines == [f"preprocess_scannet.py: {out}/{OF_TWO[1][0]}: Directory not empty"]


def test_a_write_that_is_taken_for_a_leftover_fails_whole(raw, out, monkeypatch):
    """Who is still writing a scene that another run cleans up fails: nothing half deleted gets into its place."""
    folder, real, ended = out / "train" / "scene0000_00", shutil.rmtree, []
    temporary = out / "train" / ".writing-scene0000_00-abc"
    temporary.mkdir(parents=True)

    def rmtree(path, **options):
        if not ended:
            with pytest.raises(FileNotFoundError):
                os.replace(temporary, folder)  # the writer has ended meanwhile
            ended.append(path)
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert prepare(raw, out, "1/2").status == 0
    assert ended
    assert (folder / "coord.npy").is_file()
    assert not list(out.glob("*/.*"))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "-1/4", "1", "1/", "/4", "a/b", "1/4/2", "1.5/4", "²/4", ""])
def test_bad_shard(raw, out, text):
    """One line, exit 2, nothing written."""
    done = prepare(raw, out, text)
    assert done.status == 2
    (line,) = done.error_lines
    assert "--shard" in line
    assert not out.exists()


def test_parse_shard():
    assert parse_shard("3/16") == Shard(3, 16)
    assert str(parse_shard("03/16")) == "3/16"
    with pytest.raises(UsageError, match=r"--shard 17/16: there is no such shard; i goes from 1 to n"):
        parse_shard("17/16")
    with pytest.raises(UsageError, match=r"is not i/n"):
        parse_shard("1/" + "9" * 5000)
