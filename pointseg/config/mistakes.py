"""What is wrong with a config, in words."""

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, config: type[BaseModel]) -> str:
    """One line for all mistakes: which key, what is wrong, and for an unknown key the nearest known one."""
    return "; ".join(_describe(one, config) for one in error.errors())


def _describe(error: Any, config: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(key, _known_keys(config), n=1, cutoff=0.0)
        return f"unknown key {key}; the nearest known key is {nearest[0]}"
    problem = error["msg"].removeprefix("Value error, ")
    return f"{key}: {problem}, got {error['input']!r}" if key else problem


def _known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys
