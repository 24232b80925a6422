"""``--mode serve`` in a real browser: from the choice of a file to the plot, without requests to other servers."""

import re

import numpy as np
import pytest

from apps.predict.runners import NUMBERS, ModelInfo
from tests.support.browser import open_browser, press_until
from tests.support.serving import DarkOrBright, serving, wait_until, write_video

PARTS = [(4, 10), (3, (0, 0, 250)), (5, 245)]  # dark, nobody, bright


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "my lesson.mp4", PARTS)


@pytest.fixture
def page(browser, served):
    """An open page; errors in its console, and requests that leave the server, fail the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, accept_downloads=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda entry: entry.type in ("error", "warning") and wrong.append(entry.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith((served.address, "blob:" + served.address)) or wrong.append(r.url))
    page.wrong = wrong
    page.goto(served.address)
    page.get_by_text("At most 500 MB and 15 minutes.").wait_for()
    yield page
    context.close()
    assert not wrong


def until(page, claim):
    """Poll from outside, because the policy of the page forbids the waiting functions of playwright."""
    for _ in range(200):
        if page.evaluate(claim):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {claim}")


def analyse(page, video):
    page.set_input_files("#file", str(video))
    wait_for_answer(page)


def wait_for_answer(page):
    """An error ends the wait as well."""
    page.wait_for_selector("#answer:not([hidden]) svg.plot, #error:not(:empty)", timeout=300_000)
    assert page.inner_text("#error") == ""


def test_from_upload_to_plot(page, served, video, tmp_path):
    analyse(page, video)
    assert "Person 1" in page.inner_text("#summary") and "0:12 of video" in page.inner_text("#summary")
    strip = page.eval_on_selector_all("svg.plot rect:not(.gap) title", "all => all.map(one => one.textContent)")
    assert [title.split(",")[0] for title in strip] == ["Dark", "Bright"]
    assert page.locator("svg.plot .curve").count() == 6  # three classes before the gap, and three after it
    gaps = page.eval_on_selector_all("svg.plot rect.gap title", "all => all.map(one => one.textContent)")
    assert len(gaps) == 1 and gaps[0].startswith("not seen, 0:0")
    assert page.get_attribute("svg.plot", "aria-label").endswith(" of 8 windows.")
    until(page, "document.getElementById('overlay').readyState >= 2 && overlay.videoWidth >= 160")
    page.click("svg.plot", position={"x": 800, "y": 60})
    until(page, "document.getElementById('overlay').currentTime > 8")
    until(page, "document.querySelector('.readout').textContent.includes('Bright 100')")
    until(page, "document.querySelector('.playing').getAttribute('visibility') === 'visible'")
    served.wait_until_empty()


def test_everything_can_be_downloaded_after_the_server_has_removed_it(page, served, video, tmp_path):
    analyse(page, video)
    served.wait_until_empty()
    for link, name in (("Table (CSV)", "my lesson-timeline.csv"), ("Video (MP4)", "my lesson-overlay.mp4")):
        with page.expect_download() as download:
            page.get_by_text(link).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / "got")
        assert (tmp_path / "got").stat().st_size > 100
    page.click("summary")
    header = page.inner_text("#table tr:first-of-type").split()
    assert header == ["from", "to", "person", "predicted", "seen", "Dark", "Bright", "Never"]
    page.get_by_text("Another one").click()
    assert page.is_visible("#drop") and not page.is_visible("#answer")


def test_numbers_are_plotted_for_a_model_without_classes(browser, tmp_path, video):
    class Numbers(DarkOrBright):
        info = ModelInfo("test", "n.pt", kind=NUMBERS, numbers=("light", "half"), streams="face", frames=4, size=32)

        def head(self, face, context=None):
            light = face.mean(axis=(1, 2, 3, 4)) / 255
            return np.stack([light, light / 2], axis=1).astype(np.float32)

    with serving(tmp_path, runner=Numbers()) as served:
        page = browser.new_page()
        page.goto(served.address)
        analyse(page, video)
        labels = page.eval_on_selector_all("svg.plot text", "all => all.map(one => one.textContent)")
        assert labels[:3] == ["-1.0", "0.0", "1.0"] and page.locator("svg.plot .curve").count() == 4
        described = page.get_attribute("svg.plot", "aria-label")
        light, half = map(float, re.fullmatch(r"Person 1\. On average: light (\S+), half (\S+)\.", described).groups())
        assert 0.3 < light < 0.7 and abs(light / 2 - half) < 0.011
        page.close()


def test_bars_of_a_single_window_need_no_legend(page, video, tmp_path):
    """Each bar has the name of its class beside it; curves over time have a legend."""
    analyse(page, write_video(tmp_path / "short.mp4", [(2, 10)]))
    texts = page.eval_on_selector_all("svg.plot text", "all => all.map(one => one.textContent)")
    assert texts[::2] == ["Dark", "Bright", "Never"] and page.locator(".legend").count() == 0
    page.get_by_text("Another one").click()
    analyse(page, video)
    assert page.eval_on_selector_all(".legend li", "all => all.length") >= 3


def test_classes_that_the_sentence_does_not_name_are_counted(page):
    tell = """async (classes) => (await import("/page/plot.js")).describe(
        { rows: [...classes].map((name) => ({ predicted: name })) }, {})"""
    assert page.evaluate(tell, "aaabbcdefg") == "a in 3, b in 2, c in 1, d in 1, e in 1, the rest in 2 of 10 windows."
    assert page.evaluate(tell, "bab") == "b in 2, a in 1 of 3 windows."


def test_a_phone_shows_all_of_it(page, video):
    page.set_viewport_size({"width": 360, "height": 740})
    analyse(page, video)
    until(page, "document.querySelector('svg.plot').getBoundingClientRect().width < 360")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_file_that_is_not_a_video_is_refused_and_another_can_be_tried(page, served, video, tmp_path):
    (tmp_path / "notes.mp4").write_text("Not a video at all.\n" * 50)
    page.set_input_files("#file", str(tmp_path / "notes.mp4"))
    until(page, "document.getElementById('error').textContent.includes('Cannot be read as a video')")
    page.wrong[:] = [text for text in page.wrong if "422" not in text]  # the browser itself logs failed requests
    (tmp_path / "empty.mp4").write_bytes(b"")
    page.set_input_files("#file", str(tmp_path / "empty.mp4"))
    page.get_by_text("This file is empty.").wait_for()
    assert page.is_visible("#drop") and not served.files()
    analyse(page, video)
    assert page.inner_text("#error") == ""


def test_stop_while_the_file_is_checked_removes_the_video(page, served, video, checking):
    page.set_input_files("#file", str(video))
    page.get_by_text("Checking the file").first.wait_for()
    assert checking.begun.wait(300) and served.files()
    page.click("#stop")
    page.get_by_text("Stopping").first.wait_for()
    checking.go_on.set()
    until(page, "document.getElementById('announcement').textContent === 'Stopped; the video was removed.'")
    wait_until(lambda: not served.files(), 30)  # long before it would be removed as abandoned
    assert page.is_visible("#drop")
    analyse(page, video)


def test_the_keyboard_is_enough(page, video):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    press_until(page, "Enter", lambda: choosers)
    choosers[0].set_files(str(video))
    wait_for_answer(page)
    assert page.evaluate("document.activeElement.id") == "answer"


def test_a_dropped_file_is_accepted(page, video):
    page.evaluate(
        """async () => {
            const made = new DataTransfer();
            made.items.add(new File(["nothing of a video"], "dropped.mp4"));
            document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: made, bubbles: true}));
        }"""
    )
    until(page, "document.getElementById('error').textContent.includes('Cannot be read as a video')")
    page.wrong[:] = [text for text in page.wrong if "422" not in text]


def test_the_page_keeps_its_promise_of_no_other_address(served):
    status, page = served.ask("GET", "/")
    parts = [page.decode()] + [
        served.ask("GET", f"/page/{name}")[1].decode() for name in ("page.js", "plot.js", "page.css")
    ]
    addresses = set(re.findall(r"https?://[^\s\"')]+", "".join(parts)))
    assert status == 200 and addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which is never requested
