"""Save screenshots of a report on a desktop, on a phone, in dark mode and in print.

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
# Width of A4 without margins of 15 mm, at 96 pixels per inch.
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
    """Open the system Chromium, or the one installed by playwright; yield None if there is neither."""
    from playwright.sync_api import sync_playwright

    installed = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        path = installed or playwright.chromium.executable_path
        if not Path(path).exists():
            yield None
            return
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )  # required for root in containers
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def blank(browser: Any, width: int = 1280, scheme: str = "light", media: str = "screen") -> Iterator[Any]:
    """Open an empty page in a new window of given width in pixels."""
    window = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    try:
        page = window.new_page()
        page.emulate_media(media=media)
        yield page
    finally:
        window.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Save screenshots of a report on a desktop, on a phone and in print.")
    parser.add_argument("report", type=Path, help="HTML file of the report")
    parser.add_argument("folder", type=Path, help="output folder")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        if browser is None:
            parser.error(
                f"Chromium not found. Install one of {', '.join(NAMES)}, or run 'playwright install chromium'."
            )
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
