"""One headless Chromium for all tests of a file, and what all of them look at."""

from collections.abc import Iterator

import pytest

from tests.viewer.chromium import Chromium, chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The browser; windows are opened in it, and cookies are shared by all of them."""
    with chromium(tmp_path_factory.mktemp("browser") / "chromium") as running:
        yield running
