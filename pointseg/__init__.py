"""pointseg: 3D semantic segmentation of indoor scans with a long tail of classes.

>>> import pointseg
>>> segmenter = pointseg.load("runs/demo")
>>> ids = segmenter.predict(xyz, rgb, normal)
>>> prediction = segmenter.predict_scan("room.glb")
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from pointseg.engine.inference import Segmenter
    from pointseg.engine.inference.prediction import Prediction

__all__ = ["Prediction", "Segmenter", "__version__", "load"]

__version__ = "0.1.0"

# Torch's OpenMP threads otherwise wait for the next operation by spinning, for milliseconds, on cores that the sparse
# engine's own threads and data loading have a use for. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load(
    run: "str | Path", checkpoint: "str | Path | None" = None, device: str = "auto", **inference: "Any"
) -> "Segmenter":
    """A trained run as an object that segments point clouds.

    Args:
        run: folder of the run.
        checkpoint: a checkpoint file; None: the run's best, or its last.
        device: ``auto``, ``cpu`` or ``cuda``.
        inference: keys of the config's section ``inference`` that are to differ from the run's: ``max_voxels=200_000``.

    Raises:
        pointseg.errors.UsageError: no such run or checkpoint, the checkpoint does not fit, or no such key or value.
    """
    from pointseg.engine.inference import load_segmenter  # PyTorch takes seconds to import: only when it is needed

    return load_segmenter(run, checkpoint, device, **inference)


def __getattr__(name: str) -> "Any":
    # PyTorch takes seconds to import: only when it is needed.
    if name == "Segmenter":
        from pointseg.engine.inference import Segmenter

        return Segmenter
    if name == "Prediction":
        from pointseg.engine.inference.prediction import Prediction

        return Prediction
    raise AttributeError(f"module 'pointseg' has no attribute {name!r}")
