"""One headless Chromium for all tests of a file, and the synthetic study that the system tests send."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import make_neck
from tests.viewer.chromium import Chromium, chromium

__all__ = ["make_neck"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The browser; windows are opened in it, and cookies are shared by all of them."""
    with chromium(tmp_path_factory.mktemp("browser") / "chromium") as running:
        yield running
