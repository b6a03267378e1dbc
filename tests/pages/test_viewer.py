"""``visualize --serve`` and ``--save room.html``: a scene in a browser, its prediction files, and the end by Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pointseg import visualize
from pointseg.errors import DataError, UsageError
from pointseg.formats.ply import Mesh, write_mesh
from pointseg.formats.scan_file import ScanFile
from pointseg.output.prediction_files import write_predicted_mesh
from pointseg.output.submission import write_prediction
from pointseg.taxonomy import load_taxonomy
from tests.pages.conftest import Visitor

pytestmark = pytest.mark.needs("itables")
needs_chromium = pytest.mark.needs("chromium")
ROOT = Path(__file__).parents[2]
NUM_POINTS = 1600


def _floor() -> tuple[np.ndarray, np.ndarray]:
    """Points of a bumpy floor of 40 x 40, and a row of wall: everywhere something to point at."""
    i, j = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    xyz = np.stack([i * 0.1, j * 0.1, np.sin(i / 3) * 0.1], axis=-1).reshape(-1, 3).astype(np.float32)
    rgb = np.random.default_rng(0).integers(0, 255, (NUM_POINTS, 3)).astype(np.uint8)
    return xyz, rgb


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with room.ply, truth.txt and one/room.txt, two/room.txt, of which the first has a confidence."""
    place = tmp_path_factory.mktemp("viewer")
    xyz, rgb = _floor()
    write_mesh(place / "room.ply", Mesh(xyz, None, rgb))
    taxonomy = load_taxonomy("scannet200")
    labels = {"truth": np.repeat([0, 2], NUM_POINTS // 2), "one": np.repeat([0, 5], NUM_POINTS // 2)}
    labels["two"] = np.full(NUM_POINTS, 2)
    for name in ("one", "two"):
        (place / name).mkdir()
        write_prediction(place / name / "room.txt", taxonomy.class_ids[labels[name]])
    write_prediction(place / "truth.txt", taxonomy.class_ids[labels["truth"]])
    file = ScanFile(place / "room.ply", xyz, rgb=rgb)
    confidence = np.full(NUM_POINTS, 0.75, np.float32)
    write_predicted_mesh(place / "one" / "room.ply", file, taxonomy, labels["one"], confidence)
    return place


@pytest.fixture
def served(place: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address of the room's viewer, and its process."""
    command = [sys.executable, "-m", "pointseg.visualize", "--scene", "room.ply", "--gt", "truth.txt"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [*command, "--pred", ".", "--serve"],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal: a shell that runs tests in the background has turned Ctrl-C off for all their children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip(), process
    process.kill()
    process.wait()


def _get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@needs_chromium
@pytest.mark.slow
def test_prediction_files_are_chosen_from_a_list(served: tuple[str, object], visitor: Visitor) -> None:
    address = served[0]
    visitor.open(address)
    options = visitor.page.locator("select[name=prediction] option").all_inner_texts()
    assert options == ["none", "one/room.txt", "two/room.txt"]
    visitor.switch("Prediction")
    assert re.fullmatch(r"(wall|couch), 75 %", visitor.point_at_scene())
    visitor.page.select_option("select[name=prediction]", label="two/room.txt")
    visitor.page.select_option("select[name=other]", label="one/room.txt")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_selector("#scene-0.js-plotly-plot")
    visitor.switch("Difference")
    assert re.fullmatch(r"truth: \w+; two: \w+; one: \w+, 75 %", visitor.point_at_scene())
    assert visitor.errors == []
    assert all(url.startswith((address, "blob:", "data:")) for url in visitor.requests)


def test_it_answers_until_ctrl_c(served: tuple[str, "subprocess.Popen[str]"]) -> None:
    address, process = served
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert _get(address)[0] == 200
    assert _get(f"{address}plotly.js")[0] == 200
    assert _get(f"{address}?prediction=&other=")[0] == 200
    assert _get(f"{address}../etc/passwd")[0] == 404
    status, page = _get(f"{address}?prediction=%3Cscript%3E")
    assert (status, "<script>" in page) == (422, False)
    assert "is none of the 2 predictions" in page
    for number in ("2", "-1", "1" * 5000):
        assert _get(f"{address}?prediction={number}")[0] == 422
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert process.stdout is not None
    assert process.stderr is not None
    assert "Ctrl-C ends it" in process.stdout.read()
    assert process.stderr.read().strip() == ""


def test_a_page_may_tell_of_a_name_that_is_no_utf8() -> None:
    from pointseg.pages.server import answer

    name = os.fsdecode(b"g\xfcn.txt")

    def refuse(fields: Mapping[str, str]) -> str:
        raise DataError(f"{name}: is empty")

    assert answer(lambda fields: name, {})[2] == b"g\\udcfcn.txt"
    assert b"g\\udcfcn.txt: is empty" in answer(refuse, {})[2]


def test_a_file_that_is_damaged_meanwhile_is_told_on_the_page(place: Path, tmp_path: Path) -> None:
    from pointseg.pages.server import answer
    from pointseg.pages.visit import Visit
    from pointseg.scans.scan_input import read_scan_input

    taxonomy = load_taxonomy("scannet200")
    scan = read_scan_input(place / "room.ply", taxonomy, needs_normal=False)
    file = tmp_path / "<b>.txt"
    file.write_text((place / "one" / "room.txt").read_text())
    visit = Visit(scan.scene, taxonomy, scan.has_place, [file], lambda path: None)
    assert answer(visit.make_page, {})[0] == 200
    file.write_text("1\n2\n")
    status, _, page = answer(visit.make_page, {"prediction": "0"})
    assert status == 422
    assert "&lt;b&gt;.txt: has 2 lines" in page.decode()
    file.unlink()
    assert answer(visit.make_page, {"prediction": "0"})[0] == 422


@needs_chromium
@pytest.mark.slow
def test_a_saved_page_needs_nothing_else(place: Path, tmp_path: Path, visitor: Visitor) -> None:
    path = tmp_path / "room.html"
    pred = ["--pred", str(place / "one" / "room.txt"), "--gt", str(place / "truth.txt")]
    assert visualize.main(["--scene", str(place / "room.ply"), *pred, "--save", str(path)]) == 0
    visitor.open(path.as_uri())
    before = visitor.picture()
    visitor.switch("Errors")
    assert visitor.picture() != before
    assert re.fullmatch(r"(wall, 75 %)|(couch, 75 % \(truth: floor\))", visitor.point_at_scene())
    assert visitor.errors == []
    assert [url for url in visitor.requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]


@needs_chromium
@pytest.mark.slow
def test_names_are_shown_as_they_are_and_run_nothing(place: Path, tmp_path: Path, visitor: Visitor) -> None:
    """Class names come from tables of strangers."""
    evil = "</script><img src=x onerror=alert(1)>"
    table = tmp_path / "classes.tsv"
    table.write_text(f"id\tname\n1\t{evil}\n2\t<b>bold</b>\n")
    labels, path = tmp_path / "room.txt", tmp_path / "<script>alert(2)<script>.html"
    labels.write_text("1\n" * NUM_POINTS)
    pred = ["--pred", str(labels), "--taxonomy", str(table)]
    visualize.main(["--scene", str(place / "room.ply"), *pred, "--save", str(path)])
    visitor.open(path.as_uri())
    visitor.switch("Prediction")
    assert visitor.point_at_scene() == evil
    assert visitor.page.locator("#scene-0 .legendtext").all_text_contents() == [evil]
    assert visitor.errors == []
    assert visitor.page.locator("img").count() == 0


def test_wrong_calls_are_told(place: Path, tmp_path: Path) -> None:
    scene = ["--scene", str(place / "room.ply")]
    one, two = (str(place / name / "room.txt") for name in ("one", "two"))
    page = ["--save", str(tmp_path / "a.html")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for more, error, said in [
            (["--serve", *page], UsageError, "choose one of the two"),
            (["--serve", port], UsageError, f"127.0.0.1:{port}: is in use"),
            (["--serve", "70000"], UsageError, "--serve 70000: is no port"),
            (["--serve", "--host", "192.0.2.1"], UsageError, r"192\.0\.2\.1:0: can't be listened at"),
            (["--host", "0.0.0.0", *page], UsageError, "give --serve, too"),
            (["--pred", one, two, str(place / "truth.txt"), *page], UsageError, "3 files; a page has one or two"),
            (["--pred", one, two, "--save", "a.png"], UsageError, "2 files; give one, or look at them with --serve"),
            (["--pred", str(tmp_path), *page], DataError, r"has no room\.txt in it or below"),
            (["--pred", str(place / "no.txt"), "--serve"], DataError, r"no\.txt: there is no such file"),
        ]:
            with pytest.raises(error, match=said):
                visualize.main([*scene, *more])
    assert list(tmp_path.iterdir()) == []


def test_predictions_of_other_classes_are_not_mixed(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "room.txt").write_text("1\n" * NUM_POINTS)
    record = {"settings": {"taxonomy": "x"}, "classes": ["id\tname", "1\ta", "2\tb"], "scenes": {}}
    (other / "predictions.json").write_text(json.dumps(record))
    files = [str(place / "one" / "room.txt"), str(other / "room.txt")]
    with pytest.raises(DataError, match="is of other classes than"):
        visualize.main(["--scene", str(place / "room.ply"), "--pred", *files, "--save", str(tmp_path / "a.html")])
