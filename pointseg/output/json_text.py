"""Results as JSON that people can read, too."""

import json
import re
from typing import Any


def format_json(results: dict[str, Any]) -> str:
    """Indented, but a list of numbers on one line: a matrix has a line for each row."""
    text = json.dumps(results, indent=1, allow_nan=False)
    return re.sub(r"\[[-+.\dEe,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n"
