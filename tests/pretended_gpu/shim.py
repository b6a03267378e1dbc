"""Compiles ``shim.cpp`` once for each version of torch, and loads it."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

TORCH = "2.13"
"""Whose headers ``shim.cpp`` is written against."""
_SOURCE = Path(__file__).with_name("shim.cpp")


def reason_to_do_without() -> str | None:
    """Why there is no pretended GPU on this machine; None: there can be."""
    if torch.backends.cuda.is_built():
        return "a build of torch for CUDA has no room for a pretended GPU, and finds no real one"
    if not torch.__version__.startswith(f"{TORCH}."):
        return f"the pretended GPU is made for torch {TORCH}, this is {torch.__version__}"
    if shutil.which("g++") is None:
        return "the pretended GPU is compiled, and there is no compiler: apt-get install g++"
    return None


@functools.cache
def load_shim() -> ctypes.CDLL:
    """The compiled shim; loaded before the first backward pass of the process, which starts autograd's threads."""
    root, source = Path(torch.__file__).parent, _SOURCE.read_bytes()
    name = hashlib.sha256(source + str(torch.__version__).encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"pretended_gpu_{os.getuid()}_{name}.so"
    if not library.is_file():
        draft = library.with_suffix(f".{os.getpid()}.so")
        options = ["-std=c++20", "-shared", "-fPIC", f"-I{root}/include", f"-L{root}/lib", "-lc10", "-ltorch_cpu"]
        subprocess.run(["g++", str(_SOURCE), "-o", str(draft), *options], check=True)
        draft.replace(library)
    shim = ctypes.CDLL(str(library))
    shim.get_stream.restype, shim.set_stream.argtypes = ctypes.c_int64, [ctypes.c_int64]
    shim.set_present.argtypes = [ctypes.c_bool]
    return shim
