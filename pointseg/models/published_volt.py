"""Volt as it is published: its weights in, their meaning and every misfit out.

:class:`pointseg.models.volt.Volt` shares the names of the authors' ``state_dict``, but for the classifier: theirs has
one for each data set it was trained on, ``seg_heads.NAME``, of which a run takes one, and ``distill_heads`` that have
learned from a teacher and predict nothing. Tensors only: no files, no configs.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pointseg.errors import DataError, UsageError
from pointseg.models.network import PublishedNetwork
from pointseg.models.volt import NUM_PLACES, SIZES, Volt, VoltSize
from pointseg.models.weight_fitting import fit_weights, most_common_length

_HEAD = re.compile(r"seg_heads\.(.+)\.(weight|bias)")
_TEACHER_HEADS = "distill_heads."
_BLOCK = re.compile(r"blocks\.(\d{1,3})\.")


def is_volt(named: Mapping[str, object]) -> bool:
    """Whether these are the names of a Volt."""
    return any(name.startswith("tokenizer.") for name in named)


def read_volt(named: Mapping[str, object], problems: Iterable[str], where: str, head: str | None) -> PublishedNetwork:
    """Find a Volt of any size; arguments and errors as :func:`read_published`'s."""
    chosen, remark = _choose_head(named, where, head)
    named, in_channels = _with_one_head(named, chosen), _num_inputs(named)
    size = VoltSize(
        dim=most_common_length(named, ("tokenizer.",)) or SIZES["volt_s"].dim,
        depth=1 + max((int(match[1]) for name in named if (match := _BLOCK.match(name))), default=0),
        decoder_channels=most_common_length(named, ("decoder.pre.2.", "decoder.post.")) or 0,
    )
    num_classes = most_common_length(named, ("head.",)) or 0
    try:
        with torch.device("meta"):
            expected = Volt(in_channels, num_classes, **size._asdict()).state_dict()
    except ValueError as error:
        raise DataError(f"{where}: is no Volt ({error}); give a checkpoint of that network") from None
    words = f"{size.dim} channels, {size.depth} blocks, decoder {size.decoder_channels}"
    weights, remarks = fit_weights(named, expected, problems, f"Volt of {words}", where)
    name = next((name for name, named_size in SIZES.items() if named_size == size), "volt_s")
    model = {"name": name, **size._asdict(), "stem_channels": None, "channels": None, "layers": None, "width": 1.0}
    return PublishedNetwork("Volt", in_channels, num_classes, model, words, weights, (*remark, *remarks))


def name_volt(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights of a :class:`Volt` under the published names; the classifier has no ``backbone.`` before it."""
    outer = prefix.replace("backbone.", "")
    return {
        f"{outer}seg_heads.Default.{name.removeprefix('head.')}" if name.startswith("head.") else prefix + name: value
        for name, value in weights.items()
    }


def _choose_head(named: Mapping[str, object], where: str, head: str | None) -> tuple[str, tuple[str, ...]]:
    """The name of the head to take, and a remark where there are others."""
    heads = {
        match[1]: f"{match[1]} ({len(value)} classes)"
        for name, value in named.items()
        if (match := _HEAD.fullmatch(name)) and match[2] == "weight" and isinstance(value, Tensor) and value.dim()
    }
    if not heads:
        raise DataError(f"{where}: has no seg_heads, and so no classifier; give a whole checkpoint of a Volt")
    if head is None and len(heads) > 1:
        raise UsageError(f"{where}: has {len(heads)} classifiers, {', '.join(heads.values())}; choose one with --head")
    if head is not None and head not in heads:
        raise UsageError(f"{where}: has no classifier {head}; give --head one of {', '.join(heads.values())}")
    chosen = head if head is not None else next(iter(heads))
    others = [words for name, words in heads.items() if name != chosen]
    return chosen, (f"the classifier {chosen}, and not {', '.join(others)}",) if others else ()


def _with_one_head(named: Mapping[str, object], chosen: str) -> dict[str, object]:
    """The values under our names, of the chosen classifier alone."""
    ours = {}
    for name, value in named.items():
        match = _HEAD.fullmatch(name)
        if match and match[1] == chosen:
            ours[f"head.{match[2]}"] = value
        elif not match and not name.startswith(_TEACHER_HEADS):
            ours[name] = value
    return ours


def _num_inputs(named: Mapping[str, object]) -> int:
    weight = named.get("tokenizer.proj.weight")
    return weight.shape[1] // NUM_PLACES if isinstance(weight, Tensor) and weight.dim() == 2 else 0
