"""Which backends are held against ours on the CPU in float32: the cases that the tests of layers and network share."""

from typing import Any

import pytest
import torch


def _on_gpu(*marks_of_triton: pytest.MarkDecorator) -> list[Any]:
    gpu, needs = pytest.mark.gpu, pytest.mark.needs
    return [
        pytest.param("torch", "cuda", marks=gpu),
        pytest.param("spconv", "cuda", marks=[gpu, needs("spconv")]),
        pytest.param("spconv_triton", "cuda", marks=[gpu, needs("spconv_triton"), *marks_of_triton]),
    ]


_SPCONV_ON_CPU = pytest.param("spconv", "cpu", marks=pytest.mark.needs("spconv"))
_OURS_ON_CPU = pytest.param("torch", "cpu", id="torch-cpu")
ON_GPU = _on_gpu()
EXACT = [_SPCONV_ON_CPU, *ON_GPU]
"""(backend, device), in float32; the fixture ``exact_backend`` makes them fit to be compared."""
ROUNDED = [_OURS_ON_CPU, *ON_GPU]
"""(backend, device) that compute in half precision; spconv does not on a CPU."""
EXACT_NETWORKS = [_SPCONV_ON_CPU, *_on_gpu(pytest.mark.rehearsal)]
ROUNDED_NETWORKS = [_OURS_ON_CPU, *_on_gpu(pytest.mark.rehearsal)]
"""The same of whole networks, for which Triton's interpreter takes its time."""


def assert_near(got: torch.Tensor, want: torch.Tensor, tolerance: float, name: str = "") -> None:
    """The largest difference is at most ``tolerance`` times the largest value of ``want``."""
    error = (got.detach().float().cpu() - want.detach().float()).abs().max().item()
    largest = want.detach().abs().max().item()
    assert error <= tolerance * largest, f"{name}: {error} of {largest}"


def half_types(backend: str, device: str) -> tuple[torch.dtype, ...]:
    """What the backend computes in under autocast on the device."""
    if device == "cpu":
        return (torch.bfloat16,)
    return (torch.float16, torch.bfloat16) if backend == "torch" else (torch.float16,)


def has_gradients(backend: str, device: str, training: bool) -> bool:
    """Whether a backward pass goes through the layers; in evaluation mode the libraries' kernels for GPUs have none."""
    return training or backend == "torch" or device == "cpu"
