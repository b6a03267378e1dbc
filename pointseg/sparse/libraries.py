"""Other libraries with spconv's API: spconv itself, whichever CUDA it is for, and spconv-triton."""

import functools
import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pointseg.errors import UsageError, first_line
from pointseg.sparse.backends import Backend

_INSTALL = {
    "spconv": "pip install spconv-cu118 (or the spconv-cuXXX of your CUDA)",
    "spconv_triton": "pip install spconv-triton, and run on a GPU",
}


def load_spconv() -> Backend:
    """Its modules; without a GPU with the Native algorithm, the only one that runs there. Raises: UsageError."""
    library = _import_or_refuse("spconv", "spconv.pytorch")
    if torch.cuda.is_available():
        return _library_backend("spconv", library, {})
    native = importlib.import_module("spconv.core").ConvAlgo.Native
    return _library_backend("spconv", library, {"algo": native})


def load_spconv_triton() -> Backend:
    """Its modules. Raises: UsageError."""
    if not torch.cuda.is_available():
        raise UsageError(f"backend spconv_triton needs a GPU, and torch finds none; {usable_here()}")
    return _library_backend("spconv_triton", _import_or_refuse("spconv_triton", "spconv_triton.pytorch"), {})


def _library_backend(name: str, library: Any, options: dict[str, Any]) -> Backend:
    return Backend(
        name,
        library.SparseConvTensor,
        library.SparseSequential,
        partial(_heed_autocast(library.SubMConv3d), **options),
        partial(_heed_autocast(library.SparseConv3d), **options),
        partial(_heed_autocast(library.SparseInverseConv3d), **options),
        has_bfloat16=False,
    )


@functools.cache
def _heed_autocast(layer: Any) -> Any:
    """The library's layer, computing in float16 under autocast, whichever half type that is for.

    Left alone, it does so when it trains. In evaluation mode some layers do and others don't, and one after another
    fails: features and weights are of two types then.
    """

    class HalfPrecisionLayer(layer):
        def _conv_forward(
            self, training: bool, tensor: Any, weight: Tensor, bias: Tensor | None, *args: Any, **options: Any
        ) -> Any:
            if not torch.is_autocast_enabled("cuda"):
                return super()._conv_forward(training, tensor, weight, bias, *args, **options)
            tensor, weight = tensor.replace_feature(tensor.features.half()), weight.half()
            bias = None if bias is None else bias.half()
            with torch.autocast("cuda", enabled=False):
                return super()._conv_forward(training, tensor, weight, bias, *args, **options)

    HalfPrecisionLayer.__name__ = HalfPrecisionLayer.__qualname__ = layer.__name__
    return HalfPrecisionLayer


def _import_or_refuse(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken wheel raises anything: ImportError, OSError, RuntimeError, AttributeError
        raise UsageError(
            f"backend {name} can't be imported ({first_line(error)}); {_INSTALL[name]}; {usable_here(name)}"
        ) from error


def usable_here(refused: str = "") -> str:
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
