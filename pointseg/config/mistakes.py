"""What is wrong with a config, in words."""

import difflib
import re
import reprlib
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

_MOST_SHOWN = 8
_LONGEST_OVERRIDE = 80
_KEY = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")


def explain(error: ValidationError, config: type[BaseModel], where: str, overrides: Sequence[str] = ()) -> str:
    """One line for the mistakes: where, which key, what is wrong, and for an unknown key the nearest known one.

    Args:
        error: all mistakes.
        config: what was to be made.
        where: the file.
        overrides: each ``key.sub=value``, that changed what is in the file; a mistake of theirs is told of them.
    """
    mistakes = error.errors()
    shown: dict[str, list[str]] = {}
    for one in mistakes[:_MOST_SHOWN]:
        text, guilty = _describe(one, config), _find_overrides(one, overrides)
        if len(guilty) == 1:  # whose key stands before the text already
            text = text.removeprefix(f"{guilty[0].partition('=')[0]}: ")
        shown.setdefault(", ".join(override[:_LONGEST_OVERRIDE] for override in guilty) or where, []).append(text)
    more = len(mistakes) - _MOST_SHOWN
    lines = [f"{place}: {'; '.join(texts)}" for place, texts in shown.items()]
    return "; ".join([*lines, f"and {more} more mistakes"] if more > 0 else lines)


def explain_yaml(error: Exception) -> str:
    """One line for what stopped PyYAML: an error of its own, or of Python on a value that YAML allows."""
    if isinstance(error, RecursionError):
        return "it is nested too deep for a config"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no text in UTF-8 ({error})"
    return " ".join(str(error).split())[:300]


class _Shortened(reprlib.Repr):
    """A value of the user in a few words, however large it is, or however often it holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxlist = self.maxtuple = 12
        self.maxlevel = 3

    def repr_int(self, value: int, level: int) -> str:
        return super().repr_int(value, level) if value.bit_length() < 400 else "a number of more than 100 digits"


def _shown(value: Any) -> str:
    text = _Shortened().repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _find_overrides(error: Any, overrides: Sequence[str]) -> list[str]:
    """Those that set the key of a mistake, or one of an unknown section; of keys that don't fit each other, all."""
    last = {override.partition("=")[0]: override for override in overrides}
    key = _key_of(error)
    named = set(_KEY.findall(error["msg"])) if error["type"] == "value_error" else set()
    return [
        override
        for name, override in last.items()
        if f"{key}.".startswith(f"{name}.")
        or (error["type"] == "extra_forbidden" and name.startswith(f"{key}."))
        or name in named
    ]


def _key_of(error: Any) -> str:
    parts = map(str, error["loc"])  # with pydantic's own, of a value of several types
    return ".".join(part for part in parts if not part.startswith(("function-after[", "tuple[")))


def _describe(error: Any, config: type[BaseModel]) -> str:
    key = _key_of(error)
    if error["type"] == "extra_forbidden":
        key = key[:80]
        known = _known_keys(config, error["loc"])
        if key in known:
            return f"{key}: in a file a key stands below its section; write {_nested(key)}"
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        return f"unknown key {key}; the nearest known key is {nearest[0]}"
    problem = error["msg"].removeprefix("Value error, ")
    return f"{key}: {problem}, got {_shown(error['input'])}" if key else problem


def _nested(key: str) -> str:
    """``train.passes`` as YAML has it: ``train: {passes: VALUE}``."""
    section, *inner = key.split(".")
    return f"{section}: {''.join(f'{{{name}: ' for name in inner)}VALUE{'}' * len(inner)}"


def _known_keys(section: type[BaseModel], place: Sequence[int | str] = (), prefix: str = "") -> list[str]:
    """All keys of a section; of sections that the user names, those of the one that ``place`` leads into."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        rest = place[1:] if place and place[0] == name else ()
        inner, inner_prefix = field.annotation, f"{prefix}{name}."
        if get_origin(inner) is dict and len(rest) > 1:
            inner, inner_prefix, rest = get_args(inner)[1], f"{inner_prefix}{rest[0]}.", rest[1:]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += _known_keys(inner, rest, inner_prefix)
    return keys
