"""Class centers: the mean feature of each class, by scatter."""

from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import nn

Scope = Literal["batch", "scene", "job"]
Backend = Literal["index_add", "torch_scatter"]


class Centers(NamedTuple):
    """One center a class; with scope ``scene``, one a class and scene, and every shape has S in front."""

    centers: torch.Tensor
    """(K, D) float32 (float64 for float64 features): z̄_k; zero where the class is absent."""
    counts: torch.Tensor
    """(K,) the same dtype: n_k, the points of each class; 0 where it is absent."""

    @property
    def present(self) -> torch.Tensor:
        """(K,) bool: the classes that have a center."""
        return self.counts > 0


class ClassCenters(nn.Module):
    """Features to class centers.

        z̄_k = (1/n_k) Σ_{i: y_i = k} z_i

    (CeCo, CVPR 2023). Sums are scattered in float32 under any autocast, and points are counted in whole numbers:
    n_k reaches 10⁵, which half precision can't add up.

    Args:
        num_classes: K, at least 2.
        scope: over which points a center is taken. ``batch``: all that are given, as in the paper and its
            release. ``scene``: one center a class and scene. ``job``: all points of all processes of the job;
            sums and counts are all-reduced, and gradients flow back through the reduction, so that N processes
            with one scene each compute what one process with N scenes does (their gradients averaged, as DDP
            does).
        backend: what sums: PyTorch's ``index_add``, or ``torch_scatter`` (an optional dependency).
        ignore_label: points with this label are left out.
        check_inputs: whether labels, scenes and features are read to be checked. On a GPU that waits for the device;
            without it, a label or a scene out of range is left out, and a feature that is not finite shows in the
            loss.

    Raises:
        ValueError: K < 2, an unknown scope or backend, or torch_scatter is not installed.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        scope: Scope = "batch",
        backend: Backend = "index_add",
        ignore_label: int = -1,
        check_inputs: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"expected at least 2 classes, got {num_classes}")
        if scope not in get_args(Scope):
            raise ValueError(f"expected a scope of {', '.join(get_args(Scope))}, got {scope!r}")
        _check_backend(backend)
        self.num_classes = num_classes
        self.scope = scope
        self.backend = backend
        self.ignore_label = ignore_label
        self.check_inputs = check_inputs

    def forward(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        scene_of_point: torch.Tensor | None = None,
        num_scenes: int = 1,
    ) -> Centers:
        """Average the features of each class.

        Args:
            features: (M, D) floating point; M may be 0.
            labels: (M,) integer, 0..K-1 or ``ignore_label``.
            scene_of_point: (M,) integer, 0..S-1; needed by scope ``scene``, not read by the others.
            num_scenes: S.

        Raises:
            ValueError: the shapes do not fit, a label is neither a class nor ``ignore_label``, a scene is not one of
                S, a feature of a labelled point is not finite, or scope ``scene`` was not told the scenes.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected features (M, D) and labels (M,), got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        _check_scenes(labels, scene_of_point, self.scope)
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            row, num_rows = self._row_of_point(labels, scene_of_point, num_scenes)
            total = _scatter_sum(features, row, num_rows + 1, self.backend)[:-1]
            count = _count(row, num_rows + 1)[:-1].to(total)
            if self._spans_processes:
                both = sum_over_processes(torch.cat([total, count.unsqueeze(1)], dim=1))
                total, count = both[:, :-1], both[:, -1].detach()
            centers = total / count.clamp_min(1).unsqueeze(1)
        if self.check_inputs:
            self._check_values(labels, scene_of_point, num_scenes, centers)
        if self.scope == "scene":
            shape = (num_scenes, self.num_classes)
            return Centers(centers.view(*shape, -1), count.view(shape))
        return Centers(centers, count)

    def count_points(
        self, labels: torch.Tensor, scene_of_point: torch.Tensor | None = None, num_scenes: int = 1
    ) -> torch.Tensor:
        """How many points the center of each point is the mean of.

        Args:
            labels: (M,) integer.
            scene_of_point: as :meth:`forward`.
            num_scenes: as :meth:`forward`.

        Returns:
            (M,) float32; 0 for a label that is no class.

        Raises:
            ValueError: scope ``scene`` was not told the scenes.
        """
        _check_scenes(labels, scene_of_point, self.scope)
        row, num_rows = self._row_of_point(labels, scene_of_point, num_scenes)
        count = _count(row, num_rows + 1)
        if self._spans_processes:
            dist.all_reduce(count)
        count[-1] = 0
        return count[row].float()

    @property
    def _spans_processes(self) -> bool:
        return self.scope == "job" and has_other_processes()

    def _row_of_point(
        self, labels: torch.Tensor, scene_of_point: torch.Tensor | None, num_scenes: int
    ) -> tuple[torch.Tensor, int]:
        """(M,) int64: where each point is summed, and how many rows there are.

        What is left out goes to one more row, which is dropped: no copy of the features, and no waiting for a GPU
        to say how many points there are.
        """
        labels = labels.long()  # a row of another type could be too large for it
        valid = (labels >= 0) & (labels < self.num_classes) & (labels != self.ignore_label)
        if self.scope != "scene":
            return torch.where(valid, labels, self.num_classes), self.num_classes
        assert scene_of_point is not None, "checked above"
        scene = scene_of_point.long()
        valid &= (scene >= 0) & (scene < num_scenes)
        num_rows = num_scenes * self.num_classes
        return torch.where(valid, scene * self.num_classes + labels, num_rows), num_rows

    def _check_values(
        self, labels: torch.Tensor, scene_of_point: torch.Tensor | None, num_scenes: int, centers: torch.Tensor
    ) -> None:
        is_known = ((labels >= 0) & (labels < self.num_classes)) | (labels == self.ignore_label)
        if not bool(is_known.all()):
            bad = int(labels[~is_known][0])
            raise ValueError(
                f"expected labels 0..{self.num_classes - 1}, or {self.ignore_label} for what is ignored; got {bad}"
            )
        if self.scope == "scene" and scene_of_point is not None:
            is_scene = (scene_of_point >= 0) & (scene_of_point < num_scenes)
            if not bool(is_scene.all()):
                raise ValueError(f"expected scenes 0..{num_scenes - 1}, got {int(scene_of_point[~is_scene][0])}")
        # A feature that is not finite makes the center of its class so: K rows to look at instead of M.
        is_finite = centers.isfinite().all(dim=1)
        if not bool(is_finite.all()):
            bad = int((~is_finite).nonzero()[0]) % self.num_classes
            raise ValueError(f"expected finite features; a point of class {bad} has one that is NaN or infinite")

    def extra_repr(self) -> str:
        """What ``print`` shows in the brackets."""
        return f"num_classes={self.num_classes}, scope={self.scope}, backend={self.backend}"


def has_other_processes() -> bool:
    """Whether this process is one of several of a job."""
    return dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes of the job, each of which calls this; gradients flow through it."""
    return _SumOverProcesses.apply(tensor)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        # Each process's loss depends on each process's tensor.
        total = grad.clone()
        dist.all_reduce(total)
        return total


def _scatter_sum(values: torch.Tensor, row: torch.Tensor, num_rows: int, backend: str) -> torch.Tensor:
    """(num_rows, D): the sum of the values (M, D) of each row."""
    if backend == "torch_scatter":
        import torch_scatter

        return torch_scatter.scatter_add(values, row, dim=0, dim_size=num_rows)
    return values.new_zeros(num_rows, values.shape[1]).index_add(0, row, values)


def _count(row: torch.Tensor, num_rows: int) -> torch.Tensor:
    """(num_rows,) int64: the points of each row; float32 can't count beyond 2²⁴."""
    return row.new_zeros(num_rows).index_add_(0, row, torch.ones_like(row))


def _check_backend(backend: str) -> None:
    if backend not in get_args(Backend):
        raise ValueError(f"expected a backend of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend == "torch_scatter":
        try:
            import torch_scatter  # noqa: F401
        except ImportError:
            raise ValueError(
                "the backend torch_scatter is not installed; use index_add, which computes the same, or install it: "
                "pip install --no-build-isolation torch-scatter"
            ) from None


def _check_scenes(labels: torch.Tensor, scene_of_point: torch.Tensor | None, scope: str) -> None:
    if scope != "scene":
        return
    if scene_of_point is None:
        raise ValueError("scope scene needs scene_of_point (M,) and num_scenes; got none")
    if scene_of_point.shape != labels.shape:
        raise ValueError(f"expected scene_of_point {tuple(labels.shape)}, got {tuple(scene_of_point.shape)}")
