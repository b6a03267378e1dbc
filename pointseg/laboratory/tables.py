"""The tables of a call on disk: one for each comparison, and what they say together."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.errors import UsageError
from pointseg.laboratory.campaign import Prepared
from pointseg.laboratory.class_gains import compare_classes, format_class_gains
from pointseg.laboratory.methods import BASELINE, COLLAPSE
from pointseg.laboratory.neighbourhood import measure_purity
from pointseg.laboratory.plan import PlannedRun, read_json, read_result
from pointseg.laboratory.plan_file import CAMPAIGN_NAME
from pointseg.laboratory.summary import describe_campaign, draw_summary, format_summary
from pointseg.laboratory.table import build_table, format_table
from pointseg.output.longtail_plot import draw_longtail
from pointseg.taxonomy import load_taxonomy

TABLE_NAME = "table.json"
Say = Callable[[str], None]


class Summary:
    """Writes ``campaign.md``, ``.json`` and ``.png``: what the tables of a plan say together.

    Tables of other calls count as they were written last.

    Args:
        out: folder of the campaign.
        names: of all comparisons of the plan, in its order.
        split: whose scores; tables of the other are left out.
        say: takes the line that tells of a missing matplotlib.

    Raises:
        DataError: a table is damaged.
    """

    def __init__(self, out: Path, names: Sequence[str], split: str, say: Say) -> None:
        self.paths: list[Path] = []
        """All that is written."""
        self.text = ""
        """``campaign.md`` as it was written last."""
        self._out, self._names, self._split, self._say = out, names, split, say
        self._tables: dict[str, dict[str, Any]] = {}
        for name in names:
            table = _read_table(out / name / TABLE_NAME)
            if table is not None:
                self._tables[name] = table

    def write(self, tables: Mapping[str, dict[str, Any]], command: str) -> None:
        """Write it anew, with tables that have changed.

        Args:
            tables: by the names of their comparisons.
            command: of this call.
        """
        self._tables |= tables
        shown = {name: self._tables[name] for name in self._names if name in self._tables}
        shown = {name: table for name, table in shown.items() if table["split"] == self._split}
        self.text = format_summary(shown)
        path = self._out / CAMPAIGN_NAME
        texts = {".md": self.text + "\n", ".json": as_json(describe_campaign(shown, command))}
        for ending, text in texts.items():
            write_text(path.with_suffix(ending), text)
        drawn = _draw(path.with_suffix(".png"), lambda picture: draw_summary(picture, shown), self._say)
        _note(self.paths, [*map(path.with_suffix, texts), *drawn])


class Tables:
    """Writes ``table.md``, ``.json`` and ``.png`` of comparisons.

    Args:
        prepared: the comparisons.
        split: whose scores: ``val`` or ``test``.
        call: what each table keeps of the call: ``command`` and ``jobs``.
        summary: is written with them, where there is a plan.
        say: takes the line that tells of a missing matplotlib.
    """

    def __init__(
        self, prepared: Sequence[Prepared], split: str, call: Mapping[str, Any], summary: Summary | None, say: Say
    ) -> None:
        self.paths: list[Path] = []
        """All that is written."""
        self._prepared, self._split, self._call = prepared, split, call
        self._summary, self._say = summary, say

    def update(self, run: PlannedRun) -> None:
        """A run has got its result: write the tables that it is in."""
        self._write([one for one in self._prepared if any(other.directory == run.directory for other in one.runs)])

    def write(self) -> dict[str, dict[str, Any]]:
        """Write all, and return the tables by the names of their comparisons."""
        return self._write(self._prepared)

    def _write(self, changed: Sequence[Prepared]) -> dict[str, dict[str, Any]]:
        tables = {one.comparison.name: self._write_table(one) for one in changed}
        if self._summary is not None:
            self._summary.write(tables, self._call["command"])
        return tables

    def _write_table(self, one: Prepared) -> dict[str, Any]:
        """And ``classes.md``, where it has center collapse beside cross-entropy."""
        comparison, out = one.comparison, one.comparison.out
        own = {
            "config": comparison.cfg,
            "overrides": list(comparison.overrides),
            "settings": comparison.settings_but_budget,
        }
        table = build_table(one.runs, comparison.methods, self._split, one.rooms, {**self._call, **own})
        texts = {"table.md": format_table(table) + "\n", TABLE_NAME: as_json(table)}
        classes = _describe_class_gains(one.runs, self._split)
        if classes is not None:
            texts["classes.md"] = classes + "\n"
        for name, text in texts.items():
            write_text(out / name, text)
        drawn = _draw(out / "table.png", lambda path: draw_longtail(path, table, BASELINE), self._say)
        _note(self.paths, [*(out / name for name in texts), *drawn])
        return table


def as_json(content: Any) -> str:
    """As all JSON of the laboratory is written."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _describe_class_gains(runs: Sequence[PlannedRun], split: str) -> str | None:
    """What center collapse changes of each class; None where it, or cross-entropy, has no result."""
    of_method: dict[str, list[dict[str, Any]]] = {BASELINE: [], COLLAPSE: []}
    for run in runs:
        if run.method in of_method and (result := read_result(run)) is not None:
            of_method[run.method].append(result)
    baseline, collapse = of_method[BASELINE], of_method[COLLAPSE]
    config = runs[0].read_config()
    # Results of before confusions were kept say nothing of classes.
    of_both = ({result["seed"] for result in results if "confusion" in result} for results in (baseline, collapse))
    seeds = set.intersection(*of_both)
    if not seeds:
        return None
    purity = measure_purity(str(config.data.root), split, config.taxonomy, config.data.voxel_size_m)
    gains = compare_classes(baseline, collapse, split, load_taxonomy(config.taxonomy), purity)
    about = (
        f"`{COLLAPSE}` over `{BASELINE}` on the {split} split after {config.train.passes} passes, mean of seeds "
        f"{', '.join(map(str, sorted(seeds)))}; training vertices are counted on the training rooms."
    )
    return format_class_gains(gains, about)


def _read_table(path: Path) -> dict[str, Any] | None:
    """A table of an earlier call; None where there is none, or one of before a table said its settings."""
    table = read_json(path, "delete it, and --tables writes it anew")
    return table if table is not None and "settings" in table else None


def _draw(path: Path, draw: Callable[[Path], bool | None], say: Say) -> list[Path]:
    """What was drawn. Without matplotlib there is no picture, and a line that says so: the tables are what counts."""
    try:
        return [] if draw(path) is False else [path]
    except UsageError as error:
        say(str(error))
        return []


def _note(paths: list[Path], new: Sequence[Path]) -> None:
    paths += [path for path in new if path not in paths]
