"""The libraries that draw in a browser: plotly for pictures and plots, DataTables, through itables, for tables."""

from typing import Any

from pointseg.errors import UsageError, missing_library

CREDITS = "Drawn by plotly.js (MIT licence) and DataTables (MIT licence, through itables)."


def check_page_libraries(what: str) -> None:
    """Raise before the work begins, not after it.

    Args:
        what: of the work, for the message: the page's path.

    Raises:
        UsageError: a library is not installed.
    """
    try:
        import itables  # noqa: F401
        import pandas  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise UsageError(missing_library(f"{what}: making it", error.name or "plotly", "viz")) from None


def plotly_script() -> str:
    """plotly.js, whole, for the head of a page."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def tables_script() -> str:
    """DataTables and its styles, whole, for a page with tables of :mod:`pointseg.pages.class_table`."""
    from itables import options
    from itables.javascript import generate_init_offline_itables_html

    return str(generate_init_offline_itables_html(options.dt_bundle))


def figure_html(figure: Any, name: str) -> str:
    """A figure of plotly as a part of a page that has :func:`plotly_script`.

    Args:
        figure: of plotly.
        name: of the element, for links and tests: letters, digits and hyphens.
    """
    config = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))
