"""Pictures of a report as people meet it: on a desk, on a phone, in the dark, on paper.

Run from the root of the repository: ``python -m tests.reporting.screenshots REPORT.html FOLDER``.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HEIGHT = 900
# A sheet of A4 between margins of 15 mm, at 96 pixels an inch.
A4_WIDTH = round((210 - 2 * 15) / 25.4 * 96)

VIEWS: dict[str, dict[str, Any]] = {
    "desktop": {"width": 1280},
    "phone": {"width": 390},
    "desktop-dark": {"width": 1280, "scheme": "dark"},
    "phone-dark": {"width": 390, "scheme": "dark"},
    "print": {"width": A4_WIDTH, "media": "print"},
}


@contextmanager
def chromium() -> Iterator[Any]:
    """Open the Chromium of this machine, or the one that playwright has installed; None where there is neither."""
    from playwright.sync_api import sync_playwright

    installed = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        path = installed or playwright.chromium.executable_path
        if not Path(path).exists():
            yield None
            return
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )  # root in a container needs it
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def blank(browser: Any, width: int = 1280, scheme: str = "light", media: str = "screen") -> Iterator[Any]:
    """Open an empty page in a window of its own, of this width in pixels."""
    window = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    try:
        page = window.new_page()
        page.emulate_media(media=media)
        yield page
    finally:
        window.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Save pictures of a report on a desk, on a phone and on paper.")
    parser.add_argument("report", type=Path, help="an HTML file")
    parser.add_argument("folder", type=Path, help="where pictures go")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        if browser is None:
            parser.error(f"no Chromium was found: install it (one of {', '.join(NAMES)}), or run 'playwright install'.")
        for name, view in VIEWS.items():
            with blank(browser, **view) as page:
                page.goto(arguments.report.resolve().as_uri())
                page.screenshot(path=arguments.folder / f"{name}.png", full_page=True)
                print(arguments.folder / f"{name}.png")
        with blank(browser) as page:
            page.goto(arguments.report.resolve().as_uri())
            page.pdf(path=arguments.folder / "print.pdf", format="A4", prefer_css_page_size=True)
            print(arguments.folder / "print.pdf")


if __name__ == "__main__":
    main()
