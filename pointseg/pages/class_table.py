"""The classes of an evaluation in a table that one sorts and searches. DataTables shows it, through itables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointseg.pages.run_record import RunRecord

TABLE_NAME = "classes"


def class_columns(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Title -> one value a class of the ground truth, most points first; of two runs, with the difference.

    Shares are in percent. A value that is not defined is None.
    """
    taxonomy, first = records[0].taxonomy, records[0]
    labels = [label for label in np.argsort(-first.points, kind="stable").tolist() if first.points[label]]
    names = [taxonomy.class_names[label] for label in labels]
    columns: dict[str, list[Any]] = {"class": names}
    if taxonomy.groups is not None:
        columns["group"] = [taxonomy.groups[label] for label in labels]
    columns["points"] = first.points[labels].tolist()
    columns["% of points"] = (100 * first.points[labels] / max(first.points.sum(), 1)).round(2).tolist()
    for record in records:
        columns[_title("IoU, %", record, records)] = (100 * record.iou[labels]).round(1).tolist()
    if len(records) == 2:
        columns["difference"] = (100 * (records[1].iou - records[0].iou)[labels]).round(1).tolist()
    for record in records:
        taken = [record.evaluation["classes"][name]["mostly_taken_for"] for name in names]
        columns[_title("mostly taken for", record, records)] = ["" if t is None else t["name"] for t in taken]
        columns[_title("% of its points", record, records)] = [
            0.0 if t is None else round(100 * t["share"], 1) for t in taken
        ]
    return columns


def class_table_html(records: Sequence[RunRecord]) -> str:
    """The table as a part of a page that has :func:`pointseg.pages.libraries.tables_script`."""
    import pandas
    from itables import to_html_datatable

    frame = pandas.DataFrame(class_columns(records))
    table = str(
        to_html_datatable(
            frame,
            table_id=TABLE_NAME,
            connected=False,
            display_logo_when_loading=False,
            showIndex=False,
            maxBytes=0,
            text_in_header_can_be_selected=False,  # a click on it sorts
            # Another than the default, of which a short table would lose the search.
            layout={"topStart": "info", "topEnd": "search", "bottomStart": "pageLength", "bottomEnd": "paging"},
            lengthMenu=[15, 50, -1],
            pageLength=15,
            classes="display compact",
            style="width:100%",
        )
    )
    return f'<div class="wide">{table}</div>'


def _title(title: str, record: RunRecord, records: Sequence[RunRecord]) -> str:
    return title if len(records) == 1 else f"{title}, {record.name}"
