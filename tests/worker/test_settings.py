"""worker.settings: every setting from the environment, every error with its variable and what to do."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.node import Peer
from tests.conftest import PROJECT
from worker.options import size
from worker.settings import Settings, SettingsError, as_markdown, masked, misspelled, variable

PACKAGES = ("worker", "dicom_node", "model", "training")


def test_the_empty_environment_gives_the_documented_defaults():
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.ae_title, settings.host, settings.port) == ("CSPINE", "127.0.0.1", 11112)
    assert settings.destination is None
    assert settings.broker_url is None
    assert settings.quiet_seconds == 30
    assert settings.effective_database_url.startswith("sqlite:////")


def test_every_field_can_be_set_from_its_variable():
    environ = {
        "CSPINE_DATA_DIR": "/srv/neck",
        "CSPINE_AE_TITLE": "NECK",
        "CSPINE_HOST": "0.0.0.0",  # noqa: S104 - a setting, nothing is bound
        "CSPINE_PORT": "0",
        "CSPINE_ALLOWED_CALLING_AE_TITLES": "PACS, CT1",
        "CSPINE_DESTINATION": "PACS@pacs.example:104",
        "CSPINE_DATABASE_URL": "postgresql://u:p@db/cspine",
        "CSPINE_BROKER_URL": "redis://broker:6379/0",
        "CSPINE_BUNDLE_PATH": "/srv/bundle",
        "CSPINE_QUIET_SECONDS": "2.5",
        "CSPINE_MIN_FREE_BYTES": "512MiB",
        "CSPINE_DEVICE_UID": "1.2.840.1",
        "CSPINE_RUNTIME": "Keras",
        "CSPINE_LOG_LEVEL": "debug",
    }
    settings = Settings.from_environment(environ)
    assert settings.data_dir == Path("/srv/neck")
    assert settings.allowed_calling_ae_titles == {"PACS", "CT1"}
    assert settings.destination == Peer.parse("PACS@pacs.example:104")
    assert settings.effective_database_url == "postgresql://u:p@db/cspine"
    assert settings.quiet_seconds == 2.5
    assert settings.min_free_bytes == 512 * 1024**2
    assert settings.runtime == "keras"
    assert settings.log_level == "DEBUG"
    assert settings.spool_dir == Path("/srv/neck/spool")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("PORT", "tcp://10.0.0.1:11112"),
        ("QUIET_SECONDS", "nan"),
        ("QUIET_SECONDS", "0"),
        ("LEASE_SECONDS", "inf"),
        ("AE_TITLE", "SEVENTEEN_LETTERS"),
        ("DESTINATION", "pacs.example:104"),
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_URL", "postgresql://[::1/y"),
        ("BROKER_URL", "amqp://x"),
        ("MIN_FREE_BYTES", "plenty"),
        ("DEVICE_UID", "1.02"),
        ("LOG_LEVEL", "chatty"),
        ("RUNTIME", "torch"),
        ("MAX_ATTEMPTS", "0"),
        ("READING_MEMORY_BYTES", "1MiB"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, text: str):
    with pytest.raises(SettingsError, match=f"CSPINE_{name}"):
        Settings.from_environment({f"CSPINE_{name}": text})


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"CSPINE_PORT": "x", "CSPINE_LOG_LEVEL": "y", "CSPINE_DESTINATION": "z"})
    assert all(name in str(caught.value) for name in ("CSPINE_PORT", "CSPINE_LOG_LEVEL", "CSPINE_DESTINATION"))


def test_bounds_hold_also_without_an_environment():
    with pytest.raises(SettingsError, match="CSPINE_PORT"):
        Settings(port=70000)
    with pytest.raises(SettingsError, match="CSPINE_RETRY_MAX_SECONDS"):
        Settings(retry_base_seconds=10, retry_max_seconds=5)


def test_an_empty_variable_counts_as_not_set():
    assert Settings.from_environment({"CSPINE_PORT": "", "CSPINE_DESTINATION": " "}) == Settings()


def test_a_secret_can_come_from_a_file(tmp_path: Path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:hunter2@db/cspine\n")
    settings = Settings.from_environment({"CSPINE_DATABASE_URL_FILE": str(secret)})
    assert settings.database_url == "postgresql://u:hunter2@db/cspine"


def test_a_secret_file_that_is_missing_is_told_by_its_variable(tmp_path: Path):
    with pytest.raises(SettingsError, match="CSPINE_BROKER_URL_FILE"):
        Settings.from_environment({"CSPINE_BROKER_URL_FILE": str(tmp_path / "none")})


def test_a_secret_given_twice_is_refused(tmp_path: Path):
    environ = {"CSPINE_BROKER_URL": "redis://a", "CSPINE_BROKER_URL_FILE": str(tmp_path)}
    with pytest.raises(SettingsError, match="remove either"):
        Settings.from_environment(environ)


@given(
    st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), min_size=8, max_size=20).map("x7Q".__add__)
)
def test_a_password_is_in_no_text_of_the_settings(password: str):
    url = f"postgresql://user:{password}@db:5432/cspine"
    settings = Settings(database_url=url, broker_url=f"redis://:{password}@broker/0?password={password}")
    assert password not in repr(settings)
    assert password not in masked(url)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"CSPINE_BROKER_URL": url})
    assert password not in str(caught.value)


def test_a_misspelled_variable_is_noticed_and_a_strange_one_is_not():
    hints = misspelled({"CSPINE_QUIET_SECOND": "1", "CSPINE_SERVICE_HOST": "10.0.0.1", "CSPINE_PORT": "1"})
    assert len(hints) == 1
    assert "CSPINE_QUIET_SECONDS" in hints[0]


def test_the_markdown_names_every_variable():
    table = as_markdown()
    assert all(f"`{variable(item.name)}`" in table for item in dataclasses.fields(Settings))
    printed = subprocess.run(
        [sys.executable, "-m", "worker.settings"], cwd=PROJECT, check=True, capture_output=True, text=True, timeout=60
    )
    assert printed.stdout == table


@given(st.integers(0, 2**40), st.sampled_from(["", "B"]))
def test_plain_sizes_are_bytes(count: int, unit: str):
    assert size(f"{count}{unit}") == count


@pytest.mark.parametrize(("text", "expected"), [("1K", 1024), ("2MiB", 2 << 20), ("3 GB", 3 << 30), ("1t", 1 << 40)])
def test_sizes_have_units_of_1024(text: str, expected: int):
    assert size(text) == expected


def test_settings_are_the_only_reader_of_the_environment():
    """Only process entry points may *pass on* ``os.environ`` whole; nobody else looks a CSPINE_ variable up in it.

    ``training/fitting/determinism.py`` adds to flags of JAX that it finds there.
    """
    readers = set()
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                getter = isinstance(node, ast.Attribute) and node.attr == "getenv"
                looked_up = isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ"
                asked = isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get"
                if getter or (looked_up and isinstance(node.ctx, ast.Load)) or asked:
                    readers.add(path.relative_to(PROJECT).as_posix())
    assert readers <= {"worker/settings.py", "training/fitting/determinism.py"}
