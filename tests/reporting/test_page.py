"""The report in a browser: it stands alone, fits every window, is there for every reader, and prints."""

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

from conftest import TINY
from screenshots import A4_WIDTH, blank, chromium
from skpneumo import PneumoniaClassifier
from skpneumo.model_selection import patient_train_test_split
from skpneumo.reporting import report

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

WIDTHS = (1280, 768, 390, 320)
LONG = "as_nobody_would_write_it_in_so_many_words_without_a_space"
LOOKS = {
    "light": {},
    "dark": {"scheme": "dark"},
    "narrow": {"width": 320},
    "print": {"width": A4_WIDTH, "media": "print"},
    "print from the dark": {"width": A4_WIDTH, "media": "print", "scheme": "dark"},
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FAINT_TEXT = Path(__file__).with_name("faint_text.js").read_text(encoding="utf-8")

# What a browser would fetch: addresses of anything but links for people, which wait for a click.
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

# On paper nobody scrolls: what its own box does not show is lost. Words for screen readers alone are one pixel wide.
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
    """Films to fit on, films of other patients to judge on, and both their labels."""
    return patient_train_test_split(xrays.data.ravel(), xrays.target, test_size=0.5, random_state=0)


@pytest.fixture(scope="module")
def report_path(browser, parts, tmp_path_factory):
    X_train, X_test, y_train, y_test = parts
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(PneumoniaClassifier(**TINY, memory=None).fit(X_train, y_train), X_test, y_test, path)
    return path


@pytest.fixture(scope="module")
def path_of_long_words(browser, parts, tmp_path_factory):
    """A report on files, labels, groups and a title that are words too long for a line."""
    X_train, X_test, y_train, y_test = parts
    folder = tmp_path_factory.mktemp("long")
    films = [shutil.copy(film, folder / f"{Path(film).stem}_{LONG}.jpeg") for film in X_test]
    labels = np.array([f"normal_{LONG}", f"pneumonia_{LONG}"])
    clf = PneumoniaClassifier(**TINY, memory=None).fit(X_train, labels[y_train])
    machines = {f"machine_{LONG}": np.resize([f"first_{LONG}", f"second_{LONG}"], len(films))}
    path = folder / "report.html"
    report(clf, films, labels[y_test], path, pos_label=labels[1], subgroups=machines, title=LONG)
    return path


@pytest.fixture(scope="module")
def look(browser, report_path):
    """Open the report in a window of this look, once for all tests."""
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
    """An empty page, light."""
    with blank(browser) as page:
        yield page


@pytest.fixture(params=LOOKS)
def every_look(request, look):
    return look(**LOOKS[request.param])


def test_nothing_is_complained_of_and_nothing_else_is_asked_for(browser, report_path):
    said, asked = [], []
    with blank(browser) as page:
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report_path.as_uri(), wait_until="networkidle")
        page.emulate_media(media="print", color_scheme="dark")
        page.evaluate("document.body.offsetHeight")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report_path.as_uri()]


def test_nothing_would_be_fetched(page):
    assert page.evaluate(FETCHED) == []
    styles = " ".join(page.locator("style").all_text_contents())
    styles += page.evaluate("[...document.querySelectorAll('[style]')].map(e => e.getAttribute('style')).join(' ')")
    assert re.findall(r"@import|url\(\s*[\"']?(?!data:|#|[\"'])", styles) == []


def test_it_holds_no_program(page):
    assert page.locator("script, iframe, object, embed, form").count() == 0
    handlers = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))"
    assert [name for name in page.evaluate(handlers) if name.startswith("on")] == []


def test_it_says_its_encoding_and_language_and_title(page):
    assert page.evaluate("document.compatMode") == "CSS1Compat"
    assert page.evaluate("document.characterSet") == "UTF-8"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title().strip()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(look, width):
    page = look(width=width)
    scroll, client = page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]")
    assert scroll <= client


@pytest.mark.parametrize("view", [{"width": 1280}, {"width": 320}, {"width": A4_WIDTH, "media": "print"}])
def test_long_words_do_not_widen_the_page(browser, path_of_long_words, view):
    with blank(browser, **view) as page:
        page.goto(path_of_long_words.as_uri())
        assert page.evaluate("document.scrollingElement.scrollWidth") <= view["width"]


def test_every_look_passes_axe(every_look):
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": RULES}}
    violations = axe.Axe().run(every_look, options=options).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []


def test_text_in_drawings_is_legible_in_every_look(every_look):
    assert every_look.evaluate(FAINT_TEXT) == []


def test_every_picture_has_a_text_in_its_place(page):
    assert page.locator("img, svg").count() > 0
    assert page.evaluate(UNNAMED) == []


def test_every_picture_can_be_seen(page):
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth || !i.clientWidth).map(i => i.alt)"
    assert page.evaluate(broken) == []


def test_headings_go_down_step_by_step_from_one_title(page):
    levels = [
        int(name[1]) for name in page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("all => all.map(h => h.localName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_one_landmark_holds_what_matters(page):
    assert page.get_by_role("main").count() == 1


def test_links_within_the_page_lead_somewhere(page):
    targets = page.locator("a[href^='#']").evaluate_all("all => all.map(a => a.getAttribute('href').slice(1))")
    assert [name for name in targets if not page.evaluate("id => !!document.getElementById(id)", name)] == []


def test_ids_are_given_once(page):
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_tables_name_their_columns(page):
    unnamed = "all => all.filter(t => !t.querySelector('th[scope], thead th')).map(t => t.outerHTML.slice(0, 200))"
    assert page.locator("table").evaluate_all(unnamed) == []


def test_on_a_desk_nothing_hides_behind_a_scroll_bar(page):
    assert page.evaluate(CUT_OFF) == []


def test_on_a_phone_all_figures_are_seen_with_their_intervals(look):
    page = look(width=390)
    box = page.locator("table.figures").locator("xpath=..")
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 1
    right = page.locator("table.figures .limits").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
    assert max(right) <= 390


def test_on_a_phone_subgroups_begin_with_a_sensitivity_and_its_interval(look):
    page = look(width=390)
    box = page.get_by_role("region", name="Table: subgroups").first
    assert box.locator("tbody tr").first.locator(".limits").first.bounding_box()["x"] > 0
    ends = box.locator("tbody td:nth-child(5)").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
    assert max(ends) <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_shade_says_that_a_table_goes_on(browser, report_path, scheme):
    with blank(browser, width=320, scheme=scheme) as page:
        page.goto(report_path.as_uri())
        box = page.get_by_role("region", name="Table: subgroups").first
        assert box.evaluate("box => box.scrollWidth > box.clientWidth + 20")
        begin = edges(box)
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        assert edges(box) == begin[::-1] == [True, False]


def edges(box):
    """Tell of the left and the right edge of a region whether most of it is of another gray than the page."""
    seen = np.asarray(Image.open(BytesIO(box.screenshot())).convert("L"), int)
    paper = np.bincount(seen.ravel()).argmax()
    return [bool(np.mean(abs(seen[:, column] - paper) > 15) > 0.5) for column in (1, -2)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_paper(look, scheme):
    page = look(width=A4_WIDTH, media="print", scheme=scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= A4_WIDTH
    assert page.evaluate(CUT_OFF) == []


def test_paper_stays_white_where_screens_are_dark(look):
    page = look(width=A4_WIDTH, media="print", scheme="dark")
    corner = Image.open(BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 1, "height": 1})))
    assert min(corner.convert("RGB").getpixel((0, 0))) > 240


def test_it_prints_on_a_few_pages(page):
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


def test_faint_text_in_a_drawing_would_be_found(paper):
    drawing = (
        '<svg width="300" height="90"><rect width="300" height="90" fill="{}"/><text x="9" y="50" {}>AUC</text></svg>'
    )
    found = []
    for shape, text in [("#fff", 'fill="#777"'), ("#fff", ""), ("#0b0b0b", ""), ("none", 'fill="#000" opacity="0.4"')]:
        paper.set_content(drawing.format(shape, text))
        found.append(paper.evaluate(FAINT_TEXT))
    assert found == [["AUC: 4.48"], [], ["AUC: 1.07"], ["AUC: 2.85"]]


def test_a_picture_without_a_text_would_be_found(paper):
    named = '<img alt="a film" src="data:,"><svg role="img" aria-labelledby="t"><title id="t">a curve</title></svg>'
    paper.set_content(named + '<svg aria-hidden="true"></svg>')
    assert paper.evaluate(UNNAMED) == []
    paper.set_content('<img alt=" " src="data:,"><svg role="img" aria-labelledby="nowhere"></svg>')
    assert len(paper.evaluate(UNNAMED)) == 2


def test_what_paper_cuts_off_would_be_found(paper):
    table = '<div style="width: 200px; overflow-x: {}"><div style="width: 400px">wide</div></div>'
    paper.set_content(table.format("auto"))
    assert len(paper.evaluate(CUT_OFF)) == 1
    paper.set_content(table.format("visible"))
    assert paper.evaluate(CUT_OFF) == []
