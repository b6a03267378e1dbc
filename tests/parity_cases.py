"""Which backends are held against ours on the CPU in float32: the cases that the tests of layers and network share."""

import pytest
import torch

_ON_GPU = [
    pytest.param("torch", "cuda", marks=pytest.mark.gpu),
    pytest.param("spconv", "cuda", marks=[pytest.mark.gpu, pytest.mark.needs("spconv")]),
    pytest.param("spconv_triton", "cuda", marks=[pytest.mark.gpu, pytest.mark.needs("spconv_triton")]),
]
EXACT = [pytest.param("spconv", "cpu", marks=pytest.mark.needs("spconv")), *_ON_GPU]
"""(backend, device), in float32; the fixture ``exact_backend`` makes them fit to be compared."""
ROUNDED = [pytest.param("torch", "cpu", id="torch-cpu"), *_ON_GPU]
"""(backend, device) that compute in half precision; spconv does not on a CPU."""


def assert_near(got: torch.Tensor, want: torch.Tensor, tolerance: float, name: str = "") -> None:
    """The largest difference is at most ``tolerance`` times the largest value of ``want``."""
    error = (got.detach().float().cpu() - want.detach().float()).abs().max().item()
    largest = want.detach().abs().max().item()
    assert error <= tolerance * largest, f"{name}: {error} of {largest}"


def half_types(device: str) -> tuple[torch.dtype, ...]:
    """What autocast computes in on the device."""
    return (torch.bfloat16,) if device == "cpu" else (torch.float16, torch.bfloat16)
