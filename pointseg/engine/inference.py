"""A trained network, ready for scenes of any size: every point gets a prediction."""

from collections.abc import Iterator
from math import pi
from pathlib import Path

import numpy as np
import torch

from pointseg.config import Config
from pointseg.data.augment import rotation_about, transform
from pointseg.data.batch import collate
from pointseg.data.class_counts import ClassCounts
from pointseg.data.points import Points, center_points, points_from_scene
from pointseg.data.voxelize import Voxels, build_grid, stack_features, voxelize_by_mean
from pointseg.engine.checkpoint import load_weights, read_checkpoint
from pointseg.engine.distributed import choose_device
from pointseg.engine.network import autocast, build_network, explain_out_of_memory, run_network
from pointseg.engine.run_directory import RunDirectory
from pointseg.errors import UsageError
from pointseg.losses import adjust_logits
from pointseg.models.folding import fold_batch_norm
from pointseg.models.unet import SparseUNet, UNetOutput
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy, load_taxonomy

TTA = ("none", "rot4", "full")
_LESS_MEMORY = "use --device cpu, inference.amp: fp16 in the run's config.yaml, or a part of the scan at a time"


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

    def predict(self, xyz: np.ndarray, rgb: np.ndarray | None = None, normal: np.ndarray | None = None) -> np.ndarray:
        """Segment a point cloud.

        Args:
            xyz: (N, 3) metres, z up.
            rgb: (N, 3) uint8; needed where the network was trained with colours.
            normal: (N, 3) unit vectors; needed where the network was trained with normals.

        Returns:
            (N,) int32 scannet_ids.

        Raises:
            DataError: an array has the wrong shape or dtype, a coordinate is not finite, or an array that the
                network needs is missing.
        """
        scene = Scene(
            name="points",
            xyz=np.asarray(xyz, dtype=np.float32),
            rgb=rgb,
            normal=None if normal is None else np.asarray(normal, dtype=np.float32),
        )
        return self.taxonomy.scannet_id_from_label(self.predict_scene(scene))

    def predict_scene(self, scene: Scene, tta: str = "none") -> np.ndarray:
        """(N,) int64 labels of a scene's points; every point is predicted.

        Args:
            scene: with the parts that the network was trained with.
            tta: ``none``; ``rot4``: the mean probability over four rotations about z; ``full``: these times
                two flips, and each point in turn stands for its voxel, so that none hides behind another.
        """
        points = center_points(points_from_scene(scene, self.config.data.features))
        views = view_matrices(tta)
        if len(views) == 1:
            voxels = self._voxelize(points)
            return self._logits(voxels, scene.name).argmax(dim=1)[voxels.voxel_of_point.to(self.device)].cpu().numpy()
        # One view in memory at a time: only this sum is kept.
        total = torch.zeros(len(points), self.taxonomy.num_classes, device=self.device)
        for matrix in views:
            view = transform(points, matrix)
            for voxels, covered in self._coverings(view, every_point=tta == "full"):
                probability = self._logits(voxels, scene.name).float().softmax(dim=1)
                total[covered.to(self.device)] += probability[voxels.voxel_of_point[covered].to(self.device)]
        return total.argmax(dim=1).cpu().numpy()

    def forward_scene(self, scene: Scene) -> tuple[Voxels, UNetOutput]:
        """The scene's voxels (mean features, majority label; on the CPU) and the network's output for them."""
        voxels = self._voxelize(center_points(points_from_scene(scene, self.config.data.features)))
        return voxels, self._forward(voxels, scene.name)

    def _voxelize(self, points: Points) -> Voxels:
        return voxelize_by_mean(points, self.config.data.voxel_size_m, self.config.data.features)

    def _coverings(self, points: Points, every_point: bool) -> Iterator[tuple[Voxels, torch.Tensor]]:
        """Voxels, and the points that they speak for; together they speak for each point once."""
        if not every_point:
            yield self._voxelize(points), torch.arange(len(points))
            return
        grid = build_grid(points.xyz, self.config.data.voxel_size_m)
        count = grid.count_points()
        for turn in range(int(count.max())):
            # The turn-th point of each voxel; a voxel with fewer points shows its last one again.
            chosen = grid.point_order[grid.first + count.sub(1).clamp_max(turn)]
            features = stack_features(points.select(chosen), self.config.data.features)
            yield Voxels(grid.coords, features, points.label[chosen], grid.voxel_of_point), chosen[count > turn]

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
    run: str | Path,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    logit_adjustment: float | None = None,
) -> Segmenter:
    """Load a trained run.

    Args:
        run: folder of the run.
        checkpoint: a checkpoint file; None: the run's best, or its last.
        device: ``auto``, ``cpu`` or ``cuda``.
        logit_adjustment: τ of post-hoc logit adjustment; None: as in the run's config.

    Raises:
        UsageError: no such run or checkpoint, or the checkpoint does not fit.
    """
    directory = RunDirectory(run)
    config = directory.read_config()
    if logit_adjustment is not None:
        config = config.model_copy(
            update={"inference": config.inference.model_copy(update={"logit_adjustment": logit_adjustment})}
        )
    path = Path(checkpoint) if checkpoint is not None else directory.find_checkpoint()
    state = read_checkpoint(path, config)
    chosen_device = choose_device(device)
    counts = ClassCounts.from_state_dict(state["class_counts"]) if "class_counts" in state else None
    network = build_network(config, chosen_device)
    load_weights(network, state["model"], path)
    return Segmenter(network, config, chosen_device, None if counts is None else counts.adjustment_prior())


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
