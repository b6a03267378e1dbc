"""What an engine has to draw: a surface in a frame, once a panel. Engines differ in nothing else."""

from dataclasses import dataclass, fields

import numpy as np

from pointseg.output.surface import Surface
from pointseg.output.view import Frame


@dataclass(frozen=True)
class Drawing:
    """A surface, drawn in as many colourings as there are panels."""

    surface: Surface
    frame: Frame
    width_px: int
    height_px: int
    colors: np.ndarray
    """(P, N, 3) uint8: the points' colours in each panel."""

    @property
    def num_panels(self) -> int:
        """P."""
        return len(self.colors)

    def as_arrays(self) -> dict[str, np.ndarray]:
        """All of it as named arrays, for a file."""
        arrays = {field.name: getattr(self.surface, field.name) for field in fields(Surface)}
        frame = np.array([getattr(self.frame, field.name) for field in fields(Frame)])
        return {**arrays, "frame": frame, "size_px": np.array([self.width_px, self.height_px]), "colors": self.colors}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Drawing":
        """The inverse of :meth:`as_arrays`."""
        width_px, height_px = arrays["size_px"].tolist()
        return cls(
            surface=Surface(**{field.name: arrays[field.name] for field in fields(Surface)}),
            frame=Frame(*arrays["frame"].tolist()),
            width_px=width_px,
            height_px=height_px,
            colors=arrays["colors"],
        )
