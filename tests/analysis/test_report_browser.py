"""The report in a real browser: no requests, no errors, every picture visible, usable on a phone."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from main import main
from tests.support.browser import open_browser, press_until
from tests.support.run_folders import (
    class_metrics,
    number_metrics,
    video_metrics,
    write_ablation,
    write_mistakes,
    write_run,
)

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
LONG = ("helplessness and a very long name", "happily surprised", "angrily disgusted", "e", "f", "g", "h")
COUNTS = [[9 if i == j else (i + j) % 3 for j in range(7)] for i in range(7)]
PATH = "a-folder-without-any-place-to-break/" + "x" * 90


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """One run, and several of every kind with names that are hard to lay out."""
    root = tmp_path_factory.mktemp("reports")
    one = write_mistakes(write_run(root / "one", root_dir=PATH))
    hard = write_mistakes(write_run(root / "a-name-of-a-run-that-never-ends-0123456789", class_metrics(LONG, COUNTS)))
    special = [
        write_run(root / "videos", video_metrics(), facts=None),
        write_run(root / "numbers", number_metrics(), facts=None),
    ]
    Image.new("RGB", (2400, 900), "white").save(special[0] / "timeline.png")
    ablation = write_ablation(root / "ablation", "a variant of a very long name weight=0.5")
    for name, runs in {"one": [one], "several": [one, hard, *special], "ablation": [ablation]}.items():
        assert main(["--mode", "report", *map(str, runs), "--output-dir", str(root / "out" / name)]) == 0
    return {name: root / "out" / name / "report.html" for name in ("one", "several", "ablation")}


@contextmanager
def opened(browser, report):
    """Yield the page of a report in a large window, with its console messages and its requests."""
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.messages, page.requests = [], []
    page.on("console", lambda message: page.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.messages.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())
    page.goto(report.as_uri(), wait_until="load")
    yield page
    context.close()


@pytest.fixture(scope="module", params=["one", "several"])
def page(request, browser, reports):
    """A page that is only looked at."""
    with opened(browser, reports[request.param]) as page:
        yield page


@pytest.fixture(params=["one", "several"])
def used(request, browser, reports):
    """A page that is changed by the test."""
    with opened(browser, reports[request.param]) as page:
        yield page


def test_the_page_requests_nothing_and_has_no_console_errors(page):
    assert page.messages == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]


def test_every_picture_is_shown_and_described_in_words(page):
    pictures = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.alt])")
    assert pictures and all(complete and width > 0 and height > 0 and alt for complete, width, height, alt in pictures)
    drawings = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), s.getAttribute('aria-label'),"
        " s.getAttribute('aria-hidden'), s.getBoundingClientRect().width])"
    )
    assert drawings and all((role == "img" and label) or hidden == "true" for role, label, hidden, _ in drawings)
    assert all(width > 50 for *_, width in drawings)


def test_the_page_has_a_logical_reading_order(page):
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))
    assert page.evaluate("document.documentElement.lang") == "en" and page.title()
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    dangling = page.evaluate("[...document.querySelectorAll('a')].filter(a => !document.querySelector(a.hash)).length")
    assert dangling == 0 and page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == (
        page.locator("[id]").count()
    )


def test_tables_have_captions_and_headings(page):
    bare = "[...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.textContent).length"
    assert page.locator("table").count() > 5 and page.evaluate(bare) == 0
    assert page.evaluate("[...document.querySelectorAll('th')].filter(h => !h.scope).length") == 0
    assert page.evaluate("[...document.querySelectorAll('tbody tr')].filter(r => !r.querySelector('th')).length") == 0


def test_the_first_stop_of_the_tab_key_leads_to_the_results(used):
    used.keyboard.press("Tab")
    assert used.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert used.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    press_until(used, "Enter", lambda: used.evaluate("location.hash") == "#content")


@pytest.mark.parametrize("used", ["one", "several", "ablation"], indirect=True)
def test_nothing_is_cut_and_the_page_does_not_scroll_sideways(used):
    used.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for size in (PHONE, DESK, {"width": 360, "height": 740}):
        used.set_viewport_size(size)
        assert used.evaluate("document.scrollingElement.scrollWidth") <= size["width"]
        assert used.evaluate(OUTSIDE_THE_PAGE) == []
        assert used.evaluate(OUTSIDE_THEIR_BOX) == []
        assert used.evaluate(OUTSIDE_THEIR_DRAWING) == []
        wide = (
            used.locator(".scroll")
            .filter(has=used.locator("table"))
            .evaluate_all(
                "boxes => boxes.map(b => { b.scrollLeft = 1e6;"
                " return b.querySelector('table').getBoundingClientRect().right - b.getBoundingClientRect().right; })"
            )
        )
        assert wide and max(wide) <= 1  # every table can be scrolled to its end inside its box
        assert used.evaluate(
            "[...document.querySelectorAll('p, td, th')].every(e => parseFloat(getComputedStyle(e).fontSize) >= 13)"
        )


def test_texts_have_enough_contrast_in_light_and_dark(used):
    """The colour of every text against its background, as the browser computes both."""
    for scheme in ("light", "dark"):
        used.emulate_media(color_scheme=scheme)
        ratios = used.evaluate(CONTRASTS)
        assert len(ratios) > 50
        assert min(ratios.values()) >= 4.5, (scheme, [words for words, ratio in ratios.items() if ratio < 4.5][:5])
    grounds = []
    for scheme in ("light", "dark"):
        used.emulate_media(color_scheme=scheme)
        grounds.append(used.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_the_page_prints_in_light_colours_without_navigation(used):
    used.emulate_media(media="print", color_scheme="dark")
    assert used.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not used.locator("nav").is_visible() and used.pdf().startswith(b"%PDF")


# Elements wider than the page are in a box that scrolls.
OUTSIDE_THE_PAGE = """[...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.skip, .sr') && !e.parentElement.closest('.scroll')
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
# Cells, headings and captions show their whole text.
OUTSIDE_THEIR_BOX = """[...document.querySelectorAll('td, th, p, li, h1, h2, h3, figcaption, summary, a')]
  .filter(e => !e.closest('.skip') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != 'inline')
  .map(e => e.outerHTML.slice(0, 80))"""
OUTSIDE_THEIR_DRAWING = """[...document.querySelectorAll('svg text')].filter(e => {
  const text = e.getBoundingClientRect(), svg = e.closest('svg').getBoundingClientRect();
  return text.left < svg.left - 1 || text.right > svg.right + 1
    || text.top < svg.top - 1 || text.bottom > svg.bottom + 1;
}).map(e => e.textContent)"""
CONTRASTS = """() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parts(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if ((parts(c)[3] ?? 1) > 0) return c; } return 'rgb(255, 255, 255)'; };
  const found = {};
  const texts = 'h1, h2, h3, p, li, td, th, a, caption, figcaption, summary, strong, span, svg text';
  for (const e of document.querySelectorAll(texts)) {
    if (!e.textContent.trim() || e.closest('.skip') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), ink = e.closest('svg') ? style.fill : style.color;
    const [low, high] = [light(ink), light(ground(e))].sort((a, b) => a - b);
    found[e.tagName + ' ' + e.textContent.trim().slice(0, 40)] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""
