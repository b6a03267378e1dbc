"""The page of one scene: a file that needs nothing else, or a page of a server with prediction files to choose from."""

from collections.abc import Sequence
from html import escape

from pointseg.pages.document import PageSection, paragraph, render_page
from pointseg.pages.libraries import CREDITS, figure_html
from pointseg.pages.scene_view import HOW_TO, ViewedPrediction, draw_scene
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy

MAX_POINTS = 60_000


def render_viewer(
    scene: Scene, predictions: Sequence[ViewedPrediction], taxonomy: Taxonomy, script: str, choice: str = ""
) -> str:
    """The page, as HTML.

    Args:
        scene: its ``label`` is the ground truth, where there is one.
        predictions: none, one, or two that are compared.
        taxonomy: the classes.
        script: HTML of the head that brings plotly.js.
        choice: HTML above the scene.
    """
    figure, drawn = draw_scene(scene, predictions, taxonomy, MAX_POINTS)
    html = choice + figure_html(figure, "scene-0") + paragraph(f"{HOW_TO} Drawn: {drawn}.", "quiet")
    return render_page(scene.name, "", [PageSection("scene", "Scene", html)], [script], CREDITS)


def render_choice(names: Sequence[str], chosen: Sequence[int]) -> str:
    """A form to choose prediction files from: one to look at, and one to compare it with.

    Args:
        names: of the files.
        chosen: indices of those that are shown: none, one or two.
    """
    first, second = (*chosen, None, None)[:2]
    lists = [("prediction", "Prediction", first), ("other", "compared with", second)]
    parts = [
        f'<label>{title} <select name="{field}">{_options(names, index)}</select></label>'
        for field, title, index in (lists if len(names) > 1 else lists[:1])
    ]
    return f'<form method="get" action="/">{" ".join(parts)} <button>Show</button></form>'


def _options(names: Sequence[str], chosen: int | None) -> str:
    options = [f'<option value=""{"" if chosen is not None else " selected"}>none</option>']
    options += [
        f'<option value="{index}"{" selected" if index == chosen else ""}>{escape(name)}</option>'
        for index, name in enumerate(names)
    ]
    return "".join(options)
