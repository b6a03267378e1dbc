"""What is wrong with a config, in words."""

import difflib
import reprlib
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

_MOST_SHOWN = 8


def explain(error: ValidationError, config: type[BaseModel]) -> str:
    """One line for the mistakes: which key, what is wrong, and for an unknown key the nearest known one."""
    mistakes = error.errors()
    shown = [_describe(one, config) for one in mistakes[:_MOST_SHOWN]]
    more = len(mistakes) - len(shown)
    return "; ".join([*shown, f"and {more} more mistakes"] if more else shown)


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


def _describe(error: Any, config: type[BaseModel]) -> str:
    parts = map(str, error["loc"])  # with pydantic's own, of a value of several types
    key = ".".join(part for part in parts if not part.startswith(("function-after[", "tuple[")))
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
