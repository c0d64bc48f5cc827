"""Each check of ``cspine doctor`` passes on a sound installation and names the fault and the remedy on a broken one."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import RedisServer, free_port
from tests.worker.scripted import ScriptedPacs, workplace
from worker.broker import embedded_broker
from worker.checks import Check, run_checks
from worker.settings import Settings


def by_name(settings: Settings, environ: dict[str, str] | None = None) -> dict[str, Check]:
    return {check.name: check for check in run_checks(settings, environ or {})}


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    made = ScriptedPacs()
    yield made
    made.stop()


def test_everything_passes_on_a_sound_installation(tmp_path: Path, pacs: ScriptedPacs) -> None:
    with workplace(tmp_path, pacs.peer) as place, embedded_broker(tmp_path):
        settings = dataclasses.replace(place.settings, min_free_bytes=1)
        checks = by_name(settings)
    assert [check.as_line() for check in checks.values() if not check.passed] == []
    assert list(checks) == ["settings", "disk", "database", "broker", "bundle", "pacs"]


@pytest.mark.parametrize(
    ("name", "change", "remedy"),
    [
        ("disk", {"min_free_bytes": 2**62}, "0xA700"),
        ("broker", {}, "cspine up"),
        ("broker", {"broker_url": "redis://:secret@127.0.0.1:9/0"}, "CSPINE_BROKER_URL"),
        ("bundle", {"bundle_path": Path("nowhere")}, "CSPINE_BUNDLE_PATH"),
        ("pacs", {}, "CSPINE_DESTINATION"),
    ],
)
def test_a_fault_is_named_with_its_remedy(tmp_path: Path, name: str, change: dict[str, object], remedy: str) -> None:
    settings = dataclasses.replace(Settings(data_dir=tmp_path), **change)
    check = by_name(settings)[name]
    assert not check.passed
    assert remedy in check.as_line()
    assert "secret" not in check.as_line()


def test_a_pacs_that_is_away_is_named(tmp_path: Path, pacs: ScriptedPacs) -> None:
    pacs.stop()
    check = by_name(Settings(data_dir=tmp_path, destination=pacs.peer))["pacs"]
    assert not check.passed
    assert str(pacs.peer) in check.finding


def test_each_destination_of_the_file_is_checked_under_its_name(tmp_path: Path, pacs: ScriptedPacs) -> None:
    path = tmp_path / "destinations.toml"
    away = free_port()
    text = f'[[destination]]\nname = "archive"\npeer = "{pacs.peer}"\n'
    path.write_text(text + f'[[destination]]\nname = "cloud"\nurl = "http://127.0.0.1:{away}/dicom-web"\n')
    settings = Settings(data_dir=tmp_path, destinations_file=path)
    checks = by_name(settings)
    assert checks["archive"].passed
    assert not checks["cloud"].passed
    assert f"127.0.0.1:{away}" in checks["cloud"].as_line()
    path.write_text(text + "reconcile = 1\n")
    broken = by_name(settings)["pacs"]
    assert not broken.passed
    assert "destination 1 (archive): reconcile" in broken.finding


def test_the_rules_are_checked_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nname = "all"\naction = "analyze"\n')
    settings = Settings(data_dir=tmp_path, rules_file=path)
    assert by_name(settings)["rules"].finding == "rules.toml: 1 rules, no mistake found"
    path.write_text('[[rule]]\nname = "all"\n')
    broken = by_name(settings)["rules"]
    assert not broken.passed
    assert "rule 'all' (line 1): action" in broken.as_line()
    assert "rules" not in by_name(Settings(data_dir=tmp_path))


def test_a_misspelled_variable_is_named(tmp_path: Path) -> None:
    check = by_name(Settings(data_dir=tmp_path), {"CSPINE_DESTINATON": "PACS@pacs:104"})["settings"]
    assert not check.passed
    assert "CSPINE_DESTINATION" in check.as_line()


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "cspine.sqlite3").write_bytes(b"not a database" * 100)
    check = by_name(Settings(data_dir=tmp_path))["database"]
    assert not check.passed
    assert check.advice


@pytest.mark.peer
def test_a_real_redis_passes(tmp_path: Path, redis_peer: RedisServer) -> None:
    assert by_name(Settings(data_dir=tmp_path, broker_url=redis_peer.url))["broker"].passed
