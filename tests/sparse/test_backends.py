"""The choice of a backend and what is said where it can't be had."""

import sys
import types

import pytest
import torch

from pointseg import sparse
from pointseg.errors import UsageError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


class _Layer:
    """Knows what it was made with."""

    def __init__(self, **options: object) -> None:
        self.options = options


def _fake_library(monkeypatch: pytest.MonkeyPatch, name: str) -> types.ModuleType:
    """A package ``name.pytorch`` with the five names of the API."""
    names = ("SparseConvTensor", "SparseSequential", "SubMConv3d", "SparseConv3d", "SparseInverseConv3d")
    library = types.ModuleType(f"{name}.pytorch")
    for attribute in names:
        setattr(library, attribute, type(attribute, (_Layer,), {}))
    core = types.ModuleType(f"{name}.core")
    core.ConvAlgo = types.SimpleNamespace(Native="native")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{name}.pytorch", library)
    monkeypatch.setitem(sys.modules, f"{name}.core", core)
    return library


def _remove(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, f"{name}.pytorch", None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_gpu")
def test_auto_on_a_cpu_is_ours() -> None:
    found = sparse.backend("auto")
    assert found.name == "torch"
    assert found.SubMConv3d is sparse.SubMConv3d


@pytest.mark.usefixtures("gpu")
def test_auto_on_a_gpu_is_spconv_then_spconv_triton_then_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_library(monkeypatch, "spconv")
    _fake_library(monkeypatch, "spconv_triton")
    assert sparse.backend("auto").name == "spconv"
    _remove(monkeypatch, "spconv")
    assert sparse.backend("auto").name == "spconv_triton"
    _remove(monkeypatch, "spconv_triton")
    assert sparse.backend("auto").name == "torch"


def test_spconv_takes_its_native_algorithm_only_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_library(monkeypatch, "spconv")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sparse.backend("spconv").SubMConv3d().options == {"algo": "native"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert sparse.backend("spconv").SubMConv3d().options == {}


@pytest.mark.usefixtures("no_gpu")
def test_what_can_not_be_used_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the backends that work here and what to install."""
    _remove(monkeypatch, "spconv")
    for name, parts in {
        "spconv": ["backend spconv can't be imported", "pip install spconv-cu118", "usable here: torch"],
        "spconv_triton": ["needs a GPU", "usable here: torch"],
        "cuda": ["expected one of auto, torch, spconv, spconv_triton", "'cuda'", "usable here: torch"],
    }.items():
        with pytest.raises(UsageError) as caught:
            sparse.backend(name)
        assert "\n" not in str(caught.value)
        assert all(part in str(caught.value) for part in parts)


def test_importing_the_package_imports_no_other_library() -> None:
    import subprocess

    code = "import sys, pointseg.sparse, pointseg.models; print([m for m in sys.modules if 'spconv' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
