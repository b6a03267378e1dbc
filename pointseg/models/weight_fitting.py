"""Somebody else's weights against a network's own: every name, shape and value that does not fit is named."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pointseg.errors import DataError

_BATCH_COUNTER = "num_batches_tracked"


class Fit(NamedTuple):
    """Weights that fit."""

    weights: dict[str, Tensor]
    """A ``state_dict`` of the network: float32, and int64 for ``num_batches_tracked``."""
    remarks: tuple[str, ...]
    """What was not taken as it stood in the file, in words."""


def fit_weights(
    named: Mapping[str, object], expected: Mapping[str, Tensor], problems: Iterable[str], what: str, where: str
) -> Fit:
    """Check every name, shape and value.

    ``num_batches_tracked``, which old files lack, becomes 0: nothing reads it where batch norm's momentum is fixed.
    Floating point of another width becomes float32.

    Args:
        named: the values under the network's own names.
        expected: the network's ``state_dict``, on any device.
        problems: what is wrong already, in words.
        what: the network, in words.
        where: what to call the file in an error.

    Raises:
        DataError: a name is missing or unknown, or a tensor has another shape, kind or layout than the network's, or
            values that are not finite. Every one is named.
    """
    counters = [name for name in expected if name.endswith(_BATCH_COUNTER) and name not in named]
    named = {**named, **dict.fromkeys(counters, torch.tensor(0))}
    problems = [*problems]
    problems += [f"{name} is missing" for name in expected.keys() - named.keys()]
    problems += [f"{name} is not of this network" for name in named.keys() - expected.keys()]
    weights, dtypes = {}, set()
    for name in [name for name in expected if name in named]:
        value = named[name]
        misfit = _find_misfit(value, expected[name])
        if misfit is not None:
            problems.append(f"{name} {misfit}")
            continue
        assert isinstance(value, Tensor), "_find_misfit says so"
        weights[name] = value.detach().to(expected[name].dtype, copy=True).contiguous()
        dtypes |= {value.dtype} if value.is_floating_point() else set()
    if problems:
        raise DataError(
            f"{where}: {len(problems)} weights do not fit a {what}: {'; '.join(sorted(problems))}; give a whole "
            "checkpoint of that network"
        )
    return Fit(weights, _remarks(len(counters), dtypes))


def most_common_length(named: Mapping[str, object], prefixes: tuple[str, ...], axis: int = 0) -> int | None:
    """Of the tensors below these prefixes, how long an axis of most of them is; None: there is none."""
    lengths = Counter(
        value.shape[axis]
        for name, value in named.items()
        if name.startswith(prefixes) and isinstance(value, Tensor) and value.dim() > axis and value.shape[axis] > 0
    )
    return lengths.most_common(1)[0][0] if lengths else None


def _find_misfit(value: object, expected: Tensor) -> str | None:
    """Why a value can't stand in the place of ``expected``; None: it can."""
    if not isinstance(value, Tensor):
        return f"is no tensor but {type(value).__name__}"
    if value.shape != expected.shape:
        return f"is {tuple(value.shape)}, expected {tuple(expected.shape)}"
    if value.layout != torch.strided or value.is_meta:
        return f"is {value.layout} on {value.device}, expected plain numbers"
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        # A few numbers seen many times: a file of a kilobyte could ask for any amount of memory.
        return "repeats its numbers, expected one for each place"
    if value.is_floating_point() != expected.is_floating_point() or value.is_complex():
        return f"is {value.dtype}, expected {expected.dtype}"
    # As float32: a float64 may be too large for it, and not all narrow types know whether they are finite.
    if not bool(value.to(expected.dtype).isfinite().all()):
        return "has values that are not finite"
    return None


def _remarks(num_counters: int, dtypes: set[torch.dtype]) -> tuple[str, ...]:
    remarks = []
    if num_counters:
        remarks.append(
            f"{num_counters} {_BATCH_COUNTER} are not in the file and became 0; batch norm's momentum is fixed, "
            "so nothing reads them"
        )
    for dtype in sorted(map(str, dtypes - {torch.float32})):
        remarks.append(f"weights of {dtype.removeprefix('torch.')} became float32")
    return tuple(remarks)
