"""Tensors that claim to be on cuda:0, page-locked memory, and generators of the GPU."""

import weakref
from typing import Any, ClassVar

import torch

from tests.pretended_gpu.streams import DEVICE, Memory, Stream, wait


class PretendedTensor(torch.Tensor):
    """``inner`` is on the CPU, and ``memory`` is what it shares with its views."""

    inner: torch.Tensor
    memory: Memory
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor, memory: Memory) -> "PretendedTensor":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, device=DEVICE, **layout)
        self.inner, self.memory = inner, memory
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """In a thread that is not in the mode, such as autograd's."""
        from tests.pretended_gpu.gpu import PretendedGpu

        assert PretendedGpu.active is not None, "a tensor of the pretended GPU is used after it is gone"
        return PretendedGpu.active.run(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretended({self.inner!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copy = memo.setdefault(id(self), self.detach().clone().requires_grad_(self.requires_grad))
        copy.__dict__.update({key: value for key, value in self.__dict__.items() if key == "_is_param"})
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        """In a file, a CPU tensor: as ``map_location="cpu"`` would read it."""
        wait("copy to the CPU")
        return self.inner.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def record_stream(self, stream: Stream) -> None:  # type: ignore[override]
        self.memory.recorded.add(stream.stream_id)


def flatten(values: Any) -> Any:
    """The tensors among arguments."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from flatten(value)


def unwrap(value: Any) -> Any:
    """The same with the tensors of the CPU."""
    if isinstance(value, PretendedTensor):
        return value.inner
    return type(value)(map(unwrap, value)) if type(value) in (list, tuple) else value


class Generator(torch.Generator):
    """A CPU generator that says on which device it is. What is drawn without one is the CPU's, so that runs compare."""

    on_cuda: ClassVar[set[int]] = set()

    def __new__(cls, device: Any = "cpu") -> "Generator":
        self = super().__new__(cls, "cpu")
        self.where = torch.device(device)  # type: ignore[attr-defined]
        if self.where.type == "cuda":  # type: ignore[attr-defined]
            cls.on_cuda.add(self._cdata)  # type: ignore[attr-defined]
            weakref.finalize(self, cls.on_cuda.discard, self._cdata)  # type: ignore[attr-defined]
        return self

    device = property(lambda self: DEVICE if self.where.type == "cuda" else self.where)  # type: ignore[assignment]


def pin_memory(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    """As ``Tensor.pin_memory``: a copy that remembers."""
    if isinstance(tensor, PretendedTensor):
        raise RuntimeError("only dense CPU tensors can be pinned")
    pinned = tensor.clone()
    pinned.pretends_to_be_pinned = True  # type: ignore[attr-defined]
    return pinned


def is_pinned(tensor: torch.Tensor, device: Any = None) -> bool:
    """As ``Tensor.is_pinned``."""
    return hasattr(tensor, "pretends_to_be_pinned")
