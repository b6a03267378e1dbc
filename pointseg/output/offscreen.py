"""Drawing with Open3D without a screen, in a process of its own.

Its own process, because a missing or faulty graphics driver ends it without an exception, or never, and
because Open3D writes to the terminal past Python. ``python -m pointseg.output.offscreen FOLDER`` is that
process: it draws ``0.npz``, ``1.npz``, ... in the folder to ``0.npy``, ``1.npy``, ...
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from pointseg.errors import missing_library
from pointseg.output.drawing import Drawing

SYSTEM_PACKAGES = "libusb-1.0-0 libgl1 libx11-6 libgomp1 libvulkan1 mesa-vulkan-drivers"
_REMEDY = f"if packages are missing: apt-get install -y --no-install-recommends {SYSTEM_PACKAGES}"
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_OVERSAMPLING = 2  # in both directions, against jagged edges
_START_TIMEOUT_S = 60.0
_PANEL_TIMEOUT_S = 15.0


class OffscreenError(Exception):
    """Open3D can't draw here; the message says why and what helps."""


def draw_offscreen(drawings: Sequence[Drawing]) -> list[np.ndarray]:
    """Draw every panel of every drawing: (P, H, W, 3) uint8 each.

    Raises:
        OffscreenError: Open3D is not installed, can't be loaded, crashed or did not end in time.
    """
    if importlib.util.find_spec("open3d") is None:
        raise OffscreenError(missing_library("drawing surfaces", "Open3D", "viz"))
    with tempfile.TemporaryDirectory(prefix="pointseg-") as name:
        folder = Path(name)
        for i, drawing in enumerate(drawings):
            np.savez(folder / f"{i}.npz", allow_pickle=False, **drawing.as_arrays())
        command = [sys.executable, "-m", "pointseg.output.offscreen", name]
        timeout_s = _START_TIMEOUT_S + _PANEL_TIMEOUT_S * sum(drawing.num_panels for drawing in drawings)
        try:
            result = subprocess.run(
                command, cwd=_PACKAGE_PARENT, capture_output=True, text=True, errors="replace", timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise OffscreenError(f"Open3D did not end within {timeout_s:.0f} s; {_REMEDY}") from None
        if result.returncode != 0:
            raise OffscreenError(f"Open3D can't draw here ({describe_end(result)}); {_REMEDY}")
        return [np.load(folder / f"{i}.npy") for i in range(len(drawings))]


def main(argv: Sequence[str]) -> NoReturn:
    """The drawing process."""
    folder = Path(argv[0])
    for i in range(len(list(folder.glob("*.npz")))):
        with np.load(folder / f"{i}.npz") as arrays:
            drawing = Drawing.from_arrays(dict(arrays))
        np.save(folder / f"{i}.npy", _draw(drawing))
    # Not sys.exit: taking the renderer down can crash, and nothing is left to do.
    sys.stderr.flush()
    os._exit(0)


def _draw(drawing: Drawing) -> np.ndarray:
    """(P, H, W, 3) uint8."""
    import open3d as o3d
    from open3d.visualization import rendering

    surface, frame = drawing.surface, drawing.frame
    renderer = rendering.OffscreenRenderer(_OVERSAMPLING * drawing.width_px, _OVERSAMPLING * drawing.height_px)
    scene = renderer.scene
    scene.set_background([1.0, 1.0, 1.0, 1.0])
    # The surface's colours are shaded already and have to come out as they are given, so that the legend is right.
    # What is turned off here is also what the software driver takes most of its time for.
    scene.view.set_post_processing(False)
    scene.view.set_shadowing(False)
    scene.view.set_ambient_occlusion(False)
    scene.view.set_antialiasing(False, False)
    scene.scene.enable_sun_light(False)
    scene.scene.enable_indirect_light(False)
    material = rendering.MaterialRecord()
    material.shader = "defaultUnlit"
    nearest, farthest = float(surface.projected[:, 2].max()), float(surface.projected[:, 2].min())
    depth = nearest - farthest + 2.0
    scene.camera.look_at([0, 0, farthest], [0, 0, nearest + 1.0], [0, 1, 0])
    scene.camera.set_projection(
        rendering.Camera.Projection.Ortho, frame.left, frame.right, frame.bottom, frame.top, 0.5, depth
    )
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(surface.projected.astype(np.float64)), o3d.utility.Vector3iVector(surface.triangles)
    )
    # Texture coordinates, though there is no texture: Open3D 0.20 else takes what it finds in memory for them, and
    # the software driver then filters for ever (https://github.com/isl-org/Open3D/issues/7565).
    mesh.triangle_uvs = o3d.utility.Vector2dVector(np.zeros((3 * len(surface.triangles), 2)))
    images = []
    for colors in drawing.colors:
        mesh.vertex_colors = o3d.utility.Vector3dVector(surface.corner_colors(colors) / 255.0)
        scene.clear_geometry()
        scene.add_geometry("surface", mesh, material)
        images.append(_shrink(np.asarray(renderer.render_to_image())))
    return np.stack(images)


def _shrink(image: np.ndarray) -> np.ndarray:
    """Mean of each square of samples: (H, W, 3) uint8."""
    height, width = image.shape[0] // _OVERSAMPLING, image.shape[1] // _OVERSAMPLING
    squares = image[..., :3].reshape(height, _OVERSAMPLING, width, _OVERSAMPLING, 3)
    return np.rint(squares.mean(axis=(1, 3))).astype(np.uint8)


def describe_end(result: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed, in a few words: its last line, or how it ended."""
    if result.returncode < 0:
        return f"signal {-result.returncode}"
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {result.returncode}"


if __name__ == "__main__":
    main(sys.argv[1:])
