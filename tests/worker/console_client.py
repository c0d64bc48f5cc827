"""The console as a browser and as a script meet it: the real application behind the real server, on a free port."""

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.message import Message
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from argon2 import PasswordHasher
from waitress.wasyncore import close_all

from tests.worker.scripted import Workplace
from worker.audit import Actor
from worker.console.server import make_server, make_services
from worker.console.services import Services
from worker.console_records import Role
from worker.installation_key import InstallationKey
from worker.passwords import Passwords
from worker.settings import Settings
from worker.sign_in import SignIns

PASSWORD = "four words of mine"
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
ROOT = Actor("root", "command line")
ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The page."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The values."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Where it leads, without scheme and host."""
        return re.sub(r"^https?://[^/]+", "", self.headers.get("Location", ""))


@dataclass
class Browser:
    """One browser, with its cookies; or, with a ``token``, a script."""

    port: int
    token: str | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        """Send one request; names of headers are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
            sent.setdefault("Accept", "application/json")
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused by its head: the answer is there
                connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            for value in response.headers.get_all("Set-Cookie") or []:
                for name, morsel in SimpleCookie(value).items():
                    self.cookies[name] = morsel.value
        finally:
            connection.close()
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """Look at a page."""
        return self.request("GET", path, **headers)

    def post(self, path: str, form_of: str | None = None, **values: str) -> Answer:
        """Send a form as it stands on the page ``form_of``, with its token; a script has none."""
        if form_of is not None:
            values["csrf_token"] = self.csrf_token(form_of)
        return self.request("POST", path, urlencode(values))

    def csrf_token(self, path: str) -> str:
        """The token of the forms of a page."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(path).text)
        assert found, path
        return found[1]

    def sign_in(self, name: str, password: str = PASSWORD) -> Answer:
        """Fill the form in."""
        return self.post("/sign-in", form_of="/sign-in", name=name, password=password, next="")


@dataclass
class Console:
    """A running console with users ``viewer``, ``operator``, ``admin``, and ``viewer-i`` ..., who also see identity."""

    port: int
    services: Services

    def anonymous(self) -> Browser:
        """Nobody's browser."""
        return Browser(self.port)

    def browser(self, user: str) -> Browser:
        """A browser in which a user is signed in."""
        browser = Browser(self.port)
        assert browser.sign_in(user).status == 303
        return browser

    def script(self, user: str) -> Browser:
        """A program with a token of a user."""
        return Browser(self.port, token=self.services.accounts.make_token(user, timedelta(days=1), ROOT))


@contextmanager
def console(place: Workplace, settings: Settings | None = None, *, users: bool = True) -> Iterator[Console]:
    """Run the console over an installation."""
    settings = replace(settings or place.settings, console_port=0)

    def clock() -> datetime:
        return place.clock()  # that of the moment: tests move it

    services = make_services(settings, SignIns(place.database, InstallationKey.of(settings), clock, QUICK))
    server = make_server(services)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        if users:
            add_users(services)
        yield Console(server.effective_port, services)
    finally:
        with contextlib.suppress(OSError):  # that thread may have closed the trigger while it is still being pulled
            server.trigger.pull_trigger(lambda: close_all(server._map, ignore_all=True))  # in the thread that serves
        thread.join(10)
        server.task_dispatcher.shutdown()


def add_users(services: Services) -> None:
    """One of every role, with and without identity."""
    for role in ROLES:
        for suffix, sees in (("", False), ("-i", True)):
            link = services.accounts.add(f"{role}{suffix}", Role(role), ROOT, sees_identity=sees)
            services.accounts.use_link(link, "", PASSWORD, ROOT)
