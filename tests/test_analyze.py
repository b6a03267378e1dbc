"""``python -m pointseg.analyze``: one pass gives what separate, literal passes give; mistakes get one line."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg import analyze
from pointseg.analyze import cosines_by_frequency, main, short_names
from pointseg.collapse.metrics import measure_collapse
from pointseg.config import load_config
from pointseg.engine.analysis import group_masks, iou_by_frequency, read_class_frequency
from pointseg.engine.comparison import share_groups
from pointseg.engine.evaluation import evaluate_scenes
from pointseg.engine.inference import load_segmenter
from pointseg.errors import DataError, UsageError
from pointseg.metrics import SegmentationScores
from pointseg.models import build_network
from pointseg.output.plots import ClassFigures, RunFigures
from pointseg.preparation.prepared_source import write_scene
from pointseg.processes import Processes
from pointseg.run_arguments import choose_scenes
from pointseg.runs.checkpoint import save_checkpoint
from pointseg.runs.directory import RunDirectory
from pointseg.scans.prepared import list_scenes, read_scene
from pointseg.taxonomy import GROUPS, load_taxonomy, read_class_table

CLASSES = (0, 1, 5, 70, 80, 120, 150, 199)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tree: three val scenes of eight classes and unlabelled points, one test scene, and a report."""
    root = tmp_path_factory.mktemp("prepared")
    for index in range(4):
        rng = np.random.default_rng(index)
        arrays = {
            "coord": (2 * rng.random((600, 3))).astype(np.float32),
            "color": rng.integers(0, 256, (600, 3), dtype=np.uint8),
            "normal": np.tile(np.float32([0, 0, 1]), (600, 1)),
        }
        if index < 3:
            labels = rng.choice([-1, *CLASSES], 600, p=[0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.04, 0.01])
            arrays |= {"segment200": labels, "segment20": labels % 20, "instance": labels}
        write_scene(root / ("val" if index < 3 else "test") / f"scene000{index}_00", arrays, source={})
    points = {name: {"points": list(range(size, 0, -1))} for name, size in (("scannet200", 200), ("scannet20", 20))}
    (root / "preprocess_report.json").write_text(json.dumps({"splits": {"train": {"classes": points}}}))
    return root


def _make_run(folder: Path, tree: Path, seed: int, *overrides: str) -> Path:
    """A run as training leaves it, with random weights."""
    small = ["model.stem_channels=8", "model.channels=[8,12,12,16]", "model.layers=[1,1,1,1]", "data.voxel_size_m=0.2"]
    config = load_config("demo", [f"run.dir={folder}", f"data.root={tree}", *small, *overrides])
    torch.manual_seed(seed)
    directory = RunDirectory(folder)
    directory.begin(config, load_taxonomy(config.taxonomy))
    network = build_network(config, torch.device("cpu"))
    save_checkpoint(directory.last_checkpoint, config, load_taxonomy(config.taxonomy), {"model": network.state_dict()})
    return folder


@pytest.fixture(scope="module")
def run(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_run(tmp_path_factory.mktemp("runs") / "first", tree, seed=0)


def test_one_pass_gives_the_scores_of_evaluate_and_the_measures_of_all_features(
    tree: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--run", str(run), "--json", str(tmp_path / "a.json"), "--device", "cpu"])
    (result,) = json.loads((tmp_path / "a.json").read_text())["runs"]

    segmenter = load_segmenter(run, device="cpu")
    folders = list_scenes(tree, "val")
    alone = Processes(0, 1, torch.device("cpu"))
    assert result["evaluation"] == evaluate_scenes(segmenter, folders, "none", alone, quiet=True)

    features, labels = [], []
    for folder in folders:
        voxels, output = segmenter.forward_scene(read_scene(folder, load_taxonomy("scannet200")))
        features.append(output.features.double())
        labels.append(voxels.label)
    z, y = torch.cat(features), torch.cat(labels)
    centers = torch.stack([z[y == k].mean(dim=0) for k in CLASSES])
    centred = centers - centers.mean(dim=0)
    pairs = [torch.cosine_similarity(centred[i], centred[j], dim=0) for i in range(len(CLASSES)) for j in range(i)]
    measures = result["measures"]
    groups = [segmenter.taxonomy.groups[k] for k in CLASSES]
    assert measures["num_classes"] == {"all": 8, **{group: groups.count(group) for group in GROUPS}}
    assert measures["centers_equiangularity"]["all"] == pytest.approx(float(torch.stack(pairs).std(correction=0)))
    rows = segmenter.network.classifier_weight().double()[list(CLASSES)]
    cosines = torch.cosine_similarity(centred, rows - rows.mean(dim=0))
    assert measures["alignment"]["all"] == pytest.approx(float(cosines.mean()))
    assert result["num_voxels"] == int((y >= 0).sum())
    names = segmenter.taxonomy.class_names
    assert result["per_class"][names[70]]["alignment"] == pytest.approx(float(cosines[3]))
    assert result["per_class"][names[70]]["frequency"] == 130
    assert result["per_class"][names[2]] == {
        "group": "head",
        "frequency": 198,
        "num_voxels": 0,
        "iou": result["evaluation"]["per_class"][names[2]],
        "within_class_variability": None,
        "alignment": None,
    }

    table = capsys.readouterr().out
    assert f"{run}, val: 3 scenes" in table
    assert f"{measures['centers_equiangularity']['all']:.3f}" in table
    assert "mIoU by points in the train split" in table


def test_the_matrices_in_the_json_are_ordered_by_class_frequency(tree: Path, run: Path, tmp_path: Path) -> None:
    """Label k is rarer than label k-1 in this tree; the cells are the cosines of what the pass gathered."""
    main(["--run", str(run), "--json", str(tmp_path / "a.json"), "--device", "cpu"])
    text = (tmp_path / "a.json").read_text()
    (result,) = json.loads(text)["runs"]
    segmenter = load_segmenter(run, device="cpu")
    cosines = result["cosines"]
    assert cosines["ordered_by"] == "points in the train split"
    assert cosines["classes"] == [segmenter.taxonomy.class_names[label] for label in CLASSES]
    rows = segmenter.network.classifier_weight().double()[list(CLASSES)]
    rows -= rows.mean(dim=0)
    for i, j in ((0, 1), (2, 7), (5, 5)):
        expected = float(torch.cosine_similarity(rows[i], rows[j], dim=0))
        assert cosines["classifier"][i][j] == pytest.approx(expected, abs=2e-6)
    pairs = np.array(cosines["centers"])[np.triu_indices(8, 1)]
    assert pairs.std() == pytest.approx(result["measures"]["centers_equiangularity"]["all"], abs=1e-5)
    assert sum(line.strip().startswith("[") for line in text.splitlines()) == 16  # a line for each row
    assert result["history"] == {"collapse": [], "val": []}


def test_the_order_is_that_of_frequency_and_not_of_labels() -> None:
    names = ["a", "b", "c", "d"]
    classes = ClassFigures(names, None, np.array([5, 0, 70, 10]), "points")
    matrix = np.array([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]])
    figure = RunFigures("run", np.array([0, 2, 3]), matrix, -matrix, np.zeros(4))
    assert cosines_by_frequency(figure, classes) == {
        "ordered_by": "points",
        "classes": ["c", "d", "a"],
        "centers": [[1, 0.3, 0.1], [0.3, 1, 0.2], [0.1, 0.2, 1]],
        "classifier": [[-1, -0.3, -0.1], [-0.3, -1, -0.2], [-0.1, -0.2, -1]],
    }


def test_measures_over_training_are_drawn_and_told_apart_from_runs_without_them(
    tree: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run has a history and one has none: the table says so of that one, and the picture has the other's."""
    other = _make_run(tmp_path / "second", tree, 1)
    main(["--run", str(run), str(other), "--plot", str(tmp_path / "without.png")])
    table = capsys.readouterr().out
    assert "A: no measures over training" in table and "B: no measures over training" in table
    row = {"kind": "collapse", "step": 10, "alignment": 0.5, "alignment_head": 0.25, "nc1": None}
    RunDirectory(other).append_metrics(row)
    arguments = ["--run", str(run), str(other), "--json", str(tmp_path / "a.json")]
    main([*arguments, "--plot", str(tmp_path / "with.png")])
    table = capsys.readouterr().out
    assert "A: no measures over training; train with train.measure_collapse_every above 0" in table
    assert "B: no measures" not in table
    first, second = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert first["history"]["collapse"] == []
    assert second["history"] == {"collapse": [{k: v for k, v in row.items() if k != "kind"}], "val": []}
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_the_classifier_rows_are_what_makes_the_logits(tree: Path, run: Path) -> None:
    """A wrong reading of the layer's memory has the right shape, and an alignment near 0 that looks like a finding."""
    segmenter = load_segmenter(run, device="cpu")
    _, output = segmenter.forward_scene(read_scene(list_scenes(tree, "val")[0], load_taxonomy("scannet200")))
    logits = output.features @ segmenter.network.classifier_weight().T + segmenter.network.final.bias
    torch.testing.assert_close(logits, output.logits)


def test_two_runs_are_compared(tree: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has the figures that it has alone; the plot and both columns are there."""
    other = _make_run(tmp_path / "second", tree, 1)
    main(
        [
            "--run",
            str(run),
            "--run",
            str(other),
            "--json",
            str(tmp_path / "both.json"),
            "--plot",
            str(tmp_path / "p.png"),
        ]
    )
    table = capsys.readouterr().out
    assert f"A  {run}" in table
    assert f"B  {other}" in table
    main(["--run", str(other), "--json", str(tmp_path / "alone.json")])
    both, alone = (json.loads((tmp_path / name).read_text())["runs"] for name in ("both.json", "alone.json"))
    assert both[1] == alone[0]
    assert both[0]["measures"] != both[1]["measures"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def own_runs(tree: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of the same eight own classes and the same weights, whose groups were counted on other scenes."""
    own = tmp_path / "own"
    shutil.copytree(tree / "val", own / "val")
    for path in own.glob("val/*/segment200.npy"):
        label = np.load(path)
        np.save(path.with_name("segment.npy"), np.where(label < 0, -1, np.searchsorted(CLASSES, label)))
    rows = "".join(f"{k}\tname{k}\t{group}\n" for k, group in enumerate(["head"] * 3 + ["common"] * 3 + ["tail"] * 2))
    (own / "classes.tsv").write_text("id\tname\tgroup_by_points\n" + rows)
    runs = [_make_run(tmp_path / name, own, 0, f"taxonomy={own}/classes.tsv") for name in ("one", "two")]
    table = RunDirectory(runs[1]).classes_path
    table.write_text(read_class_table(table).with_counted_groups(range(8)).as_table())
    return runs[0], runs[1]


def test_two_runs_are_compared_in_the_groups_of_the_first_and_it_is_said(
    own_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same weights the figures by group are the same; those logged in other groups are left out."""
    for run in own_runs:
        RunDirectory(run).append_metrics({"kind": "val", "step": 1, "miou": 0.5, "head": 0.5})
        RunDirectory(run).append_metrics({"kind": "collapse", "step": 1, "alignment": 0.5, "alignment_head": 0.5})
    main(["--run", *map(str, own_runs), "--json", str(tmp_path / "a.json")])
    first, second = json.loads((tmp_path / "a.json").read_text())["runs"]
    for key in ("measures", "evaluation", "per_class"):
        assert first[key] == second[key]
    assert first["history"]["val"] == [{"step": 1, "miou": 0.5, "head": 0.5}]
    assert second["history"] == {"val": [{"step": 1, "miou": 0.5}], "collapse": [{"step": 1, "alignment": 0.5}]}
    assert capsys.readouterr().err.count("the runs have different groups of classes (head, common, tail): shown") == 1


def test_a_run_without_groups_is_compared_in_those_of_the_other(own_runs: tuple[Path, Path]) -> None:
    segmenters = [load_segmenter(run, device="cpu") for run in own_runs]
    groups = segmenters[1].taxonomy.groups
    segmenters[0].taxonomy = replace(segmenters[0].taxonomy, groups=None, groups_are_counted=False)
    (line,) = share_groups(segmenters, ["one", "two"])
    assert "shown are those of two, " in line
    assert [segmenter.taxonomy.groups for segmenter in segmenters] == [groups, groups]
    assert share_groups(segmenters, ["one", "two"]) == []


def test_runs_that_predict_in_different_ways_are_told_of(
    tree: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _make_run(tmp_path / "second", tree, 0, "inference.max_voxels=10000")
    main(["--run", str(run), str(run)])
    assert "different ways" not in capsys.readouterr().err
    main(["--run", str(run), str(other)])
    assert "warning: the runs were evaluated in different ways. first: every mesh vertex" in capsys.readouterr().err


def test_two_paths_of_one_tree_are_the_same_scenes(tree: Path, run: Path, tmp_path: Path) -> None:
    other = _make_run(tmp_path / "second", Path(f"{tree}/../{tree.name}"), 1)
    root, _ = choose_scenes([load_segmenter(path, device="cpu") for path in (run, other)], None, None)
    assert root == str(tree)


def test_a_benchmark_without_groups_has_one_column(tree: Path, tmp_path: Path) -> None:
    run = _make_run(tmp_path / "twenty", tree, 0, "taxonomy=scannet20")
    main(["--run", str(run), "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.svg")])
    (result,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert {tuple(groups) for groups in result["measures"].values()} == {("all",)}
    assert group_masks(load_taxonomy("scannet20")) == {}


def test_bands_are_powers_of_ten() -> None:
    iou = np.array([0.1, 0.3, 0.5, 0.7, 0.9, np.nan])
    scores = SegmentationScores(iou, ~np.isnan(iou), accuracy=0.5, num_points=10)
    assert iou_by_frequency(scores, np.array([0, 1, 9, 10, 1000, 5])) == [
        {"from": 0, "below": 1, "num_classes": 1, "miou": pytest.approx(0.1)},
        {"from": 1, "below": 10, "num_classes": 2, "miou": pytest.approx(0.4)},
        {"from": 10, "below": 100, "num_classes": 1, "miou": pytest.approx(0.7)},
        {"from": 1000, "below": 10_000, "num_classes": 1, "miou": pytest.approx(0.9)},
    ]


def test_frequency_without_a_report_is_that_of_the_benchmark_and_a_broken_report_is_refused(tmp_path: Path) -> None:
    taxonomy = load_taxonomy("scannet200")
    frequency = read_class_frequency(tmp_path, "train", taxonomy)
    assert frequency is not None
    assert frequency.count.tolist() == taxonomy.annotated_objects.tolist()
    assert read_class_frequency(tmp_path, "train", load_taxonomy("scannet20")) is None
    for text in ("{", "[]", '{"splits": {"train": {"classes": {"scannet200": {"points": [1]}}}}}'):
        (tmp_path / "preprocess_report.json").write_text(text)
        with pytest.raises(DataError, match="preprocess_report.json: is not the report of a preparation"):
            read_class_frequency(tmp_path, "train", taxonomy)


def test_mistakes_are_named(tree: Path, run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tree, moved)
    elsewhere = _make_run(tmp_path / "elsewhere", moved, 0)
    twenty = _make_run(tmp_path / "twenty", tree, 0, "taxonomy=scannet20")
    for arguments, message in (
        (["--run", "a", "b", "c"], "3 runs; give one, or two"),
        (["--run", str(run), "--checkpoint", "a", "b"], "2 files for 1 runs"),
        (["--run", str(run), "--checkpoint", "a", "--checkpoint", "b"], "2 files for 1 runs"),
        (["--run", str(run), str(elsewhere)], "choose one with --data-root and --split"),
        (["--run", str(run), str(twenty)], "different classes"),
        (["--run", str(run), "--split", "test"], "scene0003_00: has no labels"),
        (["--run", str(run), "--plot", "p.txt"], "a plot ends in"),
        (["--run", str(tmp_path)], "not the folder of a run"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            main(arguments)
        assert "\n" not in str(caught.value)


def test_a_diverged_network_is_reported_with_its_scene(tree: Path, tmp_path: Path) -> None:
    run = RunDirectory(_make_run(tmp_path / "nan", tree, 0))
    state = torch.load(run.last_checkpoint, weights_only=True)
    state["model"]["conv_input.0.weight"].fill_(torch.nan)
    torch.save(state, run.last_checkpoint)
    with pytest.raises(DataError, match=r"last\.pt: 1 of \d+ weights are not finite, first conv_input\.0\.weight"):
        main(["--run", str(run.path)])
    state["model"]["conv_input.0.weight"].fill_(1e38)  # finite, as no sum of them is
    torch.save(state, run.last_checkpoint)
    with pytest.raises(DataError, match=r"scene0000_00: .*not finite, it has diverged; use another checkpoint"):
        main(["--run", str(run.path)])


def test_measures_of_a_collapsed_network_are_those_of_collapse() -> None:
    """group_masks fits measure_collapse: K classes of the taxonomy at the vertices of a simplex."""
    from pointseg.collapse import simplex_etf
    from pointseg.collapse.metrics import FeatureStatistics

    etf, taxonomy = simplex_etf(200, 199), load_taxonomy("scannet200")
    statistics = FeatureStatistics(200, 199)
    statistics.update(etf.repeat(2, 1), torch.arange(200).repeat(2))
    measures = measure_collapse(statistics, etf, group_masks(taxonomy))
    assert measures["num_classes"] == {"all": 200, "head": 66, "common": 68, "tail": 66}
    for group in ("all", "head", "common", "tail"):
        assert measures["centers_separation"][group] == pytest.approx(0, abs=1e-6)
        assert measures["alignment"][group] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/demo"], ["demo"]),
        (["runs/demo", "runs/other/"], ["demo", "other"]),
        (["out/runs/collapse/seed0", "out/runs/cross_entropy/seed0"], ["collapse", "cross_entropy"]),
        (["runs/demo", "runs/demo"], ["runs/demo", "runs/demo"]),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(runs: list[str], names: list[str]) -> None:
    assert short_names(runs) == names


def test_the_table_is_printed_where_it_can_not_be_drawn_or_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be known is said before the work."""
    pytest.importorskip("matplotlib")
    call = ["--run", str(run), "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(analyze, "analyze_scenes", lambda *_: pytest.fail("the work has begun"))
        for option in ("--json", "--plot"):
            folder = tmp_path / f"{option}.png"
            folder.mkdir()
            with pytest.raises(IsADirectoryError):
                main([*call, option, str(folder)])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    for name, option in (("write_text", "--json"), ("draw_analysis", "--plot")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is full"):
            patch.setattr(analyze, name, fail)
            main([*call, option, str(tmp_path / "a.png")])
        assert "NC1 within-class" in capsys.readouterr().out
