"""Which library does the sparse convolutions: ours, spconv, or spconv-triton."""

import importlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pointseg.errors import UsageError
from pointseg.sparse import modules
from pointseg.sparse.tensor import SparseConvTensor

BACKENDS = ("auto", "torch", "spconv", "spconv_triton")

_INSTALL = {
    "spconv": "pip install spconv-cu118 (or the spconv-cuXXX of your CUDA)",
    "spconv_triton": "pip install spconv-triton, and run on a GPU",
}


@dataclass(frozen=True)
class Backend:
    """The names a network is written against; what they make is called as in spconv."""

    name: str
    SparseConvTensor: Any
    SparseSequential: Any
    SubMConv3d: Any
    SparseConv3d: Any
    SparseInverseConv3d: Any


def backend(name: str = "auto") -> Backend:
    """The backend ``torch``, ``spconv`` or ``spconv_triton``; ``auto`` takes the fastest that works here.

    ``auto`` is spconv, then spconv-triton, then ours where there is a GPU, and ours on a CPU. Without a GPU spconv
    gets its Native algorithm, the only one that runs there.

    Raises:
        UsageError: no such backend, or it can't be used here; the line says which can, and what to install.
    """
    if name == "torch" or (name == "auto" and not torch.cuda.is_available()):
        return _torch_backend()
    if name == "spconv":
        return _spconv_backend()
    if name == "spconv_triton":
        return _spconv_triton_backend()
    if name == "auto":
        for load in (_spconv_backend, _spconv_triton_backend):
            try:
                return load()
            except UsageError:
                continue
        return _torch_backend()
    raise UsageError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}; {_usable_here()}")


def _torch_backend() -> Backend:
    return Backend(
        "torch",
        SparseConvTensor,
        modules.SparseSequential,
        modules.SubMConv3d,
        modules.SparseConv3d,
        modules.SparseInverseConv3d,
    )


def _spconv_backend() -> Backend:
    library = _import_or_refuse("spconv", "spconv.pytorch")
    if torch.cuda.is_available():
        return _library_backend("spconv", library, {})
    native = importlib.import_module("spconv.core").ConvAlgo.Native
    return _library_backend("spconv", library, {"algo": native})


def _spconv_triton_backend() -> Backend:
    if not torch.cuda.is_available():
        raise UsageError(f"backend spconv_triton needs a GPU, and torch finds none; {_usable_here()}")
    return _library_backend("spconv_triton", _import_or_refuse("spconv_triton", "spconv_triton.pytorch"), {})


def _library_backend(name: str, library: Any, options: dict[str, Any]) -> Backend:
    return Backend(
        name,
        library.SparseConvTensor,
        library.SparseSequential,
        partial(library.SubMConv3d, **options),
        partial(library.SparseConv3d, **options),
        partial(library.SparseInverseConv3d, **options),
    )


def _import_or_refuse(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken wheel raises anything: ImportError, OSError, RuntimeError, AttributeError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"backend {name} can't be imported ({reason}); {_INSTALL[name]}; {_usable_here(name)}"
        ) from error


def _usable_here(refused: str = "") -> str:
    """Which backends work on this machine, in words; tries the import of each but ``refused``."""
    usable = ["torch"]
    if refused != "spconv" and _imports("spconv.pytorch"):
        usable.append("spconv")
    if refused != "spconv_triton" and torch.cuda.is_available() and _imports("spconv_triton.pytorch"):
        usable.append("spconv_triton")
    return f"usable here: {', '.join(usable)}"


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:
        return False
    return True
