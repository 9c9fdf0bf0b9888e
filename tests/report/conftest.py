"""One browser for all tests of the page."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import browser


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.start_browser(tmp_path_factory.mktemp("profile")) as found:
        found.set_script_timeout(browser.PATIENCE_S)
        yield found
