"""``python -m tests.pretended_gpu -m MODULE ...``: a command with a pretended GPU; what was found is on stderr."""

import os
import runpy
import sys
from importlib.util import find_spec

from tests.pretended_gpu import PretendedGpu

if __name__ == "__main__":
    if sys.argv[1] != "-m":
        sys.exit(__doc__)
    sys.argv = sys.argv[2:]
    if os.environ.get("TRITON_INTERPRET") == "1" and all(map(find_spec, ("triton", "spconv_triton"))):
        from tests.pretended_gpu.triton_interpreter import interpret_kernels

        interpret_kernels()
    with PretendedGpu() as gpu:
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        finally:
            print(*gpu.state.report(), sep="\n", file=sys.stderr)
