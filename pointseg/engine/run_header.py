"""What is said when training begins: on what, with what, for how long, and where to look."""

from typing import TYPE_CHECKING

import torch

from pointseg.config import LossConfig
from pointseg.models import Network, count_parameters
from pointseg.scans.tree import name_splits
from pointseg.taxonomy import GROUPS, Taxonomy

if TYPE_CHECKING:
    from pointseg.engine.trainer import Trainer


def describe_training(trainer: "Trainer") -> str:
    """The run in a few lines, each a title and what stands behind it."""
    config, progress = trainer.config, trainer.progress
    data, path = config.data, trainer.directory.path
    backend = trainer.network.backend_name
    val = f", {len(trainer.scenes.val)} of {name_splits(data.val_split)}" if data.val_split else ""
    lines = {
        "network": f"{config.model.name}, {_count_parameters(trainer.network)}"
        + (f", backend {backend}" if backend else ""),
        "device": _describe_device(trainer),
        "classes": _describe_classes(trainer.taxonomy),
        "scenes": f"{len(trainer.scenes.train_names)} of {name_splits(data.train_split)}{val}, from {data.root}",
        "loss": _describe_loss(config.loss) + ("" if trainer.teacher is None else f", taught by {config.distill.run}"),
        "steps": f"{trainer.num_steps:,}: {config.train.passes} passes of {trainer.loader.batches_per_pass} batches of "
        f"{data.scenes_per_batch} scenes" + (f", {progress.step:,} of them done" if progress.step else ""),
        "look": f"{trainer.directory.metrics_path}; tensorboard --logdir {path.parent if path.name else path}",
    }
    return "\n".join([f"{path}: training {'goes on' if progress.step else 'begins'}", *_align(lines)])


def _align(lines: dict[str, str]) -> list[str]:
    width = max(map(len, lines))
    return [f"  {title:<{width}}  {text}" for title, text in lines.items()]


def _count_parameters(network: Network) -> str:
    num_all, num_learned = count_parameters(network), count_parameters(network, learning=True)
    return f"{num_all:,} parameters" + (f" ({num_learned:,} of them learn)" if num_learned < num_all else "")


def _describe_device(trainer: "Trainer") -> str:
    device, world_size = trainer.processes.device, trainer.processes.world_size
    if device.type == "cuda":
        name = f"{torch.cuda.get_device_name(device)}, amp {trainer.config.train.amp}"
    else:
        num_threads = torch.get_num_threads()
        name = f"cpu, {num_threads} thread{'s' if num_threads > 1 else ''}"
    return name if world_size == 1 else f"{world_size} processes, each on {name}"


def _describe_classes(taxonomy: Taxonomy) -> str:
    if taxonomy.groups is None:
        return f"{taxonomy.num_classes} of {taxonomy.name}"
    groups = ", ".join(f"{taxonomy.groups.count(group)} {group}" for group in GROUPS)
    return f"{taxonomy.num_classes} of {taxonomy.name}: {groups}"


def _describe_loss(loss: LossConfig) -> str:
    weights = loss.terms
    if loss.collapse.weight:
        weights["collapse"] = loss.collapse.weight
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items() if weight)
