"""A result of the laboratory stays valid as long as the defaults that it was made with stay what they were."""

import json
from pathlib import Path

from pointseg.config import Config, flatten_config

RECORD = Path(__file__).with_name("defaults.json")


def test_a_default_that_changes_makes_old_results_obsolete() -> None:
    """The fingerprint of a run leaves defaults out, so that a new key makes no result obsolete: it can't notice."""
    recorded, today = json.loads(RECORD.read_text()), flatten_config(Config().model_dump(mode="json"))
    changed = {
        key: (recorded[key], today[key]) for key in recorded.keys() & today.keys() if recorded[key] != today[key]
    }
    assert not changed, "raise RESULT_VERSION in laboratory/plan.py, and record the new defaults"
    assert today.keys() <= recorded.keys(), "record the defaults of the new keys"
