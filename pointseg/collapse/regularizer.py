"""L_CR: the class centers are pulled to the vertices of a fixed simplex."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from pointseg.collapse.centers import ClassCenters
from pointseg.collapse.etf import simplex_etf

_RELEASE_POINT_DIM = 128
_RELEASE_CENTER_DIM = 512


class CenterCollapse(nn.Module):
    """The center regularisation branch of CeCo (CVPR 2023).

        L_CR = - Σ_{k∈P} log( exp(s·z̃_kᵀ w*_k + π_k) / Σ_k' exp(s·z̃_kᵀ w*_k' + π_k') )

    P are the classes present, z̃_k = g(z̄_k) is the center of class k after the lift g to the simplex'
    dimension, w*_k the fixed simplex ETF, s the scale, π the log-prior (0 without one). The paper's
    equation is this sum with s = 1 and π = 0; the authors' release takes the mean over P.

    Two presets, built by :meth:`paper` and :meth:`release`. A lift is needed wherever the features have
    fewer than K-1 dimensions. Nothing of the branch is used at test time.

    Args:
        point_projection: (M, D) -> (M, D'): applied to each point before the centers.
        lift: (K, D') -> (K, E): applied to the centers.
        etf: (K, E), fixed: a buffer, never in the optimiser.
        normalize: whether lifted centers get unit length.
        scale: s.
        reduction: ``sum`` or ``mean`` over the classes present.
        dropout: of lifted centers.
        log_prior: (K,) π, or None.
        trainable: whether the projection and the lift learn.
    """

    etf: torch.Tensor
    log_prior: torch.Tensor

    def __init__(
        self,
        point_projection: nn.Module,
        lift: nn.Module,
        etf: torch.Tensor,
        *,
        normalize: bool,
        scale: float,
        reduction: Literal["sum", "mean"],
        dropout: float = 0.0,
        log_prior: torch.Tensor | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.point_projection = point_projection.requires_grad_(trainable)
        self.lift = lift.requires_grad_(trainable)
        self.centers = ClassCenters(len(etf))
        self.dropout = nn.Dropout(dropout)
        self.normalize = normalize
        self.scale = scale
        self.reduction = reduction
        self.register_buffer("etf", etf)
        self.register_buffer("log_prior", torch.zeros(len(etf)) if log_prior is None else log_prior)

    @classmethod
    def paper(
        cls,
        feature_channels: int,
        num_classes: int,
        *,
        normalize: bool = False,
        scale: float = 1.0,
        trainable: bool = True,
        seed: int = 0,
    ) -> "CenterCollapse":
        """The paper's equation: centers of the features themselves, no scale, no prior, summed over classes.

        Features of fewer than K-1 dimensions are lifted by one linear map. It commutes with the mean, so
        it is applied to the K centers rather than to the M points.
        """
        needs_lift = feature_channels < num_classes - 1
        dim = num_classes if needs_lift else feature_channels
        lift = nn.Linear(feature_channels, dim, bias=False) if needs_lift else nn.Identity()
        etf = simplex_etf(num_classes, dim, seed)
        return cls(nn.Identity(), lift, etf, normalize=normalize, scale=scale, reduction="sum", trainable=trainable)

    @classmethod
    def release(
        cls,
        feature_channels: int,
        num_classes: int,
        *,
        normalize: bool = True,
        scale: float = 5.0,
        trainable: bool = False,
        log_prior: torch.Tensor | None = None,
        seed: int = 0,
    ) -> "CenterCollapse":
        """What the authors' 2D code does, all maps frozen.

        Each point: linear to 128, batch norm. Each center: linear to 512, ReLU, unit length, dropout,
        scale 5, log-prior; the mean over the classes present. More than 513 classes get K-1 dimensions.
        """
        dim = max(_RELEASE_CENTER_DIM, num_classes - 1)
        return cls(
            PointProjection(feature_channels, _RELEASE_POINT_DIM),
            nn.Sequential(nn.Linear(_RELEASE_POINT_DIM, dim), nn.ReLU()),
            simplex_etf(num_classes, dim, seed),
            normalize=normalize,
            scale=scale,
            reduction="mean",
            dropout=0.1,
            log_prior=log_prior,
            trainable=trainable,
        )

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """L_CR of one batch.

        Args:
            features: (M, D) last-layer features, floating point.
            labels: (M,) int64; outside 0..K-1: left out.

        Returns:
            A scalar, float32 (float64 for float64 features). Where no point has a label it is zero, and so
            is its gradient.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = features.float() if features.dtype != torch.float64 else features
            centers = self.centers(self.point_projection(features), labels)
            logits = self._compare_with_simplex(centers.centers)
            loss = F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), reduction="none")
            # An absent class has a center of zeros, and so a loss: it must not count.
            total = torch.where(centers.present, loss, 0).sum()
            return total if self.reduction == "sum" else total / centers.present.sum().clamp_min(1)

    def _compare_with_simplex(self, centers: torch.Tensor) -> torch.Tensor:
        """(K, D') centers -> (K, K) logits."""
        lifted = self.lift(centers)
        if self.normalize:
            lifted = F.normalize(lifted, dim=1)
        return self.scale * self.dropout(lifted) @ self.etf.to(lifted).T + self.log_prior.to(lifted)


class PointProjection(nn.Module):
    """(M, D) -> (M, D'): a linear map without bias and batch norm, the 1x1 convolution of the authors' code."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = PointNorm(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Project each point."""
        return self.norm(self.linear(features))


class PointNorm(nn.BatchNorm1d):
    """Batch norm over points that takes a single one, too: it has no variance, so the running statistics serve."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (M, C)."""
        if self.training and len(features) < 2:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)
