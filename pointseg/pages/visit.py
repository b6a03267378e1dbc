"""One scene and its prediction files, as somebody looks at them: in a file, or through a server."""

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pointseg.atomic import write_text
from pointseg.errors import UsageError
from pointseg.output.plot_style import short_names
from pointseg.output.prediction_files import read_confidence
from pointseg.output.submission import read_predicted_labels
from pointseg.pages.libraries import plotly_script
from pointseg.pages.scene_view import ViewedPrediction
from pointseg.pages.server import LOOPBACK, SCRIPT_PATH, open_server, serve
from pointseg.pages.viewer import render_choice, render_viewer
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy

_MAX_COMPARED = 2
_LARGEST_PORT = 65_535
_KEPT_PAGES = 8


class Visit:
    """What is looked at.

    Args:
        scene: its ``label`` is the ground truth, where there is one.
        taxonomy: the classes.
        has_place: (N,) bool: which points of the scan are points of the scene; predictions are of all N.
        files: of predictions.
        check_classes: raises a ``PointsegError`` where a file is of other classes.
    """

    def __init__(
        self,
        scene: Scene,
        taxonomy: Taxonomy,
        has_place: np.ndarray,
        files: Sequence[Path],
        check_classes: Callable[[Path], None],
    ) -> None:
        self._scene, self._taxonomy, self._has_place = scene, taxonomy, has_place
        self.files = files
        self._check_classes = check_classes
        self._render = lru_cache(_KEPT_PAGES)(self._render_page)

    def save(self, path: Path) -> int:
        """Write the page of the scene, with one prediction or two, and print its path.

        Raises:
            PointsegError: a prediction can't be read, or there are more.
            OSError: the page can't be written.
        """
        if len(self.files) > _MAX_COMPARED:
            raise UsageError(f"--pred: {len(self.files)} files; a page has one or two, --serve lets one choose")
        predictions = self._read(range(len(self.files)))
        write_text(path, render_viewer(self._scene, predictions, self._taxonomy, plotly_script()))
        print(path)
        return 0

    def serve(self, host: str, port: int) -> int:
        """Print the address and answer until Ctrl-C.

        Raises:
            UsageError: the address can't be listened at, or there is no such port.
        """
        if not 0 <= port <= _LARGEST_PORT:
            raise UsageError(f"--serve {port}: is no port; give one from 1024 to {_LARGEST_PORT}, or none")
        self.make_page({})  # what is wrong with the first file is said here, and not in the browser
        server = open_server(self.make_page, host, port)
        port = server.server_address[1]
        print(f"http://{host}:{port}/", flush=True)
        if host == LOOPBACK:
            print(f"from another machine: ssh -L {port}:{host}:{port} {socket.gethostname()}, then this address there")
        print("Ctrl-C ends it", flush=True)
        serve(server)
        return 0

    def make_page(self, fields: Mapping[str, str]) -> str:
        """The page for what was chosen in the form; before that, for the first prediction.

        Raises:
            PointsegError: a prediction can't be read, or there is no such one.
        """
        if "prediction" not in fields and "other" not in fields:
            chosen = [0] if self.files and not fields else []
        else:
            chosen = [self._parse(fields[name]) for name in ("prediction", "other") if fields.get(name)]
        return self._render(tuple((index, _when_written(self.files[index])) for index in dict.fromkeys(chosen)))

    def _parse(self, text: str) -> int:
        # Python makes no number of some thousand digits.
        if text not in map(str, range(len(self.files))):
            raise UsageError(f"{text[:20]!r} is none of the {len(self.files)} predictions")
        return int(text)

    def _render_page(self, chosen: tuple[tuple[int, int | None], ...]) -> str:
        """The page of the files with these indices, as they were when they were last written."""
        indices = [index for index, _ in chosen]
        choice = render_choice([str(path) for path in self.files], indices) if self.files else ""
        script = f'<script src="{SCRIPT_PATH}"></script>'
        return render_viewer(self._scene, self._read(indices), self._taxonomy, script, choice)

    def _read(self, indices: Sequence[int]) -> list[ViewedPrediction]:
        names = self._names(indices)
        return [self._read_one(self.files[index], name) for index, name in zip(indices, names, strict=True)]

    def _names(self, indices: Sequence[int]) -> list[str]:
        """Short ones; a single prediction needs none."""
        return [""] if len(indices) == 1 else short_names([str(self.files[index].with_suffix("")) for index in indices])

    def _read_one(self, path: Path, name: str) -> ViewedPrediction:
        self._check_classes(path)
        label = read_predicted_labels(path, len(self._has_place), self._taxonomy)
        confidence = read_confidence(path, self._taxonomy.class_id_from_label(label))
        return ViewedPrediction(
            name, label[self._has_place], None if confidence is None else confidence[self._has_place]
        )


def _when_written(path: Path) -> int | None:
    """Nanoseconds; None where the file can't be looked at, which whoever reads it will say."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
