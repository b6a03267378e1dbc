"""The window itself, with Open3D's widgets; ``python -m pointseg.window.app FILE`` shows a pickled content."""

import ctypes
import os
import pickle
import sys
import time
import traceback
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pointseg.window.content import Content
from pointseg.window.signs import draw_side, draw_tag, side_width

SIZE_PX = (1200, 800)
TEXT_PX = 14
_DRAWN_AT_S = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0)  # after a change
_CLICK_PX = 4  # how far the mouse may move between press and release of a click


class RoomWindow:
    """One room that fills the window; keys change what it is coloured by."""

    def __init__(self, content: Content) -> None:
        import open3d
        from open3d.visualization import gui, rendering

        self.o3d: Any = open3d
        self.gui: Any = gui
        self.rendering: Any = rendering
        self.content, self.camera = content, content.camera
        self.key = next(iter(content.panels))
        self.views_added: list[int] = []
        self.with_backs = False
        self.picked: int | None = None
        self.pressed: tuple[int, int] | None = None  # where the mouse was pressed, while it has not been dragged
        self.mouse: tuple[int, int] = (0, 0)
        self.applied: tuple[Any, ...] = ()  # what the camera was set for
        self.changed, self.num_drawn = 0.0, 0  # when, and how often it was drawn since
        self.window = gui.Application.instance.create_window(f"{content.name} - pointseg", *SIZE_PX)
        self.unit = max(TEXT_PX, round(TEXT_PX * self.window.scaling))
        self.scene = gui.SceneWidget()
        self.scene.scene = rendering.Open3DScene(self.window.renderer)
        self._turn_off_lights()
        self.side, self.tag = gui.ImageWidget(), gui.ImageWidget()
        self.tag.background_color = gui.Color(0, 0, 0, 0)
        self.tag.set_on_mouse(self._on_mouse)  # or it would keep the mouse from the room
        for widget in (self.scene, self.side, self.tag):
            self.window.add_child(widget)
        self.window.set_on_layout(self._lay_out)
        self.window.set_on_key(self._on_key)
        self.window.set_on_tick_event(self._tick)
        self.scene.set_on_mouse(self._on_mouse)
        self.scene.set_on_key(self._on_key)
        self.window.set_focus_widget(self.scene)
        self.sides = [self._build_side(side.triangles) for side in content.room.sides]
        self._choose_view(self.key)

    def _turn_off_lights(self) -> None:
        """Colours come out as they are given: they are shaded already."""
        scene = self.scene.scene
        scene.set_background([1.0, 1.0, 1.0, 1.0])
        scene.view.set_post_processing(False)
        scene.view.set_shadowing(False)
        scene.view.set_ambient_occlusion(False)
        scene.scene.enable_sun_light(False)
        scene.scene.enable_indirect_light(False)

    def _build_side(self, triangles: np.ndarray) -> tuple[np.ndarray, Any]:
        """The corners of a side, rows of the room's, and a mesh of them."""
        o3d = self.o3d
        corner, row = np.unique(triangles, return_inverse=True)
        mesh = o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(self.content.room.corners[corner].astype(np.float64)),
            o3d.utility.Vector3iVector(row.reshape(-1, 3).astype(np.int32)),
        )
        # As in output/offscreen.py: Open3D 0.20 takes missing texture coordinates from uninitialised memory.
        mesh.triangle_uvs = o3d.utility.Vector2dVector(np.zeros((row.size, 2)))
        return corner, mesh

    def _choose_view(self, key: int) -> None:
        """Show the room in the colours of a view. What was shown once stays there, hidden, and is back at once."""
        self.key = key
        if key not in self.views_added:
            room = self.content.room
            colors = self.content.panels[key].colors[room.point_of_corner] * (room.shade[:, None] / 255.0)
            material = self.rendering.MaterialRecord()
            material.shader = "defaultUnlit"
            for index, (corner, mesh) in enumerate(self.sides):
                mesh.vertex_colors = self.o3d.utility.Vector3dVector(colors[corner])
                self.scene.scene.add_geometry(f"{key}/{index}", mesh, material)
            self.views_added.append(key)
        self._show_sides()
        self.applied = ()
        self.window.set_needs_layout()

    def _lay_out(self, _: Any) -> None:
        """Give each widget its place. Called by Open3D when the size or something else has changed."""
        gui, whole = self.gui, self.window.content_rect
        width = side_width(self.unit)
        self.scene.frame = gui.Rect(whole.x, whole.y, max(whole.width - width, 1), whole.height)
        self.side.frame = gui.Rect(whole.get_right() - width, whole.y, width, whole.height)
        self.side.update_image(self._image(draw_side(self.content, self.key, max(whole.height, 1), self.unit)))
        self._place_tag()
        self.applied = ()

    def _place_tag(self) -> None:
        """The names of the point that was clicked, beside it, wherever it is seen now."""
        frame = self.scene.frame
        self.tag.visible = False
        if self.picked is None:
            return
        x, y = self.camera.pixel_of(self.content.room.corners[self.picked], frame.width, frame.height)
        if not (0 <= x < frame.width and 0 <= y < frame.height):
            return
        lines, to_the_left = self.content.describe(self.picked), x > frame.width / 2
        image = draw_tag(lines, self.unit, to_the_left)
        height, width = image.shape[:2]
        left = x + self.unit / 2 - width if to_the_left else x - self.unit / 2
        self.tag.update_image(self._image(image))
        self.tag.frame = self.gui.Rect(round(frame.x + left), round(frame.y + y - height / 2), width, height)
        self.tag.visible = True

    def _tick(self) -> bool:
        """Called by Open3D many times a second; True: draw.

        Filament leaves frames out while it is behind, or makes its shaders. So what has changed is drawn several times,
        less and less often: else an earlier frame, or none, would stay.
        """
        if self._apply_camera():
            self.changed, self.num_drawn = time.monotonic(), 0
        num_due = bisect_right(_DRAWN_AT_S, time.monotonic() - self.changed)
        if num_due == self.num_drawn:
            return False
        self.num_drawn = num_due  # one frame for all that are due: a slow machine must not be kept busy by them
        self.scene.force_redraw()
        return True

    def _apply_camera(self) -> bool:
        """Set Open3D's camera, which has its own mind after each change of size, and hide what faces away from it.

        Returns:
            whether anything has changed since the last time.
        """
        frame = self.scene.frame
        wanted = (self.camera, frame.width, frame.height, self.with_backs)
        camera = self.scene.scene.camera
        if self.applied and self.applied[0] == wanted and (camera.get_projection_matrix() == self.applied[1]).all():
            return False
        view, shown = self.camera.view, self.camera.frame(frame.width, frame.height)
        right, up, _ = view.axes @ self.camera.center
        reach = float(np.linalg.norm(self.content.room.corners - self.camera.center, axis=1).max()) + 1.0
        camera.look_at(self.camera.center, self.camera.center + reach * view.towards_viewer, view.axes[1])
        edges = (shown.left - right, shown.right - right, shown.bottom - up, shown.top - up)
        camera.set_projection(self.rendering.Camera.Projection.Ortho, *edges, 0.1, 2 * reach)
        self._show_sides()
        self._place_tag()
        self.applied = (wanted, camera.get_projection_matrix())
        return True

    def _show_sides(self) -> None:
        """Of the view that is chosen what faces the viewer, and of the others nothing."""
        towards_viewer = self.camera.view.towards_viewer
        for index, side in enumerate(self.content.room.sides):
            is_seen = self.with_backs or side.is_seen(towards_viewer)
            for key in self.views_added:
                self.scene.scene.show_geometry(f"{key}/{index}", is_seen and key == self.key)

    def _on_key(self, event: Any) -> Any:
        result = self.gui.Widget.EventCallbackResult
        if event.type != self.gui.KeyEvent.Type.DOWN:
            return result.IGNORED
        name = chr(event.key).upper() if event.key < 128 else ""
        if name.isdigit() and int(name) in self.content.panels:
            self._choose_view(int(name))
        elif name == "B":
            self.with_backs = not self.with_backs
        elif name == "R":
            self.camera, self.picked = self.content.camera, None
        elif name == "Q" or event.key == self.gui.KeyName.ESCAPE:
            self.window.close()
        else:
            return result.IGNORED
        self.window.post_redraw()
        return result.HANDLED

    def _on_mouse(self, event: Any) -> Any:
        """Turn, move, zoom, pick. Open3D's own ways, which end in views that nobody wanted, are turned off."""
        gui, frame = self.gui, self.scene.frame
        x, y = event.x - frame.x, event.y - frame.y
        kind = gui.MouseEvent.Type
        if event.type == kind.BUTTON_DOWN:
            self.pressed = self.mouse = (x, y)
        elif event.type == kind.BUTTON_UP:
            self._drag(event, x, y)  # the way since the last event, of a fast one the whole way
            if self.pressed is not None:
                self.picked = self.content.room.pick(self.camera, x, y, frame.width, frame.height)
                self.pressed = None
                self.applied = ()
        elif event.type == kind.WHEEL:
            self.camera = self.camera.zoomed(event.wheel_dy, x, y, frame.width, frame.height)
        elif event.type == kind.DRAG:
            self._drag(event, x, y)
        self.window.post_redraw()
        return gui.Widget.EventCallbackResult.CONSUMED

    def _drag(self, event: Any, x: int, y: int) -> None:
        gui, frame = self.gui, self.scene.frame
        if self.pressed is not None and max(abs(x - self.pressed[0]), abs(y - self.pressed[1])) <= _CLICK_PX:
            return
        self.pressed = None
        right, down = x - self.mouse[0], y - self.mouse[1]
        moves = event.is_modifier_down(gui.KeyModifier.SHIFT) or not event.is_button_down(gui.MouseButton.LEFT)
        if moves:
            self.camera = self.camera.moved(right, down, frame.width, frame.height)
        else:
            self.camera = self.camera.turned(right, down)
        self.mouse = (x, y)

    def _image(self, pixels: np.ndarray) -> Any:
        return self.o3d.geometry.Image(np.ascontiguousarray(pixels))


def check_display() -> None:
    """Open3D would take a screen of its own, which nobody sees, and wait there for ever.

    Raises:
        OSError: the X server can't be reached.
    """
    if sys.platform.startswith("linux") and not os.environ.get("WAYLAND_DISPLAY"):
        library = ctypes.CDLL("libX11.so.6")
        library.XOpenDisplay.restype = ctypes.c_void_p
        if library.XOpenDisplay(None) is None:
            raise OSError(f"the display {os.environ.get('DISPLAY', '')} can't be opened")


def main(argv: Sequence[str]) -> NoReturn:
    """The process of the window."""
    with Path(argv[0]).open("rb") as file:
        content = pickle.load(file)
    check_display()
    from open3d.visualization import gui

    status = 0
    try:
        gui.Application.instance.initialize()
        window = RoomWindow(content)  # named, or it is gone before it is shown
        gui.Application.instance.run()
        del window
    except Exception:
        traceback.print_exc()
        status = 1
    # Not sys.exit: taking the renderer down can crash, or never end, and nothing is left to do.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
