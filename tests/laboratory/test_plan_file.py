"""A plan becomes comparisons, its mistakes are named with their place, and a campaign goes on where it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pointseg.errors import DataError, StoppedError, UsageError
from pointseg.laboratory import scheduler
from pointseg.laboratory.comparison import Comparison
from pointseg.laboratory.configuring import configure
from pointseg.laboratory.data import find_rooms
from pointseg.laboratory.plan import PlannedRun
from pointseg.laboratory.plan_file import Given, plan_comparisons, read_plan
from pointseg.longtail import main
from tests.conftest import TINY_NETWORK
from tests.laboratory.at_once import do_at_once

TINY = {
    **{key: json.loads(value) for key, value in (override.split("=") for override in TINY_NETWORK)},
    "data.voxel_size_m": 0.1,
    "train.log_every": 1,
}
PLAN = {
    "seeds": 2,
    "law": "lookalikes",
    "rooms": [2, 1, 1],
    "vertices": 2000,
    "set": TINY,
    "comparisons": {
        "short": {"set": {"train.passes": 1}, "methods": ["collapse", "cross_entropy"]},
        "long": {
            "set": {"train.passes": 2},
            "methods": ["cross_entropy"],
            "variations": {"weak": {"of": "collapse", "set": {"loss.collapse.weight": 0.01}}},
        },
        "balanced": {"law": "lookalikes_balanced", "seeds": 1, "set": {"train.passes": 1}, "methods": ["collapse"]},
    },
}


def write(folder: Path, content: object) -> Path:
    path = folder / "plan.yaml"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(folder: Path, content: object) -> list[Comparison]:
    path = write(folder, content)
    return plan_comparisons(read_plan(path), path, folder / "out")


def test_a_comparison_has_what_it_says_and_else_what_the_plan_says(tmp_path: Path) -> None:
    short, long, balanced = read(tmp_path, PLAN)
    assert [c.name for c in (short, long, balanced)] == ["short", "long", "balanced"]
    assert short.data == long.data != balanced.data
    assert [c.room_settings.law for c in (long, balanced)] == ["lookalikes", "lookalikes_balanced"]
    assert [c.num_seeds for c in (long, balanced)] == [2, 1]
    assert [c.shared_config.train.passes for c in (short, long)] == [1, 2]
    assert short.shared_config.data.voxel_size_m == 0.1


def test_a_variation_comes_with_its_method_and_changes_its_keys_alone(tmp_path: Path) -> None:
    long = read(tmp_path, PLAN)[1]
    assert [method.name for method in long.methods] == ["cross_entropy", "collapse", "weak"]
    of_method = {m.name: configure(long.cfg, long.overrides, m, 0, "run", "data") for m in long.methods}
    weak, whole = of_method["weak"].loss.collapse, of_method["collapse"].loss.collapse
    assert (weak.weight, whole.weight) == (0.01, 0.5)
    assert weak.model_copy(update={"weight": 0.5}) == whole
    assert of_method["weak"].model_copy(update={"loss": of_method["collapse"].loss}) == of_method["collapse"]


def test_a_variation_that_changes_what_happens_after_training_has_the_weights_of_its_method(tmp_path: Path) -> None:
    section = {"variations": {"adjusted": {"of": "lovasz", "set": {"inference.logit_adjustment": 0.5}}}}
    method = read(tmp_path, {"comparisons": {"a": section}})[0].methods[-1]
    assert (method.name, method.trained_as, method.of) == ("adjusted", "lovasz", "lovasz")


def test_the_plans_of_the_checkout_can_be_read() -> None:
    """Every comparison and every key of theirs; what they cost is for --status to say."""
    plans = sorted((Path(__file__).parents[2] / "configs" / "plans").glob("*.yaml"))
    assert plans
    for path in plans:
        assert plan_comparisons(read_plan(path), path, Path("out"))


def with_comparison(**changes: object) -> dict:
    return {"comparisons": {"a": {"methods": ["collapse"], **changes}}}


def with_branch(**keys: object) -> dict:
    return with_comparison(variations={"b": {"of": "collapse", "set": {"loss": {"collapse": keys}}}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"plan.yaml: is empty; "),
        ("- a", r"plan.yaml: expected keys and values, found list"),
        ("a: [", r"plan.yaml: not valid YAML"),
        ({"seeds": 2}, r"plan.yaml: comparisons: Field required"),
        ({"comparisons": {}}, r"comparisons: .*at least 1"),
        ({**PLAN, "seed": 2}, r"unknown key seed; the nearest known key is seeds"),
        ({**PLAN, "seeds": 0}, r"seeds: .*greater than 0"),
        (with_comparison(methods=[]), r"comparisons.a: has no methods"),
        (with_comparison(methods=["colapse"]), r"comparisons.a: unknown method 'colapse'; the nearest is collapse"),
        (with_comparison(set={"train.pases": 1}), r"comparisons.a: .*unknown key train.pases; .* train.passes"),
        (
            with_comparison(set={"run.seed": 1}),
            r"comparisons.a: run.seed: each run .* run.seed; use --seeds",
        ),
        (with_comparison(set={"train.passes": -1}), r"comparisons.a: .*train.passes"),
        (with_comparison(set={"train": {"pases": 1}}), r"comparisons.a: .*unknown key train.pases; .* train.passes"),
        (
            with_comparison(set={"train": {"passes": 1}, "train.passes": 2}),
            r"comparisons.a.set: train.passes stands in it twice",
        ),
        ("comparisons: {a: {methods: [collapse], set: {train.wandb: 2020-01-01}}}", r"a.set.train.wandb.*JSON"),
        ("comparisons: {a: {methods: [collapse], set: &x {train.wandb: *x}}}", r"a.set.train.wandb.*cyclic"),
        (with_comparison(method=["focal"]), r"unknown key comparisons.a.method; .* comparisons.a.methods"),
        (
            with_comparison(variations={"b": {"of": "focal", "sets": {}, "set": {"loss.lovasz": 1}}}),
            r"unknown key comparisons.a.variations.b.sets; .* comparisons.a.variations.b.set$",
        ),
        (with_comparison(set={"train": {}}), r"a.set: train is a section without a key"),
        (
            with_comparison(set={"loss": {"collapse": {"scale": 2}, "collapse.scale": 3}}),
            r"a.set: collapse.scale stands in it twice",
        ),
        (
            with_comparison(variations={"collapse": {"of": "collapse", "set": {"loss.lovasz": 1}}}),
            r"collapse: is the name of a method",
        ),
        (
            with_comparison(
                methods=["focal"],
                variations={
                    "x": {"of": "cross_entropy", "set": {"loss.collapse.weight": 0.5}},
                    "y": {"of": "collapse", "set": {"loss.collapse.scale": 3}},
                },
            ),
            r"comparisons.a: x: is the same as collapse",
        ),
        (
            with_comparison(methods=["b"], variations={"b": {"of": "focal", "set": {"loss.lovasz": 1}}}),
            r"comparisons.a: methods: b is a variation",
        ),
        (
            with_comparison(
                variations={
                    "b": {"of": "focal", "set": {"loss.lovasz": 1}},
                    "c": {"of": "b", "set": {"loss.focal_gamma": 1}},
                }
            ),
            r"comparisons.a: variations.c: b is a variation, too",
        ),
        (
            with_comparison(variations={"b": {"of": "focal", "set": {"taxonomy": "scannet20"}}}),
            r"comparisons.a: b: .*taxonomy is the same for all",
        ),
        (
            with_comparison(variations={"b": {"of": "focal", "set": {"model": {"init": "runs/x"}}}}),
            r"model.init: each run",
        ),
        (
            with_comparison(variations={"b": {"of": "collapse_paper", "set": {"loss.collapse.weight": 0.02}}}),
            r"comparisons.a: b: is the same as collapse_paper",
        ),
        ({"comparisons": {"rooms": {"methods": ["focal"]}}}, r"rooms is a folder or a file of the whole plan"),
        ({"comparisons": {"campaign.md": {"methods": ["focal"]}}}, r"campaign.md is a folder or a file of the whole"),
        (with_branch(scope="scene", momentum=0.9), r"comparisons.a: b: loss.collapse: a bank keeps one center a class"),
        (with_branch(subtract_mean=False, mean_momentum=0.5), r"comparisons.a: b: loss.collapse: expected subtract_m"),
        (with_branch(projection="none"), r"comparisons.a: b: loss.collapse: .*200 classes.*48"),
        (with_comparison(set={"model.channels": [8, 8, 8]}), r"comparisons.a: collapse: model: "),
        (with_comparison(vertices=5), r"comparisons.a: vertices 5: the vertices of a room must be"),
        (with_comparison(rooms=[1, 3000, 1]), r"comparisons.a: rooms: there can be 3000"),
        (with_comparison(law="longtial"), r"comparisons.a: 'longtial' is no frequency law"),
        (with_comparison(variations={"lovasz": {"of": "focal", "set": {"loss.lovasz": 1}}}), r"lovasz: is the name of"),
        (with_comparison(variations={"b": {"of": "focal", "set": {}}}), r"variations.b.set: .*at least 1"),
        (with_comparison(variations={"b": {"of": "foc", "set": {"loss.lovasz": 1}}}), r"unknown method 'foc'"),
        (with_comparison(variations={"b": {"of": "focal", "set": {"run.dir": "x"}}}), r"run.dir: each run"),
        (
            with_comparison(variations={"../b": {"of": "focal", "set": {"loss.lovasz": 1}}}),
            r"variations.*pattern",
        ),
        ({"comparisons": {"../a": {"methods": ["focal"]}}}, r"comparisons.*match pattern"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.yaml: no such plan; give a path or one of collapse.yaml"):
        main(["--out", str(tmp_path), "--plan", str(tmp_path / "none.yaml")])


def test_the_plan_is_not_written_over(tmp_path: Path) -> None:
    path = write(tmp_path, PLAN)
    with pytest.raises(UsageError, match=r"plan.yaml: is read, and would be written over"):
        main(["--out", str(tmp_path / "out"), "--plan", str(path), "--json", str(path), "--tables"])


def test_what_the_plan_compares_can_not_be_said_beside_it(tmp_path: Path) -> None:
    call = ["--out", str(tmp_path / "out"), "--plan", str(write(tmp_path, PLAN))]
    with pytest.raises(UsageError, match=r"leave out --methods, --law"):
        main([*call, "--methods", "focal", "--law", "longtail"])
    with pytest.raises(UsageError, match=r"--seeds 0: there must be at least one"):
        main([*call, "--seeds", "0"])
    with pytest.raises(UsageError, match=r"vertices 0: the vertices of a room must be"):
        main([*call, "--vertices", "0"])
    with pytest.raises(UsageError, match=r"--plan: has no value"):
        main([*call[:2], "--plan", ""])
    with pytest.raises(UsageError, match=r"train=.*: sets a whole section"):
        main([*call, "train={passes: 3}"])
    with pytest.raises(UsageError, match=r"^train.pases=3: unknown key train.pases"):
        main([*call, "train.pases=3"])


def test_what_is_given_with_the_command_goes_before_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path, PLAN)
    given = Given(seeds=5, rooms=(9, 2, 3), vertices=3000, overrides=["train.passes=7", "data.voxel_size_m=0.04"])
    for comparison in plan_comparisons(read_plan(path), path, tmp_path / "out", given):
        assert comparison.num_seeds == 5
        assert (*comparison.room_settings.num_scenes.values(), comparison.room_settings.num_vertices) == (9, 2, 3, 3000)
        config = comparison.shared_config
        assert (config.train.passes, config.data.voxel_size_m) == (7, 0.04)
        assert "9-2-3-3000" in comparison.data.name


def test_a_larger_version_of_a_plan_is_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--out", str(tmp_path / "out"), "--plan", str(write(tmp_path, PLAN)), "--status", "--only", "short"]
    assert main([*call, "--rooms", "20", "1", "1", "--seeds", "1", "train.passes=3"]) == 0
    assert "short: 0 of 2 runs done, 120 training scenes to see" in capsys.readouterr().out


def test_comparisons_that_set_the_same_on_the_same_rooms_share_their_runs(tmp_path: Path) -> None:
    plan = {
        "comparisons": {
            "a": {"set": {"train.passes": 2}, "methods": ["collapse"]},
            "other_keys": {"set": {"train.passes": 3}, "methods": ["collapse"]},
            "other_rooms": {"set": {"train.passes": 2}, "rooms": [9, 9, 9], "methods": ["collapse"]},
            "same": {"set": {"train.passes": 2}, "methods": ["focal"], "seeds": 1},
            "nested": {"set": {"data": {"num_workers": 1}, "train": {"passes": 2}}, "methods": ["collapse"]},
        }
    }
    a, other_keys, other_rooms, same, nested = (one.runs for one in read(tmp_path, plan))
    assert a == same == nested  # the number of workers changes no result
    assert len({a, other_keys, other_rooms}) == 3
    assert {a.parent, other_rooms.parent} == {tmp_path / "out" / "runs"}
    assert a.name.startswith("longtail-80-20-40-20000-") and other_rooms.name.startswith("longtail-9-9-9-20000-")
    # Whatever else the plan comes to say, and in whichever order, what is done is found.
    for name in plan["comparisons"]:
        (alone,) = read(tmp_path, {"comparisons": {"new_name": plan["comparisons"][name]}})
        assert alone.runs in (a, other_keys, other_rooms)


def test_two_variations_of_one_name_do_not_share_a_folder(tmp_path: Path) -> None:
    def plan(weight: float, **changes: object) -> dict:
        return with_comparison(variations={"weak": _weak(0.1)})["comparisons"] | {
            "b": {"methods": ["collapse"], "variations": {"weak": _weak(weight)}, **changes}
        }

    alike = with_comparison(variations={"weak": _weak(1)})["comparisons"]
    alike["b"] = {"methods": ["collapse"], "variations": {"weak": _weak(1.0)}}
    for fine in (plan(0.1), plan(0.2, set={"train.passes": 3}), alike):
        assert len(read(tmp_path, {"comparisons": fine})) == 2
    with pytest.raises(UsageError, match=r"comparisons.b: variations.weak: a has another of that name"):
        read(tmp_path, {"comparisons": plan(0.2)})


def _weak(weight: float) -> dict:
    return {"of": "collapse", "set": {"loss.collapse.weight": weight}}


def test_what_two_comparisons_need_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = {"set": {"train.passes": 1}}
    a, b = ({**section, "methods": ["cross_entropy", *more]} for more in (["collapse"], ["post_hoc", "collapse"]))
    plan = {**PLAN, "seeds": 1, "comparisons": {"a": a, "b": b}}
    begun = []

    def note_and_do(run: PlannedRun) -> scheduler.RunAtWork:
        begun.append(f"{run.comparison}: {run.method}")
        return do_at_once(run)

    monkeypatch.setattr(scheduler, "start_child", note_and_do)
    call = ["--out", str(tmp_path / "out"), "--plan", str(write(tmp_path, plan))]
    assert main(call) == 0
    assert begun == ["a: cross_entropy", "a: collapse", "b: post_hoc"]
    summary = (tmp_path / "out" / "campaign.md").read_text()
    assert summary.count("\n| 1 ") == 2  # both tables have the same gain, which is said once
    of_a, of_b = (json.loads((tmp_path / "out" / name / "table.json").read_text()) for name in "ab")
    in_b = {row["method"]: row["runs"] for row in of_b["rows"]}
    assert in_b["cross_entropy"] == of_a["rows"][0]["runs"] and len(in_b) == 3
    capsys.readouterr()
    assert main([*call, "--status"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("in all: 3 of 3 done; ")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a plan that is done, in this process, and the order in which its runs were begun."""
    folder = tmp_path_factory.mktemp("campaign")
    arguments = ["--out", str(folder / "out"), "--plan", str(write(folder, PLAN))]

    def note_and_do(run: PlannedRun) -> scheduler.RunAtWork:
        with open(folder / "order", "a") as order:
            order.write(f"{run.comparison} {run.method} {run.seed}\n")
        return do_at_once(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "start_child", note_and_do)
        assert main(arguments) == 0
    return arguments


def test_every_comparison_has_its_table_and_the_plan_a_summary(campaign: list[str]) -> None:
    out = Path(campaign[1])
    tables = json.loads((out / "campaign.json").read_text())["comparisons"]
    assert list(tables) == ["short", "long", "balanced"]
    for name, table in tables.items():
        assert table == json.loads((out / name / "table.json").read_text())
        assert not table["missing"]
    weak = tables["long"]["rows"][-1]
    assert (weak["method"], weak["against"]) == ("weak", "collapse")
    row = next(row for row in tables["short"]["rows"] if row["method"] == "collapse")
    gained = [a["miou"] - b["miou"] for a, b in zip(row["runs"], tables["short"]["rows"][1]["runs"], strict=True)]
    assert row["gain"]["miou"]["mean"] == pytest.approx(sum(gained) / 2)
    summary = (out / "campaign.md").read_text()
    budgets = [line.split()[1] for line in summary.splitlines() if line.startswith("| ")]
    assert budgets == ["passes", "1", "2"] * 2  # what cross-entropy reaches, and what is added
    assert "## lookalikes\n" in summary and "## lookalikes_balanced" not in summary  # nothing is compared there
    assert (out / "campaign.png").read_bytes()[:4] == b"\x89PNG"


def test_all_comparisons_have_their_first_seed_before_one_has_its_second(campaign: list[str]) -> None:
    order = (Path(campaign[3]).parent / "order").read_text().split()[2::3]
    assert order == sorted(order)
    assert len(order) == 2 + 2 + 3 + 3 + 1


def test_status_says_what_is_done_and_does_nothing(
    campaign: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*campaign, "--status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "short: 4 of 4 runs done, 0 training scenes to see"
    assert shown[-1].startswith("in all: 11 of 11 done; ")

    assert main(["--out", str(tmp_path / "new"), *campaign[2:], "--status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "long: 0 of 6 runs done, 24 training scenes to see"
    assert "the first run will tell how long" in shown[-1]
    assert not (tmp_path / "new").exists()


def test_some_comparisons_of_a_plan_can_be_chosen(campaign: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*campaign, "--status", "--only", "balanced", "short"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["short", "balanced", "in all"]
    with pytest.raises(
        UsageError, match="--only terminal: is no comparison of .*plan.yaml; it has short, long, balanced"
    ):
        main([*campaign, "--only", "terminal"])
    with pytest.raises(UsageError, match="--only: chooses comparisons of a plan"):
        main(["--out", campaign[1], "--only", "short"])


def of_plan(campaign: list[str]) -> list[Comparison]:
    path = Path(campaign[3])
    return plan_comparisons(read_plan(path), path, Path(campaign[1]))


def test_tables_are_written_again_without_a_run(
    campaign: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what is done, also where a run and whole rooms are missing; and nothing is made where nothing is."""
    out = shutil.copytree(campaign[1], tmp_path / "out")
    call = ["--out", str(out), *campaign[2:], "--tables"]
    (short, *_) = plan_comparisons(read_plan(Path(campaign[3])), Path(campaign[3]), out)
    (short.runs / "collapse" / "seed1" / "result.json").unlink()
    shutil.rmtree(next((out / "rooms").glob("lookalikes_balanced-*")))
    for path in (*out.glob("campaign.*"), *out.glob("*/table.*")):
        path.unlink()
    monkeypatch.setattr(scheduler, "start_child", pytest.fail)
    assert main([*call, "--split", "val"]) == 0
    tables = json.loads((out / "campaign.json").read_text())["comparisons"]
    assert list(tables) == ["short", "long"] and {table["split"] for table in tables.values()} == {"val"}
    assert tables["short"]["missing"] == ["collapse, seed 1"]
    assert "collapse (1 of 2 seeds) | " in (out / "short" / "table.md").read_text()
    assert not (out / "balanced" / "table.md").exists()
    assert "balanced: left out, its rooms are not there" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--tables: there is nothing to write"):
        main(["--out", str(tmp_path / "new"), *campaign[2:], "--tables"])
    assert not (tmp_path / "new").exists()


def test_what_is_not_chosen_stays_as_it_is_and_is_part_of_the_summary(campaign: list[str], tmp_path: Path) -> None:
    """Whatever the call says of seeds, and though the plan says by now that another run should be in its folder."""
    out = shutil.copytree(campaign[1], tmp_path / "out")
    whole, long = (out / "campaign.md").read_text(), (out / "long" / "table.json").read_text()
    changed = json.loads(json.dumps(PLAN))
    changed["comparisons"]["long"]["variations"]["weak"]["set"] = {"loss.collapse.weight": 0.02}
    call = ["--out", str(out), "--plan", str(write(tmp_path, changed)), "--only", "short"]
    (out / "campaign.md").unlink()
    assert main(call) == 0
    assert (out / "campaign.md").read_text() == whole
    assert main([*call, "--tables", "--seeds", "1"]) == 0
    assert json.loads((out / "short" / "table.json").read_text())["num_seeds"] == 1
    assert (out / "long" / "table.json").read_text() == long
    assert list(json.loads((out / "campaign.json").read_text())["comparisons"]) == ["short", "long", "balanced"]
    with pytest.raises(UsageError, match="weak/seed0: holds a run with another config"):
        main([*call[:-1], "long"])


def test_a_damaged_table_is_named(campaign: list[str], tmp_path: Path) -> None:
    out = shutil.copytree(campaign[1], tmp_path / "out")
    (out / "long" / "table.json").write_text("{")
    call = ["--out", str(out), *campaign[2:], "--tables"]
    with pytest.raises(DataError, match=r"long/table.json: is damaged; delete it"):
        main([*call, "--only", "short"])
    (out / "long" / "table.json").unlink()
    assert main(call) == 0


def test_runs_are_done_though_their_rooms_are_gone(
    campaign: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come back as they were: nobody is told to delete a run."""
    out = shutil.copytree(campaign[1], tmp_path / "out", ignore=shutil.ignore_patterns("rooms"))
    assert main(["--out", str(out), *campaign[2:], "--status"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "short: 4 of 4 runs done, 0 training scenes to see"


def test_a_campaign_that_was_cut_off_does_what_is_missing(campaign: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = of_plan(campaign)[1].runs / "weak" / "seed1" / "result.json"
    before = json.loads(result.read_text())
    result.unlink()
    begun = []

    def note_and_do(run: PlannedRun) -> scheduler.RunAtWork:
        begun.append(f"{run.comparison}: {run.title}")
        return do_at_once(run)

    table = Path(campaign[1]) / "long" / "table.json"
    table.unlink()
    monkeypatch.setattr(scheduler, "start_child", note_and_do)
    assert main(campaign) == 0
    assert begun == ["long: weak, seed 1"]
    assert json.loads(result.read_text())["scores"] == before["scores"]


def test_each_run_that_ends_is_in_its_table_at_once(campaign: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two runs that are missing the second fails to begin: the first is in the table, nothing else new."""
    runs = of_plan(campaign)[0].runs
    table, other = (Path(campaign[1]) / name / "table.json" for name in ("short", "long"))
    before = {
        path: path.read_text() for path in (runs / "collapse/seed0/result.json", runs / "collapse/seed1/result.json")
    }
    for path in (*before, table, other):
        path.unlink()
    begun = []

    def do_one(run: PlannedRun) -> scheduler.RunAtWork:
        if begun:
            raise KeyboardInterrupt
        begun.append(run.title)
        return do_at_once(run)

    monkeypatch.setattr(scheduler, "start_child", do_one)
    with pytest.raises(StoppedError, match="the same command goes on"):
        main([*campaign, "--jobs", "1"])
    assert json.loads(table.read_text())["missing"] == ["collapse, seed 1"]
    assert json.loads((Path(campaign[1]) / "campaign.json").read_text())["comparisons"]["short"]["missing"]
    assert not other.exists()
    for path, text in before.items():
        path.write_text(text)


def test_rooms_are_found_where_they_are_complete(campaign: list[str]) -> None:
    short = of_plan(campaign)[0]
    found = find_rooms(short.data, short.room_settings)
    assert found is not None
    assert found == short.make_rooms()
    assert find_rooms(short.data.parent / "others", short.room_settings) is None


def test_what_every_method_turns_off_is_refused(tmp_path: Path) -> None:
    """It would change nothing, and the table would name it as if it had."""
    line = r"^augment.copy_paste=3: every method that is compared turns it off"
    with pytest.raises(UsageError, match=line):
        main(["--out", str(tmp_path / "out"), "--status", "--methods", "lovasz", "augment.copy_paste=3"])
    # A plan may set for all what one of its comparisons has; what none has is refused.
    for key, comparisons in (("loss.lovasz", ["collapse"]), ("train.ema_decay", ["collapse", "lovasz"])):
        sections = {name: {"methods": [name]} for name in comparisons}
        path = write(tmp_path, {**PLAN, "set": {**TINY, key: 0.5}, "comparisons": sections})
        with pytest.raises(UsageError, match=rf"^{key}=0.5: every method"):
            main(["--plan", str(path), "--out", str(tmp_path / "out"), "--status"])
    sections = {name: {"methods": [name]} for name in ("collapse", "lovasz")}
    path = write(tmp_path, {**PLAN, "set": {**TINY, "loss.lovasz": 0.5}, "comparisons": sections})
    assert main(["--plan", str(path), "--out", str(tmp_path / "out"), "--status"]) == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("whole", "of_comparison", "overrides", "said"),
    [
        ({"set": {"train.pases": 1}}, {}, [], "{path}: set: train.pases=1: unknown key train.pases"),
        ({}, {"set": {"train.pases": 1}}, [], "{path}: comparisons.a: train.pases=1: unknown key train.pases"),
        ({"cfg": "none"}, {}, ["train.passes=1"], "{path}: cfg: none: no such config"),
        ({}, {}, ["train.passes=x"], "train.passes=x: Input should be a valid integer"),
    ],
)
def test_a_mistake_is_told_of_where_it_was_made(
    tmp_path: Path, whole: dict[str, Any], of_comparison: dict[str, Any], overrides: list[str], said: str
) -> None:
    """In the whole plan, in one of its comparisons, or in what was given with the command."""
    path = write(tmp_path, {**whole, "comparisons": {"a": {"methods": ["cross_entropy"], **of_comparison}}})
    with pytest.raises(UsageError) as caught:
        plan_comparisons(read_plan(path), path, tmp_path / "out", Given(overrides=overrides))
    assert str(caught.value).startswith(said.format(path=path))
