"""The window on a screen without a monitor: keys, mouse and pixels, as a user has them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pointseg.formats import Mesh, write_mesh
from pointseg.output.submission import write_prediction
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy
from pointseg.window.app import SIZE_PX, TEXT_PX
from pointseg.window.content import Content, make_content
from pointseg.window.signs import draw_tag, side_width

ROOT = Path(__file__).parents[2]
SCREEN = (1300, 900)
PATIENCE_S = 120.0
pytestmark = [pytest.mark.needs("screen"), pytest.mark.slow]


@dataclass
class Screen:
    """An X server that nobody looks at, and its one window."""

    display: str
    memory: Path
    origin: tuple[int, int] = (0, 0)

    def shot(self) -> np.ndarray:
        """(H, W, 3) uint8 of the whole screen, from the XWD file that Xvfb keeps."""
        data = self.memory.read_bytes()
        header = np.frombuffer(data[:100], dtype=">u4")
        header_size, width, height, row_bytes, num_colors = (int(header[i]) for i in (0, 4, 5, 12, 19))
        pixels = np.frombuffer(data, np.uint8, height * row_bytes, header_size + 12 * num_colors)
        return pixels.reshape(height, -1, 4)[:, :width, 2::-1].copy()

    def window(self) -> np.ndarray:
        """The window without its side, (H, W, 3)."""
        left, top = self.origin
        return self.shot()[top : top + SIZE_PX[1], left : left + SIZE_PX[0] - side_width(TEXT_PX)]

    def side(self) -> np.ndarray:
        left, top = self.origin
        return self.shot()[top : top + SIZE_PX[1], left + SIZE_PX[0] - side_width(TEXT_PX) : left + SIZE_PX[0]]

    def do(self, *arguments: object) -> None:
        """A command of xdotool; positions are those of the window."""
        words = list(map(str, arguments))
        if words[0] == "mousemove":
            words[1:3] = [str(int(float(words[1])) + self.origin[0]), str(int(float(words[2])) + self.origin[1])]
        environment = {**os.environ, "DISPLAY": self.display}
        subprocess.run(["xdotool", *words], env=environment, check=True, timeout=30)

    def wait(self, what: str, condition: Callable[[], bool], program: subprocess.Popen) -> None:
        """Until the screen shows it; the machine may be slow."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert program.poll() is None, f"ended before {what}: {program.communicate()}"
            if time.monotonic() > end:
                from PIL import Image

                path = self.memory.with_name("screen.png")
                Image.fromarray(self.shot()).save(path)
                pytest.fail(f"the window does not show {what}; the screen is in {path}")
            time.sleep(0.2)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    reading, writing = os.pipe()
    size = f"{SCREEN[0]}x{SCREEN[1]}x24"
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", size, "-fbdir", str(tmp_path), "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            display = pipe.readline().strip()
        assert display, "Xvfb did not start"
        yield Screen(f":{display}", tmp_path / "Xvfb_screen0")
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
def content(room, taxonomy: Taxonomy) -> Content:
    """As the command will make it: the top of the box is a chair, and taken for a bed."""
    return make_content(room.scene, room.faces, _prediction(room), taxonomy)


def _prediction(room) -> np.ndarray:
    prediction = room.scene.label.copy()
    prediction[room.part == "top"] = 10
    return prediction


@pytest.fixture
def program(room, taxonomy: Taxonomy, screen: Screen, tmp_path: Path) -> Iterator[subprocess.Popen]:
    scene: Scene = room.scene
    mesh, truth, prediction = tmp_path / "scene0011_00.ply", tmp_path / "truth.txt", tmp_path / "prediction.txt"
    write_mesh(mesh, Mesh(scene.xyz, room.faces, scene.rgb))
    assert scene.label is not None
    write_prediction(truth, taxonomy.class_ids[scene.label])
    write_prediction(prediction, taxonomy.class_ids[_prediction(room)])
    command = [sys.executable, "-m", "pointseg.visualize", "--scene", mesh, "--gt", truth, "--pred", prediction]
    environment = {**os.environ, "DISPLAY": screen.display}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)


def _share(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    """Of the pixels that are not white: those that have a colour in some light, 0.72 to 1."""
    flat = pixels.reshape(-1, 3).astype(float)
    flat = flat[(flat < 250).any(axis=1)][::7]
    shades = np.array(color) * np.linspace(0.72, 1, 60)[:, None]
    return float((np.abs(flat[:, None] - shades).max(axis=2).min(axis=1) < 5).mean()) if len(flat) else 0.0


def _find_window(shot: np.ndarray) -> tuple[int, int] | None:
    """The window's upper left corner on the black screen; None: it is not all there."""
    lit = shot.max(axis=2) > 0
    rows, columns = np.flatnonzero(lit.mean(axis=1) > 0.5), np.flatnonzero(lit.mean(axis=0) > 0.5)
    if len(rows) < SIZE_PX[1] - 2 or len(columns) < SIZE_PX[0] - 2:
        return None
    return int(columns[0]), int(rows[0])


def test_a_room_is_looked_at_from_all_sides(
    screen: Screen, program: subprocess.Popen, content: Content, taxonomy: Taxonomy
) -> None:
    chair, floor, bed = (tuple(taxonomy.colors[k].tolist()) for k in (1, 2, 10))
    wrong = content.panels[4].key[1].color

    screen.wait("a window", lambda: _find_window(screen.shot()) is not None, program)
    screen.origin = _find_window(screen.shot()) or (0, 0)
    screen.wait("the room", lambda: (screen.window() < 250).any(axis=2).mean() > 0.2, program)

    # It fills the window, and nothing is cut off.
    drawn = (screen.window() < 250).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    height, width = drawn.shape
    assert max(np.ptp(rows) / height, np.ptp(columns) / width) > 0.9
    assert rows[0] > 0
    assert columns[0] > 0
    assert rows[-1] < height - 1
    assert columns[-1] < width - 1

    # The keys change what it is coloured by, and the legend with it.
    screen.do("mousemove", width // 2, height // 2)
    screen.do("key", "2")
    screen.wait("the truth", lambda: _share(screen.window(), floor) > 0.1, program)
    assert _share(screen.window(), chair) > 0.03 > _share(screen.window(), bed)
    assert (screen.side() == chair).all(axis=2).sum() > 50
    truth = screen.shot()
    screen.do("key", "3")
    screen.wait("the prediction", lambda: _share(screen.window(), bed) > 0.03, program)
    assert _share(screen.window(), chair) < 0.02
    share_of_bed = _share(screen.window(), bed)
    screen.do("key", "4")
    screen.wait("the errors", lambda: _share(screen.window(), wrong) > 0.03, program)
    assert _share(screen.window(), wrong) == pytest.approx(share_of_bed, abs=0.01)
    assert (screen.side() == wrong).all(axis=2).sum() > 50
    screen.do("key", "2")
    screen.wait("the truth again", lambda: bool((screen.shot() == truth).all()), program)

    # A click says what is there.
    top = content.room.corners[content.room.point_of_corner == _top_point(content)][0]
    x, y = content.camera.pixel_of(top, width, height)
    screen.do("mousemove", x, y)
    screen.do("click", "1")
    lines = [f"Ground truth: {taxonomy.class_names[1]}", f"Prediction: {taxonomy.class_names[10]}"]
    screen.wait("the names", lambda: _shows(screen.window(), draw_tag(lines, TEXT_PX, x > width / 2), x, y), program)

    # Dragged, it turns; R takes it back.
    screen.do("mousemove", width // 4, height // 2)
    screen.do("mousedown", "1")
    for step in range(1, 9):
        screen.do("mousemove", width // 4 + 40 * step, height // 2)
    screen.do("mouseup", "1")
    screen.wait("the room turned", lambda: (screen.window() != _scene_part(truth, screen)).mean() > 0.2, program)
    screen.do("key", "r")
    screen.wait("the room as at first", lambda: bool((screen.shot() == truth).all()), program)

    screen.do("key", "q")
    assert program.communicate(timeout=PATIENCE_S) == ("", "")
    assert program.returncode == 0


def _top_point(content: Content) -> int:
    """The point in the middle of the box's top."""
    label = content.panels[2].label
    assert label is not None
    points = np.flatnonzero(label == 1)
    xyz = content.room.corners[points]
    return int(points[np.linalg.norm(xyz - xyz.mean(axis=0), axis=1).argmin()])


def _shows(window: np.ndarray, tag: np.ndarray, x: float, y: float) -> bool:
    """Whether the tag's box is in the window, with its text, at most three pixels from its place beside (x, y)."""
    height, width = tag.shape[:2]
    left = round(x - TEXT_PX / 2) if (tag[height // 2, :TEXT_PX, 3] > 0).any() and not tag[0, 0, 3] else None
    left = round(x + TEXT_PX / 2 - width) if left is None else left
    opaque = tag[..., 3] == 255
    for dy in range(-9, 10):
        for dx in range(-9, 10):
            top = round(y - height / 2) + dy
            there = window[top : top + height, left + dx : left + dx + width]
            if there.shape[:2] == (height, width) and np.abs(there[opaque].astype(int) - tag[opaque, :3]).mean() < 4:
                return True
    return False


def _scene_part(shot: np.ndarray, screen: Screen) -> np.ndarray:
    left, top = screen.origin
    return shot[top : top + SIZE_PX[1], left : left + SIZE_PX[0] - side_width(TEXT_PX)]


def test_a_screen_that_is_gone_is_one_line(room, taxonomy: Taxonomy, tmp_path: Path) -> None:
    path = tmp_path / "room.ply"
    write_mesh(path, Mesh(room.scene.xyz, room.faces, room.scene.rgb))
    environment = {**os.environ, "DISPLAY": ":4711"}
    environment.pop("WAYLAND_DISPLAY", None)
    command = [sys.executable, "-m", "pointseg.visualize", "--scene", str(path)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "a window can't be drawn here" in line
    assert "--save PICTURE.png" in line
