"""Other people's checkpoints of the networks of this house: names and shapes of their weights in, ours out."""

import re
from collections.abc import Mapping

from torch import Tensor

from pointseg.errors import UsageError
from pointseg.models.network import PublishedNetwork
from pointseg.models.published_unet import read_unet
from pointseg.models.published_volt import is_volt, name_volt, read_volt

DEFAULT_PREFIX = "module.backbone."
"""Of the names in a file that Pointcept wrote."""
_PREFIXES = re.compile(r"(?:module\.|backbone\.)*")


def read_published(state: Mapping[str, object], where: str, head: str | None = None) -> PublishedNetwork:
    """Find a SpUNet-v1m1 or a Volt, of any size, in a ``state_dict``, and check every name, shape and value.

    Args:
        state: name -> tensor, with the prefixes ``module.`` and ``backbone.`` in any order, or without.
        where: what to call it in an error.
        head: which classifier to take, where there are several.

    Raises:
        DataError: it is neither, or a name is missing, unknown or there twice, or a tensor has another shape, kind or
            layout than the network's, or values that are not finite. Every one is named.
        UsageError: there is no classifier of that name, or there are several and none was chosen.
    """
    named, problems = _strip_prefixes(state)
    if is_volt(named):
        return read_volt(named, problems, where, head)
    if head is not None:
        raise UsageError(f"{where}: has one classifier, without a name; leave --head out")
    return read_unet(named, problems, where)


def name_published(weights: Mapping[str, Tensor], prefix: str = DEFAULT_PREFIX) -> dict[str, Tensor]:
    """The weights of one of our networks under the names that others publish; :func:`read_published` takes it back.

    Raises:
        UsageError: the prefix is made of other parts than ``module.`` and ``backbone.``.
    """
    if not _PREFIXES.fullmatch(prefix):
        raise UsageError(f"prefix {prefix!r}: expected module. and backbone. in any order, or nothing")
    if is_volt(weights):
        return name_volt(weights, prefix)
    return {prefix + name: value for name, value in weights.items()}


def _strip_prefixes(state: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The values under the network's own names, and which names two of them claim."""
    named: dict[str, object] = {}
    problems = []
    for key, value in state.items():
        text = str(key)
        match = _PREFIXES.match(text)
        assert match is not None, "it matches nothing, too"
        name = text[match.end() :]
        if isinstance(value, Tensor) and value.is_nested:
            value = value.unbind()  # it has no shape to ask for, and is named for what it is: several tensors
        if name in named:
            problems.append(f"{name} is there twice, once as {text}")
        named[name] = value
    return named, problems
