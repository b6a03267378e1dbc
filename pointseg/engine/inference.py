"""A trained network, ready for scenes of any size: every point gets a prediction."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointseg import __version__
from pointseg.config import Config, config_from_dict
from pointseg.data.augment import rotation_about, transform
from pointseg.data.batch import collate
from pointseg.data.class_counts import ClassCounts
from pointseg.data.points import Points, center_points, points_from_scene
from pointseg.data.voxelize import Voxels, build_grid, origin_despite_strays, stack_features, voxelize_by_mean
from pointseg.engine.checkpoint import fingerprint, load_weights, read_checkpoint
from pointseg.engine.distributed import choose_device
from pointseg.engine.network import autocast, build_network, explain_out_of_memory, run_network
from pointseg.engine.run_directory import RunDirectory
from pointseg.errors import UsageError
from pointseg.losses import adjust_logits
from pointseg.models.folding import fold_batch_norm
from pointseg.models.unet import SparseUNet, UNetOutput
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy, load_taxonomy

TTA = ("none", "rot4", "full")
Observer = Callable[[Voxels, UNetOutput], None]
"""Is shown each forward pass: the voxels, on the CPU, and what the network says of them."""
_LESS_MEMORY = (
    "lower inference.max_voxels (--max-voxels), use --device cpu, or inference.amp: fp16 in the run's config.yaml"
)
_MARGIN = 2
"""Context around the core of a tile, in voxels of the network's coarsest level: at 2 cm and four stages, 64 cm."""
_POINTS_PER_VOXEL = 4
"""Probabilities of so many points may be kept for each voxel that is in memory at a time."""
_POINTS_AT_ONCE = 65_536


@dataclass(frozen=True)
class ScenePart:
    """What goes through the network at a time: a scene, or a tile of it with the context around its core."""

    points: Points
    """n points, centred as the scene. The margin of a tile has no labels: its voxels count in another tile."""
    is_core: torch.Tensor
    """(n,) bool: the points that are predicted here."""
    row: torch.Tensor | slice
    """The rows of those points in the scene."""
    grid_origins: Sequence[torch.Tensor | None]
    """For each view (3,) where the scene's grid begins in it; None: at the smallest coordinates of the part."""


class Segmenter:
    """A network with what it needs to read scenes: features, voxel size and classes of its run."""

    def __init__(
        self, network: SparseUNet, config: Config, device: torch.device, log_prior: torch.Tensor | None = None
    ) -> None:
        """A network on ``device``.

        Args:
            network: in any mode; it is put in evaluation mode. Of our own engine's a copy predicts, as it is now,
                with batch norm folded into the convolutions.
            config: of its run.
            device: where the network is.
            log_prior: (K,) ``ClassCounts.adjustment_prior``, for post-hoc logit adjustment.

        Raises:
            UsageError: the config asks for logit adjustment and there is no prior.
        """
        self.network = fold_batch_norm(network) if network.backend_name == "torch" else network
        self.config = config
        self.device = device
        self.logit_adjustment = config.inference.logit_adjustment
        if self.logit_adjustment and log_prior is None:
            raise UsageError("inference.logit_adjustment: the checkpoint knows no class counts; set it to 0")
        self.log_prior = None if log_prior is None else log_prior.to(device)
        self.taxonomy: Taxonomy = load_taxonomy(config.taxonomy)
        self.weights_sha256: str | None = None
        """Of the checkpoint's content, where the network came from one."""

    def describe_settings(self, tta: str) -> dict[str, Any]:
        """What decides the predictions for a scene, JSON-ready; devices and backends differ in last digits only."""
        data, inference = self.config.data, self.config.inference
        return {
            "pointseg": __version__,
            "checkpoint": self.weights_sha256,
            "taxonomy": self.taxonomy.name,
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
            (N,) int32 scannet_ids.

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
        return self.taxonomy.scannet_id_from_label(self.predict_scene(scene))

    def predict_scene(self, scene: Scene, tta: str = "none", observer: Observer | None = None) -> np.ndarray:
        """(N,) int64 labels of a scene's points; every point is predicted.

        A scene of more than ``inference.max_voxels`` voxels, or in several views of more than four times as many
        points, is predicted in tiles (:mod:`pointseg.data.tiles`): all views of one, then the next. Voxels and inputs
        are those of the whole scene, so that only what lies beyond a tile's margin is not seen.

        Args:
            scene: with the parts that the network was trained with.
            tta: ``none``; ``rot4``: the mean probability over four rotations about z; ``full``: these times
                two flips, and each point in turn stands for its voxel, so that none hides behind another.
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
        label = torch.empty(len(points), dtype=torch.int64)
        for part in self._parts(points, views, scene.name):
            with explain_out_of_memory(f"{scene.name}, {len(part.points):,} points at a time", _LESS_MEMORY):
                if tta == "none":
                    label[part.row] = self._predict_once(part, scene.name, observer)
                else:
                    label[part.row] = self._predict_views(part, views, scene.name, every_point=tta == "full")
        return label.numpy()

    def forward_scene(self, scene: Scene) -> tuple[Voxels, UNetOutput]:
        """The scene's voxels (mean features, majority label; on the CPU) and the network's output; never in tiles."""
        points = self._center(scene)
        voxels = self._voxelize(points, self._origin(points.xyz))
        return voxels, self._forward(voxels, scene.name)

    def _center(self, scene: Scene) -> Points:
        data = self.config.data
        return center_points(points_from_scene(scene, data.features), center=data.center)

    def _origin(self, xyz: torch.Tensor) -> torch.Tensor | None:
        """Where the grid of a scene in a view begins, unmoved by strays; None: at its lowest corner."""
        if self.config.data.center == "extremes":
            return None
        return origin_despite_strays(xyz, self.config.data.voxel_size_m, 2**self.network.num_stages)

    def _parts(self, points: Points, views: list[torch.Tensor], name: str) -> Iterator[ScenePart]:
        """The scene, or its tiles one at a time; each point is in the core of one of them."""
        max_voxels = self.config.inference.max_voxels
        if max_voxels is None or len(points) <= max_voxels:
            is_core = torch.ones(len(points), dtype=torch.bool)
            yield ScenePart(points, is_core, slice(None), [self._origin(points.xyz @ matrix.T) for matrix in views])
            return
        from pointseg.data.tiles import TileLimits, cut_tiles  # most scenes, and training, need none

        limits = TileLimits(max_voxels, _MARGIN, _POINTS_PER_VOXEL if len(views) > 1 else None)
        step = 2**self.network.num_stages
        turned = [points.xyz @ matrix.T for matrix in views]
        strays = [self._origin(xyz) for xyz in turned]
        origins = [xyz.amin(dim=0) if o is None else o for xyz, o in zip(turned, strays, strict=True)]
        for tile in cut_tiles(points.xyz, self.config.data.voxel_size_m, name, step=step, limits=limits):
            part = points.select(tile.row)
            label = part.label.where(tile.is_core, IGNORE)
            yield ScenePart(replace(part, label=label), tile.is_core, tile.row[tile.is_core], origins)

    def _predict_once(self, part: ScenePart, name: str, observer: Observer | None) -> torch.Tensor:
        """(c,) int64: labels of the core's points from the mean of each voxel's points."""
        voxels = self._voxelize(part.points, part.grid_origins[0])
        output = self._forward(voxels, name)
        if observer is not None:
            observer(voxels, output)
        label = self.adjust(output.logits).argmax(dim=1)
        return label[voxels.voxel_of_point[part.is_core].to(self.device)].cpu()

    def _predict_views(self, part: ScenePart, views: list[torch.Tensor], name: str, every_point: bool) -> torch.Tensor:
        """(c,) int64: labels of the core's points from the sum of their probabilities over the views.

        One view is in memory at a time, and of it one covering; only the sum is kept.
        """
        row = part.is_core.cumsum(0) - 1
        total = torch.zeros(int(row[-1]) + 1, self.taxonomy.num_classes, device=self.device)
        for matrix, origin in zip(views, part.grid_origins, strict=True):
            for voxels, covered in self._coverings(transform(part.points, matrix), every_point, origin):
                of_core = covered[part.is_core[covered]]
                if len(of_core):
                    self._add_probability(total, row[of_core], voxels, voxels.voxel_of_point[of_core], name)
        return total.argmax(dim=1).cpu()

    def _add_probability(
        self, total: torch.Tensor, row: torch.Tensor, voxels: Voxels, voxel_of_row: torch.Tensor, name: str
    ) -> None:
        """Add the network's probabilities of voxels (M, K) to rows of ``total``, without another copy as large."""
        probability = self._logits(voxels, name).float().softmax(dim=1)
        for rows, voxel in zip(row.split(_POINTS_AT_ONCE), voxel_of_row.split(_POINTS_AT_ONCE), strict=True):
            total[rows.to(self.device)] += probability[voxel.to(self.device)]

    def _voxelize(self, points: Points, grid_origin: torch.Tensor | None = None) -> Voxels:
        voxels = voxelize_by_mean(points, self.config.data.voxel_size_m, self.config.data.features, grid_origin)
        return replace(voxels, coords=self._move_to_zero(voxels.coords))

    def _coverings(
        self, points: Points, every_point: bool, grid_origin: torch.Tensor | None = None
    ) -> Iterator[tuple[Voxels, torch.Tensor]]:
        """Voxels, and the points that they speak for; together they speak for each point once."""
        if not every_point:
            yield self._voxelize(points, grid_origin), torch.arange(len(points))
            return
        grid = build_grid(points.xyz, self.config.data.voxel_size_m, origin=grid_origin)
        coords = self._move_to_zero(grid.coords)
        count = grid.count_points()
        for turn in range(int(count.max())):
            # The turn-th point of each voxel; a voxel with fewer points shows its last one again.
            chosen = grid.point_order[grid.first + count.sub(1).clamp_max(turn)]
            features = stack_features(points.select(chosen), self.config.data.features)
            yield Voxels(coords, features, points.label[chosen], grid.voxel_of_point), chosen[count > turn]

    def _move_to_zero(self, coords: torch.Tensor) -> torch.Tensor:
        """Voxels (M, 3) of a tile, to where its coarsest voxels begin; the network pools the same ones as before."""
        step = 2**self.network.num_stages
        return coords - coords.amin(dim=0).div(step, rounding_mode="floor").mul(step)

    def _logits(self, voxels: Voxels, name: str) -> torch.Tensor:
        return self.adjust(self._forward(voxels, name).logits)

    def adjust(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits (M, K) that decide: those of the network, or adjusted for the classes' frequency."""
        if not self.logit_adjustment:
            return logits
        assert self.log_prior is not None, "the constructor said so"
        return adjust_logits(logits, self.log_prior, self.logit_adjustment)

    def _forward(self, voxels: Voxels, name: str) -> UNetOutput:
        batch = collate([(name, voxels)]).to(self.device)
        self.network.eval()
        amp = autocast(self.config.inference.amp, self.device)
        with torch.inference_mode(), explain_out_of_memory(batch, _LESS_MEMORY), amp:
            return run_network(self.network, batch, self.network.num_stages)


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


def view_matrices(tta: str) -> list[torch.Tensor]:
    """The (3, 3) matrices of the views of ``none``, ``rot4`` or ``full``."""
    if tta == "none":
        return [torch.eye(3)]
    rotations = [rotation_about("z", quarter * pi / 2) for quarter in range(4)]
    if tta == "rot4":
        return rotations
    if tta == "full":
        mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        return [rotation @ flip for flip in (torch.eye(3), mirror) for rotation in rotations]
    raise ValueError(f"tta is one of {', '.join(TTA)}, got {tta!r}")
