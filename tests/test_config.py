"""A config is read whole, and what a person gets wrong in it is said in one line."""

import re
from pathlib import Path

import pytest
import yaml

from pointseg import config as config_package
from pointseg.config import Config, dump_config, find_config, flatten_config, load_config
from pointseg.errors import UsageError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_complete_and_explains_each_key(path: Path) -> None:
    assert flatten_config(yaml.safe_load(path.read_text())).keys() == flatten_config(Config().model_dump()).keys()
    for line in path.read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            assert "#" in line or line.endswith(":"), f"no comment: {line}"


def test_the_baseline_differs_from_the_main_recipe_in_lambda_alone() -> None:
    main, baseline = (load_config(name, ["run.dir=x"]).model_dump() for name in ("scannet200", "scannet200_ce"))
    assert baseline["loss"]["collapse"].pop("weight") == 0
    assert main["loss"]["collapse"].pop("weight") > 0
    assert main == baseline


def test_the_volt_is_trained_as_its_teacher_is_but_for_what_a_transformer_wants() -> None:
    teacher, volt = (
        flatten_config(load_config(name, ["run.dir=x"]).model_dump())
        for name in ("scannet200_teacher", "scannet200_volt")
    )
    changed = {key for key in volt if volt[key] != teacher[key]}
    of_training = {"optimizer.lr", "train.passes", "train.amp", "train.ema_decay"}
    assert changed == {"model.name", "distill.run", *of_training, "inference.max_voxels"}
    assert volt["distill.run"] == load_config("scannet200_teacher").run.dir


def test_a_dumped_config_reads_back_equal(tmp_path: Path) -> None:
    config = load_config("demo", ["optimizer.lr=1e-3", "data.features=[xyz]"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "config.yaml")) == config
    assert config.optimizer.lr == 1e-3
    assert config.in_channels == 3


@pytest.mark.parametrize("text", ["1.5e3", "1_000", "010", "1:30", ".5", "null", "yes", "2026-01-01", "a: b", "- a"])
def test_a_text_that_looks_like_something_else_is_dumped_as_a_text(text: str, tmp_path: Path) -> None:
    config = load_config("demo", [f"run.dir='{text}'"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(str(tmp_path / "config.yaml")) == config


def test_an_empty_section_is_one_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train:\nloss:\n  collapse:\n")
    config = load_config(str(path), ["train.passes=3"])
    assert config.train.passes == 3 and config.loss == Config().loss


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.passes: 3", "train.passes: in a file a key stands below its section; write train: {passes: VALUE}"),
        ("loss: {collapse.weight: 1}", r"loss.collapse.weight: .*; write loss: {collapse: {weight: VALUE}}"),
        ("run: {dir: ''}", "run.dir: expected a name that a file can have, got ''"),
        ("data: {train_split: ''}", "data.train_split: expected a name that a file can have, got ''"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_what_to_write(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"^{path}: {message}"):
        load_config(str(path))


def test_a_run_without_its_table_takes_no_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the one in the folder that the command is called from, of other classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.tsv").write_text("id\tname\n1\twall\n2\tfloor\n")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    config = load_config("demo").model_copy(update={"taxonomy": "classes.tsv"})
    (tmp_path / "run" / "config.yaml").write_text(dump_config(config))
    with pytest.raises(UsageError, match=r"^run/classes\.tsv: is missing; put back the table of classes"):
        load_config("run/config.yaml")
    (tmp_path / "mine.yaml").write_text(dump_config(config))
    assert load_config("mine.yaml").taxonomy == "classes.tsv"


def test_the_run_is_named_after_the_config() -> None:
    assert load_config("demo.yaml").run.dir == "runs/demo"
    assert load_config("demo", ["run.dir=elsewhere"]).run.dir == "elsewhere"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.pases=3", "unknown key train.pases; the nearest known key is train.passes"),
        ("train.passes=many", "train.passes=.*: .*integer.*'many'"),
        ("train.passes=0", "train.passes=.*: .*greater than 0"),
        ("data.features=[rgb, rgb]", r"data.features=.*: expected each input once, got \[rgb, rgb\]"),
        ("data.features=[rgba]", "data.features.0: .*'xyz', 'rgb' or 'normal'"),
        ("train", "not key.sub=value"),
        ("taxonomy.name=x", "taxonomy is a value, not a section"),
        ("inference.max_voxels=0", "inference.max_voxels=.*: .*greater than 0, got 0"),
        ("inference.max_voxels=many", "inference.max_voxels=.*: .*integer.*'many'"),
        ("augment.scale=[1.0]", "augment.scale.1: "),
        ("augment.scale=[1.1, 0.9]", "augment.scale=.*: .*the smaller number first"),
        ("augment.objects.scale=[1.1, 0.9]", "augment.objects.scale=.*: .*the smaller number first"),
        ("train.ema_decay=1", "train.ema_decay=.*: .*less than 1"),
        ("distill.weight=0", "distill.weight.*greater than 0"),
        ("distill.weight=1", "distill.weight.*less than 1"),  # nothing would train the classifier that predicts
        ("data.crop_share=[1.0, 0.6]", "data.crop_share=.*: .*the smaller number first"),
        ("data.crop_share=[0.6, 1.5]", "data.crop_share.*less than or equal to 1"),
        ("model.width=.inf", "model.width=.*: .*finite"),
        ("inference.logit_adjustment=.nan", "inference.logit_adjustment=.*: .*finite"),
        ("run.seed=100000000000000000000", "run.seed=.*: .*less than 9223372036854775808"),
        ("model.init=", "model.init=: has no value; write model.init=null if none is meant"),
        ("run.dir= ", "has no value"),
        ("run.dir=~/runs/x", "run.dir=.*: expected a path without ~"),
        ("run.dir=runs/l\udce4", r"holds '\\udce4', which no config may have; choose another name"),
        ("run.dir=runs/l\a", r"holds '\\x07', which no config may have; choose another name"),
        ("train.passes=1:30", "train.passes=.*: .*integer.*'1:30'"),
        ("train.passes=yes", "train.passes=.*: expected something else than true or false"),
        ("optimizer.lr=on", "optimizer.lr=.*: expected something else than true or false"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config("demo", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("1_000", 1000), ("1e-3", 0.001), ("1.5e-3", 0.0015), (".5", 0.5), ("+2", 2)]
)
def test_numbers_are_read_as_everybody_reads_them(text: str, value: float) -> None:
    """YAML 1.1 has octal numbers and such of base 60."""
    assert load_config("demo", [f"optimizer.lr={text}"]).optimizer.lr == value


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.cross_entropy=0", "loss.focal=1", "loss.label_smoothing=0.1"], "loss.label_smoothing: it smooths the"),
        (["train.scenes_at_once=1", "train.sync_batch_norm=true"], "train.scenes_at_once: batch norm over all proc"),
        (
            ["optimizer.momentum=0", "optimizer.cycle_momentum=true", "optimizer.name=sgd"],
            "optimizer.momentum: 0 is not",
        ),
        (["optimizer.momentum=0", "optimizer.cycle_momentum=true", "optimizer.name=adamw"], "optimizer.momentum: 0 is"),
    ],
)
def test_keys_that_can_not_be_together_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config("demo", overrides)
    assert "\n" not in str(caught.value)


def test_momentum_may_be_0_where_nothing_takes_its_place() -> None:
    for override in ("optimizer.cycle_momentum=false", "optimizer.schedule=poly"):
        config = load_config("demo", ["optimizer.cycle_momentum=true", "optimizer.momentum=0", override])
        assert config.optimizer.momentum == 0


def test_a_config_from_before_a_key_has_its_default(tmp_path: Path) -> None:
    tree = yaml.safe_load(dump_config(load_config("demo")))
    del tree["inference"]["max_voxels"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert load_config(str(tmp_path / "config.yaml")).inference.max_voxels == Config().inference.max_voxels
    assert load_config("demo", ["inference.max_voxels=null"]).inference.max_voxels is None


def test_an_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"scannet\.yaml: no such config.*scannet200\.yaml"):
        load_config("scannet.yaml")


def test_configs_of_another_package_are_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed, the package has its own inside; beside it lies what others installed."""
    for folder in ("configs", "pointseg/configs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "demo.yaml").touch()
    (tmp_path / "configs" / "theirs.yaml").touch()
    monkeypatch.setattr(config_package, "__file__", str(tmp_path / "pointseg" / "config" / "__init__.py"))
    monkeypatch.chdir(tmp_path / "pointseg")
    assert find_config("demo.yaml").samefile(tmp_path / "pointseg" / "configs" / "demo.yaml")
    with pytest.raises(UsageError, match="no such config; give a path or one of demo.yaml$"):
        find_config("theirs")
    (tmp_path / "pyproject.toml").touch()
    assert find_config("theirs") == tmp_path / "configs" / "theirs.yaml"


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1,\nb: 2")
    with pytest.raises(UsageError, match=r"broken\.yaml: not valid YAML") as caught:
        load_config(str(tmp_path / "broken.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  passes: 1\ndata:\n  root: x\ntrain:\n  passes: 9\n", "line 5 has the key 'train' of line 1 again"),
        ("train:\n  passes: 1\n  log_every: 2\n  passes: 9\n", "line 4 has the key 'passes' of line 2 again"),
        ("loss:\n  collapse:\n    weight: 0\n    'weight': 1\n", "line 4 has the key 'weight' of line 3 again"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """At any depth: PyYAML takes the last, and half of what somebody wrote would not count."""
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_config(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_key_that_a_mapping_takes_over_may_be_given_anew(tmp_path: Path) -> None:
    """That is what YAML's ``<<`` is for. On the command line the last of two values counts, as in other programs."""
    path = tmp_path / "merged.yaml"
    text = "augment: &a\n  scale: [0.9, 1.1]\n  mix_probability: 0.5\n"
    path.write_text(text)
    before = load_config(str(path)).augment
    path.write_text("data: {root: x}\n" + text + "  <<: {mix_probability: 0.1, copy_paste: 2}\n")
    augment = load_config(str(path)).augment
    assert augment == before.model_copy(update={"copy_paste": 2})
    assert load_config(str(path), ["train.passes=2", "train.passes=3"]).train.passes == 3


LARGE = "9" * 5000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD_YAML = {
    "flow lists in each other": "a: " + "[" * 10_000 + "]" * 10_000,
    "sections in each other": "\n".join(" " * depth + "a:" for depth in range(1500)),
    "no month": "run:\n  seed: 2020-13-45",
    "a date": "run:\n  seed: 2020-01-01",
    "digits": f"run:\n  seed: {LARGE}",
    "hexadecimal digits": f"run:\n  seed: 0x{'f' * 20_000}",
    "no integer": "run:\n  seed: !!int abc",
    "no time": "run:\n  seed: !!timestamp abc",
    "aliases of aliases": f"{BOMB}run:\n  dir: *i",
    "a list that holds itself": "run:\n  dir: &a [*a]",
    "tabs": "run:\n\tseed: 1",
    "NUL": 'run:\n  dir: "a\\0b"',
    "half a letter": 'run:\n  dir: "\\ud800"',
    "nothing": "",
    "comments alone": "# to be written\n",
    "a list": "- run\n- data",
    "many unknown keys": "\n".join(f"key{number}: 1" for number in range(5000)),
}


@pytest.mark.parametrize("name", ODD_YAML)
def test_odd_yaml_is_one_short_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(ODD_YAML[name], encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 1200


@pytest.mark.parametrize("content", ["run:\n  seed: 1\n".encode("utf-16"), bytes(range(256)), bytes(100)])
def test_what_is_no_text_in_utf_8_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"odd\.yaml: not valid YAML: .*; mend the file"):
        load_config(str(path))


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfrun:\n  seed: 7\n")
    assert load_config(str(path)).run.seed == 7


@pytest.mark.parametrize(
    "value",
    ["[" * 10_000, "2020-13-45", LARGE, f"0x{'f' * 20_000}", "!!int abc", "!!timestamp abc", "*a", "\t1", "a\0b"],
)
def test_odd_values_in_the_call_are_one_short_line(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("demo", [f"run.seed={value}"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("override", "most"),
    [
        ("train.num_threads=100000", "1024"),
        ("data.num_workers=100000", "1024"),
        ("data.scenes_per_batch=1000000000", "4096"),
        ("train.passes=1000000000000", "2147483647"),
        (f"data.max_points={10**30}", "2147483647"),
        (f"inference.max_voxels={10**30}", "2147483647"),
        ("augment.copy_paste=1000000000", "10000"),
        ("model.channels=[1000000000, 8, 8, 8]", "16384"),
        ("model.width=1e30", "64"),
        ("data.voxel_size_m=1e30", "100"),
        ("augment.jitter_m=1e30", "1000"),
        ("augment.scale=[1, 1e300]", "1000"),
        ("optimizer.lr=1e300", ".*"),
        ("inference.logit_adjustment=1e300", "100"),
    ],
)
def test_numbers_that_are_a_slip_are_refused_with_the_largest(override: str, most: str) -> None:
    key, _, _ = override.partition("=")
    with pytest.raises(UsageError, match=rf"{key}.*: Input should be less than or equal to {most}, got"):
        load_config("demo", [override])


@pytest.mark.parametrize("override", ["data.voxel_size_m=1e-30", "augment.elastic=[[1e-30, 1]]", "train.log_every=0"])
def test_numbers_that_are_too_small_are_refused(override: str) -> None:
    with pytest.raises(UsageError, match="Input should be greater than"):
        load_config("demo", [override])


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["train.passes=x"], "train.passes=x: Input should be a valid integer, .*, got 'x'"),
        (["train.passes=x", "train.passes=y"], "train.passes=y: Input should be .*, got 'y'"),
        (["train.pases=4"], "train.pases=4: unknown key train.pases; the nearest known key is train.passes"),
        (["trian.passes=4"], "trian.passes=4: unknown key trian; the nearest known key is train"),
        (["augment.scale=[1.0, x]"], r"augment.scale=\[1.0, x\]: augment.scale.1: .*"),
        (["loss.cross_entropy=0"], "loss.cross_entropy=0: loss: nothing trains the classifier; .*"),
        (
            ["train.scenes_at_once=1", "train.passes=2", "train.sync_batch_norm=true"],
            "train.scenes_at_once=1, train.sync_batch_norm=true: train.scenes_at_once: batch norm .*",
        ),
    ],
)
def test_a_mistake_in_an_override_is_told_of_it_and_not_of_the_file(overrides: list[str], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("demo", overrides)
    assert re.fullmatch(line, str(caught.value))


def test_mistakes_in_a_file_and_in_an_override_are_told_of_each(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("train: {passes: many, log_every: 5}\n")
    with pytest.raises(UsageError) as caught:
        load_config(str(path), ["train.log_every=x"])
    of_file, of_override = f"{path}: train.passes: Input", "; train.log_every=x: Input"
    assert str(caught.value).startswith(of_file)
    assert of_override in str(caught.value)
    with pytest.raises(UsageError, match=r"own\.yaml: train\.passes: "):
        load_config(str(path), ["train.log_every=6"])
