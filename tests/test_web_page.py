"""The page of `scarlens serve` in headless Chromium: real clicks, real keys, real downloads."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.inference.reasons import NOTICE
from scarlens.inference.treatments.cautions import advise

pytest.importorskip("fastapi", reason="needs the extra 'serve'")
pytest.importorskip("selenium", reason="needs the extra 'dev'")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

EXAMPLES = Path(__file__).parents[1] / "datasets" / "rendering" / "examples"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
ALONE = ("--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "scarlens", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        found = re.search(r"http://127\.0\.0\.1:\d+/", server.stderr.readline())
        assert found, server.stderr.read()
        yield found[0]
        server.send_signal(signal.SIGINT)
        server.communicate()
    assert server.returncode == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (*QUIET, *ALONE, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page, newly opened, as somebody sees and uses it."""

    def __init__(self, browser: webdriver.Chrome, address: str, downloads: Path) -> None:
        self.browser, self.address, self.downloads = browser, address, downloads
        behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.open()

    def open(self) -> None:
        self.browser.get(self.address)
        self.wait(lambda: self.all("body[data-ready]"))

    def wait(self, condition: Any) -> Any:
        changing = (StaleElementReferenceException,)
        return WebDriverWait(self.browser, 60, ignored_exceptions=changing).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def js(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def choose(self, *files: Path) -> None:
        self.one("#choose").send_keys("\n".join(map(str, files)))
        self.wait(lambda: "answered" in self.text("#status") and " of " not in self.text("#status"))
        self.settled()

    def settled(self) -> None:
        self.wait(lambda: not self.all("[aria-busy=true]"))

    def press_tab(self) -> WebElement:
        """Press the tab key and return what has the focus then."""
        ActionChains(self.browser).send_keys(Keys.TAB).perform()
        return self.browser.switch_to.active_element

    def unfold(self) -> None:
        self.js("document.querySelectorAll('details').forEach((part) => { part.open = true; })")

    def emulate(self, width: int, **media: Any) -> None:
        """Show the page at a width and in a medium."""
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def tell(self, name: str, value: str) -> None:
        """Fill in a field of the form about the person, even while the form is folded."""
        self.js(
            """const field = document.getElementById("context").elements[arguments[0]];
            field.value = arguments[1];
            const target = field instanceof RadioNodeList ? [...field].find((radio) => radio.checked) : field;
            target.dispatchEvent(new Event("input", { bubbles: true }));""",
            name,
            value,
        )

    def button(self, text: str) -> WebElement:
        return next(found for found in self.all("button") if found.text == text)

    def downloaded(self, name: str) -> str:
        self.wait(lambda: (self.downloads / name).is_file())
        return (self.downloads / name).read_text()

    def tiles(self, part: str = ".soft") -> list[str]:
        """Return the name of each photo in the grid, or another part of its tile."""
        return [tile.text for tile in self.all(f"#grid {part}")]

    def tab(self, words: str) -> None:
        next(found for found in self.all("[role=tab]") if found.text.startswith(words)).click()


@pytest.fixture
def page(browser: webdriver.Chrome, address: str, tmp_path: Path) -> Page:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    return Page(browser, address, downloads)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one photo of each type, one that is refused, one that cannot be read, one with a hostile name."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("ice_pick", "boxcar", "rolling"):
        shutil.copy(EXAMPLES / f"{name}.jpg", folder)
    Image.fromarray(np.zeros((300, 200, 3), np.uint8)).save(folder / "=dark.png")
    (folder / "cut.jpg").write_bytes((EXAMPLES / "boxcar.jpg").read_bytes()[:4000])
    (folder / "<img src=x onerror=document.title='owned'>.jpg").write_bytes((EXAMPLES / "rolling.jpg").read_bytes())
    return folder


# --- one photo -------------------------------------------------------------------------------------------------------


def test_one_photo_is_answered(page: Page) -> None:
    page.choose(EXAMPLES / "boxcar.jpg")
    expected = scarlens.predict(EXAMPLES / "boxcar.jpg")
    assert page.text("#answer h2") == "Mostly boxcar scars, some ice pick and rolling: 98 % sure"
    bars = [found.text.split("\n") for found in page.all(".bars li")]
    assert bars[0] == ["boxcar", f"{100 * expected.probabilities['boxcar']:.1f} %"]
    assert [lines[0] for lines in bars] == ["boxcar", "ice pick", "rolling"]
    widths = [found.size["width"] / page.one(".bars .bar").size["width"] for found in page.all(".bars .filled")]
    assert widths == pytest.approx(sorted(expected.probabilities.values(), reverse=True), abs=0.02)
    assert NOTICE in page.text("#answer") and NOTICE in page.text("#notice")
    assert page.js("return document.querySelector('.layers img').naturalWidth") == 384
    assert not page.all("#all:not([hidden])")


def test_every_claim_names_its_document_and_marks_lead_to_disagreements(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    plan = scarlens.predict(EXAMPLES / "ice_pick.jpg").treatment
    assert plan
    page.unfold()
    number = {document["file"]: f"[{document['number']}]" for document in plan.to_dict()["documents"]}
    claims = [found.text for found in page.all(".claims li")]
    parts = (*plan.types, plan.general)
    expected = [claim for part in parts for claim in part.claims]
    assert len(claims) == len(expected)
    for claim in expected:
        assert any(claim.says in text and number[claim.document] in text for text in claims), claim
    assert any("improvement 30-60 %" in text for text in claims)
    disputed = sum(
        any(found.id in claim.disputed for found in part.disagreements) for part in parts for claim in part.claims
    )
    assert len(page.all(".claims .disputed")) == disputed > 10
    page.all(".claims .disputed")[0].click()
    target = page.js("return document.querySelector(location.hash)")
    assert target.is_displayed() and "[00" in target.text
    target.find_element(By.CSS_SELECTOR, ".cite").click()
    assert page.js("return document.querySelector(location.hash)").is_displayed()


def test_a_short_table_stands_beside_the_photo_and_its_marks_open_source_and_wording(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    rows = page.all(".brief-table tbody tr")
    assert len(rows) == 6 and rows[0].text.startswith("TCA CROSS disputed 30-60 % 3-4")
    mark = rows[0].find_element(By.CSS_SELECTOR, "td:last-child button")
    mark.click()
    opened = page.one(f"#{mark.get_attribute('popovertarget')}")
    assert opened.is_displayed() and "TCA CROSS, 003_" in opened.text and ".txt" in opened.text
    assert "improvement 30-60 %" in opened.text
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    assert not opened.is_displayed()
    page.button("read").click()
    assert "from the documents" in next(found.text for found in page.all(".source") if found.is_displayed())


def test_tabs_hold_the_rest_and_the_arrow_keys_change_them(page: Page) -> None:
    page.choose(EXAMPLES / "boxcar.jpg")
    titles = [found.text for found in page.all("[role=tab]")]
    assert [title.partition(" (")[0] for title in titles] == ["All claims", "Disagreements", "About this answer"]
    assert [found.is_displayed() for found in page.all("[role=tabpanel]")] == [True, False, False]
    page.tab("Disagreements")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert [found.is_displayed() for found in page.all("[role=tabpanel]")] == [False, False, True]
    page.tell("pregnant", "true")
    page.wait(lambda: page.all(".cautions"))
    assert page.one("[role=tab][aria-selected=true]").text == "About this answer"


def test_choice_of_the_outlines(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    painted = "return document.querySelector('.layers canvas').toDataURL()"
    pictures = [page.js(painted)]
    for choice in page.all(".choices label")[1:4]:
        choice.click()
        pictures.append(page.js(painted))
    blank = """const layer = document.querySelector(".layers canvas"), blank = document.createElement("canvas");
    [blank.width, blank.height] = [layer.width, layer.height]; return blank.toDataURL();"""
    empty = page.js(blank)
    everything, ice_pick, _, rolling = pictures
    assert everything != empty != ice_pick
    assert rolling == empty  # the photo shows no rolling scar: nothing is outlined
    place = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    assert page.js(place, ".layers img") == page.js(place, ".layers canvas")
    page.all(".choices label")[4].click()
    assert not page.one(".layers canvas").is_displayed()


def test_photo_zooms_and_moves_by_buttons_and_keys(page: Page) -> None:
    page.choose(EXAMPLES / "boxcar.jpg")
    place = "return document.querySelector('.layers').getBoundingClientRect().toJSON()"
    whole = page.js(place)
    page.one("button[aria-label='Zoom in']").click()
    assert page.js(place)["width"] == pytest.approx(1.4 * whole["width"], rel=0.01)
    page.one(".viewer").send_keys("+", Keys.ARROW_RIGHT)
    moved = page.js(place)
    assert moved["width"] == pytest.approx(1.96 * whole["width"], rel=0.01)
    page.one(".viewer").send_keys(*[Keys.ARROW_LEFT] * 30)
    assert page.js(place)["left"] == pytest.approx(whole["left"], abs=1) != moved["left"]  # no further than its edge
    page.one(".viewer").send_keys("0")
    assert page.js(place)["width"] == whole["width"]


@pytest.mark.parametrize(
    ("name", "heading", "says"),
    [
        (
            "=dark.png",
            "Can't tell: the photo is too dark to judge",
            "No treatments are shown",
        ),
        ("cut.jpg", "No answer for this file", "expected a JPEG up to its end marker"),
    ],
)
def test_photo_without_an_answer_says_why_and_shows_no_treatment(
    page: Page, photos: Path, name: str, heading: str, says: str
) -> None:
    page.choose(photos / name)
    assert page.text("#answer h2").startswith(heading) and says in page.text("#answer")
    assert not page.all(".type, .brief-table, .bars")
    assert bool(page.all(".advice img")) == (name == "=dark.png")


def test_name_of_a_photo_is_text(page: Page, photos: Path) -> None:
    hostile = next(photos.glob("<img*"))
    page.choose(hostile, photos / "boxcar.jpg")
    assert hostile.name in page.text("#answer .name") and hostile.name in page.text("#grid")
    assert "owned" not in page.browser.title
    assert not page.all("img[src='x']")


def test_photo_can_be_dropped(page: Page) -> None:
    content = base64.b64encode((EXAMPLES / "rolling.jpg").read_bytes()).decode()
    page.js(
        """const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
        const drop = { bubbles: true, cancelable: true, dataTransfer: transfer };
        document.body.dispatchEvent(new DragEvent("drop", drop));""",
        content,
    )
    page.wait(lambda: page.all(".bars"))
    assert page.text("#answer .name") == "dropped.jpg"
    assert page.text("#answer h2") == scarlens.predict(EXAMPLES / "rolling.jpg").headline


def test_an_example_can_be_tried_at_once(page: Page) -> None:
    page.one("#example").click()
    page.wait(lambda: page.all(".brief-table"))
    assert page.text("#answer h2").startswith("Mostly boxcar scars")
    assert not page.one("#example").is_displayed()


# --- the person ------------------------------------------------------------------------------------------------------


def test_facts_about_the_person_add_cautions(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    assert not page.all(".badge.avoid") and "You entered nothing about the person" in page.text("#answer")
    page.one("#person summary").click()
    page.one("input[name=keloid_history][value=true]").click()
    page.wait(lambda: page.all(".badge.avoid"))
    Select(page.one("select[name=skin_type]")).select_by_visible_text("V")
    page.wait(lambda: "skin type" in page.text(".cautions"))
    Select(page.one("select[name=isotretinoin]")).select_by_visible_text("stopped less than 12 months ago")
    page.wait(lambda: "isotretinoin now" in page.text("#told"))
    assert "counts as taken now" in page.text("#missing")
    page.one("input[name=months]").send_keys("3.2", Keys.TAB)
    page.wait(lambda: "isotretinoin 3.2 months ago" in page.text("#told"))
    page.settled()
    assert page.text("#missing") == ""
    assert page.text("#told") == "entered: skin type V, isotretinoin 3.2 months ago, keloid history"
    assert "Not given, so no cautions for: pregnancy, active acne." in page.text(".cautions")
    told = scarlens.Context(skin_type=5, isotretinoin_months=3.2, keloid_history=True)
    plan = scarlens.predict(EXAMPLES / "ice_pick.jpg", context=told).treatment
    assert plan
    shown = page.text("#answer")
    for treatment in plan.types[0].treatments:
        for caution in plan.cautions(treatment):
            assert f"{caution.reason} ({caution.number})" in shown
    page.unfold()
    marked = [found.text for found in page.all(".claims li, .documents li")]
    for part in (*plan.types, plan.general):
        for claim in part.claims:
            text = advise(told).marked(claim.says).replace("[AVOID]", "AVOID")
            assert any(text in line for line in marked), text
    page.one("input[name=keloid_history][value='']").click()
    page.wait(lambda: "keloid history" not in page.text(".cautions ol"))


SLOW = """
const ask = window.fetch;
window.fetch = async (address, request) => {
  if (String(address).endsWith(arguments[0]) && String(request?.body).includes(arguments[1])) {
    await new Promise((done) => setTimeout(done, 1500));
  }
  return ask(address, request);
};
"""
"""Makes the page wait longer for the requests to a path whose body holds a text."""


def test_late_reply_about_another_person_is_not_shown(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    page.js(SLOW, "treatments", '"keloid_history":false')
    page.tell("keloid_history", "false")
    page.tell("keloid_history", "true")
    page.wait(lambda: page.all(".badge.avoid"))
    page.js("return new Promise((done) => setTimeout(done, 2500))")
    assert page.all(".badge.avoid") and "Entered: keloid history." in page.text(".cautions")


def test_what_is_open_and_chosen_stays_when_the_person_changes(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    page.all(".kind summary")[0].click()
    page.all(".choices label")[3].click()
    opened = [part.get_attribute("data-name") for part in page.all(".plan details[open]")]
    page.tell("pregnant", "true")
    page.wait(lambda: page.all(".cautions"))
    assert [part.get_attribute("data-name") for part in page.all(".plan details[open]")] == opened
    assert page.one(".choices input[value=rolling]").is_selected()


def test_plan_that_cannot_be_fetched_is_no_refusal(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    page.js("window.fetch = () => Promise.reject(new TypeError('gone'))")
    page.tell("pregnant", "true")
    page.wait(lambda: "the server does not respond" in page.text("#answer"))
    assert "rejected" not in page.text("#answer") and not page.all(".brief-table")


# --- many photos -----------------------------------------------------------------------------------------------------


def test_many_photos_are_a_grid_that_sorts_and_filters(page: Page, photos: Path) -> None:
    page.choose(*sorted(photos.iterdir()))
    told = page.text("#status").removeprefix("All 6 photos answered: ").split(", ")
    assert sorted(told) == ["1 boxcar", "1 cannot be read", "1 ice pick", "1 low quality", "2 rolling"]
    assert len(page.tiles()) == 6
    Select(page.one("#sort")).select_by_visible_text("most boxcar")
    assert page.tiles()[0] == "boxcar.jpg" and page.tiles()[-1] == "cut.jpg"
    Select(page.one("#sort")).select_by_visible_text("name")
    assert page.tiles() == sorted(page.tiles())
    for value, answers in (
        ("error", {"cannot be read"}),
        ("abstained", {"low quality"}),
        ("ok", {"ice pick", "boxcar", "rolling"}),
    ):
        Select(page.one("#filter")).select_by_value(value)
        assert {re.sub(r" \d+ %", "", text) for text in page.tiles(".verdict")} == answers
    page.one("#search").send_keys("ROLL")
    assert page.tiles() == ["rolling.jpg"]
    assert page.text("#shown") == "1 of 6 photos shown"


def test_focus_stays_while_tiles_move_and_enter_opens_the_answer(page: Page, photos: Path) -> None:
    page.choose(photos / "boxcar.jpg", photos / "ice_pick.jpg", photos / "rolling.jpg")
    Select(page.one("#sort")).select_by_visible_text("most ice pick")
    page.js("arguments[0].focus()", next(tile for tile in page.all("#grid button") if "rolling.jpg" in tile.text))
    page.one("#choose").send_keys(str(EXAMPLES / "ice_pick_2.jpg"))
    page.wait(lambda: len(page.all("#grid li.ok")) == 4)
    focused = page.browser.switch_to.active_element
    assert "rolling.jpg" in focused.text
    focused.send_keys(Keys.ENTER)
    page.wait(lambda: page.text("#answer h2") == scarlens.predict(EXAMPLES / "rolling.jpg").headline)
    page.wait(lambda: page.js("return document.activeElement.id") == "answer")
    assert "rolling.jpg" in page.one("#grid li[aria-current]").text


def test_two_photos_are_compared_with_a_slider(page: Page, photos: Path) -> None:
    same = photos / "darker.png"
    Image.fromarray((pixels_of(photos / "boxcar.jpg") * 0.8).astype(np.uint8)).save(same)
    page.choose(photos / "boxcar.jpg", same, photos / "rolling.jpg", photos / "cut.jpg")
    names = [option.text for option in Select(page.one("#before")).options]
    assert names == ["boxcar.jpg", "darker.png", "rolling.jpg"]  # those with an answer
    Select(page.one("#before")).select_by_visible_text("darker.png")
    page.button("Compare").click()
    assert page.text("#shown") == "Choose two different photos to compare."
    Select(page.one("#before")).select_by_visible_text("boxcar.jpg")
    page.button("Compare").click()
    page.wait(lambda: page.all(".overlaid"))
    assert page.text("#comparison h2") == scarlens.compare(photos / "boxcar.jpg", same).headline
    assert "nothing about healing" in page.text("#comparison") and NOTICE in page.text("#comparison")
    covered = "return getComputedStyle(document.querySelector('.over')).clipPath"
    before = page.js(covered)
    page.one(".slider").send_keys(Keys.ARROW_RIGHT)
    assert page.js(covered) != before
    Select(page.one("#after")).select_by_visible_text("rolling.jpg")
    page.button("Compare").click()
    page.wait(lambda: "do not seem to show the same place" in page.text("#comparison h2"))
    assert page.all(".pair .layers") and not page.all(".overlaid")


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_all_photos_can_be_removed(page: Page, photos: Path) -> None:
    page.choose(photos / "boxcar.jpg", photos / "ice_pick.jpg")
    page.tell("pregnant", "true")
    page.one("#clear").click()
    assert not page.all("#grid li") and not page.one("#answer").is_displayed()
    assert page.text("#told") == "nothing entered: cautions not checked"  # the next person is another


# --- taking along ----------------------------------------------------------------------------------------------------


def test_table_holds_what_a_batch_writes(page: Page, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.iterdir())
    page.choose(*files)
    page.one("#csv").click()
    rows = list(csv.DictReader(io.StringIO(page.downloaded("scarlens.csv"))))
    scarlens.predict_folder(photos, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        expected = {row["path"]: row for row in csv.DictReader(file)}
    assert {row["path"] for row in rows} == set(expected) and "'=dark.png" in expected
    for row in rows:
        for name, value in row.items():
            assert as_number(value) == as_number(expected[row["path"]][name]), (row["path"], name)


def as_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def test_table_has_a_row_for_a_file_that_never_reached_the_server(page: Page, photos: Path) -> None:
    page.js("window.fetch = () => Promise.reject(new TypeError('gone'))")
    page.choose(photos / "boxcar.jpg", photos / "=dark.png")
    page.one("#csv").click()
    rows = list(csv.DictReader(io.StringIO(page.downloaded("scarlens.csv"))))
    assert [row["path"] for row in rows] == ["boxcar.jpg", "'=dark.png"]
    assert all(row["status"] == "error" and "does not respond" in row["reason"] for row in rows)


def test_answers_as_json(page: Page, photos: Path) -> None:
    page.choose(photos / "boxcar.jpg", photos / "cut.jpg")
    page.one("#json").click()
    saved = json.loads(page.downloaded("scarlens.json"))
    first, second = saved["answers"]
    assert saved["notice"] == NOTICE and set(saved["told"].values()) == {None}
    expected = scarlens.predict(photos / "boxcar.jpg").to_dict()
    assert first["path"] == "boxcar.jpg" and first["notice"] == NOTICE and "error" not in first
    assert first["treatment"] == expected["treatment"] and "picture" not in first
    assert "end marker" in second["error"]


def test_page_of_an_answer_needs_nothing_else(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    page.tell("skin_type", "5")
    page.tell("pregnant", "true")
    page.settled()
    page.tab("About")
    page.button("Page (HTML)").click()
    saved = page.downloaded("ice_pick.html")
    assert "<script" not in saved and "http://127" not in saved and "<canvas" not in saved
    assert "003_a987b77342a1f779.txt" in saved and NOTICE in saved and "30-60 %" in saved
    assert "Entered: skin type V, pregnant." in saved
    page.browser.get((page.downloads / "ice_pick.html").as_uri())
    assert page.text("h2") == scarlens.predict(EXAMPLES / "ice_pick.jpg").headline
    assert page.js("return document.querySelector('.layers img').naturalWidth") == 384
    assert not page.all("button") and not page.all(".type[open] .kind:not(.facts, [open])")
    assert page.one(".legend").is_displayed() and len(page.all(".legend .swatch")) == 3


def test_printed_page_holds_every_claim_about_the_treatments_of_the_type(page: Page) -> None:
    page.choose(EXAMPLES / "ice_pick.jpg")
    folded = len(page.all("#answer details:not([open])"))
    assert folded > 3
    page.js("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate(680, media="print")
    shown = page.text("#answer")
    plan = scarlens.predict(EXAMPLES / "ice_pick.jpg").treatment
    assert plan
    for treatment in plan.types[0].treatments:
        assert all(claim.says in shown for claim in treatment.claims), treatment.name
    page.js("window.dispatchEvent(new Event('afterprint'))")
    assert len(page.all("#answer details:not([open])")) == folded


# --- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_can_be_read(page: Page, photos: Path, scheme: str) -> None:
    page.emulate(320, features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.choose(photos / "ice_pick.jpg", photos / "cut.jpg")
    page.unfold()
    page.one("input[name=keloid_history][value=true]").click()
    page.wait(lambda: page.all(".badge.avoid"))
    page.settled()
    for width in (320, 390, 768, 1280, 1920):
        page.emulate(width, features=[{"name": "prefers-color-scheme", "value": scheme}])
        for title in ("All claims", "Disagreements", "About"):
            page.tab(title)
            assert page.js("return document.documentElement.scrollWidth") <= width, (width, title)
            assert page.js(CONTRAST) == [], (width, title)


CONTRAST = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let part = element; part; part = part.parentElement) {
    const colour = getComputedStyle(part).backgroundColor;
    if (/^rgb\\(/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
const texts = [...document.querySelectorAll("body *")].filter((part) => part.checkVisibility() &&
  [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
return [...new Set(texts.map((part) => {
  const [a, b] = [luminance(getComputedStyle(part).color), luminance(ground(part))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05) < 4.5 ? `${part.tagName}.${part.className}: ${part.textContent.slice(0, 30)}` : null;
}).filter(Boolean))];
"""
"""Texts whose contrast with their ground is below 4.5 to 1, which WCAG 2.2 asks for (success criterion 1.4.3)."""


def test_every_field_has_a_name_and_the_keyboard_reaches_all(page: Page, photos: Path) -> None:
    assert page.press_tab().text == "Skip to the answers"
    assert page.press_tab().get_attribute("id") == "choose"
    page.choose(photos / "ice_pick.jpg", photos / "boxcar.jpg")
    page.one("#person summary").click()
    nameless = page.js(
        """return [...document.querySelectorAll("input, select, button, [role=region], img, progress")]
        .filter((part) => !part.labels?.length && !part.textContent.trim() && !part.hasAttribute("aria-label")
          && !part.hasAttribute("aria-labelledby") && !part.hasAttribute("alt")).map((part) => part.outerHTML)"""
    )
    assert nameless == []
    focused = [page.press_tab() for _ in range(110)]
    reached = {part.get_attribute("id") or part.get_attribute("class") for part in focused}
    assert {"filter", "sort", "search", "csv", "clear", "photo", "viewer"} <= reached


def test_nothing_is_asked_of_other_machines_and_the_console_stays_quiet(page: Page, photos: Path) -> None:
    page.browser.get_log("performance")
    page.browser.get_log("browser")
    page.open()
    page.choose(photos / "boxcar.jpg", *photos.glob("<img*"))
    page.button("Compare").click()
    page.wait(lambda: page.all("#comparison img"))
    page.tab("About")
    page.button("Page (HTML)").click()
    entries = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
    asked = {entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"}
    assert any(url.endswith("/predict") for url in asked)
    assert all(url.startswith((page.address, "data:image/", "blob:")) for url in asked), asked
    assert page.browser.get_log("browser") == []
