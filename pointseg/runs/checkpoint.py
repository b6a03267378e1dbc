"""Checkpoints: written whole or not at all, read without running anything (``weights_only``)."""

import errno
import hashlib
import io
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pointseg import __version__
from pointseg.atomic import atomic_file
from pointseg.commands import called
from pointseg.config import Config
from pointseg.errors import DataError, UsageError, first_line
from pointseg.models import Network
from pointseg.runs.directory import RunDirectory
from pointseg.taxonomy import Taxonomy, load_taxonomy

_CUT_OFF = "it is cut off or damaged"
_ANOTHER = "give another copy of the file, or train again"
_ITS_OWN_RUN = "give the run that it is of, with the classes that it was trained with"


def save_checkpoint(path: Path, config: Config, taxonomy: Taxonomy, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, texts and containers of them), stamped with config, taxonomy and version.

    Raises:
        OSError: the disk is full or can't be written; what stood at ``path`` stays.
    """
    stamp = {
        "pointseg": __version__,
        "config": config.model_dump(mode="json"),
        "taxonomy": taxonomy.fingerprint,
        "class_ids": taxonomy.ids_fingerprint,
    }
    write_tensors(path, {**stamp, **state})


def write_tensors(path: Path, content: Any) -> None:
    """``torch.save``, whole or not at all.

    Raises:
        OSError: the disk is full or can't be written; what stood at ``path`` stays.
    """
    # torch.save to a file turns a full disk into an error without a name or a number.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """PyTorch warns in paragraphs of what it then refuses, or reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_without_warnings()
def read_tensors(path: Path) -> Any:
    """What ``torch.save`` wrote, onto the CPU and without running anything.

    Raises:
        DataError: the file is damaged, is something else, or could only be read by running what is in it.
        OSError: it can't be opened.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.filename is not None:
            raise
        # To seek in a file that is cut off is an invalid argument.
        reason = _CUT_OFF if error.errno == errno.EINVAL else error.strerror or str(error)
        raise DataError(f"{path}: can't be read as a checkpoint ({reason}); {_ANOTHER}") from None
    except Exception as error:  # a damaged file raises anything: RuntimeError, EOFError, UnpicklingError, TypeError
        raise DataError(f"{path}: {_explain(error)}") from None


def is_checkpoint(content: Any) -> bool:
    """Whether this is what :func:`save_checkpoint` writes."""
    if not isinstance(content, dict) or not {"config", "taxonomy", "model"} <= content.keys():
        return False
    config, weights = content["config"], content["model"]
    features = (
        config["data"].get("features") if isinstance(config, dict) and isinstance(config.get("data"), dict) else 0
    )
    if not isinstance(features, (list, tuple)) or not all(isinstance(name, str) for name in features):
        return False
    if not isinstance(content["taxonomy"], str) or not isinstance(config.get("taxonomy", ""), str):
        return False
    return isinstance(weights, dict) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    )


def _is_of_classes(checkpoint: dict[str, Any], taxonomy: Taxonomy) -> bool:
    """Whether the rows of its classifier are these classes. Ids say so, as of labels: a name may be mended later."""
    # Checkpoints of before there was "class_ids" say ids and names in one.
    return checkpoint["taxonomy"] == taxonomy.fingerprint or checkpoint.get("class_ids") == taxonomy.ids_fingerprint


def has_other_names(checkpoint: dict[str, Any], taxonomy: Taxonomy) -> bool:
    """Whether classes have been renamed since, of a checkpoint of the same classes."""
    return bool(checkpoint["taxonomy"] != taxonomy.fingerprint)


def describe_other_names(config: Config) -> str:
    """What to say of weights that a run takes over where the names alone differ: they may be another data set's."""
    return f"its classes have the ids of {config.taxonomy} and other names; they are taken for the same classes"


def read_checkpoint(
    path: Path, config: Config, any_classes: bool = False, remedy: str = _ITS_OWN_RUN
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU and check that it fits the config's classes and inputs.

    Args:
        path: of the file.
        config: of the network that is to take the weights.
        any_classes: whether it may be of other classes; all but the weights of the classifier are of use then.
        remedy: what to do where it is of other classes, and may not be.

    Raises:
        UsageError: there is none, or it is of other classes or inputs.
        DataError: it is damaged, or no checkpoint of pointseg.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint; train first: {called('train', '--cfg', 'NAME')}")
    checkpoint = read_tensors(path)
    _refuse_changed_bytes(path)
    if not is_checkpoint(checkpoint):
        raise DataError(
            f"{path}: is no checkpoint of pointseg; give one that training wrote, or make a run of it first: "
            f"{called('convert', str(path), '--out', 'RUN')}"
        )
    taxonomy = load_taxonomy(config.taxonomy)
    has_its_classes = _is_of_classes(checkpoint, taxonomy)
    _check_class_counts(checkpoint, taxonomy.num_classes if has_its_classes else None, path)
    if not any_classes and not has_its_classes:
        before = checkpoint["config"].get("taxonomy")
        changed = f"with other classes than {config.taxonomy} has now"
        found = changed if before == config.taxonomy else f"on {before} with other classes than this {config.taxonomy}"
        raise UsageError(f"{path}: was trained {found}; {remedy}")
    trained_features = tuple(checkpoint["config"]["data"]["features"])
    if trained_features != config.data.features:
        raise UsageError(
            f"{path}: was trained with inputs {', '.join(trained_features)}, the config has "
            f"{', '.join(config.data.features)}; set data.features=[{', '.join(trained_features)}]"
        )
    return checkpoint


def _refuse_changed_bytes(path: Path) -> None:
    """Raises: DataError where a checksum of the file does not hold. ``torch.load`` asks for none of them."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error, EOFError):
        whole = False
    if not whole:
        raise DataError(f"{path}: can't be read as a checkpoint ({_CUT_OFF}); {_ANOTHER}")


def _check_class_counts(checkpoint: dict[str, Any], num_classes: int | None, path: Path) -> None:
    """Raises: DataError where it has counts of classes that are none. One that was converted has none at all.

    ``num_classes`` is None where it is not known how many there have to be.
    """
    if "class_counts" not in checkpoint:
        return
    counts = checkpoint["class_counts"]
    found = [counts.get(name) for name in ("points", "scenes")] if isinstance(counts, dict) else []
    are_counts = [
        isinstance(values, torch.Tensor)
        and values.dtype == torch.int64
        and values.dim() == 1
        and not bool((values < 0).any())
        and num_classes in (None, len(values))
        for values in found
    ]
    if not found or not all(are_counts) or found[0].shape != found[1].shape:  # type: ignore[union-attr]
        raise DataError(f"{path}: its class_counts are no counts of points and scenes; {_ANOTHER}")


def fingerprint(state: dict[str, Any]) -> str:
    """The SHA-256, in hex, of all in a checkpoint that decides a prediction: weights and class counts.

    Of what was read, not of the file: training may put another one in its place at any time.
    """
    sha256 = hashlib.sha256()
    for part in ("model", "class_counts"):
        for name, tensor in sorted(state.get(part, {}).items()):
            sha256.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            sha256.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Copy weights into ``model``; every key and shape must fit.

    Raises:
        UsageError: some do not; the first that do not are named.
        DataError: some are not finite: a network of those predicts its first class everywhere.
    """
    own = model.state_dict()
    problems = [f"{k} is missing" for k in own.keys() - state.keys()]
    problems += [f"{k} is not in the network" for k in state.keys() - own.keys()]
    problems += [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own.keys() & state.keys()
        if own[k].shape != state[k].shape
    ]
    problems += [
        f"{k} is {state[k].dtype}, {state[k].layout}, expected {own[k].dtype}"
        for k in own.keys() & state.keys()
        if own[k].shape == state[k].shape and not _is_of_kind(state[k], own[k])
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise UsageError(
            f"{path}: {len(problems)} weights do not fit the network ({shown}); set model.channels, model.layers and "
            "data.features as they were when it was trained"
        )
    wrong = [name for name, weight in state.items() if not torch.isfinite(weight).all()]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} of {len(state)} weights are not finite, first {wrong[0]}: the network has diverged; "
            "use another checkpoint, or train again with a lower optimizer.lr"
        )
    model.load_state_dict(state)


def _is_of_kind(found: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether one can be copied into the other without a loss but that of digits."""
    is_plain = found.layout == torch.strided and not found.is_quantized and not found.is_meta
    return is_plain and found.dtype.is_floating_point == own.dtype.is_floating_point and not found.is_complex()


def _explain(error: Exception) -> str:
    """What ``torch.load`` found wrong, in one line; it says so in paragraphs."""
    text = str(error)
    refused = re.search(r"GLOBAL (\S+)", text)
    if refused:
        return (
            f"holds {refused[1]}, and reading that would run code of the file; where you trust it, save its tensors "
            "alone: {'state_dict': ...}"
        )
    if "PytorchStreamReader" in text or isinstance(error, (EOFError, UnicodeDecodeError)):
        reason = _CUT_OFF
    elif "Weights only load failed" in text or "weights_only" in text or isinstance(error, LookupError):
        reason = "it is no file of torch.save"
    else:
        reason = first_line(error)[:200]
    return f"can't be read as a checkpoint ({reason}); {_ANOTHER}"


def load_initial_weights(network: Network, config: Config) -> str | None:
    """Copy the weights of ``model.init``, a run or a checkpoint, into the network of the config.

    The classifier of other classes stays as it is; all else has to fit.

    Returns:
        None: everything was copied, of classes with these names; else a line on what is otherwise.

    Raises:
        UsageError: there is no such checkpoint, or it is of other inputs or sizes.
        DataError: it is damaged, or no checkpoint of pointseg.
    """
    assert config.model.init is not None
    path = Path(config.model.init)
    if path.is_dir():
        path = RunDirectory(path).find_checkpoint()
    checkpoint = read_checkpoint(path, config, any_classes=True)
    weights = checkpoint["model"]
    taxonomy = load_taxonomy(config.taxonomy)
    if _is_of_classes(checkpoint, taxonomy):
        load_weights(network, weights, path)
        if not has_other_names(checkpoint, taxonomy):
            return None
        return f"{path}: {describe_other_names(config)}"
    classifier = {
        name: value for name, value in network.state_dict().items() if name.startswith(network.classifier_prefix)
    }
    load_weights(network, {**weights, **classifier}, path)
    return (
        f"{' and '.join(classifier)} start at random: {path} was trained on {checkpoint['config'].get('taxonomy')}, "
        f"with other classes than this {config.taxonomy}; all other weights are its"
    )
