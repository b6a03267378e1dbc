"""Each benchmark runs, and says what it measured; how fast anything is, no test says."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointseg import benchmark
from pointseg.benchmark import main
from pointseg.benchmarks import conv, step, waiting
from pointseg.benchmarks.bare_spconv import BareUNet
from pointseg.benchmarks.child import Child
from pointseg.benchmarks.surface import count_pairs, find_coords, make_batch, make_surface, write_surface_scene
from pointseg.benchmarks.timing import measure_in_turn
from pointseg.config import load_config
from pointseg.data.batch import Batch
from pointseg.data.loader import Draw, TrainingScenes
from pointseg.errors import DataError, StoppedError, UsageError
from pointseg.models import build_network
from tests.conftest import TINY_NETWORK

ROOT = Path(__file__).parents[1]
TEXTS = {"backend", "model", "source"}
COUNTS = {"channels", "num_voxels", "num_vertices", "num_classes"}
NULL_WITHOUT_REFERENCE = {"forward_vs_spconv", "inference_vs_spconv", "training_vs_spconv", "wait_share"}
KEYS_OF_BENCHMARK = {
    "conv": (
        "backend channels num_voxels forward_ms backward_ms forward_vs_spconv training_vs_spconv matmul_share peak_gib"
    ),
    "step": ("backend model num_voxels forward_s step_s peak_gib inference_vs_spconv training_vs_spconv wait_share"),
    "data": "num_vertices ms_per_scene",
    "prepare": "source num_vertices ms_per_100k_vertices",
    "regularizer": "num_voxels num_classes branch_ms step_ms branch_share pull_ms pull_share ema_ms ema_share",
    "evaluate": "num_vertices ms_per_scene ms_with_collapse collapse_share",
}
needs_spconv = pytest.mark.needs("spconv")


def _run(arguments: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The JSON and the table of one call."""
    path = folder / "report.json"
    main([*arguments.split(), "--repeats", "1", "--json", str(path)])
    return json.loads(path.read_text(encoding="utf-8")), capsys.readouterr().out


def _check_report(report: Mapping[str, Any], benchmark: str, num_rows: int) -> None:
    assert report["benchmark"] == benchmark
    assert report["device"] == "cpu"
    assert isinstance(report["threads"], int) and report["threads"] >= 1
    assert len(report["rows"]) == num_rows
    for row in report["rows"]:
        assert list(row) == KEYS_OF_BENCHMARK[benchmark].split()
        for key, value in row.items():
            if key in TEXTS:
                assert isinstance(value, str)
            elif value is None:
                assert key in NULL_WITHOUT_REFERENCE
            else:
                assert isinstance(value, int if key in COUNTS else float)
                assert value > 0, f"{key} of {row}"


def _check_table(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The last lines are header and rows; a cell is the JSON's value to the three digits that it shows."""
    header, *lines = (line.split() for line in table.splitlines()[-len(rows) - 1 :])
    assert header == list(rows[0])
    for cells, row in zip(lines, rows, strict=True):
        for cell, value in zip(cells, row.values(), strict=True):
            if value is None:
                assert cell == "-"
            elif isinstance(value, float):
                assert float(cell) == pytest.approx(value, rel=0.005)
            else:
                assert cell == str(value)


def _check_ratios(rows: Sequence[Mapping[str, Any]], key: str, times: Sequence[str]) -> None:
    """A row's ratio is the time of spconv's row, bare where there is one, over its own, and null without such a row."""
    rows_of = {row["backend"]: row for row in rows}
    reference = rows_of.get("bare_spconv", rows_of.get("spconv"))
    for row in rows:
        if reference is None:
            assert row[key] is None
        else:
            expected = sum(reference[time] for time in times) / sum(row[time] for time in times)
            assert row[key] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backends", ["torch", pytest.param("torch spconv", marks=needs_spconv)])
def test_conv(backends: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, table = _run(f"conv --voxels 500 --channels 8 16 --threads 1 --backends {backends}", tmp_path, capsys)
    num_backends = len(backends.split())
    _check_report(report, "conv", 2 * num_backends)
    _check_table(table, report["rows"])
    assert [row["channels"] for row in report["rows"]] == num_backends * [8] + num_backends * [16]
    for channels in (8, 16):
        rows = [row for row in report["rows"] if row["channels"] == channels]
        assert [row["backend"] for row in rows] == backends.split()
        _check_ratios(rows, "forward_vs_spconv", ["forward_ms"])
        assert all((row["training_vs_spconv"] is None) == ("spconv" not in backends) for row in rows)
        # All rows need the same operations, and are held against the same matrix product.
        rates = [row["matmul_share"] * row["forward_ms"] for row in rows]
        assert rates == pytest.approx([rates[0]] * num_backends)


@needs_spconv
def test_conv_ratios_and_shares_follow_from_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {
        ("torch", "forward"): 0.02,
        ("torch", "training"): 0.08,
        ("torch", "backward"): 0.05,
        ("spconv", "forward"): 0.03,
        ("spconv", "training"): 0.06,
        ("spconv", "backward"): 0.01,
        ("product", "forward"): 0.5,
    }
    monkeypatch.setattr(conv, "measure_in_turn", lambda work, num_repeats: {name: seconds[name] for name in work})
    job = conv.ConvJob(torch.device("cpu"), 1, make_surface(200).coords, seed=0)
    ours, theirs = conv.measure_conv(job, [4], ["torch", "spconv"], num_repeats=1)
    assert (ours.forward_ms, ours.backward_ms) == pytest.approx((20, 50))
    assert (ours.forward_vs_spconv, ours.training_vs_spconv) == pytest.approx((1.5, 0.75))
    assert (theirs.forward_vs_spconv, theirs.training_vs_spconv) == (1, 1)
    needed = 2 * count_pairs(make_surface(200).coords) * 4 * 4
    assert ours.matmul_share == pytest.approx((needed / 0.02) / (2 * 2048**3 / 0.5))


@pytest.mark.parametrize(
    "backends",
    [
        "torch",
        pytest.param("torch spconv", marks=needs_spconv),
        pytest.param("torch bare_spconv", marks=needs_spconv),
    ],
)
def test_step(backends: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, table = _run(
        f"step --cfg demo.yaml --voxels 400 --scenes 2 --threads 1 --backends {backends}", tmp_path, capsys
    )
    rows = report["rows"]
    _check_report(report, "step", len(backends.split()))
    _check_table(table, rows)
    assert report["threads"] == 1
    assert [(row["backend"], row["model"], row["num_voxels"]) for row in rows] == [
        (backend, "demo", 800) for backend in backends.split()
    ]
    assert all(row["wait_share"] is None for row in rows)
    _check_ratios(rows, "inference_vs_spconv", ["forward_s"])
    _check_ratios(rows, "training_vs_spconv", ["step_s"])


def test_step_with_a_loader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The measuring process has workers of its own."""
    keys = "augment.mix_probability=0.5 data.num_workers=1"
    arguments = f"step {keys} --cfg demo --voxels 400 --scenes 2 --threads 1 --backends torch --end-to-end"
    report, _ = _run(arguments, tmp_path, capsys)
    _check_report(report, "step", 1)
    assert 0 < report["rows"][0]["wait_share"] < 1


def test_waiting_is_what_the_loader_takes_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that takes three times as long as the step: three quarters of the time, but for the measurement."""

    class SlowStep:
        def __init__(self, *_: object) -> None: ...

        def run(self, batch: Batch) -> None:
            time.sleep(0.02)

    class SlowLoader:
        def __init__(self, *_: object, **__: object) -> None: ...

        def batches(self, pass_index: int) -> Iterator[Batch]:
            for _ in range(2):
                time.sleep(0.06)
                yield make_batch(10, in_channels=9, num_classes=2)

    monkeypatch.setattr(waiting, "TrainingStep", SlowStep)
    monkeypatch.setattr(waiting, "TrainingLoader", SlowLoader)
    config = load_config("demo", ["data.scenes_per_batch=1"])
    share = waiting.measure_wait_share(config, torch.device("cpu"), 50, None, num_steps=3)
    assert share == pytest.approx(0.75, abs=0.15)


@pytest.mark.parametrize(
    ("benchmark", "arguments", "sizes"),
    [
        ("data", "--vertices 2000", {"num_vertices": 2000}),
        ("data", "--vertices 2000 data.cache=ram data.max_points=null", {"num_vertices": 2000}),
        ("regularizer", "--voxels 400 --cfg demo --threads 1", {"num_voxels": 400, "num_classes": 200}),
        ("evaluate", "--vertices 2000 --threads 1", {"num_vertices": 2000}),
    ],
)
def test_one_row(
    benchmark: str, arguments: str, sizes: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads_before = torch.get_num_threads()
    report, table = _run(f"{benchmark} {arguments}", tmp_path, capsys)
    assert torch.get_num_threads() == threads_before
    _check_report(report, benchmark, 1)
    (row,) = report["rows"]
    _check_table(table, [row])
    assert row.items() >= sizes.items()
    if benchmark == "data":
        assert report["threads"] == 1  # its figures are for one core
    if benchmark == "regularizer":
        for part in ("branch", "ema"):
            assert row[f"{part}_share"] == pytest.approx(row[f"{part}_ms"] / row["step_ms"])


def test_prepare_has_both_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, table = _run("prepare --vertices 2000", tmp_path, capsys)
    _check_report(report, "prepare", 2)
    _check_table(table, report["rows"])
    assert [row["source"] for row in report["rows"]] == ["scannet", "import"]
    assert report["threads"] == 1


def test_step_of_a_network_without_sparse_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no other library to hold it against, whichever are installed."""
    arguments = "step model.dim=64 model.depth=1 --model volt_s --voxels 300 --threads 1"
    rows = _run(arguments, tmp_path, capsys)[0]["rows"]
    assert [(row["backend"], row["model"], row["inference_vs_spconv"]) for row in rows] == [("torch", "volt_s", None)]


def test_step_of_a_named_size_with_other_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = "model.width=0.25 model.checkpoint_activations=true"
    arguments = f"step {keys} --model spunet14 --voxels 300 --threads 1 --backends torch"
    assert _run(arguments, tmp_path, capsys)[0]["rows"][0]["model"] == "spunet14"


@needs_spconv
def test_the_bare_network_has_the_layers_of_ours() -> None:
    """The same parameters in number and shape, in any order, whatever the size."""
    for name, overrides in (("demo", []), ("scannet200", ["model.width=0.5"])):
        config = load_config(name, overrides)
        ours, bare = build_network(config, torch.device("cpu")), BareUNet(config)
        shapes = [sorted(tuple(p.shape) for p in network.parameters()) for network in (ours, bare)]
        assert shapes[0] == shapes[1]


def test_voxels_of_a_prepared_scene(prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = next((prepared_root / "train").iterdir())
    num_voxels = len(np.unique(np.floor(np.load(scene / "coord.npy") / 0.02), axis=0))
    report, _ = _run(f"conv --scene {scene} --channels 4 --threads 1 --backends torch", tmp_path, capsys)
    assert report["rows"][0]["num_voxels"] == pytest.approx(num_voxels, rel=0.02)  # another origin of the grid
    report, _ = _run(f"step --cfg demo --scene {scene} --threads 1 --backends torch", tmp_path, capsys)
    assert report["rows"][0]["num_voxels"] == pytest.approx(num_voxels, rel=0.02)


def test_data_of_a_prepared_scene(prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = next((prepared_root / "train").iterdir())
    report, _ = _run(f"data --scene {scene} --vertices 2000", tmp_path, capsys)
    assert report["rows"][0]["num_vertices"] == len(np.load(scene / "coord.npy"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "BENCHMARK"),
        ("convolution", "invalid choice"),
        ("conv --voxels 0", "below 1"),
        ("conv --voxels many", "no whole number"),
        ("conv --backends cudnn", "invalid choice"),
        ("step --model spunet34 --cfg demo", "not allowed with"),
        ("step --cfg none_of_ours", "no such config"),
        ("conv --scene missing", "no such folder"),
        ("step --scene missing", "no such folder"),
        ("step --occupied 0", "not within 0.01 to 1"),
        ("step --occupied some", "no number"),
        ("step model.widht=2", "unknown key model.widht"),
        ("step --model volt_s --backends spconv", "volt_s has no sparse convolutions"),
        ("data --scene missing", "no such folder"),
        ("data augment.elastik=1", "unknown key augment.elastik"),
        ("step --end-to-end --device cpu data.device=cuda", "the network is on the CPU"),
        ("data --threads 2", "unrecognized"),
        ("conv --seed -1", "--seed: -1 is not within 0 to"),
        ("conv --seed one", "no whole number"),
    ],
)
def test_a_wrong_call_is_a_usage_error(arguments: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        main(arguments.split())


def test_a_config_without_center_branch_has_none_to_measure() -> None:
    with pytest.raises(UsageError, match="no center branch"):
        main(["regularizer", "--voxels", "400", "--cfg", "scannet200_ce"])


@pytest.mark.parametrize("num_voxels", [1, 777, 5_000])
def test_a_surface_has_the_voxels_that_were_asked_for(num_voxels: int) -> None:
    """As many as asked for, each once, sorted, with a vertex in each; the same ones for the same seed."""
    surface = make_surface(num_voxels, seed=3)
    rows = [tuple(row) for row in surface.coords.tolist()]
    assert len(rows) == num_voxels
    assert rows == sorted(set(rows))
    assert surface.coords.min() >= 0
    np.testing.assert_allclose(surface.normal.norm(dim=1), 1.0, atol=1e-5)
    again, other = make_surface(num_voxels, seed=3), make_surface(num_voxels, seed=4)
    assert torch.equal(surface.xyz, again.xyz)
    assert not torch.equal(surface.xyz, other.xyz)
    batch, other = (make_batch(num_voxels, in_channels=2, num_classes=5, seed=seed) for seed in (0, 1))
    assert len(batch.coords) == num_voxels
    assert not torch.equal(batch.features, other.features)


def test_a_surface_is_as_dense_as_a_scan() -> None:
    """A real scan has about 12 occupied voxels of the 27 around a voxel."""
    for seed in range(3):
        coords = make_surface(10_000, seed).coords
        assert 11.5 < count_pairs(coords) / len(coords) < 13.0


def test_pairs_are_those_that_a_literal_search_finds() -> None:
    coords = make_surface(300).coords
    occupied = {tuple(row) for row in coords.tolist()}
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    expected = sum((x + i, y + j, z + k) in occupied for x, y, z in occupied for i, j, k in steps)
    assert count_pairs(coords) == expected


@pytest.mark.parametrize("occupied", [1.0, 0.4, 0.15])
def test_a_surface_of_few_vertices_spreads_as_many_over_a_larger_room(occupied: float) -> None:
    """So a transformer over cubes of voxels has as many of them as on a real mesh, whose triangles are large."""
    coords = find_coords(5_000, None, 0, occupied)
    assert len(coords) == len(coords.unique(dim=0)) == 5_000
    num_cubes = len((coords // 5).unique(dim=0))
    assert (num_cubes > 700) == (occupied < 0.3)
    rows = [tuple(row) for row in coords.tolist()]
    assert rows == sorted(rows)


def test_a_surface_scene_has_objects_to_augment(tmp_path: Path) -> None:
    """Floor and walls are one, and each piece of furniture another."""
    instance = np.load(write_surface_scene(tmp_path / "train" / "surface", 5_000) / "instance.npy")
    assert len(np.unique(instance)) > 2


def test_a_surface_scene_is_a_scene_to_train_on(tmp_path: Path) -> None:
    folder = write_surface_scene(tmp_path / "train" / "surface", 500)
    for name in ("scannet200", "scannet20"):
        assert TrainingScenes([folder], load_config(name))[[Draw(0, 0, 0)]].names == ("surface",)


def test_rivals_are_measured_in_turn_and_the_median_counts() -> None:
    """Warm-up rounds don't count; each round has each rival once, every other round in reverse."""
    calls = []
    seconds = {"a": iter([100.0, 3.0, 1.0, 2.0]), "b": iter([100.0, 5.0, 50.0, 6.0])}

    def measure(name: str) -> float:
        calls.append(name)
        return next(seconds[name])

    medians = measure_in_turn({name: partial(measure, name) for name in seconds}, num_repeats=3, num_warmups=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert medians == {"a": 2.0, "b": 6.0}
    with pytest.raises(ValueError, match="at least one repeat"):
        measure_in_turn({}, num_repeats=0)


def test_a_child_answers_and_hands_on_what_goes_wrong() -> None:
    with Child("number", int, "5") as child:
        assert child.call("bit_length") == 3
        with pytest.raises(RuntimeError, match="^number: AttributeError: .*no_such_method"):
            child.call("no_such_method")
    with pytest.raises(RuntimeError, match="number: ValueError: invalid literal") as caught:
        Child("number", int, "five")
    assert "Traceback" in str(caught.value.__cause__) and "_serve" in str(caught.value.__cause__)
    with pytest.raises(DataError, match=r"spconv: the measuring process died with status 3; what it wrote before"):
        Child("spconv", os._exit, 3)
    with pytest.raises(DataError, match=r"spconv: the measuring process died with status -9.*memory; lower"):
        Child("spconv", signal.raise_signal, signal.SIGKILL)


def fail_oddly(way: str) -> None:
    """Raise what can be sent to no other process, or can't be made anew there, or is a person's to mend."""

    class OddError(Exception):
        def __init__(self, reason: str, number: int) -> None:
            super().__init__(reason)
            self.number = number

    if way == "lock":
        error = RuntimeError("the real reason")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error
    raise OddError("the real reason", 2) if way == "arguments" else UsageError("the real reason; mend it")


@pytest.mark.parametrize(
    ("way", "kind", "message"),
    [
        ("lock", RuntimeError, "^thing: RuntimeError: the real reason$"),
        ("arguments", RuntimeError, "^thing: OddError: the real reason$"),
        ("user", UsageError, "^the real reason; mend it$"),
    ],
)
def test_whatever_goes_wrong_in_a_child_is_told(way: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Child("thing", fail_oddly, way)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="other systems have no such trap")
def test_peak_memory_is_of_this_process_alone() -> None:
    """A process that was started by a large one does not begin with that one's peak, but its own growth counts."""
    code = (
        "import torch\nfrom pointseg.benchmarks.memory import peak_memory_gib as peak\n"
        "cpu = torch.device('cpu')\nbefore = peak(cpu)\nheld = torch.ones(2**27)\ndel held\nprint(before, peak(cpu))"
    )
    large = np.ones(3 * 2**26)  # 1.5 GiB
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = (float(word) for word in result.stdout.split())
    assert before < large.nbytes / 2**30 / 2
    assert after - before > 0.45


class _ChildHere:
    """As :class:`Child`, in this process; knows how many there are at a time."""

    alive = most = 0

    def __init__(self, name: str, build: Any, *arguments: Any) -> None:
        self.built = build(*arguments)

    def call(self, method: str) -> Any:
        return getattr(self.built, method)()

    def __enter__(self) -> "_ChildHere":
        _ChildHere.alive += 1
        _ChildHere.most = max(_ChildHere.most, _ChildHere.alive)
        return self

    def __exit__(self, *_: object) -> None:
        _ChildHere.alive -= 1


@pytest.mark.parametrize(
    ("device", "at_a_time"), [("cpu", 2), pytest.param("cuda", 1, marks=pytest.mark.gpu)], ids=["cpu", "cuda"]
)
def test_a_gpu_holds_one_process_at_a_time(device: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, which others use, too, they take turns."""
    monkeypatch.setattr(step, "Child", _ChildHere)
    monkeypatch.setattr(_ChildHere, "most", 0)
    config = load_config("demo", [*TINY_NETWORK, "train.amp=fp16"])
    job = step.StepJob(config, torch.device(device), 1, 200, num_scenes=1, scene=None, seed=0)
    (row,) = step.measure_step(job, "tiny", ["torch"], num_repeats=1)
    assert (_ChildHere.most, _ChildHere.alive) == (at_a_time, 0)
    assert row.forward_s > 0 and row.step_s > 0 and row.peak_gib > 0


@needs_spconv
def test_a_scene_that_is_too_small_for_bare_spconv_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch norm of PyTorch takes no single voxel, ours does; two scenes have a voxel each at the coarsest level."""
    begun = []

    def begin(job: step.StepJob, names: list[tuple[str, bool]], *_: object) -> None:
        begun.append(names)
        raise StoppedError

    monkeypatch.setattr(step, "_measure_together", begin)
    with pytest.raises(UsageError, match="bare_spconv: can't train where a batch has a single voxel"):
        main(["step", "--device", "cpu", "--voxels", "40", "--backends", "torch", "bare_spconv"])
    assert begun == []
    for others in ("--voxels 40 --backends torch", "--voxels 40 --scenes 2 --backends bare_spconv"):
        with pytest.raises(StoppedError):
            main(["step", "--device", "cpu", *others.split()])
    assert len(begun) == 2


def test_rows_are_printed_where_they_can_not_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that can't be made at all is told of before anything is measured."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(benchmark, "write_text", fail)
    with pytest.raises(OSError, match="the disk is full"):
        main(["prepare", "--vertices", "2000", "--repeats", "1", "--json", str(tmp_path / "rows.json")])
    assert "num_vertices" in capsys.readouterr().out
    monkeypatch.setattr(benchmark, "run_benchmark", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(IsADirectoryError):
        main(["prepare", "--json", str(tmp_path)])


def test_the_config_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("run:\n  seed: 1\n")
    with pytest.raises(UsageError, match=r"own\.yaml: is read, and would be written over"):
        main(["data", "--cfg", str(path), "--json", str(path)])
    assert path.read_text() == "run:\n  seed: 1\n"
