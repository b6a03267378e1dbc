"""What several tables say together, from tables by hand: nothing is left out, nothing is joined that does not fit."""

from pathlib import Path
from typing import Any

import pytest

from pointseg.laboratory import summary
from pointseg.laboratory.summary import draw_summary, find_lines, format_summary
from pointseg.output.gain_plot import GainPoint

GROUPS = ("miou", "head", "common", "tail")


def gain(mean: float, seeds: int) -> dict[str, Any]:
    ends = (None, None) if seeds == 1 else (mean - 0.001, mean + 0.001)
    return {"mean": mean, "low": ends[0], "high": ends[1], "num_seeds": seeds}


def table(passes: int, mean: float, seeds: int = 3, **changes: Any) -> dict[str, Any]:
    scores = {**dict.fromkeys(GROUPS, 0.5), "train_voxel_accuracy": 0.9}
    baseline = {"method": "cross_entropy", "against": None, "gain": dict.fromkeys(GROUPS), "runs": [{}] * seeds}
    collapse = {"method": "collapse", "against": "cross_entropy", "gain": dict.fromkeys(GROUPS, gain(mean, seeds))}
    return {
        "split": "test",
        "law": "lookalikes",
        "passes": passes,
        "rooms": {"train": 60},
        "vertices": 15000,
        "settings": "a hash",
        "rows": [{**baseline, "mean": scores}, collapse],
        **changes,
    }


def shown(tables: dict[str, dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Name of each line -> its budgets and gains."""
    return {
        line.name: [(one["passes"], one["rows"][1]["gain"]["miou"]["mean"]) for one in line.tables]
        for line in find_lines(tables)
    }


def test_budgets_of_the_same_rooms_and_keys_are_one_line_in_their_order() -> None:
    tables = {"long": table(80, 0.01), "short": table(20, 0.03), "mild": table(20, 0.02, law="milder")}
    assert shown(tables) == {"lookalikes": [(20, 0.03), (80, 0.01)], "milder": [(20, 0.02)]}


def test_of_one_budget_the_table_with_most_seeds_counts() -> None:
    tables = {"choices": table(80, 0.05, seeds=1), "long": table(80, 0.01), "again": table(80, 0.02)}
    assert shown(tables) == {"lookalikes": [(80, 0.01)]}


@pytest.mark.parametrize(
    "other",
    [
        table(80, -0.05, settings="another hash"),
        table(80, -0.05, rooms={"train": 90}),
        table(80, -0.05, vertices=20000),
    ],
)
def test_other_settings_are_another_line_with_the_name_of_its_comparison(other: dict[str, Any]) -> None:
    assert shown({"long": table(80, 0.01), "other": other}) == {
        "lookalikes (long)": [(80, 0.01)],
        "lookalikes (other)": [(80, -0.05)],
    }


def test_tables_that_say_nothing_of_the_branch_are_no_line() -> None:
    alone = table(80, 0.01)
    alone["rows"] = alone["rows"][:1]
    other = table(80, 0.01)
    other["rows"][1]["against"] = "lovasz"
    assert find_lines({"alone": alone, "other": other}) == []
    assert format_summary({"alone": alone}) == "# What center collapse adds to cross-entropy"


def test_the_text_has_every_line_with_its_seeds() -> None:
    text = format_summary({"long": table(80, 0.01), "four": table(80, -0.05, 1, settings="other")})
    assert text.count("\n## ") == 2
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| 80")]
    assert rows[1][:3] == ["80", "3", "+1.0 [0.9, 1.1]"]
    assert rows[3][:3] == ["80", "1", "-5.0"]


def test_the_picture_has_all_rooms_and_the_settings_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[GainPoint] = []
    monkeypatch.setattr(summary, "draw_gains", lambda path, points, title: drawn.extend(points))
    one = table(80, -0.05, settings="other")
    mild = table(20, 0.02, law="milder")
    draw_summary(tmp_path / "a.png", {"short": table(20, 0.03), "long": table(80, 0.01), "one": one, "mild": mild})
    assert [(point.line, point.passes) for point in drawn] == [("lookalikes", 20), ("lookalikes", 80), ("milder", 20)]
    drawn.clear()
    assert draw_summary(tmp_path / "a.png", {"one": one})
    assert [point.passes for point in drawn] == [80]
    drawn.clear()
    assert not draw_summary(tmp_path / "a.png", {})
    assert not drawn


def test_the_picture_is_drawn_with_gains_that_some_groups_do_not_have(tmp_path: Path) -> None:
    tables = {"short": table(20, 0.03), "long": table(80, 0.01, seeds=1), "mild": table(20, 0.02, law="milder")}
    tables["long"]["rows"][1]["gain"] = {**tables["long"]["rows"][1]["gain"], "tail": None}
    draw_summary(tmp_path / "gain.png", tables)
    assert (tmp_path / "gain.png").read_bytes()[:4] == b"\x89PNG"
