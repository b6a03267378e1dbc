"""SpUNet-v1m1 as it is published: names and shapes of its weights in, their meaning and every misfit out.

The scheme is that of the ``state_dict`` of Pointcept's ``SpUNetBase`` (pointcept/models/sparse_unet), which
:class:`pointseg.models.SparseUNet` shares name by name and shape by shape: convolutions are (out, kx, ky, kz, in) as in
spconv 2.x, the axes of the kernel in the order of the coordinates' axes, and a 1x1x1 weight is an (in, out) matrix in
memory, there and here. So weights are copied as they are. Tensors only: no files, no configs.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pointseg.errors import DataError, UsageError
from pointseg.models.network import PublishedNetwork
from pointseg.models.unet import SIZES, SparseUNet, UNetSize

DEFAULT_PREFIX = "module.backbone."
"""Of the names in a file that Pointcept wrote."""

_PREFIXES = re.compile(r"(?:module\.|backbone\.)*")
_STAGE = re.compile(r"(?:down|up|enc|dec)\.(\d{1,2})\.")
_BATCH_COUNTER = "num_batches_tracked"
# Stand-ins where a file does not say: they only name what is missing from it.
_STEM_CHANNELS, _IN_CHANNELS, _NUM_CLASSES = 32, 9, 200


def read_published(state: Mapping[str, object], where: str) -> PublishedNetwork:
    """Find a SpUNet-v1m1 of any width and depth in a ``state_dict``, and check every name, shape and value.

    ``num_batches_tracked``, which old files lack, becomes 0: nothing reads it where batch norm's momentum is fixed.
    Floating point of another width becomes float32.

    Args:
        state: name -> tensor, with the prefixes ``module.`` and ``backbone.`` in any order, or without.
        where: what to call it in an error.

    Raises:
        DataError: it is no such network, or a name is missing, unknown or there twice, or a tensor has another shape,
            kind or layout than the network's, or values that are not finite. Every one is named.
    """
    named, problems = _strip_prefixes(state)
    _refuse_older_layouts(named, where)
    size = _read_size(named, where)
    in_channels = _num_inputs(named.get("conv_input.0.weight")) or _IN_CHANNELS
    num_classes = _num_outputs(named, ("final.",)) or _NUM_CLASSES
    with torch.device("meta"):
        expected = SparseUNet(in_channels, num_classes, **size._asdict()).state_dict()

    counters = [name for name in expected if name.endswith(_BATCH_COUNTER) and name not in named]
    named |= dict.fromkeys(counters, torch.tensor(0))
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
            f"{where}: {len(problems)} weights do not fit a SpUNet-v1m1 of {describe_size(size)}: "
            f"{'; '.join(sorted(problems))}; give a whole checkpoint of that network"
        )
    name = next((name for name, named_size in SIZES.items() if named_size == size), "spunet34")
    model = {"name": name, **size._asdict(), "width": 1.0}
    remarks = _remarks(counters, dtypes)
    return PublishedNetwork("SpUNet-v1m1", in_channels, num_classes, model, describe_size(size), weights, remarks)


def name_published(weights: Mapping[str, Tensor], prefix: str = DEFAULT_PREFIX) -> dict[str, Tensor]:
    """The weights of a :class:`SparseUNet` under the names that others publish; :func:`read_published` takes it back.

    Raises:
        UsageError: the prefix is made of other parts than ``module.`` and ``backbone.``.
    """
    if not _PREFIXES.fullmatch(prefix):
        raise UsageError(f"prefix {prefix!r}: expected module. and backbone. in any order, or nothing")
    return {prefix + name: value for name, value in weights.items()}


def describe_size(size: UNetSize) -> str:
    """The numbers of channels and blocks, encoder | decoder."""

    def split(numbers: Sequence[int]) -> str:
        half = len(numbers) // 2
        return f"{' '.join(map(str, numbers[:half]))} | {' '.join(map(str, numbers[half:]))}"

    return f"stem {size.stem_channels}, channels {split(size.channels)}, blocks {split(size.layers)}"


def _strip_prefixes(state: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The values under the network's own names, and which names two of them claim."""
    named: dict[str, object] = {}
    problems = []
    for key, value in state.items():
        text = str(key)
        match = _PREFIXES.match(text)
        assert match is not None, "it matches nothing, too"
        name = text[match.end() :]
        if name in named:
            problems.append(f"{name} is there twice, once as {text}")
        named[name] = value
    return named, problems


def _refuse_older_layouts(named: Mapping[str, object], where: str) -> None:
    """Weights that spconv 1, or the Native algorithm before 2.2, saved: (kx, ky, kz, in, out) or (kx, ky, kz, out, in).

    Which of them it is can't be seen of a weight with as many inputs as outputs, so turning them round is a guess.
    """
    older = [
        f"{name} is {tuple(value.shape)}"
        for name, value in named.items()
        if isinstance(value, Tensor)
        and value.dim() == 5
        and value.shape[0] > 1
        and len(set(value.shape[:3])) == 1
        and len(set(value.shape[1:4])) > 1
    ]
    if older:
        raise DataError(
            f"{where}: {len(older)} weights have the layout of an older spconv, kernel first ({older[0]}); "
            "expected (out, kx, ky, kz, in); save them again with spconv 2.2 or newer"
        )


def _read_size(named: Mapping[str, object], where: str) -> UNetSize:
    """What the tensors of each stage agree on; one that differs is a misfit, and does not decide."""
    num_stages = 1 + max((int(match[1]) for name in named if (match := _STAGE.match(name))), default=0)
    stages = [("down", "enc", s) for s in range(num_stages)] + [("up", "dec", s) for s in reversed(range(num_stages))]
    channels = [_num_outputs(named, (f"{arm}.{s}.", f"{blocks}.{s}.")) for arm, blocks, s in stages]
    absent = [f"{arm}.{s} or {blocks}.{s}" for (arm, blocks, s), n in zip(stages, channels, strict=True) if n is None]
    if absent:
        raise DataError(
            f"{where}: is no SpUNet-v1m1, nothing in it is named {', '.join(absent)}; give a checkpoint of that network"
        )
    return UNetSize(
        _num_outputs(named, ("conv_input.",)) or _num_inputs(named.get("down.0.0.weight")) or _STEM_CHANNELS,
        tuple(number for number in channels if number is not None),
        tuple(_num_blocks(named, f"{blocks}.{s}") for _, blocks, s in stages),
    )


def _num_outputs(named: Mapping[str, object], prefixes: tuple[str, ...]) -> int | None:
    """The first axis of most tensors below these prefixes, which in this network is the output channels of them all."""
    lengths = Counter(
        value.shape[0]
        for name, value in named.items()
        if name.startswith(prefixes) and isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] > 0
    )
    return lengths.most_common(1)[0][0] if lengths else None


def _num_inputs(weight: object) -> int | None:
    if isinstance(weight, Tensor) and weight.dim() == 5 and weight.shape[-1] > 0:
        return weight.shape[-1]
    return None


def _num_blocks(named: Mapping[str, object], stage: str) -> int:
    numbers = [re.match(rf"{re.escape(stage)}\.block(\d{{1,2}})\.", name) for name in named]
    return 1 + max((int(match[1]) for match in numbers if match), default=0)


def _find_misfit(value: object, expected: Tensor) -> str | None:
    """Why a value can't stand in the place of ``expected``; None: it can."""
    if not isinstance(value, Tensor):
        return f"is no tensor but {type(value).__name__}"
    if value.shape != expected.shape:
        return f"is {tuple(value.shape)}, expected {tuple(expected.shape)}"
    if value.layout != torch.strided or value.is_meta:
        return f"is {value.layout} on {value.device}, expected plain numbers"
    if value.is_floating_point() != expected.is_floating_point() or value.is_complex():
        return f"is {value.dtype}, expected {expected.dtype}"
    # As float32: a float64 may be too large for it, and not all narrow types know whether they are finite.
    if not bool(value.to(expected.dtype).isfinite().all()):
        return "has values that are not finite"
    return None


def _remarks(counters: Sequence[str], dtypes: set[torch.dtype]) -> tuple[str, ...]:
    remarks = []
    if counters:
        remarks.append(
            f"{len(counters)} {_BATCH_COUNTER} are not in the file and became 0; batch norm's momentum is fixed, "
            "so nothing reads them"
        )
    for dtype in sorted(map(str, dtypes - {torch.float32})):
        remarks.append(f"weights of {dtype.removeprefix('torch.')} became float32")
    return tuple(remarks)
