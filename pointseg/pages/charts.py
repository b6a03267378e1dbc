"""The plots of a report: training, IoU by class frequency, confusions, neural collapse. One run, or two compared."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from pointseg.engine.analysis import ClassFrequency
from pointseg.output.plot_style import ALL_COLOR, GROUP_COLORS, color_of
from pointseg.output.plots_over_training import PANELS
from pointseg.pages.run_record import RunRecord
from pointseg.runs.history import Row

_MAX_ROWS = 1000  # of a curve; more can't be told apart
_MAX_CONFUSED = 24
_DASHES = ("dash", "solid")  # of two runs, the first is dashed
_LOSSES = ("loss", "recognition", "collapse", "taught")
_LOSS_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73")


def draw_training(records: Sequence[RunRecord]) -> Any | None:
    """Loss, learning rate and mIoU against the step; None where nothing was logged."""
    if not any(record.history["train"] or record.history["val"] for record in records):
        return None
    figure = _subplots(3, ["loss", "learning rate", "mIoU on the validation split, %"])
    for index, record in enumerate(records):
        mark = _mark(index, records)
        train, val = _thin(record.history["train"]), record.history["val"]
        for name, color in zip(_LOSSES, _LOSS_COLORS, strict=True):
            title = {"loss": "loss, all of it", "collapse": "center collapse"}.get(name, name)
            _add_curve(figure, 1, train, name, f"{title}{mark}", color, index, records)
        _add_curve(figure, 2, train, "lr", f"learning rate{mark}", "#555555", index, records, legend=False)
        for name, color in (("miou", ALL_COLOR), *GROUP_COLORS.items()):
            title = {"miou": "mIoU"}.get(name, name)
            _add_curve(figure, 3, val, name, f"{title}{mark}", color, index, records, factor=100)
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    return _put_legend_below(figure)


def draw_collapse(records: Sequence[RunRecord]) -> Any | None:
    """The measures of neural collapse over training, all classes and by group; None where nothing was measured."""
    if not any(record.history["collapse"] for record in records):
        return None
    panels = [panel for panel in PANELS if panel.kind == "collapse"]
    figure = _subplots(len(panels), [panel.title for panel in panels], height_px=300)
    for column, panel in enumerate(panels, start=1):
        if panel.at_collapse is not None:
            figure.add_hline(panel.at_collapse, line={"color": "#888", "width": 1, "dash": "dot"}, row=1, col=column)
        for index, record in enumerate(records):
            rows, mark = record.history["collapse"], _mark(index, records)
            names = [("all classes", panel.name, ALL_COLOR)]
            names += [(group, panel.name_in_group.format(group), color) for group, color in GROUP_COLORS.items()]
            for title, name, color in names:
                _add_curve(figure, column, rows, name, f"{title}{mark}", color, index, records, legend=column == 1)
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    return _put_legend_below(figure)


def draw_frequency(records: Sequence[RunRecord], frequency: ClassFrequency) -> Any:
    """IoU of each class against how much there is of it; of two runs, the difference."""
    import plotly.graph_objects as go

    taxonomy = records[0].taxonomy
    iou = 100 * _difference([record.iou for record in records])
    groups = np.array(taxonomy.groups if taxonomy.groups is not None else ["classes"] * taxonomy.num_classes)
    what = "IoU, %" if len(records) == 1 else f"IoU of {records[1].name} less {records[0].name}, points"
    figure = go.Figure()
    for group in dict.fromkeys(groups.tolist()):
        chosen = np.flatnonzero((groups == group) & ~np.isnan(iou))
        figure.add_scatter(
            x=np.maximum(frequency.count[chosen], 1),
            y=iou[chosen],
            mode="markers",
            name=group,
            marker={"color": color_of(group if taxonomy.groups is not None else None), "size": 9, "opacity": 0.75},
            text=[escape(taxonomy.class_names[label]) for label in chosen],
            customdata=frequency.count[chosen],
            hovertemplate="%{text}: %{y:.1f}<br>%{customdata:,} " + escape(frequency.unit) + "<extra></extra>",
        )
    if len(records) == 2:
        figure.add_hline(0, line={"color": "#888", "width": 1})
    figure.update_xaxes(type="log", title_text=escape(frequency.unit))
    figure.update_yaxes(title_text=escape(what))
    return _dress(figure, 420)


def draw_confusions(records: Sequence[RunRecord]) -> Any | None:
    """The classes that are confused most, by points, in shares of a class's points; None where nothing is confused.

    Of two runs: by how much the share is larger in the second.
    """
    import plotly.graph_objects as go

    chosen = choose_confused(np.sum([record.confusion for record in records], axis=0))
    if not len(chosen):
        return None
    names = [escape(records[0].taxonomy.class_names[label]) for label in chosen]
    cell = np.ix_(chosen, chosen)
    shares = [100 * r.confusion[cell] / np.maximum(r.points[chosen, None], 1) for r in records]
    values = _difference(shares)
    compared = len(records) == 2
    limit = max(float(np.abs(values).max()), 1.0) if compared else 100.0
    figure = go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            x=names,
            y=names,
            text=_tell_cells(names, shares, records),
            hovertemplate="%{text}<extra></extra>",
            colorscale="RdBu" if compared else "Blues",
            zmin=-limit if compared else 0,
            zmax=limit,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "points more" if compared else "% of the class"}},
        )
    )
    figure.update_xaxes(title_text="taken for", tickangle=-50, showgrid=False)
    figure.update_yaxes(title_text="ground truth", autorange="reversed", showgrid=False)
    return _dress(figure, 260 + 22 * len(chosen))


def choose_confused(confusion: np.ndarray) -> np.ndarray:
    """Labels of the classes with the most points in confusions, as truth or as prediction, in the table's order.

    Args:
        confusion: (K, K) counts: rows ground truth, columns prediction.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    involved = wrong.sum(axis=0) + wrong.sum(axis=1)
    most = np.argsort(-involved, kind="stable")[:_MAX_CONFUSED]
    return np.sort(most[involved[most] > 0])


def _tell_cells(names: list[str], shares: Sequence[np.ndarray], records: Sequence[RunRecord]) -> list[list[str]]:
    """What stands beside the pointer, over each cell of the matrix."""
    marks = ["" if len(records) == 1 else f"{escape(record.name)}: " for record in records]

    def tell(row: int, column: int) -> str:
        numbers = "<br>".join(f"{mark}{s[row, column]:.1f} %" for mark, s in zip(marks, shares, strict=True))
        return f"{names[row]}, taken for {names[column]}<br>{numbers}"

    return [[tell(row, column) for column in range(len(names))] for row in range(len(names))]


def _difference(values: Sequence[np.ndarray]) -> np.ndarray:
    """Those of the one run, or of the second less those of the first."""
    return values[0] if len(values) == 1 else values[1] - values[0]


def _mark(index: int, records: Sequence[RunRecord]) -> str:
    return "" if len(records) == 1 else f", {records[index].name}"


def _subplots(columns: int, titles: list[str], height_px: int = 380) -> Any:
    from plotly.subplots import make_subplots

    return _dress(make_subplots(rows=1, cols=columns, subplot_titles=titles), height_px)


def _dress(figure: Any, height_px: int) -> Any:
    """The look that all plots share."""
    figure.update_layout(
        template="plotly_white",
        height=height_px,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        hoverlabel={"align": "left"},
    )
    return figure


def _put_legend_below(figure: Any) -> Any:
    """The legend of several plots in a row, so that they have the width."""
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0})
    figure.update_annotations(font_size=13)
    return figure


def _add_curve(
    figure: Any,
    column: int,
    rows: Sequence[Row],
    name: str,
    title: str,
    color: str,
    index: int,
    records: Sequence[RunRecord],
    factor: float = 1.0,
    legend: bool = True,
) -> None:
    """One value of the rows against their step, where any row has it."""
    known = [row for row in rows if row.get(name) is not None]
    if not known:
        return
    figure.add_scatter(
        x=np.array([row["step"] for row in known], dtype=np.float64),
        y=factor * np.array([row[name] for row in known], dtype=np.float64),
        mode="lines+markers" if len(known) < 20 else "lines",
        name=escape(title),
        legendgroup=escape(title),
        showlegend=legend,
        line={"color": color, "width": 1.8, "dash": _DASHES[index] if len(records) == 2 else "solid"},
        row=1,
        col=column,
    )


def _thin(rows: Sequence[Row]) -> Sequence[Row]:
    """Every so many of long logs, and the last."""
    every = -(-len(rows) // _MAX_ROWS)
    return rows if every <= 1 else [*rows[::every], rows[-1]]
