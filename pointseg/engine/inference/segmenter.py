"""A trained network, ready for scenes of any size: every point gets a prediction."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointseg import __version__
from pointseg.config import Config, config_from_dict
from pointseg.data.class_counts import ClassCounts
from pointseg.data.points import Points, center_points, points_from_scene
from pointseg.data.voxelize import Voxels
from pointseg.engine.checkpoint import fingerprint, load_weights, read_checkpoint
from pointseg.engine.distributed import choose_device
from pointseg.engine.inference.coverings import Coverings
from pointseg.engine.inference.forward import LESS_MEMORY, Forward
from pointseg.engine.inference.parts import cut_scene, find_grid_origin
from pointseg.engine.inference.pointwise import Observer, PointOutput, Pointwise, Wanted
from pointseg.engine.inference.views import view_matrices
from pointseg.engine.network import explain_out_of_memory
from pointseg.engine.run_directory import RunDirectory
from pointseg.errors import UsageError
from pointseg.losses import adjust_logits
from pointseg.models import Network, NetworkOutput, build_network
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy, load_taxonomy

_LABELS = Wanted()


class Segmenter:
    """A network with what it needs to read scenes: features, voxel size and classes of its run."""

    def __init__(
        self,
        network: Network,
        config: Config,
        device: torch.device,
        log_prior: torch.Tensor | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        """A network on ``device``.

        Args:
            network: in any mode; it predicts as it is now, itself or a copy that does the same faster.
            config: of its run.
            device: where the network is.
            log_prior: (K,) ``ClassCounts.adjustment_prior``, for post-hoc logit adjustment.
            taxonomy: the classes; None reads those of the config.

        Raises:
            UsageError: the config asks for logit adjustment and there is no prior.
        """
        self.config = config
        self.device = device
        self._forward = Forward(network, config, device)
        self._coverings = Coverings(config.data, network.coarsest_voxel)
        self._pointwise = Pointwise(self._forward, self._coverings, self.adjust)
        self.logit_adjustment = config.inference.logit_adjustment
        if self.logit_adjustment and log_prior is None:
            raise UsageError("inference.logit_adjustment: the checkpoint knows no class counts; set it to 0")
        self.log_prior = None if log_prior is None else log_prior.to(device)
        self.taxonomy = load_taxonomy(config.taxonomy) if taxonomy is None else taxonomy
        self.weights_sha256: str | None = None
        """Of the checkpoint's content, where the network came from one."""

    def describe_settings(self, tta: str) -> dict[str, Any]:
        """What decides the predictions for a scene, JSON-ready; devices and backends differ in last digits only."""
        data, inference = self.config.data, self.config.inference
        return {
            "pointseg": __version__,
            "checkpoint": self.weights_sha256,
            "taxonomy": self.taxonomy.name if self.taxonomy.is_benchmark else self.taxonomy.fingerprint,
            "features": list(data.features),
            "center": data.center,
            "voxel_size_m": data.voxel_size_m,
            "tta": tta,
            **inference.model_dump(mode="json"),
        }

    def predict(self, xyz: np.ndarray, rgb: np.ndarray | None = None, normal: np.ndarray | None = None) -> np.ndarray:
        """Segment a point cloud.

        Args:
            xyz: (N, 3) metres, z up. Coordinates of a map grid are kept in float64 until their offset is taken off.
            rgb: (N, 3) uint8; needed where the network was trained with colours.
            normal: (N, 3) unit vectors; needed where the network was trained with normals.

        Returns:
            (N,) int32 class_ids.

        Raises:
            DataError: an array has the wrong shape or dtype, a coordinate is not finite, or an array that the
                network needs is missing.
        """
        from pointseg.scans.frame import near_origin  # scenes of a prepared tree, as in training, lie there already

        scene = Scene(
            name="points",
            xyz=near_origin(xyz),
            rgb=None if rgb is None else np.asarray(rgb),
            normal=None if normal is None else np.asarray(normal, dtype=np.float32),
        )
        return self.taxonomy.class_id_from_label(self.predict_scene(scene))

    def predict_scene(self, scene: Scene, tta: str = "none", observer: Observer | None = None) -> np.ndarray:
        """(N,) int64 labels of a scene's points, as :meth:`infer_scene`."""
        return self.infer_scene(scene, tta, observer=observer).label.numpy()

    def infer_scene(
        self, scene: Scene, tta: str = "none", wanted: Wanted = _LABELS, observer: Observer | None = None
    ) -> PointOutput:
        """What the network says of each of a scene's N points.

        A scene of more than ``inference.max_voxels`` voxels, or in several views of more than four times as many
        points, is predicted in tiles (:mod:`pointseg.data.tiles`): all views of one, then the next. Voxels and inputs
        are those of the whole scene, so that only what lies beyond a tile's margin is not seen.

        Args:
            scene: with the parts that the network was trained with.
            tta: ``none``; ``rot4``: the mean probability over four rotations about z; ``full``: these times
                two flips, and each point in turn stands for its voxel, so that none hides behind another.
            wanted: what to return beside the labels.
            observer: is shown each forward pass, with the scene's labels. Each voxel has its label in one of them.

        Raises:
            DataError: the scene lacks a part that the network takes, or the GPU's memory is too small.
            UsageError: the scene can't be cut into tiles of ``inference.max_voxels``.
            ValueError: an observer with test-time augmentation, in which a voxel has no one output.
        """
        if observer is not None and tta != "none":
            raise ValueError(f"an observer sees one forward pass a voxel; expected tta none, got {tta}")
        points = self._center(scene)
        views = view_matrices(tta)
        whole: dict[str, torch.Tensor] = {}
        for part in cut_scene(points, views, scene.name, self.config, self.network):
            with explain_out_of_memory(f"{scene.name}, {len(part.points):,} points at a time", LESS_MEMORY):
                if tta == "none":
                    output = self._pointwise.infer_once(part, scene.name, wanted, observer)
                else:
                    output = self._pointwise.infer_over_views(part, views, tta == "full", scene.name, wanted)
            for key, value in vars(output).items():
                if value is not None:
                    whole.setdefault(key, value.new_empty(len(points), *value.shape[1:]))[part.row] = value
        return PointOutput(**whole)

    def forward_scene(self, scene: Scene) -> tuple[Voxels, NetworkOutput]:
        """The scene's voxels (mean features, majority label; on the CPU) and the network's output; never in tiles."""
        points = self._center(scene)
        voxels = self._coverings.by_mean(points, find_grid_origin(points.xyz, self.config, self.network))
        return voxels, self._forward(voxels, scene.name)

    def _center(self, scene: Scene) -> Points:
        data = self.config.data
        return center_points(points_from_scene(scene, data.features), center=data.center)

    @property
    def network(self) -> Network:
        """The network that predicts, in evaluation mode."""
        return self._forward.network

    def adjust(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits (M, K) that decide: those of the network, or adjusted for the classes' frequency."""
        if not self.logit_adjustment:
            return logits
        assert self.log_prior is not None, "the constructor said so"
        return adjust_logits(logits, self.log_prior, self.logit_adjustment)


def load_segmenter(
    run: str | Path, checkpoint: str | Path | None = None, device: str = "auto", **inference: Any
) -> Segmenter:
    """Load a trained run.

    Args:
        run: folder of the run.
        checkpoint: a checkpoint file; None: the run's best, or its last.
        device: ``auto``, ``cpu`` or ``cuda``.
        inference: keys of the config's section ``inference`` that are to differ from the run's:
            ``logit_adjustment=1.0``, ``max_voxels=None``.

    Raises:
        UsageError: no such run or checkpoint, the checkpoint does not fit, or there is no such key or value.
    """
    directory = RunDirectory(run)
    config = directory.read_config()
    if inference:
        tree = config.model_dump()
        tree["inference"] |= inference
        config = config_from_dict(tree, str(run))
    path = Path(checkpoint) if checkpoint is not None else directory.find_checkpoint()
    state = read_checkpoint(path, config)
    chosen_device = choose_device(device)
    counts = ClassCounts.from_state_dict(state["class_counts"]) if "class_counts" in state else None
    network = build_network(config, chosen_device)
    load_weights(network, state["model"], path)
    segmenter = Segmenter(network, config, chosen_device, None if counts is None else counts.adjustment_prior())
    segmenter.weights_sha256 = fingerprint(state)
    return segmenter
