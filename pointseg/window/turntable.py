"""From where one looks into the window: in parallel projection, around a point; what is up stays up."""

from dataclasses import dataclass, replace

import numpy as np

from pointseg.output.view import Frame, View, view_from_corner

_RADIANS_PER_PX = np.deg2rad(0.4)
_STEEPEST = np.deg2rad(89.0)
_ZOOM_PER_STEP = 1.15
_SMALLEST_ZOOM, _LARGEST_ZOOM = 0.2, 100.0


@dataclass(frozen=True, eq=False)
class Turntable:
    """A camera that holds a box of the picture plane, whatever the size of the window."""

    azimuth: float
    """Radians from x to y: where the viewer is."""
    elevation: float
    """Radians above the floor."""
    center: np.ndarray
    """(3,) metres: what is in the middle of the window, and what the camera turns around."""
    width_m: float
    """Of the box."""
    height_m: float
    zoom: float = 1.0

    @classmethod
    def from_view(cls, view: View, frame: Frame, xyz: np.ndarray) -> "Turntable":
        """The camera that shows a frame of a view; it turns around the middle of what is there.

        Args:
            view: a direction.
            frame: what is shown.
            xyz: (N, 3) points of the scene, metres.
        """
        towards = view.towards_viewer
        depth = xyz.astype(np.float64) @ towards
        middle = ((frame.left + frame.right) / 2, (frame.bottom + frame.top) / 2, (depth.min() + depth.max()) / 2)
        azimuth, elevation = np.arctan2(towards[1], towards[0]), np.arcsin(np.clip(towards[2], -1, 1))
        width_m, height_m = frame.right - frame.left, frame.top - frame.bottom
        return cls(float(azimuth), float(elevation), np.array(middle) @ view.axes, width_m, height_m)

    @property
    def view(self) -> View:
        """The direction, and the axes of the picture."""
        return view_from_corner(self.azimuth, self.elevation)

    def frame(self, width_px: int, height_px: int) -> Frame:
        """The part of the picture plane that a window of this size shows."""
        right, up, _ = self.view.axes @ self.center
        half = self._metres_per_px(width_px, height_px) / 2
        return Frame(right - half * width_px, right + half * width_px, up - half * height_px, up + half * height_px)

    def turned(self, right_px: float, down_px: float) -> "Turntable":
        """After the mouse was dragged: the room follows it."""
        elevation = np.clip(self.elevation + _RADIANS_PER_PX * down_px, -_STEEPEST, _STEEPEST)
        return replace(self, azimuth=self.azimuth - _RADIANS_PER_PX * right_px, elevation=float(elevation))

    def moved(self, right_px: float, down_px: float, width_px: int, height_px: int) -> "Turntable":
        """After the mouse was dragged to move the room in the picture plane."""
        right, up, _ = self.view.axes
        step = self._metres_per_px(width_px, height_px)
        return replace(self, center=self.center - step * right_px * right + step * down_px * up)

    def zoomed(self, steps: float, x_px: float, y_px: float, width_px: int, height_px: int) -> "Turntable":
        """After the wheel was turned: what is under the pointer stays there."""
        zoom = float(np.clip(self.zoom * _ZOOM_PER_STEP**steps, _SMALLEST_ZOOM, _LARGEST_ZOOM))
        away = np.array([x_px - width_px / 2, height_px / 2 - y_px])
        shift = away * self._metres_per_px(width_px, height_px) * (1 - self.zoom / zoom)
        right, up, _ = self.view.axes
        return replace(self, zoom=zoom, center=self.center + shift[0] * right + shift[1] * up)

    def pixel_of(self, xyz: np.ndarray, width_px: int, height_px: int) -> tuple[float, float]:
        """Column and row at which a point (3,) is seen."""
        frame = self.frame(width_px, height_px)
        right, up, _ = self.view.axes @ xyz
        across = (right - frame.left) / (frame.right - frame.left)
        down = (frame.top - up) / (frame.top - frame.bottom)
        return float(across * width_px), float(down * height_px)

    def _metres_per_px(self, width_px: int, height_px: int) -> float:
        # A window that is folded up has no size.
        return max(self.width_m / max(width_px, 1), self.height_m / max(height_px, 1)) / self.zoom
