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
from pointseg.laboratory.plan import PlannedRun, read_result
from pointseg.laboratory.plan_file import CAMPAIGN_NAME
from pointseg.laboratory.summary import describe_campaign, draw_summary, format_summary
from pointseg.laboratory.table import build_table, format_table
from pointseg.output.longtail_plot import draw_longtail
from pointseg.taxonomy import load_taxonomy

Say = Callable[[str], None]


class Tables:
    """Writes ``table.md``, ``.json`` and ``.png`` of comparisons, and ``campaign.*`` of a whole plan.

    Args:
        prepared: the comparisons, in the order of the plan.
        split: whose scores: ``val`` or ``test``.
        call: what each table keeps of the call: ``command`` and ``jobs``.
        campaign: folder of what they say together; None: there is no plan.
        say: takes the line that tells of a missing matplotlib.
    """

    def __init__(
        self, prepared: Sequence[Prepared], split: str, call: Mapping[str, Any], campaign: Path | None, say: Say
    ) -> None:
        self.written: list[Path] = []
        self._prepared, self._split, self._call = prepared, split, call
        self._campaign, self._say = campaign, say
        self._tables: dict[str, dict[str, Any]] = {}

    def update(self, run: PlannedRun) -> None:
        """A run has got its result: write the tables that it is in."""
        self._write([one for one in self._prepared if any(other.directory == run.directory for other in one.runs)])

    def write(self) -> dict[str, dict[str, Any]]:
        """Write all, and return the tables by the names of their comparisons."""
        self._write(self._prepared)
        return self._tables

    def format_summary(self) -> str:
        """What the tables say together, in Markdown."""
        return format_summary(self._tables)

    def _write(self, changed: Sequence[Prepared]) -> None:
        for one in self._prepared:
            name = one.comparison.name
            if one in changed or name not in self._tables:
                own = {"config": one.comparison.cfg, "overrides": list(one.comparison.overrides)}
                call = {**self._call, **own}
                self._tables[name] = build_table(one.runs, one.comparison.methods, self._split, one.rooms, call)
        self._tables = {one.comparison.name: self._tables[one.comparison.name] for one in self._prepared}
        for one in changed:
            self._write_table(one, self._tables[one.comparison.name])
        if self._campaign is not None:
            self._write_summary(self._campaign / CAMPAIGN_NAME)

    def _write_table(self, one: Prepared, table: Mapping[str, Any]) -> None:
        """And ``classes.md``, where it has center collapse beside cross-entropy."""
        out = one.comparison.out
        self._write_text(out / "table.md", format_table(table) + "\n")
        self._write_text(out / "table.json", as_json(table))
        classes = _describe_class_gains(one.runs, self._split)
        if classes is not None:
            self._write_text(out / "classes.md", classes + "\n")
        self._draw(out / "table.png", lambda path: draw_longtail(path, table, BASELINE))

    def _write_summary(self, path: Path) -> None:
        summary = describe_campaign(self._tables, self._call["command"])
        self._write_text(path.with_suffix(".md"), self.format_summary() + "\n")
        self._write_text(path.with_suffix(".json"), as_json(summary))
        self._draw(path.with_suffix(".png"), lambda picture: draw_summary(picture, self._tables))

    def _draw(self, path: Path, draw: Callable[[Path], None]) -> None:
        """Without matplotlib there is no picture, and a line that says so: the tables are what counts."""
        try:
            draw(path)
        except UsageError as error:
            self._say(str(error))
        else:
            self._note(path)

    def _write_text(self, path: Path, text: str) -> None:
        write_text(path, text)
        self._note(path)

    def _note(self, path: Path) -> None:
        if path not in self.written and path.exists():
            self.written.append(path)


def as_json(content: Any) -> str:
    """As all JSON of the laboratory is written."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _describe_class_gains(runs: Sequence[PlannedRun], split: str) -> str | None:
    """What center collapse changes of each class; None where it, or cross-entropy, has no result."""
    of_method: dict[str, list[dict[str, Any]]] = {BASELINE: [], COLLAPSE: []}
    for run in runs:
        result = read_result(run)
        if run.method in of_method and result is not None:
            of_method[run.method].append(result)
    baseline, collapse = of_method[BASELINE], of_method[COLLAPSE]
    config = runs[0].read_config()
    seeds = {result["seed"] for result in baseline} & {result["seed"] for result in collapse}
    if not seeds:
        return None
    purity = measure_purity(str(config.data.root), split, config.taxonomy, config.data.voxel_size_m)
    gains = compare_classes(baseline, collapse, split, load_taxonomy(config.taxonomy), purity)
    about = (
        f"`{COLLAPSE}` over `{BASELINE}` on the {split} split after {config.train.passes} passes, mean of seeds "
        f"{', '.join(map(str, sorted(seeds)))}; training vertices are counted on the training rooms."
    )
    return format_class_gains(gains, about) if gains else None
