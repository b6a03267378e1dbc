"""SpUNet-v1m1 as it is published: its weights in, their meaning and every misfit out.

The scheme is that of the ``state_dict`` of Pointcept's ``SpUNetBase`` (pointcept/models/sparse_unet), which
:class:`pointseg.models.SparseUNet` shares name by name and shape by shape: convolutions are (out, kx, ky, kz, in) as in
spconv 2.x, the axes of the kernel in the order of the coordinates' axes, and a 1x1x1 weight is an (in, out) matrix in
memory, there and here. So weights are copied as they are. Tensors only: no files, no configs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from pointseg.errors import DataError
from pointseg.models.network import PublishedNetwork
from pointseg.models.unet import SIZES, SparseUNet, UNetSize
from pointseg.models.weight_fitting import fit_weights, most_common_length

_STAGE = re.compile(r"(?:down|up|enc|dec)\.(\d{1,2})\.")
# Stand-ins where a file does not say: they only name what is missing from it.
_STEM_CHANNELS, _IN_CHANNELS, _NUM_CLASSES = 32, 9, 200


def read_unet(named: Mapping[str, object], problems: Iterable[str], where: str) -> PublishedNetwork:
    """Find a SpUNet-v1m1 of any width and depth; arguments and errors as :func:`read_published`'s."""
    _refuse_older_layouts(named, where)
    size = _read_size(named, where)
    in_channels = _num_inputs(named.get("conv_input.0.weight")) or _IN_CHANNELS
    num_classes = most_common_length(named, ("final.",)) or _NUM_CLASSES
    with torch.device("meta"):
        expected = SparseUNet(in_channels, num_classes, **size._asdict()).state_dict()
    words = describe_size(size)
    weights, remarks = fit_weights(named, expected, problems, f"SpUNet-v1m1 of {words}", where)
    name = next((name for name, named_size in SIZES.items() if named_size == size), "spunet34")
    model = {"name": name, **size._asdict(), "width": 1.0}
    return PublishedNetwork("SpUNet-v1m1", in_channels, num_classes, model, words, weights, remarks)


def describe_size(size: UNetSize) -> str:
    """The numbers of channels and blocks, encoder | decoder."""

    def split(numbers: Sequence[int]) -> str:
        half = len(numbers) // 2
        return f"{' '.join(map(str, numbers[:half]))} | {' '.join(map(str, numbers[half:]))}"

    return f"stem {size.stem_channels}, channels {split(size.channels)}, blocks {split(size.layers)}"


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
    channels = [most_common_length(named, (f"{arm}.{s}.", f"{blocks}.{s}.")) for arm, blocks, s in stages]
    absent = [f"{arm}.{s} or {blocks}.{s}" for (arm, blocks, s), n in zip(stages, channels, strict=True) if n is None]
    if absent:
        raise DataError(
            f"{where}: is no SpUNet-v1m1, nothing in it is named {', '.join(absent)}; give a checkpoint of that network"
        )
    return UNetSize(
        most_common_length(named, ("conv_input.",)) or _num_inputs(named.get("down.0.0.weight")) or _STEM_CHANNELS,
        tuple(number for number in channels if number is not None),
        tuple(_num_blocks(named, f"{blocks}.{s}") for _, blocks, s in stages),
    )


def _num_inputs(weight: object) -> int | None:
    if isinstance(weight, Tensor) and weight.dim() == 5 and weight.shape[-1] > 0:
        return weight.shape[-1]
    return None


def _num_blocks(named: Mapping[str, object], stage: str) -> int:
    numbers = [re.match(rf"{re.escape(stage)}\.block(\d{{1,2}})\.", name) for name in named]
    return 1 + max((int(match[1]) for match in numbers if match), default=0)
