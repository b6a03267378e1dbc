"""The typed config of a run: one complete YAML in, validated, saved with the run.

A YAML names every key (a test sees to it). ``key.sub=value`` on the command line overrides one.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator
from yaml.reader import ReaderError

from pointseg.config.sections import (
    AugmentConfig,
    CollapseConfig,
    DataConfig,
    DistillConfig,
    FileName,
    InferenceConfig,
    LossConfig,
    ModelConfig,
    ObjectConfig,
    OptimizerConfig,
    RunConfig,
    Section,
    TrainConfig,
)
from pointseg.errors import UsageError, regular_file
from pointseg.taxonomy import CLASS_TABLE, NAMES, load_taxonomy

__all__ = [
    "AugmentConfig",
    "CollapseConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "LossConfig",
    "ModelConfig",
    "ObjectConfig",
    "OptimizerConfig",
    "config_from_dict",
    "dump_config",
    "find_config",
    "flatten_config",
    "list_configs",
    "load_config",
    "read_yaml",
]


class _Loader(yaml.SafeLoader):
    """Numbers as everybody reads them, and each key once.

    PyYAML reads 010 as 8 and 1:30 as 90, as YAML 1.1 had it: here they are texts, of which pydantic takes the first for
    10 and refuses the other. A key that stands twice in a mapping is forbidden by YAML, and PyYAML takes the last.
    """

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        line_of_key: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and line_of_key.setdefault(key.value, line) != line:
                where = f"line {line} has the key {key.value!r} of line {line_of_key[key.value]} again"
                raise yaml.MarkedYAMLError(problem=f"{where}; leave one of them")
        return node


_TAGS = {
    "int": r"[-+]?(0|[1-9][0-9_]*)$",
    "float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$",
}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _TAGS]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Quotes a text that PyYAML or our loader would read as something else."""


for _name, _pattern in _TAGS.items():
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list("-+0123456789."))


class Config(Section):
    """A whole run."""

    taxonomy: FileName = "scannet200"
    """The classes: scannet200, scannet20, the path of a table (.tsv), or tree: classes.tsv of the prepared tree."""
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _check_ranges(self) -> "Config":
        ranges = {"augment.scale": self.augment.scale, "augment.objects.scale": self.augment.objects.scale}
        if self.data.crop_share is not None:
            ranges["data.crop_share"] = self.data.crop_share
        for key, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{key}: expected the smaller number first, got {[low, high]}")
        return self

    @model_validator(mode="after")
    def _check_losses(self) -> "Config":
        loss = self.loss
        if not any(loss.terms.values()):
            raise ValueError(
                f"loss: nothing trains the classifier; give one of {', '.join(f'loss.{name}' for name in loss.terms)} "
                "a weight above 0"
            )
        if loss.label_smoothing and not loss.cross_entropy:
            raise ValueError("loss.label_smoothing: it smooths the target of loss.cross_entropy, whose weight is 0")
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> "Config":
        features = self.data.features
        if len(set(features)) < len(features):
            raise ValueError(f"data.features: expected each input once, got [{', '.join(features)}]")
        if self.train.freeze == "features" and self.model.init is None:
            raise ValueError("train.freeze: features that don't learn have to come from somewhere; set model.init")
        if self.train.sync_batch_norm and self.train.scenes_at_once is not None:
            raise ValueError(
                "train.scenes_at_once: batch norm over all processes needs their whole batches at once; set one of "
                "train.scenes_at_once and train.sync_batch_norm"
            )
        optimizer = self.optimizer
        if optimizer.schedule == "one_cycle" and optimizer.cycle_momentum and optimizer.momentum == 0:
            raise ValueError(
                "optimizer.momentum: 0 is not what optimizer.cycle_momentum trains with, which is 0.85 to 0.95; set "
                "optimizer.cycle_momentum=false, or leave momentum as it is"
            )
        return self

    @property
    def in_channels(self) -> int:
        """Input channels of the network."""
        return 3 * len(self.data.features)


def load_config(name: str, overrides: list[str] | None = None) -> Config:
    """Read a YAML and apply ``key.sub=value`` overrides.

    Args:
        name: a path, or a file's name in ``configs/`` (with or without ``.yaml``).
        overrides: each ``key.sub=value``; the value is YAML.

    Raises:
        UsageError: no such file, no YAML in it, an unknown key (the nearest known one is named), a wrong value.
    """
    path = find_config(name)
    tree = read_yaml(path, "begin with a copy of configs/scannet200.yaml")
    _fill_empty_sections(tree, Config)
    for override in overrides or []:
        _apply_override(tree, override)
    config = _validate(tree, str(path), overrides or [])
    run = config.run if config.run.dir is not None else config.run.model_copy(update={"dir": f"runs/{path.stem}"})
    return config.model_copy(update={"run": run, "taxonomy": _find_taxonomy(config, path.parent)})


def read_yaml(path: Path, remedy: str) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Args:
        path: of the file.
        remedy: what to do where it is empty or no mapping.

    Raises:
        UsageError: no YAML in it, or no keys and values.
    """
    try:
        tree = deepcopy(_parse(path.read_text(encoding="utf-8")))
    except OSError:
        raise
    except Exception as error:  # PyYAML's own, and what Python raises of a date, a number or a depth that it can't take
        from pointseg.config.mistakes import explain_yaml

        raise UsageError(f"{path}: not valid YAML: {explain_yaml(error)}; mend the file") from None
    if not tree:
        raise UsageError(f"{path}: is empty; {remedy}")
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: expected keys and values, found {type(tree).__name__}; {remedy}")
    return tree


@lru_cache(maxsize=8)
def _parse(text: str) -> Any:
    """The content of a YAML file. Callers share it, and copy what they change.

    A laboratory reads one config for each of its runs, and to parse it takes longer than to check it.
    """
    return yaml.load(text, _Loader)


def _find_taxonomy(config: Config, folder: Path) -> str:
    """A benchmark's name, or the path of a table: of the tree, beside the config, or from where we are.

    Raises:
        UsageError: there is no such benchmark or table, or the config is a run's whose table is gone.
        DataError: it is no table of classes.
    """
    name = config.taxonomy
    if name == "tree":
        name = str(Path(config.data.root) / CLASS_TABLE)
    elif name not in NAMES and (folder / name).is_file():
        name = str(folder / name)
    elif name == CLASS_TABLE and (folder / "checkpoints").is_dir():  # a run's: a table from where we are is another's
        raise UsageError(f"{folder / name}: is missing; put back the table of classes that the run was trained with")
    load_taxonomy(name)
    return name


def find_config(name: str, kind: str = "config") -> Path:
    """Where a YAML of ours is.

    Args:
        name: a path, or a file's name, with or without ``.yaml``, in ``configs/`` of the checkout or the wheel.
        kind: ``config``, or ``plan`` for those in ``configs/plans/``.

    Raises:
        UsageError: there is no such file.
    """
    for folder in (Path(), *_config_folders(kind)):
        for candidate in (folder / name, folder / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    regular_file(Path(name))
    raise UsageError(f"{name}: no such {kind}; give a path or one of {', '.join(list_configs(kind))}")


def list_configs(kind: str = "config") -> list[str]:
    """Names of the files that :func:`find_config` finds wherever it is called, sorted."""
    return sorted({path.name for folder in _config_folders(kind) for path in folder.glob("*.yaml")})


def _config_folders(kind: str) -> list[Path]:
    package = Path(__file__).parents[1]
    below = {"config": "configs", "plan": "configs/plans"}[kind]
    is_checkout = (package.parent / "pyproject.toml").is_file()  # and not what lies beside an installed package
    return [folder / below for folder in (package, *([package.parent] if is_checkout else []))]


def dump_config(config: Config) -> str:
    """The config as YAML that :func:`load_config` reads back to an equal config."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def flatten_config(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys with their sections, ``loss.collapse.weight``, -> values, of a config as nested dicts."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten_config(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def config_from_dict(tree: dict[str, Any], where: str) -> Config:
    """Validate a config that was stored elsewhere, in a checkpoint for example."""
    return _validate(tree, where)


def _fill_empty_sections(tree: dict[str, Any], section: type[Section]) -> None:
    """``train:`` with nothing below it, which YAML reads as null, is a section without keys."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if name in tree and isinstance(inner, type) and issubclass(inner, Section):
            if tree[name] is None:
                tree[name] = {}
            if isinstance(tree[name], dict):
                _fill_empty_sections(tree[name], inner)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"{override!r} is not key.sub=value; write for example train.passes=10")
    if not value.strip():  # a variable of the shell that is not set
        raise UsageError(f"{override}: has no value; write {key}=null if none is meant")
    *sections, last = key.split(".")
    for section in sections:
        child = tree.setdefault(section, {})
        if not isinstance(child, dict):
            raise UsageError(f"{override}: {section} is a value, not a section; see configs/scannet200.yaml")
        tree = child
    try:
        new = yaml.load(value, _Loader)
    except ReaderError as error:
        raise UsageError(
            f"{override[:80]}: holds {chr(error.character)!r}, which no config may have; choose another name or value"
        ) from None
    except Exception:  # as in read_yaml
        raise UsageError(f"{override[:80]}: {value[:80]!r} is not a YAML value; quote it") from None
    if isinstance(new, dict):  # it would take the place of the section, with defaults for all that it doesn't name
        raise UsageError(f"{override[:80]}: sets a whole section; set its keys one by one, each {key}.KEY=VALUE")
    tree[last] = new


def _validate(tree: dict[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        from pointseg.config.mistakes import explain

        raise UsageError(explain(error, Config, where, overrides)) from None
