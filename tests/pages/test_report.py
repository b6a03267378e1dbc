"""``pointseg.report``: what a person sees of it in a browser, and what a bad call gets."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg import report
from pointseg.engine.comparison import describe_protocols
from pointseg.engine.inference import load_segmenter
from pointseg.errors import DataError, UsageError
from pointseg.pages.document import PageSection
from pointseg.pages.run_record import read_run_record, refuse_other_scenes
from pointseg.pages.run_report import MAX_BYTES
from tests.pages.conftest import Visitor

needs_chromium = pytest.mark.needs("chromium")
pytestmark = pytest.mark.needs("itables")


@pytest.fixture(scope="session")
def page(evaluated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one run."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.main(["--run", str(evaluated_run), "--out", str(path), "--device", "cpu"])
    return path


@pytest.fixture(scope="session")
def other_run(evaluated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network says something else."""
    from pointseg import evaluate

    run = tmp_path_factory.mktemp("other") / "other"
    shutil.copytree(evaluated_run, run)
    for path in run.glob("checkpoints/*.pt"):
        state = torch.load(path, weights_only=True)
        head = next(name for name in reversed(state["model"]) if name.endswith("weight"))
        state["model"][head] = -state["model"][head]
        torch.save(state, path)
    evaluate.main(["--run", str(run), "--json", str(run / "evaluation.json")])
    return run


@needs_chromium
@pytest.mark.slow
def test_it_opens_from_the_disk_without_an_error_and_asks_for_nothing(page: Path, visitor: Visitor) -> None:
    visitor.open(page.as_uri())
    visitor.page.wait_for_selector("#classes tbody tr td")
    assert visitor.errors == []
    assert [url for url in visitor.requests if not url.startswith(("data:", "blob:"))] == [page.as_uri()]
    headings = visitor.page.locator("h2").all_inner_texts()
    titles = ["The run", "Training", "Evaluation", "Confusions", "Class frequency and IoU", "Neural collapse", "Scenes"]
    assert headings == titles
    assert page.stat().st_size <= MAX_BYTES


@needs_chromium
@pytest.mark.slow
def test_the_table_sorts_and_searches(page: Path, evaluated_run: Path, visitor: Visitor) -> None:
    from playwright.sync_api import expect

    evaluation = json.loads((evaluated_run / "evaluation.json").read_text())
    iou_of = {name: iou for name, iou in evaluation["per_class"].items() if iou is not None}
    visitor.open(page.as_uri())
    visitor.page.wait_for_selector("#classes tbody tr td")
    titles = visitor.page.locator("#classes thead th").all_inner_texts()
    column = next(index for index, title in enumerate(titles) if title.strip() == "IoU, %")

    cells = visitor.page.locator(f"#classes tbody td:nth-child({column + 1})")
    ascending = [f"{100 * iou:.1f}" for iou in sorted(iou_of.values())]
    assert cells.all_inner_texts() != ascending  # by points, at first
    visitor.page.locator("#classes thead th").nth(column).click()
    expect(cells).to_have_text(ascending)
    visitor.page.locator("#classes thead th").nth(column).click()
    expect(cells).to_have_text(ascending[::-1])
    # A word finds rows by any column: the class itself, and those that are mostly taken for it.
    name = next(iter(iou_of))
    taken = {key: row["mostly_taken_for"] for key, row in evaluation["classes"].items() if key in iou_of}
    found = {key for key, row in taken.items() if key == name or (row is not None and row["name"] == name)}
    visitor.page.locator("input[type=search]").fill(name)
    names = visitor.page.locator("#classes tbody td:nth-child(1)")
    expect(names).to_have_count(len(found))
    assert set(names.all_inner_texts()) == found
    assert found < iou_of.keys()


@needs_chromium
@pytest.mark.slow
def test_a_scene_is_switched_pointed_at_hidden_and_turned(page: Path, visitor: Visitor) -> None:
    visitor.open(page.as_uri())
    visitor.page.locator("#scene-0").scroll_into_view_if_needed()
    pictures = {"Colours": visitor.picture()}
    for title in ("Truth", "Prediction", "Errors"):
        visitor.switch(title)
        pictures[title] = visitor.picture()
    assert len(set(pictures.values())) == 4
    assert re.fullmatch(r"\w[\w ]*, \d+ %( \(truth: [\w ]+\))?", visitor.point_at_scene())
    visitor.switch("Prediction")
    assert re.fullmatch(r"\w[\w ]*, \d+ %", visitor.point_at_scene())
    visitor.page.mouse.move(0, 0)
    before = visitor.picture()
    visitor.page.locator("#scene-0 .legendtoggle").first.click()
    visitor.page.wait_for_timeout(1000)  # plotly waits for a second click
    assert visitor.picture() != before
    visitor.switch("Truth")
    before = visitor.picture()
    box = visitor.page.locator("#scene-0 canvas").bounding_box()
    assert box is not None
    middle = box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"]
    visitor.page.mouse.move(*middle)
    visitor.page.mouse.down()
    visitor.page.mouse.move(middle[0] + 150, middle[1], steps=4)
    visitor.page.mouse.up()
    visitor.page.mouse.move(0, 0)
    assert visitor.picture() != before
    assert visitor.errors == []


@needs_chromium
@pytest.mark.slow
def test_two_runs_stand_side_by_side(evaluated_run: Path, other_run: Path, tmp_path: Path, visitor: Visitor) -> None:
    path = tmp_path / "two.html"
    report.main(["--run", str(evaluated_run), "--run", str(other_run), "--out", str(path), "--device", "cpu"])
    first, second = (json.loads((run / "evaluation.json").read_text())["miou"] for run in (evaluated_run, other_run))
    assert first != second
    visitor.open(path.as_uri())
    assert f"{100 * (second - first):+.1f}" in visitor.page.locator(".tile").first.inner_text()
    titles = [title.strip() for title in visitor.page.locator("#classes thead th").all_inner_texts()]
    assert {"IoU, %, run", "IoU, %, other", "difference", "mostly taken for, other"} <= set(titles)
    visitor.switch("Difference")
    said = visitor.point_at_scene()
    assert re.fullmatch(r"truth: [\w ]+; run: [\w ]+, \d+ %; other: [\w ]+, \d+ %", said)
    assert visitor.errors == []
    assert path.stat().st_size <= MAX_BYTES


def test_it_says_what_the_run_is(page: Path, evaluated_run: Path) -> None:
    text = page.read_text(encoding="utf-8")
    evaluation = json.loads((evaluated_run / "evaluation.json").read_text())
    (surroundings,) = json.loads((evaluated_run / "surroundings.json").read_text())
    assert f"{surroundings['machine']}, PyTorch {surroundings['torch']}, commit {surroundings['code']}" in text
    assert f"{evaluation['num_points']:,} labelled points" in text
    assert f"<b>{100 * evaluation['miou']:.1f}</b>" in text
    assert "voxel_size_m: 0.1" in text
    assert "not finished" not in text


def test_a_page_has_as_many_points_as_there_is_room_for(
    page: Path, evaluated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = page.stat().st_size - 5_000
    monkeypatch.setattr("pointseg.pages.run_report.MAX_BYTES", most)
    path = tmp_path / "small.html"
    report.main(["--run", str(evaluated_run), "--out", str(path), "--device", "cpu"])
    assert path.stat().st_size <= most
    assert "; 600 points<" in page.read_text(encoding="utf-8")
    assert re.search(r"\d+ of 600 points, one in each cell of \d", path.read_text(encoding="utf-8"))


def test_a_page_that_can_not_be_small_enough_names_what_is_large(
    evaluated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointseg.pages.run_report.MAX_BYTES", 1_000)
    largest = PageSection("run", "The run", "x" * 10_000_000)
    monkeypatch.setattr("pointseg.pages.run_report._about_runs", lambda *_: largest)
    with pytest.raises(DataError, match="larger than 1,000 bytes .* is 'The run', 10,000,000 bytes: shorten"):
        report.main(["--run", str(evaluated_run), "--out", str(tmp_path / "a.html"), "--device", "cpu"])


def _copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def test_a_run_without_an_evaluation_is_told_how_to_get_one(evaluated_run: Path, tmp_path: Path) -> None:
    run = _copy(evaluated_run, tmp_path)
    (run / "evaluation.json").unlink()
    with pytest.raises(UsageError, match=r"evaluation\.json: is not there, .* --json \S*evaluation\.json"):
        report.main(["--run", str(run), "--out", str(tmp_path / "a.html")])
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda e: e.pop("confusion"), UsageError, "has no classes, scenes and confusion matrix"),
        (lambda e: e["per_class"].pop("wall"), UsageError, "is of other classes than the run"),
        (lambda e: e["confusion"].pop(), DataError, r"is damaged \(ValueError"),
        (lambda e: e.update(miou="high"), DataError, r"is damaged \(ValueError"),
        (lambda e: e["classes"].pop("wall"), DataError, r"is damaged \(KeyError"),
        (
            lambda e: e.update(scenes={"scene9999_00": {"miou": 0.5, "num_points": 1}}),
            UsageError,
            "scene9999_00 is not there",
        ),
        (lambda e: e.update(scenes={}), UsageError, "no scene was evaluated"),
    ],
)
def test_another_evaluation_is_refused(
    evaluated_run: Path, tmp_path: Path, change: object, error: type[Exception], said: str
) -> None:
    run = _copy(evaluated_run, tmp_path)
    evaluation = json.loads((run / "evaluation.json").read_text())
    change(evaluation)  # type: ignore[operator]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(error, match=said):
        report.main(["--run", str(run), "--out", str(tmp_path / "a.html")])


@pytest.mark.parametrize(
    ("weights", "said_of_it"),
    [("0" * 64, "evaluation.json is of other weights than"), (None, "evaluation.json is older than")],
)
def test_what_a_reader_has_to_know_is_on_the_page_and_on_the_terminal(
    evaluated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str | None, said_of_it: str
) -> None:
    """A run that is not finished, and an evaluation of other weights: one that doesn't say of which is old."""
    run, out = _copy(evaluated_run, tmp_path), tmp_path / "a.html"
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    state["progress"]["pass_index"] = 3
    torch.save(state, run / "checkpoints" / "last.pt")
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation.pop("weights") == load_segmenter(run).weights_sha256
    (run / "evaluation.json").write_text(json.dumps(evaluation | ({"weights": weights} if weights else {})))
    os.utime(run / "evaluation.json", (0, 0))
    report.main(["--run", str(run), "--out", str(out), "--device", "cpu"])
    said, page = capsys.readouterr().err, out.read_text(encoding="utf-8")
    for text in ("is not finished, 3 of 12 passes are done", said_of_it):
        assert text in said
        assert text in page


def test_two_protocols_are_told_and_change_no_record(
    evaluated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = _copy(evaluated_run, tmp_path), tmp_path / "a.html"
    evaluation = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(evaluation | {"protocol": "each point of the mesh"}))
    segmenters = [load_segmenter(str(path), None, "cpu") for path in (evaluated_run, run)]
    records = [read_run_record(segmenter, name) for segmenter, name in zip(segmenters, "ab", strict=True)]
    refuse_other_scenes(records)
    (remark,) = describe_protocols("ab", [record.evaluation for record in records])
    assert remark.startswith("the runs were evaluated in different ways. a: ")
    assert remark.endswith(". b: each point of the mesh")
    assert [record.remarks for record in records] == [(), ()]
    assert describe_protocols("a", [records[0].evaluation]) == []
    report.main(["--run", str(evaluated_run), "--run", str(run), "--out", str(out), "--device", "cpu"])
    for text in (capsys.readouterr().err, out.read_text(encoding="utf-8")):
        assert text.count("the runs were evaluated in different ways") == 1


def test_an_evaluation_in_other_groups_is_told_in_those_of_the_page(evaluated_run: Path) -> None:
    """Of two runs those of one: the means by group are taken anew from its classes."""
    segmenter = load_segmenter(str(evaluated_run), None, "cpu")
    before = read_run_record(segmenter, "run").evaluation
    assert before == json.loads((evaluated_run / "evaluation.json").read_text())
    groups = {"head": "tail", "common": "common", "tail": "head"}
    assert segmenter.taxonomy.groups is not None
    segmenter.taxonomy = replace(segmenter.taxonomy, groups=tuple(groups[g] for g in segmenter.taxonomy.groups))
    record = read_run_record(segmenter, "run")
    assert {group: record.evaluation[group] for group in groups} == {g: before[of] for g, of in groups.items()}
    assert before["head"] != before["tail"]
    assert not any("head" in row for row in record.history["val"])


def test_a_run_that_never_began_is_no_run(prepared_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the folder of a run"):
        report.main(["--run", str(tmp_path), "--out", str(tmp_path / "a.html")])


def test_scenes_that_are_gone_are_missed_before_the_work(evaluated_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        report.main(["--run", str(evaluated_run), "--out", str(tmp_path / "a.html"), "--data-root", "nowhere"])


def test_runs_that_were_evaluated_on_other_scenes_are_not_compared(evaluated_run: Path, tmp_path: Path) -> None:
    run = _copy(evaluated_run, tmp_path)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["scenes"].popitem()
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(UsageError, match="are of different scenes"):
        report.main(["--run", str(evaluated_run), str(run), "--out", str(tmp_path / "a.html")])


@pytest.mark.parametrize("change", ["points of a scene", "points of a class"])
def test_runs_that_were_evaluated_on_other_labels_are_not_compared(
    evaluated_run: Path, tmp_path: Path, change: str
) -> None:
    run = _copy(evaluated_run, tmp_path)
    evaluation = json.loads((run / "evaluation.json").read_text())
    if change == "points of a scene":
        next(iter(evaluation["scenes"].values()))["num_points"] += 1
    else:
        evaluation["classes"]["wall"]["points"] += 1
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(UsageError, match="are of other labels of the same scenes; evaluate both on the same tree"):
        report.main(["--run", str(evaluated_run), str(run), "--out", str(tmp_path / "a.html")])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "a.pdf"], "give a name that ends in .html"),
        (["--out", "FOLDER.html"], "is a folder"),
        (["--out", "a.html", "--run", "b", "--run", "c"], "3 runs; give one, or two"),
    ],
)
def test_a_call_that_can_t_end_well_is_refused_at_once(tmp_path: Path, more: list[str], said: str) -> None:
    (tmp_path / "FOLDER.html").mkdir()
    words = [str(tmp_path / word) if word == "FOLDER.html" else word for word in more]
    with pytest.raises(UsageError, match=said):
        report.main(["--run", "a", *words])


def test_without_the_libraries_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "itables", None)
    with pytest.raises(UsageError, match=r"needs itables; type: pip install 'pointseg\[viz\]'"):
        report.main(["--run", "a", "--out", str(tmp_path / "a.html")])


def test_a_full_disk_leaves_the_page_of_before(
    evaluated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.html"
    out.write_text("before")

    def fail(path: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        report.main(["--run", str(evaluated_run), "--out", str(out), "--device", "cpu"])
    assert caught.value.filename == str(out)
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_the_middle_scene_is_between_the_others() -> None:
    from types import SimpleNamespace

    from pointseg.pages.run_report import choose_scenes_to_show

    scenes = {f"s{index}": {"miou": miou} for index, miou in enumerate([0.5, None, 0.9, 0.1, 0.3])}
    record = SimpleNamespace(evaluation={"scenes": scenes})
    chosen = choose_scenes_to_show(record, [Path("val") / name for name in scenes])  # type: ignore[arg-type]
    assert [(why, folder.name) for why, folder in chosen] == [
        ("the lowest mIoU", "s1"),
        ("the middle one", "s4"),
        ("the highest mIoU", "s2"),
    ]
    assert np.shape(chosen) == (3, 2)
