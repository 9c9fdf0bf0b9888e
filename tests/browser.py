"""Chromium without a window, driven by selenium: one start for all tests of the page; nothing is downloaded.

Screenshots are kept in tests/output/, which git ignores: to be looked at.
"""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1440,1000",
)  # fmt: skip
OUTPUT = ROOT / "tests" / "output"
PATIENCE_S = 60  # of a busy machine; a wait ends as soon as there is what it waits for
BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)


@contextmanager
def start_browser(profile: Path) -> Iterator[Any]:
    """A browser with a profile of its own; skips the test where there is none."""
    browser, driver = (next(filter(None, map(shutil.which, names)), None) for names in (BROWSERS, DRIVERS))
    if browser is None or driver is None:
        pytest.skip("no chromium with its chromedriver is here; `make browser` installs them on Debian and Ubuntu")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield running
    finally:
        running.quit()


def severe(running: Any) -> list[str]:
    """Errors in the browser's console since it was last asked."""
    return [entry["message"] for entry in running.get_log("browser") if entry["level"] == "SEVERE"]


class Page:
    """One page that is open, by what a reader sees."""

    def __init__(self, running: Any, path: Path):
        self.running = running
        running.get(path.as_uri())
        self.until("return document.documentElement.dataset.drawn === 'yes'")

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.running.execute_script(script, *arguments)

    def until(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.running, PATIENCE_S, 0.05).until(lambda running: running.execute_script(script))

    def one(self, selector: str) -> Any:
        return self.running.find_element("css selector", selector)

    def names(self) -> list[str]:
        """Of the table's rows, in their order."""
        found: list[str] = self.ask("return [...document.querySelectorAll('#table tbody tr')].map(r => r.dataset.name)")
        return found

    def marks(self) -> list[str]:
        """Names of the points in the chart."""
        found: list[str] = self.ask("return document.getElementById('chart').data.flatMap(t => t.customdata || [])")
        return sorted(found)

    def choose(self, label: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(f"select[aria-label='{label}']")).select_by_value(value)

    def keep(self, name: str) -> None:
        """Keeps a screenshot of the whole page."""
        OUTPUT.mkdir(exist_ok=True)
        size = self.ask("return [innerWidth, Math.min(6000, document.documentElement.scrollHeight)]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.running.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (OUTPUT / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def sized(running: Any, width: int, height: int, phone: bool = False) -> Iterator[None]:
    """A window of this size in CSS pixels, or a phone's screen."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    running.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        running.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def printed(running: Any) -> Iterator[None]:
    """The page as it is put on paper."""
    running.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        yield
    finally:
        running.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
