"""Chromium without a window, driven by selenium: one start for all tests of the page; nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1440,1000",
)  # fmt: skip
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
