"""A GPU that is pretended: tensors say that they are on cuda:0, and compute on the CPU.

It lets the tests marked ``gpu``, and any command, take the ways that they take on a GPU, where there is none::

    python -m tests.pretended_gpu -m pointseg.train --cfg demo.yaml run.device=cuda ...

Refused, as a GPU would: tensors of two devices in one operation (but for scalars and indices on the CPU), a generator
of another device, CUDA in a forked process. Counted, with the program's line: waits of the host for the device. Found:
a stream that uses what another may not be done with, and memory that is freed without ``record_stream``.

Not seen: kernels and their rounding, speed, how much memory kernels take for themselves, NCCL, and operations that have
no kernel for a GPU.

Autograd and the accelerator's hooks are C++: some lines of it are compiled (``shim.cpp``), for one version of torch.
"""

from tests.pretended_gpu.gpu import PretendedGpu
from tests.pretended_gpu.shim import reason_to_do_without

__all__ = ["PretendedGpu", "reason_to_do_without"]
