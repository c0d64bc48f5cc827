"""``cspine console`` as a process, and ``cspine user`` beside it: the first user, other users, health, a clean end."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.peers import wait_until
from tests.worker.console_client import PASSWORD, Browser, console
from tests.worker.scripted import workplace
from worker.cli import main
from worker.console.server import check_address
from worker.database import Database
from worker.errors import StartupError
from worker.heartbeats import alive
from worker.settings import Settings
from worker.supervisor import PROCESSES, Supervisor


@contextmanager
def running(folder: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``cspine console`` on a free port."""
    command = [sys.executable, "-m", "worker.cli", "console", "--data", str(folder)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env={"PATH": "", "CSPINE_CONSOLE_PORT": "0"}, stderr=stream)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def logged(log: Path, pattern: str) -> str:
    """What the log says, once it says it."""
    wait_until(lambda: re.search(pattern, log.read_text()) is not None, 60, pattern)
    found = re.search(pattern, log.read_text())
    assert found
    return found[1]


def test_the_first_start_tells_a_link_and_sigterm_ends_it_well(tmp_path: Path):
    log = tmp_path / "log"
    with running(tmp_path / "data", log) as process:
        address = logged(log, r"(http://127\.0\.0\.1:\d+)/set-up/")
        link = logged(log, r"(/set-up/[\w-]+) \(it works once")
        browser = Browser(int(address.rpartition(":")[2]))
        assert browser.post(link, form_of=link, name="anna", password=PASSWORD, again=PASSWORD).status == 303
        assert browser.sign_in("anna").status == 303
        assert browser.get("/healthz").json == {"alive": True}
        assert b"cspine_studies" in browser.get("/metrics").body
        assert "console-" in browser.get("/queues").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    database = Database.open(Settings(data_dir=tmp_path / "data").effective_database_url)
    with database.reading() as session:
        assert alive(session, datetime.now(UTC)) == []
    database.close()
    with running(tmp_path / "data", log):
        logged(log, "(the console is at)")
        assert "/set-up/" not in log.read_text()
    assert PASSWORD not in log.read_text()


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (Settings(console_host="0.0.0.0"), "CSPINE_CONSOLE_HTTPS=on"),  # noqa: S104
        (Settings(console_host="0.0.0.0", console_https=True), "CSPINE_CONSOLE_NAMES"),  # noqa: S104
    ],
)
def test_passwords_are_not_sent_over_a_network_in_the_clear(settings: Settings, advice: str):
    with pytest.raises(StartupError, match=advice):
        check_address(settings)


def test_a_reverse_proxy_may_be_on_another_machine():
    check_address(Settings(console_host="0.0.0.0", console_https=True, console_names=frozenset({"cspine.example"})))  # noqa: S104
    check_address(Settings())


def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path: Path):
    with workplace(tmp_path / "data") as place, console(place, users=False) as other:
        command = [sys.executable, "-m", "worker.cli", "console", "--data", str(tmp_path / "second")]
        variables = {"PATH": "", "CSPINE_CONSOLE_PORT": str(other.port)}
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "set CSPINE_CONSOLE_PORT to a free one" in ended.stderr


def cspine(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["user", *arguments, "--data", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_users_are_added_changed_reset_and_disabled_at_the_command_line(tmp_path: Path):
    folder = tmp_path / "data"
    with workplace(folder) as place, console(place, users=False) as made:
        told = cspine(folder, "add", "anna", "--role", "operator", "--identity")
        link = re.search(r"(/set-up/\S+)", told)[1]
        browser = made.anonymous()
        assert browser.post(link, form_of=link, password=PASSWORD, again=PASSWORD).status == 303
        assert browser.sign_in("anna").status == 303
        [line] = json.loads(cspine(folder, "list", "--json"))
        assert (line["role"], line["sees_identity"], line["sessions"]) == ("operator", True, 1)
        script = Browser(made.port, token=cspine(folder, "token", "anna").strip())
        assert script.get("/studies").status == 200
        cspine(folder, "role", "anna", "--role", "admin")
        assert browser.get("/studies").status == 303
        assert browser.sign_in("anna").status == 303
        assert browser.get("/audit").status == 200
        assert "/set-up/" in cspine(folder, "reset", "anna")
        assert browser.get("/studies").status == 303
        assert script.get("/studies").status == 401
        cspine(folder, "disable", "anna")
        assert "disabled" in cspine(folder, "list")


def test_what_cannot_be_done_with_users_is_said(tmp_path: Path):
    for arguments, told in (
        (["disable", "nobody"], "there is no user nobody"),
        (["reset", "nobody"], "cspine user list"),
        (["token", "nobody"], "there is no user"),
        (["add", "A B"], "small letters"),
    ):
        result = CliRunner().invoke(main, ["user", *arguments, "--data", str(tmp_path)])
        assert result.exit_code == 1
        assert told in result.output


def test_health_is_told_to_everybody_and_figures_behind_a_proxy_to_users_alone(tmp_path: Path):
    with workplace(tmp_path / "open") as place, console(place) as made:
        anonymous = made.anonymous()
        assert anonymous.get("/healthz").status == 200
        assert set(anonymous.get("/readyz").json) == {"ready", "reasons"}
        assert anonymous.get("/metrics").status == 200
        assert anonymous.post("/metrics").status == 404
    settings = Settings(data_dir=tmp_path / "tls", console_https=True, console_names=frozenset({"cspine.example"}))
    with workplace(tmp_path / "tls") as place, console(place, settings) as made:
        assert made.anonymous().get("/healthz").status == 200
        assert made.anonymous().get("/metrics").status == 401
        assert made.script("viewer").get("/metrics").status == 200


def test_the_console_may_be_left_out_of_cspine_up():
    commands: Sequence[str] = [command for command in PROCESSES if command != "console"]
    assert [child.command for child in Supervisor({}, commands)._children] == ["clerk", "listen", "work"]
