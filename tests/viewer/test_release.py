"""The viewer's release: fetched by npm, checked against what was tried; without a network its tests are skipped."""

from pathlib import Path

import pytest

from tests.viewer.ohif import OHIF


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A registry at a port where nothing answers, and an empty cache."""
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))


@pytest.mark.peer
@pytest.mark.usefixtures("no_registry")
def test_without_a_network_the_test_is_skipped_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=OHIF.specifier):
        OHIF.download(tmp_path)


def test_another_archive_than_the_one_that_was_tried_is_refused(tmp_path):
    archive = tmp_path / "app.tgz"
    archive.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the @ohif/app"):
        OHIF.verify(archive)
