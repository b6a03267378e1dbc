"""The methods that are compared: what each changes in the config that all share, and where it comes from."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pointseg.config import CollapseConfig
from pointseg.errors import UsageError

OBJECT_CHANCES = {
    "augment.objects.shift_probability": 0.2,
    "augment.objects.turn_probability": 0.2,
    "augment.objects.flip_probability": 0.2,
    "augment.objects.scale_probability": 0.2,
    "augment.objects.ignore_probability": 0.1,
    "augment.objects.black_probability": 0.2,
    "augment.objects.swap_probability": 0.2,
}
"""Of each augmentation of single objects, as its authors have them."""
OFF: dict[str, Any] = {
    "loss.class_balanced": 0.0,
    "loss.effective_number": 0.0,
    "loss.focal": 0.0,
    "loss.balanced_softmax": 0.0,
    "loss.lovasz": 0.0,
    "loss.collapse.weight": 0.0,
    "inference.logit_adjustment": 0.0,
    "augment.copy_paste": 0,
    "loss.label_smoothing": 0.0,
    **dict.fromkeys(OBJECT_CHANCES, 0.0),
    "train.ema_decay": None,
    "train.freeze": "none",
    "model.init": None,
    "distill.run": None,
    "inference.vote": "none",
}
"""What is off in every method that does not turn it on, and how."""
BASELINE = "cross_entropy"
COLLAPSE = "collapse"
_POST_HOC = "inference."
_TEACHER = "the run of the same method and seed without a teacher"
_START = "the run of the same method and seed before the classifier is trained again"
# Whatever the config says of the branch, two methods are their preset as it is written down.
_AS_PRESET = {
    f"loss.collapse.{name}": value
    for name, value in CollapseConfig().model_dump().items()
    if name not in ("weight", "preset", "log_prior", "backend")
}


@dataclass(frozen=True)
class Method:
    """A way of handling the long tail."""

    name: str
    overrides: Mapping[str, Any]
    """Key of the config -> value. For one of ``OFF`` the config's own value goes before, where it is not off."""
    about: str
    """What it is, and its source, in one line."""
    keeps_weights: bool = False
    """Whether its own weights go before the config's: a λ of another reduction and scale is another λ."""
    of: str | None = None
    """The method that it is a variation of; None: it is none."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of a variation: key -> value, which go before all else."""

    @property
    def trained_as(self) -> str:
        """The method whose weights it uses: itself, unless part of it happens after training."""
        if self.of is not None:
            return find_method(self.of).trained_as if _is_post_hoc(self.changes) else self.name
        parts = [part for part in self.name.split("+") if not find_method(part).is_post_hoc]
        return "+".join(parts) or BASELINE

    @property
    def taught_by(self) -> str | None:
        """The method whose run teaches: the same without a teacher; None where there is none."""
        if self.of is not None:
            return find_method(self.of).taught_by
        return self._without("distill.run")

    @property
    def begins_with(self) -> str | None:
        """The method with whose weights its own training begins; None: with random ones."""
        if self.of is not None:
            return find_method(self.of).begins_with
        return self._without("model.init")

    @property
    def needed(self) -> list[str]:
        """Other methods that are trained before it."""
        names = (self.taught_by, self.begins_with, self.of, self.trained_as)
        return [name for name in names if name is not None and name != self.name]

    def _without(self, key: str) -> str | None:
        """The name of what is trained, less the part that sets ``key``; None where no part does."""
        parts = self.trained_as.split("+")
        kept = [part for part in parts if key not in find_method(part).overrides]
        return None if len(kept) == len(parts) else "+".join(kept) or BASELINE

    @property
    def is_post_hoc(self) -> bool:
        """Whether all of it happens after training."""
        return _is_post_hoc(self.overrides)


METHODS = (
    Method(
        BASELINE,
        {},
        "cross-entropy alone: the baseline",
    ),
    Method(
        "class_balanced",
        {"loss.cross_entropy": 0.0, "loss.class_balanced": 1.0},
        "cross-entropy with classes weighted by inverse frequency",
    ),
    Method(
        "effective_number",
        {"loss.cross_entropy": 0.0, "loss.effective_number": 1.0},
        "cross-entropy weighted by effective number of points (Cui et al., CVPR 2019)",
    ),
    Method(
        "focal",
        {"loss.cross_entropy": 0.0, "loss.focal": 1.0},
        "focal loss (Lin et al., ICCV 2017)",
    ),
    Method(
        "balanced_softmax",
        {"loss.cross_entropy": 0.0, "loss.balanced_softmax": 1.0},
        "log-prior added to the logits in training (Ren et al., NeurIPS 2020; Menon et al., ICLR 2021)",
    ),
    Method(
        "post_hoc",
        {"inference.logit_adjustment": 1.0},
        "log-prior taken off the logits at test time, weights as trained without (Menon et al., ICLR 2021)",
    ),
    Method(
        "lovasz",
        {"loss.lovasz": 1.0},
        "cross-entropy + Lovász-softmax (Berman et al., CVPR 2018)",
    ),
    Method(
        COLLAPSE,
        {"loss.collapse.weight": 0.5},
        "cross-entropy + center collapse (CeCo, CVPR 2023), the branch as the config has it",
    ),
    Method(
        "collapse_paper",
        {
            "loss.collapse.weight": 0.02,
            **_AS_PRESET,
            "loss.collapse.preset": "paper",
            "loss.collapse.log_prior": "none",
        },
        "cross-entropy + center collapse by the paper's equations, λ = 0.02 (CeCo, CVPR 2023)",
        keeps_weights=True,
    ),
    Method(
        "collapse_release",
        {
            "loss.collapse.weight": 1.0,
            **_AS_PRESET,
            "loss.collapse.preset": "release",
            "loss.collapse.log_prior": "scenes",
        },
        "cross-entropy + center collapse as the authors' 2D code: frozen maps, log-prior of scenes, λ = 1",
        keeps_weights=True,
    ),
    Method(
        "copy_paste",
        {"augment.copy_paste": 2},
        "cross-entropy on scenes with two more objects of tail classes (after Ghiasi et al., CVPR 2021)",
    ),
    Method(
        "label_smoothing",
        {"loss.label_smoothing": 0.1},
        "cross-entropy with a tenth of the target shared by all classes (Szegedy et al., CVPR 2016)",
    ),
    Method(
        "objects",
        OBJECT_CHANCES,
        "cross-entropy with seven augmentations of single objects (Volt, arXiv 2604.19609)",
    ),
    Method(
        "ema",
        {"train.ema_decay": 0.99},
        "cross-entropy, and the moving average of the weights predicts (Tarvainen and Valpola, NeurIPS 2017)",
    ),
    Method(
        "teacher",
        {"distill.run": _TEACHER},
        "a second classifier learns the classes that the run without a teacher predicts (Volt, arXiv 2604.19609)",
    ),
    Method(
        "retrained",
        {
            "model.init": _START,
            "train.freeze": "features",
            "train.passes": 10,
            "loss.cross_entropy": 0.0,
            "loss.class_balanced": 1.0,
        },
        "cross-entropy, then 10 passes for the classifier alone, classes weighted (cRT, Kang et al., ICLR 2020)",
    ),
    Method(
        "votes",
        {"inference.vote": "segments"},
        "one label for each over-segment, by the mean probability of its points, weights as trained without",
    ),
)
COMBINATIONS = ("balanced_softmax+collapse", "lovasz+collapse", "post_hoc+collapse")
# The loss decides in all of them; what is done beside it is compared where it is asked for.
BESIDE_THE_LOSS = ("copy_paste", "label_smoothing", "objects", "ema", "teacher", "retrained", "votes")
DEFAULT_NAMES = (*(method.name for method in METHODS if method.name not in BESIDE_THE_LOSS), *COMBINATIONS)
_BY_NAME = MappingProxyType({method.name: method for method in METHODS})


def is_method(name: str) -> bool:
    """Whether the table has it, alone."""
    return name in _BY_NAME


def vary(of: str, name: str, changes: Mapping[str, Any]) -> Method:
    """A method with other keys of the config: one row more in the table.

    Args:
        of: a method, or several with ``+``.
        name: of the row and of its folder.
        changes: key -> value.

    Raises:
        UsageError: as :func:`find_method`, or the name is a method's own.
    """
    base = find_method(of)
    if is_method(name) or "+" in name:
        raise UsageError(f"{name}: is the name of a method; give the variation of {of} another")
    about = ", ".join(f"{key}={json.dumps(value)}" for key, value in changes.items())
    return replace(base, name=name, about=f"{base.name} with {about}", of=base.name, changes=dict(changes))


def choose_methods(wanted: Sequence[str | Method]) -> list[Method]:
    """The methods, each once; one whose weights another uses, learns from or varies comes along before it.

    Args:
        wanted: names, or what :func:`vary` made.

    Raises:
        UsageError: as :func:`find_method`, or two variations have one name.
    """
    chosen: dict[str, Method] = {}
    for one in wanted:
        method = find_method(one) if isinstance(one, str) else one
        before = [] if method.name in chosen else choose_methods(method.needed)
        for each in (*before, method):
            chosen.setdefault(each.name, each)
        if chosen[method.name] != method:
            raise UsageError(f"{method.name}: is the name of two rows; give one of them another")
    return list(chosen.values())


def find_method(name: str) -> Method:
    """A method of the table, or several at once: ``lovasz+collapse``.

    Raises:
        UsageError: there is no such method (the nearest one is named), or two of them set the same key.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    parts = [_find_part(part, name) for part in dict.fromkeys(name.split("+"))]
    parts.sort(key=METHODS.index)
    overrides: dict[str, Any] = {}
    for part in parts:
        if part.name == BASELINE:
            raise UsageError(f"{name}: {BASELINE} is what every method changes; leave it out of the combination")
        shared = sorted(overrides.keys() & part.overrides.keys())
        if shared:
            setter = next(other.name for other in parts if shared[0] in other.overrides)
            raise UsageError(f"{name}: {setter} and {part.name} both set {shared[0]}; combine others")
        overrides |= part.overrides
    if len(parts) == 1:  # named twice
        return parts[0]
    return Method(
        "+".join(part.name for part in parts),
        overrides,
        f"{' and '.join(part.name for part in parts)} at once",
        any(part.keeps_weights for part in parts),
    )


def _is_post_hoc(overrides: Mapping[str, Any]) -> bool:
    return bool(overrides) and all(key.startswith(_POST_HOC) for key in overrides)


def _find_part(part: str, name: str) -> Method:
    if part in _BY_NAME:
        return _BY_NAME[part]
    nearest = difflib.get_close_matches(part, _BY_NAME, n=1, cutoff=0.0)[0]
    where = "" if part == name else f"{name}: "
    raise UsageError(
        f"{where}unknown method {part!r}; the nearest is {nearest}; all: {', '.join(_BY_NAME)}, and several with +"
    )
