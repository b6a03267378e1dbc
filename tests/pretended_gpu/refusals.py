"""What a GPU refuses, and what makes the host wait for it."""

from typing import Any, NamedTuple

import torch

from tests.pretended_gpu.state import current_state
from tests.pretended_gpu.streams import wait
from tests.pretended_gpu.tensor import Generator, PretendedTensor, flatten, is_pinned

# As torch.cuda.set_sync_debug_mode knows it.
_WAITS = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "_unique", "_unique2"),
    *("unique_dim", "unique_consecutive", "unique_dim_consecutive", "_linalg_check_errors"),
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_TAKES_SCALARS = _INDEXING | {"fill", "fill_", "masked_fill", "masked_fill_", "where"}  # and what is tagged pointwise
_KNOWN: dict[Any, "Operation"] = {}


class Operation(NamedTuple):
    """What its schema says."""

    name: str
    is_composite: bool
    result_arguments: list[Any]
    """For each result the name of the argument that it is, or None."""
    written: list[str]
    """Names of the arguments that it changes."""
    is_view: bool


def describe(func: Any) -> Operation:
    """An operation of the dispatcher."""
    if func not in _KNOWN:
        arguments = [a for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        by_alias = {frozenset(a.alias_info.before_set): a.name for a in arguments}
        returns = func._schema.returns
        _KNOWN[func] = Operation(
            func.overloadpacket.__name__,
            torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"),
            [r.alias_info and by_alias.get(frozenset(r.alias_info.before_set)) for r in returns],
            [a.name for a in arguments],
            any(r.alias_info and not r.alias_info.is_write for r in returns),
        )
    return _KNOWN[func]


def check_generator(generator: Any, on_cuda: bool) -> None:
    """Raises: RuntimeError: it is of the other device."""
    if generator is not None and (generator._cdata in Generator.on_cuda) != on_cuda:
        raise RuntimeError(f"Expected a '{'cuda' if on_cuda else 'cpu'}' device type for generator")


def check_operation(func: Any, name: str, args: Any, kwargs: Any, tensors: Any, on_cuda: bool) -> None:
    """Count the host's wait, if it has to.

    Raises:
        RuntimeError: tensors of both devices.
    """
    foreign = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor)]
    if name in ("_to_copy", "copy_"):
        _check_copy(name, args, kwargs, foreign, on_cuda)
        return
    if name in _INDEXING and isinstance(args[0], PretendedTensor):
        foreign = _check_indexing(args)
    takes_scalars = torch.Tag.pointwise in func.tags or name in _TAKES_SCALARS or name.startswith("_foreach")
    if any(tensor.dim() or not takes_scalars for tensor in foreign):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
    if name in _WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        wait(name.strip("_"))


def _check_copy(name: str, args: Any, kwargs: Any, foreign: Any, on_cuda: bool) -> None:
    source = args[name == "copy_"]
    to_cuda = on_cuda if name == "_to_copy" else isinstance(args[0], PretendedTensor)
    non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
    if isinstance(source, PretendedTensor) and not to_cuda:
        wait("copy to the CPU, which nothing waits for" if non_blocking else "copy to the CPU")
    elif foreign and not non_blocking:
        wait("copy to the GPU")
    elif foreign and not is_pinned(source):
        state = current_state()
        state.pageable[state.place()] += 1


def _check_indexing(args: Any) -> list[torch.Tensor]:
    """Indices may be on the CPU. Returns the tensors there that may not."""
    indices = list(flatten(args[1]))
    foreign = [tensor for tensor in flatten(args[2:]) if not isinstance(tensor, PretendedTensor)]
    if any(not isinstance(index, PretendedTensor) for index in indices):
        wait("index on the CPU")
    is_fill = bool(foreign) and args[2].numel() == 1
    if any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not is_fill:
        wait("index by a mask")
    return foreign
