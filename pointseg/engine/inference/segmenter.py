"""A trained network, ready for scenes of any size: every point gets a prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pointseg import __version__
from pointseg.config import Config, DataConfig, config_from_dict
from pointseg.data.class_counts import ClassCounts
from pointseg.data.points import Points, center_points, points_from_scene
from pointseg.data.voxelize import TooWideError, Voxels
from pointseg.engine.inference.coverings import Coverings
from pointseg.engine.inference.forward import LESS_MEMORY, Forward
from pointseg.engine.inference.parts import cut_scene, find_grid_origin
from pointseg.engine.inference.pointwise import Observer, PointArrays, PointOutput, Pointwise, Wanted, decide
from pointseg.engine.inference.views import view_matrices
from pointseg.engine.inference.votes import Votes
from pointseg.engine.network import explain_out_of_memory
from pointseg.errors import DataError, UsageError
from pointseg.losses import adjust_logits
from pointseg.models import Network, NetworkOutput, build_network, count_parameters
from pointseg.processes import choose_device
from pointseg.runs.checkpoint import fingerprint, load_weights, read_checkpoint
from pointseg.runs.directory import RunDirectory
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from pointseg.engine.inference.prediction import Prediction

_LABELS = Wanted()
_NORMAL_TOLERANCE = 0.02
"""Of a normal's length; one of three bytes is off by up to 0.007."""


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
        self.num_parameters = count_parameters(network)
        """As it was trained, before batch norm was folded into convolutions."""
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
        self.run: str | None = None
        """Folder of the run, where the network came from one."""

    def __repr__(self) -> str:
        data, network = self.config.data, self.network
        return (
            f"Segmenter({self.run or 'no run'}: {self.config.model.name}, {self.num_parameters:,} parameters; "
            f"{self.taxonomy.num_classes} classes ({self.taxonomy.name}); takes {', '.join(data.features)} in "
            f"voxels of {data.voxel_size_m} m; {network.feature_channels} last features; on {self.device})"
        )

    def describe_settings(self, tta: str) -> dict[str, Any]:
        """What decides the predictions for a scene, JSON-ready; devices and backends differ in last digits only."""
        data, inference = self.config.data, self.config.inference
        return {
            "pointseg": __version__,
            "checkpoint": self.weights_sha256,
            "taxonomy": self.taxonomy.name if self.taxonomy.is_benchmark else self.taxonomy.fingerprint,
            "features": list(data.features),
            "color_range": list(data.color_range),
            "center": data.center,
            "voxel_size_m": data.voxel_size_m,
            "tta": tta,
            **inference.model_dump(mode="json"),
        }

    def predict(
        self,
        xyz: np.ndarray,
        rgb: np.ndarray | None = None,
        normal: np.ndarray | None = None,
        tta: str = "none",
        segments: np.ndarray | None = None,
    ) -> np.ndarray:
        """Segment a point cloud.

        Args:
            xyz: (N, 3) metres, z up. Coordinates of a map grid are kept in float64 until their offset is taken off.
            rgb: (N, 3) uint8; needed where the network was trained with colours.
            normal: (N, 3) unit vectors; needed where the network was trained with normals.
            tta: views to average over, as in :meth:`infer_scene`.
            segments: (N,) integers: points with the same number get one class; needed where the run votes in segments.

        Returns:
            (N,) int32 class_ids.

        Raises:
            DataError: an array has the wrong shape or dtype, a coordinate is not finite, normals are not of unit
                length, or an array that the network needs is missing.
            UsageError: the run votes in segments, and there are none; or the scene can't be cut into tiles.
        """
        # Scenes of a prepared tree, as in training, need none of it.
        from pointseg.scans.arrays import scene_of_arrays, segments_of_array

        scene = scene_of_arrays(xyz, rgb, normal)
        if "normal" in self.config.data.features:
            _check_unit_length(scene)
        segment = None if segments is None else segments_of_array(segments, scene.num_points)
        return self.taxonomy.class_id_from_label(self.predict_scene(scene, tta, segments=segment))

    def predict_scan(
        self,
        path: str | Path,
        tta: str = "none",
        *,
        probabilities: bool = False,
        features: bool = False,
        unit: str | None = None,
        up: str | None = None,
        fill_color: tuple[int, int, int] | None = None,
    ) -> "Prediction":
        """Segment a scan from its file, or a prepared scene from its folder.

        Args:
            path: of the file, in any format of :func:`pointseg.formats.read_scan_file`; or of the folder.
            tta: views to average over, as in :meth:`infer_scene`.
            probabilities: whether to keep those of all classes; 2 K bytes a point.
            features: whether to keep the last features; 2 D bytes a point.
            unit: of the file's coordinates: m, cm, mm or in; None: metres.
            up: the file's axis that points up: x, y, z, -x, -y or -z; None: the format's, or z.
            fill_color: colour 0..255 of all points of a scan without colours.

        Raises:
            DataError: the file can't be read, or lacks what the network takes.
            UsageError: a library that reads the format is not installed, the unit or axis is not known or given for a
                prepared scene, or the scan can't be cut into tiles.
        """
        from pointseg.engine.inference.prediction import infer_scan
        from pointseg.scans.own_scan import ScanOptions
        from pointseg.scans.scan_input import read_scan_input

        options = ScanOptions(unit, up, fill_color)
        scan = read_scan_input(Path(path), self.taxonomy, "normal" in self.config.data.features, options)
        return infer_scan(self, scan, tta, Wanted(True, probabilities, features))

    def predict_scene(
        self, scene: Scene, tta: str = "none", observer: Observer | None = None, segments: np.ndarray | None = None
    ) -> np.ndarray:
        """(N,) int64 labels of a scene's points, as :meth:`infer_scene`."""
        return self.infer_scene(scene, tta, observer=observer, segments=segments).label.numpy()

    def infer_scene(
        self,
        scene: Scene,
        tta: str = "none",
        wanted: Wanted = _LABELS,
        observer: Observer | None = None,
        arrays: PointArrays | None = None,
        segments: np.ndarray | None = None,
    ) -> PointOutput:
        """What the network says of each of a scene's N points.

        A scene of more than ``inference.max_voxels`` voxels, or in several views of more than four times as many
        points, is predicted in tiles (:mod:`pointseg.data.tiles`): all views of one, then the next. Voxels and inputs
        are those of the whole scene, so that only what lies beyond a tile's margin is not seen.

        Args:
            scene: with the parts that the network was trained with.
            tta: ``none``; ``rot4``: the mean probability over four rotations about z; ``full``: over these, as they
                are and mirrored in x, and each point in turn stands for its voxel, so that none hides behind another.
            wanted: what to return beside the labels.
            observer: is shown each forward pass, with the scene's labels. Each voxel has its label in one of them.
            arrays: what to fill and return; None: arrays in memory.
            segments: (N,) int64, 0 to S - 1: all points of a segment get the class of their largest mean probability,
                and these means as probabilities; features stay each point's own. None: each point for itself.

        Raises:
            DataError: the scene lacks a part that the network takes, or the GPU's memory is too small.
            UsageError: the scene can't be cut into tiles of ``inference.max_voxels``; or the config has
                ``inference.vote: segments``, and there are none.
            ValueError: an observer with test-time augmentation, in which a voxel has no one output; or segments that
                are none, or of other points.
        """
        if observer is not None and tta != "none":
            raise ValueError(f"an observer sees one forward pass a voxel; expected tta none, got {tta}")
        points = self._center(scene)
        views, every_point = view_matrices(tta), tta == "full"
        whole = PointArrays(len(points)) if arrays is None else arrays
        votes = self._begin_votes(scene, segments)
        try:
            for part in cut_scene(points, views, scene.name, self.config, self.network):
                with explain_out_of_memory(f"{scene.name}, {len(part.points):,} points at a time", LESS_MEMORY):
                    if votes is not None:
                        how = (part, views, every_point, scene.name)
                        features = self._pointwise.gather_votes(*how, votes, wanted, observer)
                        if features is not None:
                            whole.put_field("features", part.row, features)
                    elif tta == "none":
                        whole.put(part.row, *self._pointwise.infer_once(part, scene.name, wanted, observer))
                    else:
                        output = self._pointwise.infer_over_views(part, views, every_point, scene.name, wanted)
                        whole.put(part.row, output)
        except TooWideError as error:
            raise DataError(f"{scene.name}: {error}") from None
        if votes is not None:
            whole.put(slice(None), decide(votes.mean(len(views)), wanted), voxel=votes.segment)
        return whole.collect()

    def _begin_votes(self, scene: Scene, segments: np.ndarray | None) -> Votes | None:
        if segments is not None:
            if segments.shape != (scene.num_points,):
                raise ValueError(f"segments are {segments.shape}, the scene has {scene.num_points} points")
            return Votes(torch.from_numpy(segments))
        if self.votes:
            raise UsageError(
                f"{scene.name}: the run votes in segments (inference.vote), and which points are one is not known; "
                'give segments, or load the run with vote="none"'
            )
        return None

    def forward_scene(self, scene: Scene) -> tuple[Voxels, NetworkOutput]:
        """The scene's voxels (mean features, majority label; on the CPU) and the network's output; never in tiles."""
        points = self._center(scene)
        voxels = self._coverings.by_mean(points, find_grid_origin(points.xyz, self.config, self.network))
        return voxels, self._forward(voxels, scene.name)

    def _center(self, scene: Scene) -> Points:
        data = self.config.data
        return center_points(points_from_scene(scene, data.features), center=data.center)

    @property
    def votes(self) -> bool:
        """Whether segments of points are given one label, as the config says."""
        return self.config.inference.vote == "segments"

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
        UsageError: no such run or checkpoint, the checkpoint does not fit, there is no such key or value, or
            ``inference.amp`` is bf16 on a CPU.
    """
    chosen_device = choose_device(device, "device=")
    directory = RunDirectory(run)
    config = directory.read_config()
    if inference:
        tree = config.model_dump()
        tree["inference"] |= inference
        config = config_from_dict(tree, str(run))
    path = Path(checkpoint) if checkpoint is not None else directory.find_checkpoint()
    state = read_checkpoint(path, config)
    if checkpoint is not None:
        _refuse_other_inputs(path, state["config"]["data"], config.data, run)
    counts = ClassCounts.from_state_dict(state["class_counts"]) if "class_counts" in state else None
    network = build_network(config, chosen_device)
    load_weights(network, state["model"], path)
    segmenter = Segmenter(network, config, chosen_device, None if counts is None else counts.adjustment_prior())
    segmenter.weights_sha256 = fingerprint(state)
    segmenter.run = str(run)
    return segmenter


def _refuse_other_inputs(path: Path, trained: Mapping[str, Any], data: DataConfig, run: str | Path) -> None:
    """Raises: UsageError where a checkpoint of another run was trained on other voxels, colours or origins."""
    for key in ("voxel_size_m", "color_range", "center"):
        own = getattr(data, key)
        its = trained.get(key, DataConfig.model_fields[key].default)
        if (tuple(its) if isinstance(its, list) else its) != own:
            raise UsageError(
                f"{path}: was trained with data.{key} {its}, and {run} has {own}; give the run that it is of with --run"
            )


def _check_unit_length(scene: Scene) -> None:
    """Refuse normals that were not normalised: the network would take them for those of something else."""
    if scene.normal is None:
        return
    wrong = np.flatnonzero(np.abs(np.linalg.norm(scene.normal, axis=1) - 1) > _NORMAL_TOLERANCE)
    if len(wrong):
        length = float(np.linalg.norm(scene.normal[wrong[0]]))
        raise DataError(
            f"{scene.name}: {len(wrong):,} of {scene.num_points:,} normals are not of unit length (that of point "
            f"{wrong[0]} has {length:.3g}); divide each by its length, and give (0, 0, 1) where there is none"
        )
