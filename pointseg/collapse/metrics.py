"""How far neural collapse has come: NC1 to NC3, from statistics that one pass over a data set gathers.

Notation, throughout: P are the classes present (n_k > 0) and K = |P|; z̄_k is the center of class k;
ẑ_k = z̄_k - (1/K) Σ_{k'∈P} z̄_k' its centred form; ŵ_k its row of the classifier, centred in the same way
(a softmax does not see what all rows share). Each class weighs the same: with a long tail, the mean of the
centers is not the mean of the points, and it is the former that a simplex is centred on.

============================  ========================================================  ==========
``within_class_variability``  mean over k of tr(Σ_k) / tr(Σ_B)                            NC1, 0
``nc1``                       tr(Σ_W Σ_B⁺) / K                                            NC1, 0
``*_equiangularity``          std over pairs k≠k' of cos(ẑ_k, ẑ_k')                       NC2, 0
``*_separation``              mean over pairs k≠k' of |cos(ẑ_k, ẑ_k') + 1/(K-1)|          NC2, 0
``*_norm_variation``          std over k of |ẑ_k|, over their mean                        NC2, 0
``alignment``                 mean over k of cos(ẑ_k, ŵ_k)                                NC3, 1
``duality_distance``          ‖ Ŵ/‖Ŵ‖_F - Ẑ/‖Ẑ‖_F ‖_F                                    NC3, 0
============================  ========================================================  ==========

The last column holds the value at collapse; ``*`` is ``centers``, or ``classifier`` with ŵ in place of ẑ; and
Σ_k = (1/n_k) Σ_{i: y_i=k} (z_i - z̄_k)(z_i - z̄_k)ᵀ, Σ_W = Σ_k (n_k/n) Σ_k, Σ_B = (1/K) Σ_k ẑ_k ẑ_kᵀ.

Sources: Papyan, Han, Donoho, "Prevalence of neural collapse during the terminal phase of deep learning
training" (PNAS 2020) for all but the first, there with balanced classes and W not centred; the ratio of traces
after Tirer, Huang, Niles-Weed, "Perturbation analysis of neural collapse" (ICML 2023), here one class at a time,
so that rare classes have a value of their own. Measured on centers and classifier in segmentation by CeCo (CVPR 2023).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

Measures = dict[str, dict[str, float | None]]
"""Measure -> group (``all`` and those asked for) -> value; None where it is not defined."""

_NEGLIGIBLE = 1e-12
_ROWS_AT_ONCE = 8192
"""On a CPU: few enough to stay in memory that is used again, enough for several threads; all at once: half as fast."""


class FeatureStatistics:
    """Counts, centers and scatter of the classes, gathered in one pass with memory O(K·D + D²).

    Chunks are merged by the pairwise update of Chan, Golub, LeVeque ("Algorithms for computing the sample
    variance", 1983) in float64: no difference of large sums, and the same result however the data are cut.

    Args:
        num_classes: K_all, the classes that there are; those without a point never count.
        feature_channels: D.
        ignore_label: points with this label are left out.
    """

    def __init__(self, num_classes: int, feature_channels: int, ignore_label: int = -1) -> None:
        if num_classes < 2 or feature_channels < 1:
            raise ValueError(f"expected at least 2 classes and 1 channel, got {num_classes} and {feature_channels}")
        self.num_classes = num_classes
        self.feature_channels = feature_channels
        self.ignore_label = ignore_label
        self.counts = torch.zeros(num_classes, dtype=torch.float64)
        """(K_all,) float64, on the CPU as all of these: n_k, whole numbers."""
        self.centers = torch.zeros(num_classes, feature_channels, dtype=torch.float64)
        """(K_all, D) float64: z̄_k; zero where the class is absent."""
        self.class_scatter = torch.zeros(num_classes, dtype=torch.float64)
        """(K_all,) float64: n_k tr(Σ_k) = Σ_{i: y_i=k} |z_i - z̄_k|²."""
        self.scatter = torch.zeros(feature_channels, feature_channels, dtype=torch.float64)
        """(D, D) float64: n Σ_W, all classes together."""

    @property
    def present(self) -> torch.Tensor:
        """(K_all,) bool: P."""
        return self.counts > 0

    @torch.no_grad()
    def update(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add points.

        Args:
            features: (M, D) floating point, on any device; M may be 0.
            labels: (M,) integer, on the same device.

        Raises:
            ValueError: shapes that do not fit, a label that is neither a class nor ``ignore_label``, or a feature
                of a labelled point that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_channels or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected features (M, {self.feature_channels}) and labels (M,), "
                f"got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        labelled = labels != self.ignore_label
        features, labels = features[labelled], labels[labelled].long()
        if len(labels) == 0:
            return
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"labels are {low}..{high}, expected 0..{self.num_classes - 1} or {self.ignore_label} (ignored)"
            )
        rows_at_once = _ROWS_AT_ONCE if features.device.type == "cpu" else len(labels)
        parts = list(zip(features.split(rows_at_once), labels.split(rows_at_once), strict=True))
        counts = torch.bincount(labels, minlength=self.num_classes).double()
        centers = features.new_zeros(self.num_classes, self.feature_channels, dtype=torch.float64)
        for part, label in parts:
            centers.index_add_(0, label, part.double())
        centers /= counts.clamp_min(1).unsqueeze(1)
        if not bool(centers.isfinite().all()):
            bad = int((~centers.isfinite().all(dim=1)).nonzero()[0])
            raise ValueError(f"a point of class {bad} has a feature that is NaN or infinite, expected finite numbers")
        class_scatter, scatter = torch.zeros_like(counts), centers.new_zeros(self.scatter.shape)
        for part, label in parts:
            deviation = part - centers[label]
            class_scatter.index_add_(0, label, torch.linalg.vector_norm(deviation, dim=1).square_())
            scatter.addmm_(deviation.T, deviation)
        self._merge(counts.cpu(), centers.cpu(), class_scatter.cpu(), scatter.cpu())

    def merge(self, other: "FeatureStatistics") -> None:
        """Add the points of ``other``, from another part of the data or another process.

        Raises:
            ValueError: the two have other classes or channels.
        """
        own, theirs = tuple(self.centers.shape), tuple(other.centers.shape)
        if own != theirs:
            raise ValueError(f"expected statistics of {own} (classes, channels), got {theirs}")
        self._merge(other.counts, other.centers, other.class_scatter, other.scatter)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that was gathered, by name; the tensors themselves, not copies."""
        return {
            "counts": self.counts,
            "centers": self.centers,
            "class_scatter": self.class_scatter,
            "scatter": self.scatter,
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what another process gathered, in place of what is here.

        Raises:
            ValueError: the statistics are of other classes or channels.
        """
        own = self.state_dict()
        for name, tensor in own.items():
            if state[name].shape != tensor.shape:
                raise ValueError(f"expected {name} {tuple(tensor.shape)}, got {tuple(state[name].shape)}")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def _merge(
        self, counts: torch.Tensor, centers: torch.Tensor, class_scatter: torch.Tensor, scatter: torch.Tensor
    ) -> None:
        total = self.counts + counts
        share = counts / total.clamp_min(1)
        shift = centers - self.centers
        weight = self.counts * share  # n_a n_b / (n_a + n_b), zero where either has no point
        self.centers += shift * share.unsqueeze(1)
        self.class_scatter += class_scatter + weight * shift.square().sum(dim=1)
        self.scatter += scatter + (shift * weight.unsqueeze(1)).T @ shift
        self.counts = total


def measure_collapse(
    statistics: FeatureStatistics, classifier: torch.Tensor, groups: Mapping[str, torch.Tensor] | None = None
) -> Measures:
    """All measures of the module, over all classes present and by group of classes.

    A group's value is the mean over its classes, or over the pairs within it; mean of the centers, K and Σ_B
    are always those of all classes present, since it is one simplex that all of them form. ``centers_*`` and
    ``classifier_*`` are over the classes present; ``classifier_all_*`` over all rows, with their own mean and K.
    ``nc1`` and ``duality_distance`` describe the whole and have no value in a group.

    Args:
        statistics: of the last features.
        classifier: (K_all, D) the weight of the classifier, without its bias.
        groups: name -> (K_all,) bool, for example head, common and tail.

    Returns:
        Measure -> group -> value, the group ``all`` first; never NaN. None where a group has no class (or no two
        for pairs, no three for equiangularity), where fewer than two classes are present, or where all centers
        are one.

    Raises:
        ValueError: the classifier has another shape than the statistics' centers.
    """
    if classifier.shape != statistics.centers.shape:
        raise ValueError(
            f"expected a classifier {tuple(statistics.centers.shape)} as the centers, got {tuple(classifier.shape)}"
        )
    classifier = classifier.detach().cpu().double()
    everything = torch.ones(statistics.num_classes, dtype=torch.bool)
    members = {"all": everything, **{name: mask.cpu() for name, mask in (groups or {}).items()}}
    present = statistics.present
    members_present = {name: mask[present] for name, mask in members.items()}
    centers, rows = statistics.centers[present], classifier[present]

    def average(values: torch.Tensor) -> dict[str, float | None]:
        return {name: _mean(values[mask]) for name, mask in members.items()}

    def whole(value: float | None) -> dict[str, float | None]:
        return {name: value if name == "all" else None for name in members}

    return {
        "num_classes": {name: int(mask.sum()) for name, mask in members_present.items()},
        "within_class_variability": average(class_variability(statistics)),
        "nc1": whole(trace_variability(statistics)),
        **{f"centers_{name}": value for name, value in measure_simplex(centers, members_present).items()},
        **{f"classifier_{name}": value for name, value in measure_simplex(rows, members_present).items()},
        **{f"classifier_all_{name}": value for name, value in measure_simplex(classifier, members).items()},
        "alignment": average(class_alignment(statistics, classifier)),
        "duality_distance": whole(duality_distance(centers, rows)),
    }


def flatten_measures(measures: Measures) -> dict[str, float | None]:
    """Names for a flat table: ``alignment`` over all classes, ``alignment_head`` for a group."""
    return {
        name if group == "all" else f"{name}_{group}": value
        for name, groups in measures.items()
        for group, value in groups.items()
    }


def measure_simplex(rows: torch.Tensor, groups: Mapping[str, torch.Tensor]) -> Measures:
    """``equiangularity``, ``separation`` and ``norm_variation`` of vectors that should form a simplex (NC2).

    Args:
        rows: (K, D) float64, one a class, as they are: they are centred here.
        groups: name -> (K,) bool; only pairs within the group count.
    """
    cosines, norms = pairwise_cosines(rows), centre(rows).norm(dim=1)
    within = {name: cosines[mask][:, mask] for name, mask in groups.items()}
    return {
        "equiangularity": {name: equiangularity(c) for name, c in within.items()},
        "separation": {name: maximal_separation(c, len(rows)) for name, c in within.items()},
        "norm_variation": {name: norm_variation(norms[mask]) for name, mask in groups.items()},
    }


def centre(rows: torch.Tensor) -> torch.Tensor:
    """(K, D) minus the mean of the rows; what is left of a row by rounding alone becomes zero."""
    if len(rows) == 0:
        return rows
    centred = rows - rows.mean(dim=0)
    has_direction = centred.norm(dim=1) > _NEGLIGIBLE * rows.norm(dim=1).max()
    return centred * has_direction.unsqueeze(1)


def pairwise_cosines(rows: torch.Tensor) -> torch.Tensor:
    """(K, K) cosines of the centred rows (K, D); 0 for a row that is the mean itself and has no direction."""
    unit = F.normalize(centre(rows), dim=1, eps=torch.finfo(rows.dtype).tiny)
    return (unit @ unit.T).clamp(-1, 1)


def equiangularity(cosines: torch.Tensor) -> float | None:
    """Std (of the population) over pairs k≠k' of cos, from (G, G) cosines; 0 where all angles are equal.

    None for fewer than three classes: one angle is equal to itself, whatever it is.
    """
    pairs = _pairs(cosines)
    return float(pairs.std(correction=0)) if len(pairs) > 1 else None


def maximal_separation(cosines: torch.Tensor, num_classes: int) -> float | None:
    """Mean over pairs k≠k' of |cos + 1/(K-1)|, from (G, G) cosines.

    Args:
        cosines: of the classes that count.
        num_classes: K of the simplex that they belong to; at least G.
    """
    pairs = _pairs(cosines)
    return float((pairs + 1 / (num_classes - 1)).abs().mean()) if len(pairs) else None


def norm_variation(norms: torch.Tensor) -> float | None:
    """Coefficient of variation of (G,) norms; 0 where all are equal."""
    return float(norms.std(correction=0) / norms.mean()) if len(norms) > 1 and bool(norms.mean() > 0) else None


def class_variability(statistics: FeatureStatistics) -> torch.Tensor:
    """(K_all,) float64: tr(Σ_k) / tr(Σ_B), NaN where the class is absent or all centers are one."""
    present = statistics.present
    between = centre(statistics.centers[present]).square().sum() / present.sum()
    ratio = statistics.class_scatter / statistics.counts / between
    return torch.where(present & (between > 0), ratio, torch.nan)


def trace_variability(statistics: FeatureStatistics) -> float | None:
    """tr(Σ_W Σ_B⁺) / K, Papyan's NC1; None with fewer than two centers.

    The pseudo-inverse takes directions with less than 10⁻¹² of the largest between-class variance as none.
    In a direction where the centers hardly differ it divides by little: with more classes than channels
    (K > D, as 200 in 96) this measure is mostly about those directions.
    """
    num_classes = int(statistics.present.sum())
    centred = centre(statistics.centers[statistics.present])
    if not bool(centred.any()):
        return None
    within = statistics.scatter / statistics.counts.sum()
    inverse = torch.linalg.pinv(centred.T @ centred / num_classes, hermitian=True, rtol=_NEGLIGIBLE)
    return float((within * inverse).sum() / num_classes)


def class_alignment(statistics: FeatureStatistics, classifier: torch.Tensor) -> torch.Tensor:
    """(K_all,) float64: cos(ẑ_k, ŵ_k), both centred over the classes present; NaN for the others.

    Args:
        statistics: of the last features.
        classifier: (K_all, D) float64, on the CPU.
    """
    present = statistics.present
    alignment = torch.full_like(statistics.counts, torch.nan)
    if int(present.sum()) > 1:
        centers, rows = centre(statistics.centers[present]), centre(classifier[present])
        alignment[present] = F.cosine_similarity(centers, rows, dim=1, eps=torch.finfo(rows.dtype).tiny)
    return alignment


def duality_distance(centers: torch.Tensor, rows: torch.Tensor) -> float | None:
    """‖ Ŵ/‖Ŵ‖_F - Ẑ/‖Ẑ‖_F ‖_F of centers and classifier rows (K, D): 0 where dual, 2 where opposite.

    None where either has no direction at all.
    """
    centers, rows = centre(centers), centre(rows)
    if not (bool(centers.any()) and bool(rows.any())):
        return None
    return float((rows / rows.norm() - centers / centers.norm()).norm())


def _pairs(cosines: torch.Tensor) -> torch.Tensor:
    """Each pair of different classes once."""
    first, second = torch.triu_indices(len(cosines), len(cosines), offset=1)
    return cosines[first, second]


def _mean(values: torch.Tensor) -> float | None:
    """Mean of what is not NaN, which absent classes are."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None
