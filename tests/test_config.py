"""A config is read whole, and what a person gets wrong in it is said in one line."""

from pathlib import Path

import pytest
import yaml

from pointseg.config import Config, dump_config, load_config
from pointseg.errors import UsageError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def _leaves(tree: dict, prefix: str = "") -> set[str]:
    return {
        name
        for key, value in tree.items()
        for name in (_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key})
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_complete_and_explains_each_key(path: Path) -> None:
    assert _leaves(yaml.safe_load(path.read_text())) == _leaves(Config().model_dump())
    for line in path.read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            assert "#" in line or line.endswith(":"), f"no comment: {line}"


def test_the_baseline_differs_from_the_main_recipe_in_lambda_alone() -> None:
    main, baseline = (load_config(name, ["run.dir=x"]).model_dump() for name in ("scannet200", "scannet200_ce"))
    assert baseline["loss"]["collapse"].pop("weight") == 0
    assert main["loss"]["collapse"].pop("weight") > 0
    assert main == baseline


def test_a_dumped_config_reads_back_equal(tmp_path: Path) -> None:
    config = load_config("demo", ["optimizer.lr=1e-3", "data.features=[xyz]"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "config.yaml")) == config
    assert config.optimizer.lr == 1e-3
    assert config.in_channels == 3


def test_the_run_is_named_after_the_config() -> None:
    assert load_config("demo.yaml").run.dir == "runs/demo"
    assert load_config("demo", ["run.dir=elsewhere"]).run.dir == "elsewhere"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.pases=3", "unknown key train.pases; the nearest known key is train.passes"),
        ("train.passes=many", "train.passes: .*integer.*'many'"),
        ("train.passes=0", "train.passes: .*greater than 0"),
        ("data.features=[rgba]", "data.features.0: .*'xyz', 'rgb' or 'normal'"),
        ("train", "not key.sub=value"),
        ("taxonomy.name=x", "taxonomy is a value, not a section"),
        ("inference.max_voxels=0", "inference.max_voxels: .*greater than 0, got 0"),
        ("inference.max_voxels=many", "inference.max_voxels: .*integer.*'many'"),
        ("augment.scale=[1.0]", "augment.scale.1: "),
        ("augment.scale=[1.1, 0.9]", "augment.scale: .*the smaller number first"),
        ("augment.objects.scale=[1.1, 0.9]", "augment.objects.scale: .*the smaller number first"),
        ("data.crop_share=[1.0, 0.6]", "data.crop_share: .*the smaller number first"),
        ("data.crop_share=[0.6, 1.5]", "data.crop_share.*less than or equal to 1"),
        ("model.width=.inf", "model.width: .*finite"),
        ("inference.logit_adjustment=.nan", "inference.logit_adjustment: .*finite"),
        ("run.seed=100000000000000000000", "run.seed: .*less than 9223372036854775808"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config("demo", [override])
    assert "\n" not in str(caught.value)


def test_a_config_from_before_a_key_has_its_default(tmp_path: Path) -> None:
    tree = yaml.safe_load(dump_config(load_config("demo")))
    del tree["inference"]["max_voxels"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert load_config(str(tmp_path / "config.yaml")).inference.max_voxels == Config().inference.max_voxels
    assert load_config("demo", ["inference.max_voxels=null"]).inference.max_voxels is None


def test_an_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"scannet\.yaml: no such config.*scannet200\.yaml"):
        load_config("scannet.yaml")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1,\nb: 2")
    with pytest.raises(UsageError, match=r"broken\.yaml: not valid YAML") as caught:
        load_config(str(tmp_path / "broken.yaml"))
    assert "\n" not in str(caught.value)
