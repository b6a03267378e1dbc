"""Keys that change where and how fast a run is computed cost nobody the work that is done."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pointseg.config import Config, flatten_config, load_config
from pointseg.config.roles import ROLES, Role
from pointseg.engine.agreement import describe_start
from pointseg.engine.resuming import check_resumable
from pointseg.engine.run_scenes import RunScenes
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.methods import BASELINE, find_method
from pointseg.laboratory.plan import fingerprint_run
from pointseg.laboratory.plan_file import Given, PlanFile, plan_comparisons
from tests.laboratory.test_laboratory_methods import ROOMS

OTHER: dict[str, Any] = {
    "run.dir": "elsewhere",
    "run.device": "cuda",
    "data.root": "elsewhere",
    "model.init": "elsewhere",
    "distill.run": "elsewhere",
    "data.num_workers": 7,
    "data.cache": "ram",
    "train.num_threads": 3,
    "model.backend": "spconv",
    "model.checkpoint_activations": True,
    "loss.collapse.backend": "torch_scatter",
    "train.validate_every": 3,
    "train.measure_collapse_every": 3,
    "train.log_every": 3,
    "train.wandb": "rooms",
    "inference.amp": "fp16",
    "inference.logit_adjustment": 1.0,
    "inference.max_voxels": 1000,
    "inference.vote": "segments",
    "taxonomy": "scannet20",
}
"""A value of each key that is not that of the config."""
KEYS = [(role, key) for role, keys in ROLES.items() for key in keys]


def change(config: Config, key: str, value: object) -> Config:
    tree = config.model_dump(mode="json")
    *sections, last = key.split(".")
    section = tree
    for name in sections:
        section = section[name]
    assert section[last] != value
    section[last] = value
    return Config.model_validate(tree)


def test_every_key_is_one_of_the_config_and_has_one_role() -> None:
    keys = [key for _, key in KEYS]
    assert len(set(keys)) == len(keys) and set(keys) == OTHER.keys() <= flatten_config(Config().model_dump()).keys()


@pytest.mark.parametrize(("role", "key"), KEYS)
def test_a_key_counts_where_its_role_says(role: Role, key: str) -> None:
    def start(config: Config) -> dict[str, str]:
        taxonomy = SimpleNamespace(fingerprint="0")
        scenes = RunScenes([], [], "")
        parts = {"scenes": scenes, "teacher": None, "taxonomy": taxonomy, "config": config}
        return describe_start(SimpleNamespace(**parts), None)  # type: ignore[arg-type]

    for config in (configure("longtail", [], find_method(BASELINE), 0, "run", "rooms"), load_config("longtail")):
        if key == "distill.run":
            config = change(config, key, "one teacher")  # none at all is another run
        other = change(config, key, OTHER[key])
        check_resumable({"optimizer": {}, "config": other.model_dump(mode="json")}, config, [], Path("a/b/last.pt"))
        assert (start(other) == start(config)) == (role in ("place", "pace", "classes"))
        same = fingerprint_run(other, ROOMS) == fingerprint_run(config, ROOMS)
        assert same == (role in ("place", "pace", "means", "telling"))


def test_a_section_with_nothing_but_such_keys_is_as_one_that_is_not_there() -> None:
    for override in ("model.checkpoint_activations=true", "model.backend=torch", "loss.collapse.backend=torch_scatter"):
        key, _, value = override.partition("=")
        other = change(Config(), key, True if value == "true" else value)
        assert fingerprint_run(other, ROOMS) == fingerprint_run(Config(), ROOMS)


def test_the_runs_of_a_plan_are_found_whatever_such_a_key_says(tmp_path: Path) -> None:
    plan = PlanFile.model_validate({"comparisons": {"a": {"methods": [BASELINE]}}, "set": {"data.cache": "ram"}})

    def find(*overrides: str) -> str:
        return plan_comparisons(plan, Path("plan.yaml"), tmp_path, Given(overrides=overrides))[0].runs.name

    assert find() == find("data.cache=none") == find("model.checkpoint_activations=true")
    assert find() != find("train.passes=3")
