"""Tests of the report in a browser: requests, layout, accessibility and print."""

import re
import shutil
from contextlib import ExitStack
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK
from screenshots import A4_WIDTH, blank, chromium
from skpneumo import PneumoniaClassifier
from skpneumo.model_selection import patient_train_test_split
from skpneumo.reporting import report

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

WIDTHS = (1280, 768, 390, 320)
LONG = "a_very_long_word_without_any_space_that_must_be_broken_up"
LOOKS = {
    "light": {},
    "dark": {"scheme": "dark"},
    "narrow": {"width": 320},
    "print": {"width": A4_WIDTH, "media": "print"},
    "print in dark mode": {"width": A4_WIDTH, "media": "print", "scheme": "dark"},
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FAINT_TEXT = Path(__file__).with_name("faint_text.js").read_text(encoding="utf-8")

# Addresses that a browser would fetch, which excludes links.
FETCHED = """() => [...document.querySelectorAll("*")]
  .filter(element => !["A", "AREA", "a"].includes(element.tagName))
  .flatMap(element => ["src", "srcset", "href", "xlink:href", "poster", "data", "action"]
    .map(name => element.getAttribute(name)))
  .filter(address => address && !/^(data:|#)/.test(address.trim()))"""

UNNAMED = """() => {
  const hidden = /^(none|presentation)$/;
  const decorative = each => each.closest("[aria-hidden=true]") || hidden.test(each.getAttribute("role"));
  const labels = each => (each.getAttribute("aria-labelledby") || "").split(/\\s+/).filter(Boolean)
    .map(id => document.getElementById(id)?.textContent ?? "").join(" ");
  const title = each => [...each.children].find(child => child.localName === "title")?.textContent;
  const name = each => [each.getAttribute("alt"), each.getAttribute("aria-label"), labels(each), title(each)];
  const outer = each => !each.parentElement.closest("svg");
  return [...document.querySelectorAll("img, svg")].filter(each => outer(each) && !decorative(each))
    .filter(each => !name(each).some(text => text?.trim())).map(each => each.outerHTML.slice(0, 200));
}"""

# Overflowing content is lost in print. Texts for screen readers only are one pixel wide.
CUT_OFF = """() => [...document.body.querySelectorAll("*")]
  .filter(each => each.clientWidth > 1 && getComputedStyle(each).overflowX !== "visible")
  .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        if opened is None:
            pytest.skip("needs Chromium: install it, or run 'playwright install chromium'")
        yield opened


@pytest.fixture(scope="module")
def parts(xrays):
    """Training X-rays, test X-rays of other patients, and their labels."""
    return patient_train_test_split(xrays.data.ravel(), xrays.target, test_size=0.5, random_state=0)


@pytest.fixture(scope="module")
def report_path(browser, parts, tmp_path_factory):
    X_train, X_test, y_train, y_test = parts
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(PneumoniaClassifier(**QUICK, memory=None).fit(X_train, y_train), X_test, y_test, path)
    return path


@pytest.fixture(scope="module")
def path_of_long_words(browser, parts, tmp_path_factory):
    """A report whose file names, labels, subgroups and title are longer than a line."""
    X_train, X_test, y_train, y_test = parts
    folder = tmp_path_factory.mktemp("long")
    xrays = [shutil.copy(path, folder / f"{Path(path).stem}_{LONG}.jpeg") for path in X_test]
    labels = np.array([f"normal_{LONG}", f"pneumonia_{LONG}"])
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(X_train, labels[y_train])
    machines = {f"machine_{LONG}": np.resize([f"first_{LONG}", f"second_{LONG}"], len(xrays))}
    path = folder / "report.html"
    report(clf, xrays, labels[y_test], path, pos_label=labels[1], subgroups=machines, title=LONG)
    return path


@pytest.fixture(scope="module")
def look(browser, report_path):
    """Open the report with given settings, once for all tests."""
    with ExitStack() as windows:

        @cache
        def at(**settings):
            page = windows.enter_context(blank(browser, **settings))
            page.goto(report_path.as_uri())
            return page

        yield at


@pytest.fixture
def page(look):
    return look()


@pytest.fixture
def paper(browser):
    """An empty page in light mode."""
    with blank(browser) as page:
        yield page


@pytest.fixture(params=LOOKS)
def every_look(request, look):
    return look(**LOOKS[request.param])


def test_page_has_no_console_messages_and_no_other_requests(browser, report_path):
    messages, requests = [], []
    with blank(browser) as page:
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report_path.as_uri(), wait_until="networkidle")
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("document.body.offsetHeight")
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [report_path.as_uri()]


def test_page_has_no_external_resources(page):
    assert page.evaluate(FETCHED) == []
    styles = " ".join(page.locator("style").all_text_contents())
    styles += page.evaluate("[...document.querySelectorAll('[style]')].map(e => e.getAttribute('style')).join(' ')")
    assert re.findall(r"@import|url\(\s*[\"']?(?!data:|#|[\"'])", styles) == []


def test_page_has_no_scripts(page):
    assert page.locator("script, iframe, object, embed, form").count() == 0
    handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))"
    assert [name for name in page.evaluate(handlers) if name.startswith("on")] == []


def test_page_has_encoding_language_and_title(page):
    assert page.evaluate("document.compatMode") == "CSS1Compat"
    assert page.evaluate("document.characterSet") == "UTF-8"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title().strip()


@pytest.mark.parametrize("width", WIDTHS)
def test_page_does_not_scroll_horizontally(look, width):
    page = look(width=width)
    scroll, client = page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]")
    assert scroll <= client


@pytest.mark.parametrize("view", [{"width": 1280}, {"width": 320}, {"width": A4_WIDTH, "media": "print"}])
def test_long_words_do_not_widen_the_page(browser, path_of_long_words, view):
    with blank(browser, **view) as page:
        page.goto(path_of_long_words.as_uri())
        assert page.evaluate("document.scrollingElement.scrollWidth") <= view["width"]


def test_page_passes_axe(every_look):
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": RULES}}
    violations = axe.Axe().run(every_look, options=options).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []


def test_text_in_plots_has_enough_contrast(every_look):
    assert every_look.evaluate(FAINT_TEXT) == []


def test_images_have_text_alternatives(page):
    assert page.locator("img, svg").count() > 0
    assert page.evaluate(UNNAMED) == []


def test_images_are_visible(page):
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth || !i.clientWidth).map(i => i.alt)"
    assert page.evaluate(broken) == []


def test_heading_levels_are_not_skipped(page):
    levels = [
        int(name[1]) for name in page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("all => all.map(h => h.localName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_page_has_one_main_landmark(page):
    assert page.get_by_role("main").count() == 1


def test_internal_links_have_targets(page):
    targets = page.locator("a[href^='#']").evaluate_all("all => all.map(a => a.getAttribute('href').slice(1))")
    assert [name for name in targets if not page.evaluate("id => !!document.getElementById(id)", name)] == []


def test_ids_are_unique(page):
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_tables_have_column_headers(page):
    unnamed = "all => all.filter(t => !t.querySelector('th[scope], thead th')).map(t => t.outerHTML.slice(0, 200))"
    assert page.locator("table").evaluate_all(unnamed) == []


def test_desktop_page_has_no_scrolling_tables(page):
    assert page.evaluate(CUT_OFF) == []


def test_phone_page_shows_all_metrics_with_intervals(look):
    page = look(width=390)
    box = page.locator("table.metrics").locator("xpath=..")
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 1
    right = page.locator("table.metrics .limits").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
    assert max(right) <= 390


def test_phone_page_shows_sensitivity_of_subgroups_with_interval(look):
    page = look(width=390)
    box = page.get_by_role("region", name="Table: subgroups").first
    assert box.locator("tbody tr").first.locator(".limits").first.bounding_box()["x"] > 0
    ends = box.locator("tbody td:nth-child(5)").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
    assert max(ends) <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shadow_marks_hidden_columns(browser, report_path, scheme):
    with blank(browser, width=320, scheme=scheme) as page:
        page.goto(report_path.as_uri())
        box = page.get_by_role("region", name="Table: subgroups").first
        assert box.evaluate("box => box.scrollWidth > box.clientWidth + 20")
        shadows = edges(box)
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        assert edges(box) == shadows[::-1] == [True, False]


def edges(box):
    """Return whether the left and the right edge of a region differ from the background."""
    pixels = np.asarray(Image.open(BytesIO(box.screenshot())).convert("L"), int)
    paper = np.bincount(pixels.ravel()).argmax()
    return [bool(np.mean(abs(pixels[:, column] - paper) > 15) > 0.5) for column in (1, -2)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_cuts_nothing_off(look, scheme):
    page = look(width=A4_WIDTH, media="print", scheme=scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= A4_WIDTH
    assert page.evaluate(CUT_OFF) == []


def test_print_is_white_in_dark_mode(look):
    page = look(width=A4_WIDTH, media="print", scheme="dark")
    corner = Image.open(BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 1, "height": 1})))
    assert min(corner.convert("RGB").getpixel((0, 0))) > 240


def test_print_has_at_most_12_pages(page):
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_faint_text_check_finds_faint_text(paper):
    drawing = (
        '<svg width="300" height="90"><rect width="300" height="90" fill="{}"/><text x="9" y="50" {}>AUC</text></svg>'
    )
    found = []
    for shape, text in [("#fff", 'fill="#777"'), ("#fff", ""), ("#0b0b0b", ""), ("none", 'fill="#000" opacity="0.4"')]:
        paper.set_content(drawing.format(shape, text))
        found.append(paper.evaluate(FAINT_TEXT))
    assert found == [["AUC: 4.48"], [], ["AUC: 1.07"], ["AUC: 2.85"]]


def test_text_alternative_check_finds_unnamed_images(paper):
    named = '<img alt="an X-ray" src="data:,"><svg role="img" aria-labelledby="t"><title id="t">a curve</title></svg>'
    paper.set_content(named + '<svg aria-hidden="true"></svg>')
    assert paper.evaluate(UNNAMED) == []
    paper.set_content('<img alt=" " src="data:,"><svg role="img" aria-labelledby="nowhere"></svg>')
    assert len(paper.evaluate(UNNAMED)) == 2


def test_print_check_finds_cut_off_content(paper):
    table = '<div style="width: 200px; overflow-x: {}"><div style="width: 400px">wide</div></div>'
    paper.set_content(table.format("auto"))
    assert len(paper.evaluate(CUT_OFF)) == 1
    paper.set_content(table.format("visible"))
    assert paper.evaluate(CUT_OFF) == []
