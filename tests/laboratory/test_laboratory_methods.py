"""A method changes what it names and nothing else, and methods that contradict each other are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from pointseg.config import CollapseConfig, Config, flatten_config, load_config
from pointseg.errors import UsageError
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.data import Rooms, RoomSettings
from pointseg.laboratory.methods import (
    BASELINE,
    BESIDE_THE_LOSS,
    DEFAULT_NAMES,
    METHODS,
    OBJECT_CHANCES,
    OFF,
    choose_methods,
    find_method,
    vary,
)
from pointseg.laboratory.plan import fingerprint_run, plan_runs

ROOMS = Rooms(Path("rooms"), RoomSettings("longtail", {"train": 1, "val": 1, "test": 1}, 2000), "abc")


WEIGHT = "loss.collapse.weight"


def _config(name: str, *overrides: str, seed: int = 0) -> Config:
    return configure("longtail", overrides, find_method(name), seed, "run", "rooms")


@pytest.mark.parametrize("name", DEFAULT_NAMES)
def test_only_losses_and_inference_differ_from_the_shared_config(name: str) -> None:
    shared = flatten_config(load_config("longtail", ["run.dir=run", "data.root=rooms"]).model_dump())
    own = flatten_config(_config(name).model_dump())
    assert all(key.startswith(("loss.", "inference.")) for key in own if own[key] != shared[key])


@pytest.mark.parametrize("name", DEFAULT_NAMES)
def test_the_weights_above_zero_are_those_that_the_method_names(name: str) -> None:
    own = flatten_config(_config(name).model_dump())
    method = find_method(name)
    on = {key for key, value in OFF.items() if method.overrides.get(key, value) != value}
    assert {key for key, value in OFF.items() if own[key] != value} == on
    assert own["loss.cross_entropy"] == method.overrides.get("loss.cross_entropy", 1.0)


def test_a_weight_of_the_config_goes_before_the_one_of_the_method() -> None:
    assert _config("collapse", "loss.collapse.weight=0.3").loss.collapse.weight == 0.3
    assert _config("collapse", "loss.collapse.weight=0").loss.collapse.weight == 0.5
    assert _config("post_hoc", "inference.logit_adjustment=0.5").inference.logit_adjustment == 0.5
    assert _config(BASELINE, "inference.logit_adjustment=0.5").inference.logit_adjustment == 0.0


def test_the_presets_are_taken_whole_whatever_the_config_says() -> None:
    changes = (
        "loss.collapse.weight=9",
        "loss.collapse.scale=7",
        "loss.collapse.momentum=0.5",
        "loss.collapse.subtract_mean=true",
    )
    assert _config("collapse", *changes).loss.collapse.scale == 7
    for name, preset, log_prior in (("collapse_paper", "paper", "none"), ("collapse_release", "release", "scenes")):
        collapse = _config(name, *changes).loss.collapse
        assert (collapse.preset, collapse.log_prior) == (preset, log_prior)
        assert collapse.weight == _config(name).loss.collapse.weight == find_method(name).overrides[WEIGHT]
        assert collapse.scale is collapse.momentum is collapse.subtract_mean is None
        assert collapse.projection is collapse.projection_trainable is collapse.normalize is None


def test_a_combination_has_the_overrides_of_its_parts_in_any_order() -> None:
    both = find_method("collapse+balanced_softmax")
    assert both.name == "balanced_softmax+collapse"
    assert both.overrides == {**find_method("balanced_softmax").overrides, **find_method("collapse").overrides}
    own = _config(both.name).loss
    assert (own.cross_entropy, own.balanced_softmax, own.collapse.weight) == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class_balanced+focal", "class_balanced and focal both set loss.cross_entropy"),
        ("collapse+collapse_paper", "collapse and collapse_paper both set loss.collapse.weight"),
        ("lovasz+cross_entropy", "leave it out"),
        ("lovas", "unknown method 'lovas'; the nearest is lovasz"),
        ("collapse+focl", r"collapse\+focl: unknown method 'focl'; the nearest is focal"),
        ("", "unknown method ''"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find_method(name)
    assert "\n" not in str(caught.value)


def test_a_method_twice_is_the_method() -> None:
    assert find_method("collapse+collapse") is find_method("collapse")


def test_a_variation_that_turns_something_on_has_what_the_config_says_of_it() -> None:
    """The baseline with λ is center collapse, and not the branch with the defaults of the code."""
    on = vary(BASELINE, "on", {"loss.collapse.weight": 0.5, "loss.collapse.scale": 7.0})
    collapse = _config("collapse").loss.collapse
    assert collapse != CollapseConfig(weight=0.5)
    varied = configure("longtail", [], on, 0, "run", "rooms").loss.collapse
    assert varied == collapse.model_copy(update={"scale": 7.0})


@pytest.mark.parametrize("override", ["run.seed=3", "run.dir=x", "data.root=x", "data.val_split=test"])
def test_what_each_run_has_of_its_own_can_not_be_overridden(override: str) -> None:
    with pytest.raises(UsageError, match=r"each run .* has its own"):
        _config("focal", override)


def test_copy_paste_changes_the_scenes_alone_and_only_where_it_is_asked_for() -> None:
    assert "copy_paste" not in DEFAULT_NAMES
    baseline, own = (flatten_config(_config(name).model_dump()) for name in (BASELINE, "copy_paste"))
    assert {key for key in own if own[key] != baseline[key]} == {"augment.copy_paste"}
    assert own["augment.copy_paste"] == 2
    assert _config("copy_paste+lovasz").augment.copy_paste == 2
    assert _config("copy_paste", "augment.copy_paste=5").augment.copy_paste == 5
    assert _config("lovasz", "augment.copy_paste=5").augment.copy_paste == 0


def test_what_is_done_beside_the_loss_changes_that_alone_and_only_where_it_is_asked_for() -> None:
    assert not set(BESIDE_THE_LOSS) & set(DEFAULT_NAMES)
    baseline = flatten_config(_config(BASELINE).model_dump())
    own = flatten_config(_config("objects", "augment.objects.turn_deg=30").model_dump())
    changed = {key: own[key] for key in own if own[key] != baseline[key]}
    assert changed == {**OBJECT_CHANCES, "augment.objects.turn_deg": 30.0}
    assert _config("collapse", "augment.objects.turn_deg=30") == _config("collapse")
    own = flatten_config(_config("label_smoothing+collapse", "loss.label_smoothing=0.2").model_dump())
    changed = {key: own[key] for key in own if own[key] != baseline[key] and "collapse" not in key}
    assert changed == {"loss.label_smoothing": 0.2}


def test_the_average_is_off_in_every_other_method_whatever_the_config_says() -> None:
    assert _config("ema").train.ema_decay == 0.99
    assert _config("ema+collapse", "train.ema_decay=0.9").train.ema_decay == 0.9
    assert _config("lovasz", "train.ema_decay=0.9") == _config("lovasz")


def test_a_teacher_is_the_run_of_the_same_method_without_one() -> None:
    taught_by = {name: find_method(name).taught_by for name in ("teacher", "teacher+collapse", "teacher+post_hoc")}
    assert taught_by == {"teacher": BASELINE, "teacher+collapse": "collapse", "teacher+post_hoc": BASELINE}
    assert find_method("lovasz+collapse").taught_by is None
    names = [method.name for method in choose_methods(["teacher+post_hoc", "collapse+teacher"])]
    assert names == [BASELINE, "teacher", "post_hoc+teacher", "collapse", "collapse+teacher"]
    with pytest.raises(UsageError, match="each run of the laboratory has its own distill.run; use --methods teacher"):
        _config("lovasz", "distill.run=somewhere")

    runs = plan_runs(
        "table", Path("out"), choose_methods(["collapse+teacher", "teacher+post_hoc"]), [3], "longtail", [], ROOMS
    )
    of = {run.method: run for run in runs}
    last = "out/collapse/seed3/checkpoints/last.pt"  # what val finds best is not what is compared
    assert of["collapse+teacher"].config["distill"] == {"run": last, "weight": 0.5}
    assert of["collapse+teacher"].needed == {of["collapse"].directory}
    assert of["post_hoc+teacher"].needed == {of["teacher"].directory, of[BASELINE].directory}
    assert of["collapse"].needed == set()
    tuned = ["loss.collapse.weight=0.1"]
    others = plan_runs(
        "table", Path("out"), choose_methods(["collapse+teacher", "teacher"]), [3], "longtail", tuned, ROOMS
    )
    changed = {run.method: run.fingerprint != of[run.method].fingerprint for run in others}
    assert changed == {"collapse": True, "collapse+teacher": True, BASELINE: False, "teacher": False}
    moved = plan_runs("table", Path("elsewhere"), choose_methods(["teacher"]), [3], "longtail", [], ROOMS)
    assert [run.fingerprint for run in moved] == [of[run.method].fingerprint for run in moved]


def test_a_classifier_is_trained_again_on_the_features_of_the_run_without_that() -> None:
    begins_with = {name: find_method(name).begins_with for name in ("retrained", "retrained+collapse", "lovasz")}
    assert begins_with == {"retrained": BASELINE, "retrained+collapse": "collapse", "lovasz": None}
    runs = plan_runs("table", Path("out"), choose_methods(["collapse+retrained"]), [3], "longtail", [], ROOMS)
    assert [run.method for run in runs] == ["collapse", "collapse+retrained"]
    collapse, retrained = runs
    assert retrained.needed == {collapse.directory}
    assert retrained.trains
    config = retrained.read_config()
    last = f"{collapse.directory}/checkpoints/last.pt"
    assert (config.model.init, config.train.freeze, config.train.passes) == (last, "features", 10)
    assert collapse.read_config().train.freeze == "none"
    with pytest.raises(UsageError, match="each run of the laboratory has its own model.init; use --methods retrained"):
        _config("lovasz", "model.init=somewhere")


def test_another_teacher_is_another_result() -> None:
    config = _config("teacher")
    assert fingerprint_run(config, ROOMS, ["a"]) != fingerprint_run(config, ROOMS, ["b"])


def test_a_post_hoc_method_uses_weights_that_are_trained_without_it() -> None:
    trained_as = {method.name: method.trained_as for method in map(find_method, DEFAULT_NAMES)}
    changed = {name: trainer for name, trainer in trained_as.items() if name != trainer}
    assert changed == {"post_hoc": BASELINE, "post_hoc+collapse": "collapse"}
    chosen = [method.name for method in choose_methods(["post_hoc+collapse", "post_hoc"])]
    assert chosen == ["collapse", "post_hoc+collapse", BASELINE, "post_hoc"]
    assert _config("post_hoc").loss == _config(BASELINE).loss


def test_votes_are_post_hoc_and_off_in_all_others() -> None:
    both = find_method("votes+collapse")
    assert (both.name, both.trained_as, both.is_post_hoc) == ("collapse+votes", "collapse", False)
    assert [method.name for method in choose_methods(["votes"])] == [BASELINE, "votes"]
    assert _config("votes").inference.vote == _config(both.name).inference.vote == "segments"
    assert _config("votes").loss == _config(BASELINE).loss
    for name in (*DEFAULT_NAMES, *BESIDE_THE_LOSS):
        assert (_config(name, "inference.vote=segments").inference.vote == "segments") == (name == "votes")


def test_no_two_methods_have_one_fingerprint() -> None:
    """But for ``collapse``, which may be a preset as it stands, and that is the config's business."""
    prints = {name: fingerprint_run(_config(name), ROOMS) for name in DEFAULT_NAMES if name != "collapse"}
    assert len(set(prints.values())) == len(prints)
    assert len({method.name for method in METHODS}) == len(METHODS)


def test_the_results_of_before_the_newest_keys_are_still_those_of_this_config() -> None:
    """Where this figure changes, every result that the laboratory has is obsolete, and has to be meant to be."""
    assert fingerprint_run(_config(BASELINE), ROOMS) == "99c44c46b410e2cb"


def test_the_fingerprint_follows_what_decides_the_result_and_nothing_else() -> None:
    own = fingerprint_run(_config(BASELINE), ROOMS)
    for override in (
        "run.device=auto",
        "train.num_threads=3",
        "train.log_every=3",
        "train.wandb=rooms",
        "data.num_workers=2",
    ):
        assert fingerprint_run(_config(BASELINE, override), ROOMS) == own, override
    # The settings of what is off are nobody's: to tune one method does not make the others obsolete.
    for override in ("loss.collapse.scale=7", "loss.focal_gamma=1", "loss.lovasz=0.5"):
        assert fingerprint_run(_config(BASELINE, override), ROOMS) == own, override
    for override in ("optimizer.lr=0.1", "data.voxel_size_m=0.05", "augment.jitter_m=0.0"):
        assert fingerprint_run(_config(BASELINE, override), ROOMS) != own, override
    assert fingerprint_run(_config(BASELINE, seed=1), ROOMS) != own
    other_rooms = replace(ROOMS, fingerprint="def")
    assert fingerprint_run(_config(BASELINE), other_rooms) != own
    for name, override in (("collapse", "loss.collapse.scale=7"), ("focal", "loss.focal_gamma=1")):
        assert fingerprint_run(_config(name, override), ROOMS) != fingerprint_run(_config(name), ROOMS), override
