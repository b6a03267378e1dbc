"""The mode in which there is a GPU."""

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _pop_mode, _push_mode

from tests.pretended_gpu import state as states
from tests.pretended_gpu.refusals import Operation, check_generator, check_operation, describe
from tests.pretended_gpu.shim import load_shim
from tests.pretended_gpu.streams import DEFAULT_STREAM, DEVICE, Event, Memory, Stream, current_stream, take_turn, wait
from tests.pretended_gpu.tensor import Generator, PretendedTensor, flatten, is_pinned, pin_memory, unwrap


class PretendedGpu(TorchDispatchMode):
    """While entered, there is one GPU, and it is ``cuda:0``.

    Args:
        capacity: of its memory, bytes; None: any.

    Attributes:
        state: what was found.
    """

    active: "ClassVar[PretendedGpu | None]" = None
    _should_skip_dynamo = classmethod(lambda cls: False)  # nothing is compiled, and each operation is faster

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__()
        self.state = states.State(capacity)
        self._memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()

    def __enter__(self) -> "PretendedGpu":
        self._patches = list(self._make_patches())
        for patch in self._patches:
            patch.start()
        load_shim().set_present(True)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a wrapper can't become .data of a CPU tensor
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") shows its copy to the mode
        PretendedGpu.active = self
        states.activate(self.state)
        return super().__enter__()  # type: ignore[return-value]

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        load_shim().set_present(False)
        for patch in reversed(self._patches):
            patch.stop()

    def _make_patches(self) -> Iterator[Any]:
        yield mock.patch.multiple(torch.cuda, create=True, **self._cuda_functions())
        yield mock.patch.multiple(
            torch.accelerator,
            is_available=_always(True),
            current_accelerator=_always(DEVICE),
            current_device_index=_always(0),
            set_device_index=_always(None),
            device_count=_always(1),
        )
        yield mock.patch.multiple(torch.Tensor, pin_memory=pin_memory, is_pinned=is_pinned)
        yield mock.patch.object(torch, "Generator", Generator)
        yield mock.patch.object(threading.Thread, "start", lambda thread: self._start_thread(thread))
        known = [torch.Tensor, torch.nn.Parameter, PretendedTensor]
        yield mock.patch.object(torch.utils._foreach_utils, "_foreach_supported_types", known)
        yield mock.patch.object(torch.distributed, "init_process_group", _join_by_gloo)
        # It would ask a timer of the GPU how long DDP's last step took, and log that.
        yield mock.patch.object(torch.distributed.Logger, "set_runtime_stats_and_log", _always(None))

    def _cuda_functions(self) -> dict[str, Any]:
        properties = SimpleNamespace(name="pretended", major=8, minor=0, multi_processor_count=1)
        nothing = ("set_device", "_lazy_init", "init", "manual_seed", "manual_seed_all", "empty_cache")
        state = self.state
        return {
            **{name: _always(True) for name in ("is_available", "is_initialized", "is_bf16_supported")},
            **{name: _always(0) for name in ("current_device", "_exchange_device", "_maybe_exchange_device")},
            **{name: _always(None) for name in nothing},
            "device_count": _always(1),
            "_is_in_bad_fork": lambda: os.getpid() != state.pid,
            "Stream": Stream,
            "Event": Event,
            "current_stream": current_stream,
            "default_stream": _always(DEFAULT_STREAM),
            "stream": lambda stream: stream,
            "synchronize": lambda device=None: wait("synchronize"),
            "memory_allocated": lambda *_: state.allocated,
            "max_memory_allocated": lambda *_: state.peak,
            "reset_peak_memory_stats": lambda *_: setattr(state, "peak", state.allocated),
            "get_rng_state": lambda *_: torch.get_rng_state(),  # what is drawn is the CPU's
            "set_rng_state": lambda state, *_: torch.set_rng_state(state),
            "get_device_name": _always("pretended"),
            "get_device_capability": _always((8, 0)),
            "get_device_properties": _always(properties),
            "set_sync_debug_mode": lambda mode: setattr(state, "sync_debug_mode", mode),
        }

    def _start_thread(self, thread: threading.Thread, start: Any = threading.Thread.start) -> None:
        run = thread.run

        def run_in_mode() -> None:
            with self._pushed():
                run()

        thread.run = run_in_mode  # type: ignore[method-assign]
        start(thread)

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        """In the mode: each thread has its own, and it is off within itself."""
        torch._C._set_only_lift_cpu_tensors(True)
        _push_mode(self)
        try:
            yield
        finally:
            _pop_mode()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation of the dispatcher, on either device."""
        torch._C._set_only_lift_cpu_tensors(True)  # in the threads of autograd, too
        tensors = list(flatten(itertools.chain(args, kwargs.values())))
        on_gpu = any(isinstance(tensor, PretendedTensor) for tensor in tensors)
        device = kwargs.get("device")
        on_cuda = on_gpu if device is None else device.type == "cuda"
        check_generator(kwargs.get("generator"), on_cuda)
        if not on_gpu and not on_cuda:
            return func(*args, **kwargs)
        if os.getpid() != self.state.pid:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")
        operation = describe(func)
        if operation.is_composite:
            with self._pushed():
                return func.decompose(*args, **kwargs)
        check_operation(func, operation.name, args, kwargs, tensors, on_cuda)
        self.state.operations[operation.name, " ".join(str(tensor.dtype)[6:] for tensor in tensors)] += 1
        return self._compute(func, operation, args, kwargs, on_cuda)

    def _compute(self, func: Any, operation: Operation, args: Any, kwargs: dict[str, Any], on_cuda: bool) -> Any:
        """The results of the CPU, as tensors of the device."""
        inner = {key: unwrap(value) for key, value in kwargs.items() if key != "pin_memory"}
        if kwargs.get("device") is not None:
            inner["device"] = torch.device("cpu")
        with torch.no_grad():
            computed = func(*unwrap(args), **inner)
        named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        mine = [tensor for tensor in flatten(named.values()) if isinstance(tensor, PretendedTensor)]
        changed = [t for t in flatten(named.get(key) for key in operation.written) if isinstance(t, PretendedTensor)]
        if any(tensor.shape != tensor.inner.shape for tensor in changed):
            raise NotImplementedError(f"{func} resized its output: a wrapper can't follow")
        fresh: set[Memory] = set()
        # In inference mode a view of another tensor is no inference tensor.
        of_inference = not (operation.is_view and not mine[0].is_inference())
        arguments = operation.result_arguments
        values = computed if len(arguments) > 1 else [computed] * len(arguments)
        with torch.inference_mode(torch.is_inference_mode_enabled() and of_inference):
            results = [
                named[argument] if argument is not None else self._wrap(result, fresh) if on_cuda else result
                for result, argument in zip(values, arguments, strict=True)
            ]
        if not operation.is_view:
            take_turn({tensor.memory for tensor in mine}, fresh | {tensor.memory for tensor in changed})
        return tuple(results) if len(arguments) > 1 else results[0] if results else computed

    def _wrap(self, result: Any, fresh: set[Memory]) -> Any:
        """The same with tensors of the device; ``fresh`` is given their memory."""
        if isinstance(result, torch.Tensor):
            memory = self._memory_of(result)
            fresh.add(memory)
            return PretendedTensor(result, memory)
        return [self._wrap(part, fresh) for part in result] if isinstance(result, (list, tuple)) else result

    def _memory_of(self, inner: torch.Tensor) -> Memory:
        storage = inner.untyped_storage()
        memory = self._memories.get(storage._cdata)
        if memory is None:
            memory = self._memories[storage._cdata] = Memory(self.state, storage)
        return memory


def _always(value: Any) -> Callable[..., Any]:
    """A function for each name: torch._dynamo refuses one under two."""
    return lambda *_, **__: value


def _join_by_gloo(backend: str, *args: Any, join: Any = torch.distributed.init_process_group, **options: Any) -> None:
    """NCCL needs GPUs; gloo sums the same."""
    join("gloo", *args, **options)
