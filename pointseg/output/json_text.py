"""Results as JSON that people can read, too."""

import json
import re
from typing import Any

# A text comes first, so that none is taken for what it holds.
_TEXT_OR_NUMBERS = re.compile(r'"(?:[^"\\]|\\.)*"|\[[-+.\dEe,\s]+\]')


def format_json(results: dict[str, Any]) -> str:
    """Indented, but a list of numbers on one line: a matrix has a line for each row."""
    text = json.dumps(results, indent=1, allow_nan=False)
    return _TEXT_OR_NUMBERS.sub(_join_numbers, text) + "\n"


def _join_numbers(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else " ".join(found[0].split())
