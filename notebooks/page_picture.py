"""The page of `scarlens serve` at desktop and phone width, light and dark: `notebooks/images/page.jpg`.

    python notebooks/page_picture.py

regenerates it, with photos rendered by this project. It needs the extra 'dev', and Debian's chromium and
chromium-driver.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from scarlens.datasets.writing.atomic import write_atomically

HERE: Final = Path(__file__).parent
EXAMPLES: Final = HERE.parent / "datasets" / "rendering" / "examples"
PHOTO: Final = "boxcar_2.jpg"
HEIGHT: Final = 1180  # pixels of the page that are shown
DESKTOP, PHONE, GAP = 1100, 390, 40
CHROMIUM: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--hide-scrollbars", "--disable-background-networking", "--disable-component-update"),
)


@contextmanager
def page_served() -> Iterator[str]:
    """Serve the page, and yield its address."""
    command = [sys.executable, "-m", "scarlens", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found, server.stderr.read()
        try:
            yield found[0]
        finally:
            server.terminate()


def photographed(address: str, *, width: int, scheme: str) -> Image.Image:
    """Use the page as a clinician would, and take a picture of its upper part."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in (*CHROMIUM, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            device = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            use(browser, address)
            clip = {"x": 0, "y": 0, "width": width, "height": HEIGHT, "scale": 1}
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
            return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
        finally:
            browser.quit()


def use(browser: webdriver.Chrome, address: str) -> None:
    """Tell about the person, and choose a photo."""
    browser.get(address)
    wait = WebDriverWait(browser, 60)
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "body[data-ready]"))
    browser.find_element(By.CSS_SELECTOR, "#person summary").click()
    Select(browser.find_element(By.NAME, "skin_type")).select_by_visible_text("V")
    browser.find_element(By.CSS_SELECTOR, "#person summary").click()
    browser.find_element(By.ID, "choose").send_keys(str(EXAMPLES / PHOTO))
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".plan[aria-busy=false] .cautions"))
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")


def main() -> None:
    """Write the picture: the desktop on the left, the phone on the right."""
    picture = Image.new("RGB", (DESKTOP + GAP + PHONE, HEIGHT), "#8a9499")
    with page_served() as address:
        picture.paste(photographed(address, width=DESKTOP, scheme="light"), (0, 0))
        picture.paste(photographed(address, width=PHONE, scheme="dark"), (DESKTOP + GAP, 0))
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=85, optimize=True)
    write_atomically(HERE / "images" / "page.jpg", file.getvalue())


if __name__ == "__main__":
    main()
