"""L_CR: the class centers are pulled to the vertices of a fixed simplex."""

from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from pointseg.collapse.bank import CenterBank
from pointseg.collapse.centers import Backend, ClassCenters, Scope
from pointseg.collapse.etf import simplex_etf
from pointseg.collapse.projection import Projection, build_projection
from pointseg.collapse.running_mean import RunningMean

_SHORTEST_WITH_DIRECTION = 1e-2
"""Dividing by the length of a center of zeros, as of a class whose features are all behind a dead ReLU, would give a
gradient of 10¹⁰. Centers that mean something are of length 1 and more from the first step on."""


class CenterCollapse(nn.Module):
    """The center regularisation branch of CeCo (CVPR 2023).

        L_CR = - Σ_{k∈P} log( exp(s·z̃_kᵀ w*_k + π_k) / Σ_k' exp(s·z̃_kᵀ w*_k' + π_k') )
        z̃_k  = dropout(unit(g(z̄_k - m)))

    P are the classes present, z̄_k is the center of class k, m the mean of the centers, g the projection to E
    dimensions, unit(x) = x / |x|, w*_k the fixed simplex ETF, s the scale, π the log-prior. The paper's equation is
    this sum with z̃_k = g(z̄_k), s = 1 and π = 0; the authors' release takes the mean over P.

    Two presets are :meth:`paper` and :meth:`release`; every choice of a preset can be made otherwise. The arguments
    here default to the paper's. Nothing of the branch is used at test time.

    Args:
        feature_channels: D, of the last features.
        num_classes: K, at least 2.
        projection: g. ``none``, E = D, needs D >= K-1; ``linear`` and ``mlp``: see :func:`build_projection`.
        projection_trainable: whether g learns. The release's is frozen.
        subtract_mean: z̄_k minus the mean of the centers present, before g. Features behind a ReLU are not negative,
            and no simplex is; its vertices sum to zero, and so do centers that have collapsed to one.
        mean_momentum: of a :class:`RunningMean` that is taken off in place of the mean of this batch, which depends
            more on the classes that are present; None: no running mean. Needs ``subtract_mean``.
        normalize: whether g(z̄_k - m) gets unit length. One that is shorter than 0.01 has hardly a direction: it is
            divided by 0.01, and its gradient stays of the size of the others.
        scale: s, above 0.
        log_prior: (K,) π, finite, or None.
        dropout: of z̃_k.
        reduction: ``sum`` or ``mean`` over P.
        class_weight: (K,) positive weights of the classes in the sum, or in the mean; None: all alike, as in the paper,
            where a class counts as often as a batch has it.
        scope: of the centers, see :class:`ClassCenters`. With ``scene``, the loss is the mean over the scenes that
            have a labelled point. With ``job``, dropout has to draw the same in all processes: seed them alike.
        points_per_center: points, on average, that are drawn anew in each training step for each center; None: all, as
            in the paper. Centers of few points are spread about that of all, and what is pulled to the vertex is then
            less the mean of a class and more its points.
        momentum: of a :class:`CenterBank` for absent classes; None: no bank.
        backend: see :class:`ClassCenters`.
        ignore_label: points with this label are left out.
        check_inputs: see :class:`ClassCenters`.
        seed: of the simplex' rotation.

    Raises:
        ValueError: an argument is out of its range, or K classes need more dimensions than there are.
    """

    etf: torch.Tensor
    """(K, E) float32: W*, a buffer, never in the optimiser."""
    log_prior: torch.Tensor
    """(K,) float32: π."""
    class_weight: torch.Tensor
    """(K,) float32: of each class's term."""

    def __init__(
        self,
        feature_channels: int,
        num_classes: int,
        *,
        projection: Projection = "none",
        projection_trainable: bool = True,
        subtract_mean: bool = False,
        mean_momentum: float | None = None,
        normalize: bool = False,
        scale: float = 1.0,
        log_prior: torch.Tensor | None = None,
        dropout: float = 0.0,
        reduction: Literal["sum", "mean"] = "sum",
        class_weight: torch.Tensor | None = None,
        scope: Scope = "batch",
        points_per_center: int | None = None,
        momentum: float | None = None,
        backend: Backend = "index_add",
        ignore_label: int = -1,
        check_inputs: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if reduction not in ("sum", "mean"):
            raise ValueError(f"expected a reduction of sum or mean, got {reduction!r}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"expected a scale above 0, got {scale}")
        if points_per_center is not None and points_per_center < 1:
            raise ValueError(f"expected at least one point per center, got {points_per_center}")
        if momentum is not None and scope == "scene":
            raise ValueError("a bank keeps one center a class, scope scene has one a scene; use scope batch or job")
        if mean_momentum is not None and not (subtract_mean and 0 <= mean_momentum < 1):
            raise ValueError(f"expected subtract_mean and a mean_momentum in 0 <= m < 1, got {mean_momentum}")
        self.class_centers = ClassCenters(
            num_classes, scope=scope, backend=backend, ignore_label=ignore_label, check_inputs=check_inputs
        )
        point_projection, lift, point_channels, dim = build_projection(projection, feature_channels, num_classes)
        self.point_projection = point_projection.requires_grad_(projection_trainable)
        self.lift = lift.requires_grad_(projection_trainable)
        self.bank = None if momentum is None else CenterBank(num_classes, point_channels, momentum)
        self.running_mean: RunningMean | None = None
        if mean_momentum is not None:
            # With scope job all processes have the same centers, with scope scene each has those of its scenes.
            self.running_mean = RunningMean(point_channels, mean_momentum, over_processes=scope == "scene")
        self.points_per_center = points_per_center
        self.dropout = nn.Dropout(dropout)
        self.subtract_mean = subtract_mean
        self.normalize = normalize
        self.scale = scale
        self.reduction = reduction
        self.register_buffer("etf", simplex_etf(num_classes, dim, seed))
        self.register_buffer("log_prior", _check_log_prior(log_prior, num_classes))
        # It is data, which whoever builds the branch has: no checkpoint needs it.
        self.register_buffer("class_weight", _check_class_weight(class_weight, num_classes), persistent=False)

    @classmethod
    def paper(cls, feature_channels: int, num_classes: int, **choices: Any) -> "CenterCollapse":
        """The paper's equation: no scale, no prior, summed over the classes present.

        Features of fewer than K-1 dimensions are projected by one linear map that learns. ``choices`` are arguments
        of the class, to choose otherwise.
        """
        lacks_dimensions = feature_channels < num_classes - 1
        preset: dict[str, Any] = {"projection": "linear" if lacks_dimensions else "none"}
        return cls(feature_channels, num_classes, **{**preset, **choices})

    @classmethod
    def release(cls, feature_channels: int, num_classes: int, **choices: Any) -> "CenterCollapse":
        """What the authors' 2D code does, all maps frozen.

        Each point: linear to 128, batch norm. Each center: linear to 512, ReLU, unit length, dropout, scale 5; the
        mean over the classes present. Its log-prior (the share of training images that a class is in) is data:
        give it as ``log_prior``. ``choices`` are arguments of the class, to choose otherwise.
        """
        preset: dict[str, Any] = {
            "projection": "mlp",
            "projection_trainable": False,
            "normalize": True,
            "scale": 5.0,
            "dropout": 0.1,
            "reduction": "mean",
        }
        return cls(feature_channels, num_classes, **{**preset, **choices})

    def forward(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        scene_of_point: torch.Tensor | None = None,
        num_scenes: int = 1,
        num_labelled_scenes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """L_CR of one batch of points, or of dense images.

        Args:
            features: (M, D) last-layer features, or (B, D, H, W); floating point.
            labels: (M,) or (B, H, W) integer, 0..K-1 or ``ignore_label``.
            scene_of_point: (M,) integer, needed by scope ``scene`` only; of images, each is its own scene.
            num_scenes: S, the scenes in ``scene_of_point``.
            num_labelled_scenes: a scalar, read by scope ``scene`` only: what the sum over the scenes is divided by;
                None: those of them that have a labelled point. Where processes average their losses and gradients,
                each of them gives the average of the numbers of all. Then the averaged loss and gradient are those of
                one process with all scenes.

        Returns:
            A scalar. Its type is that of the projection's weights, and without a projection float32, or float64 for
            float64 features. Where no point has a label it is zero, and so is its gradient.

        Raises:
            ValueError: as :meth:`ClassCenters.forward`, or the projection's weights have less than 32 bits.
        """
        if features.ndim == 4:
            from pointseg.collapse.images import flatten_images  # scans need none of it

            features, labels, scene_of_point, num_scenes = flatten_images(features, labels)
        with torch.autocast(features.device.type, enabled=False):
            features = self._to_own_type(features)
            if self.points_per_center is not None and self.training:
                labels = self.draw_points(labels, self.points_per_center, scene_of_point, num_scenes)
            batch = self.class_centers(self.point_projection(features), labels, scene_of_point, num_scenes)
            centers, present = (batch.centers, batch.present) if self.bank is None else self.bank(batch)
            present = present & batch.present.any(dim=-1, keepdim=True)  # no stand-in counts where nothing is labelled
            logits = self.compare_with_simplex(self.place_centers(centers, present))
            target = torch.arange(logits.shape[-1], device=logits.device).expand(present.shape)
            loss = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(present.shape)
            # An absent class has a center of zeros, and so a loss: it must not count.
            total = torch.where(present, self.class_weight * loss, 0).sum(dim=-1)
            if self.reduction == "mean":
                weight = (present * self.class_weight).sum(dim=-1)
                total = total / torch.where(weight > 0, weight, 1)
            divisor = present.any(dim=-1).sum()
            if num_labelled_scenes is not None and self.class_centers.scope == "scene":
                divisor = num_labelled_scenes
            return total.sum() / torch.where(divisor > 0, divisor, 1)

    def draw_points(
        self, labels: torch.Tensor, number: int, scene_of_point: torch.Tensor | None = None, num_scenes: int = 1
    ) -> torch.Tensor:
        """Labels of points drawn at random, ``number`` for each center on average, and all for a center of fewer.

        Args:
            labels: (M,) integer.
            number: at least 1.
            scene_of_point: as :meth:`forward`.
            num_scenes: as :meth:`forward`.

        Returns:
            (M,) int64: ``ignore_label`` where a point was not drawn.
        """
        # Labels that are none count 0, and so stay as they are: the class centers look at them.
        count = self.class_centers.count_points(labels, scene_of_point, num_scenes)
        # All processes share one seed, and have other points. Each draws with a generator of its own, so that the
        # shared one is in the same state in all of them for the dropout that follows.
        seed = int(torch.randint(2**62, ())) + (dist.get_rank() if dist.is_initialized() else 0)
        generator = torch.Generator(labels.device).manual_seed(seed)
        is_drawn = torch.rand(len(labels), generator=generator, device=labels.device) * count < number
        return torch.where(is_drawn, labels.long(), self.class_centers.ignore_label)

    def place_centers(self, centers: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """z̃_k: where the center of each class is in the space of the simplex.

        In training, a running mean takes in the mean of these centers.

        Args:
            centers: (..., K, D') as the point projection leaves them.
            present: (..., K) bool.

        Returns:
            (..., K, E); of no meaning where the class is absent.
        """
        if self.subtract_mean:
            centers = self._subtract_mean(centers, present)
        placed = self.lift(centers)
        if self.normalize:
            placed = F.normalize(placed, dim=-1, eps=_SHORTEST_WITH_DIRECTION)
        return self.dropout(placed)

    def compare_with_simplex(self, placed: torch.Tensor) -> torch.Tensor:
        """s·z̃_kᵀ w*_k' + π_k' for all k, k'.

        Args:
            placed: (..., K, E), of :meth:`place_centers`.

        Returns:
            (..., K, K) logits.
        """
        return self.scale * placed @ self.etf.to(placed).T + self.log_prior.to(placed)

    def _subtract_mean(self, centers: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        weight = present.unsqueeze(-1).to(centers)
        mean = (centers * weight).sum(dim=-2, keepdim=True) / weight.sum(dim=-2, keepdim=True).clamp_min(1)
        if self.running_mean is not None:
            mean = self.running_mean(mean, present.any(dim=-1))
        return (centers - mean) * weight

    def _to_own_type(self, features: torch.Tensor) -> torch.Tensor:
        """The features as the maps take them; without maps, in at least float32."""
        weight = next(self.parameters(), None)
        own_type = torch.promote_types(features.dtype, torch.float32) if weight is None else weight.dtype
        if own_type not in (torch.float32, torch.float64):
            raise ValueError(f"expected a branch in float32 or float64, got {own_type}; call branch.float()")
        return features.to(own_type)


def _check_log_prior(log_prior: torch.Tensor | None, num_classes: int) -> torch.Tensor:
    if log_prior is None:
        return torch.zeros(num_classes)
    if log_prior.shape != (num_classes,) or not bool(log_prior.isfinite().all()):
        raise ValueError(f"expected a finite log-prior ({num_classes},), got {tuple(log_prior.shape)}: {log_prior}")
    return log_prior.clone()


def _check_class_weight(weight: torch.Tensor | None, num_classes: int) -> torch.Tensor:
    if weight is None:
        return torch.ones(num_classes)
    if weight.shape != (num_classes,) or not bool((weight.isfinite() & (weight > 0)).all()):
        raise ValueError(f"expected positive class weights ({num_classes},), got {tuple(weight.shape)}: {weight}")
    return weight.float().clone()
