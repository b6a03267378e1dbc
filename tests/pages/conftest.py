"""A run that was evaluated, and headless Chromium, driven by Playwright, which complains of what a page must not do."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pointseg import evaluate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# As root there is no sandbox; WebGL is drawn by the processor; and Chromium calls nobody of its own accord.
_FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 120_000


@pytest.fixture(scope="session")
def evaluated_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run with its evaluation in it."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained_run, run)
    evaluate.main(["--run", str(run), "--json", str(run / "evaluation.json")])
    return run


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """The browser. Its tests are marked ``needs("chromium")``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(_FLAGS))
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A page of the browser, and what it did that a page must not do."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    """Of the console, and uncaught ones."""
    requests: list[str] = field(default_factory=list)
    """Addresses that were asked for."""

    def open(self, address: str) -> None:
        """Go to a page, and wait until its plots are drawn."""
        self.page.goto(address)
        self.page.wait_for_function(
            "[...document.querySelectorAll('.plotly-graph-div')].every(e => e.classList.contains('js-plotly-plot'))"
        )

    def picture(self, name: str = "scene-0") -> bytes:
        """What is seen of an element, once it is drawn and stands still."""
        before = b""
        for _ in range(40):
            picture = self.page.locator(f"#{name} canvas").screenshot()
            if picture == before:
                return picture
            before = picture
            self.page.wait_for_timeout(400)
        raise AssertionError(f"#{name} never stands still")

    def switch(self, title: str, name: str = "scene-0") -> None:
        """Press a button of a scene."""
        self.page.locator(f"#{name} .updatemenu-button", has_text=title).click()

    def point_at_scene(self, name: str = "scene-0") -> str:
        """What stands beside the pointer, over some point of the scene that has something to say."""
        box = self.page.locator(f"#{name} canvas").bounding_box()
        assert box is not None
        for share in (0.5, 0.45, 0.55, 0.4, 0.6, 0.35):
            for across in (0.4, 0.35, 0.45, 0.3):
                self.page.mouse.move(box["x"] + across * box["width"], box["y"] + share * box["height"])
                self.page.wait_for_timeout(500)
                said: list[Any] = self.page.locator(f"#{name} .hovertext text").all_text_contents()
                if said:
                    return " ".join(map(str, said))
        return ""


@pytest.fixture
def visitor(chromium: "Browser") -> Iterator[Visitor]:
    """A new page of the browser."""
    page = chromium.new_page(viewport={"width": 1000, "height": 760})
    page.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(page)
    page.on("console", lambda message: visitor.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visitor.errors.append(str(error)))
    page.on("requestfailed", lambda request: visitor.errors.append(f"{request.url} failed"))
    page.on("dialog", lambda dialog: (visitor.errors.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: visitor.requests.append(request.url))
    yield visitor
    page.close()
