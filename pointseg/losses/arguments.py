"""What all losses ask of their arguments: shapes that fit, and at least float32."""

import torch


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where it is float32 or float64, a float32 copy of any other type."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Check that logits are (M, K) and labels (M,); looks at shapes alone, never at values.

    Raises:
        ValueError: they are not.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (M, K) and labels (M,), got {tuple(logits.shape)} and {tuple(labels.shape)}")


def check_per_class(logits: torch.Tensor, vector: torch.Tensor, name: str) -> None:
    """Check that logits are (..., K) and the vector, called ``name`` in the error, holds one number a class.

    Raises:
        ValueError: it does not.
    """
    if logits.ndim == 0 or vector.shape != logits.shape[-1:]:
        raise ValueError(
            f"expected {name} (K,), one number a class of the logits {tuple(logits.shape)}, got {tuple(vector.shape)}"
        )
