"""Kernels of spconv-triton by Triton's interpreter, on pretended tensors.

TRITON_INTERPRET=1 has to be in the environment before Triton is imported.
"""

import functools
import importlib
import pkgutil

from tests.pretended_gpu.tensor import unwrap

_BLOCKS = {"BLOCK": 8192, "BLOCK_M": 512, "BLOCK_P": 512, "GROUP_SIZE_M": 8}
"""Large ones: the interpreter takes its time for each program of a kernel, and little for what it computes."""


@functools.cache
def interpret_kernels() -> None:
    """Let the interpreter see CPU tensors, and take one shape of blocks: there is no GPU to choose among several on."""
    from spconv_triton.pytorch import _impl
    from triton.runtime import autotuner, interpreter

    launch = interpreter.GridExecutor.__call__
    interpreter.GridExecutor.__call__ = lambda self, *args, **options: launch(
        self, *map(unwrap, args), **{key: unwrap(value) for key, value in options.items()}
    )
    for info in pkgutil.iter_modules(_impl.__path__):
        for kernel in vars(importlib.import_module(f"{_impl.__name__}.{info.name}")).values():
            if isinstance(kernel, autotuner.Autotuner):
                kernel.configs = kernel.configs[:1]
                kernel.configs[0].kwargs.update({key: _BLOCKS.get(key, 16) for key in kernel.configs[0].kwargs})
