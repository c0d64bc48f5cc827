"""Somebody in front of the console: what they do with keys and mouse, and what their browser complains about."""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import PROJECT
from tests.console.axe import serious
from tests.viewer.chromium import Chromium, Page
from tests.worker.console_client import PASSWORD

SCREENSHOTS = PROJECT / "build" / "console"
DESK = (1280, 800)
PHONE = (400, 800)
MANY_STOPS = 80
READY = "document.readyState === 'complete'"
FOCUSED = """(element => element === document.body ? '' : (
  element.labels?.length ? element.labels[0].innerText : element.ariaLabel ?? element.innerText).trim())
  (document.activeElement)"""
"""What the element with the focus is called: as its label says, or as stands on it."""
SEEN = """(element => element === document.body || !element.matches(':focus')
  || getComputedStyle(element).outlineStyle !== 'none')(document.activeElement)"""
"""Whether the focus is drawn; nothing has it behind the last element, and Chromium draws it in parts of a field."""
CUT = """[...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 1 && box.right > document.documentElement.clientWidth + 1 && !element.closest('.scroll');
}).map(element => element.outerHTML.slice(0, 120)).slice(0, 5)"""
"""Elements that stick out to the right, where nobody sees them, other than in a region that scrolls by itself."""


@dataclass
class Visitor:
    """One browser window at the console of ``address``."""

    page: Page
    address: str

    @classmethod
    def comes(cls, browser: Chromium, address: str) -> "Visitor":
        """A window of its own; the browser's cookies are shared with the others."""
        page = browser.open_page(*DESK)
        page.resize(*DESK)
        page.watch_requests()
        return cls(page, address)

    def open(self, path: str) -> None:
        """Open a page of the console."""
        self.page.go(f"{self.address}{path}")
        self.page.wait(READY, 30, path)

    def path(self) -> str:
        """Where the page is: the address without scheme, host and query."""
        return urlsplit(str(self.page.run("location.href"))).path

    def arrives(self, heading: str) -> None:
        """Wait for the page with this heading."""
        self.page.wait(
            f"{READY} && document.querySelector('h1')?.innerText === {json.dumps(heading)}", 60, f"the page {heading!r}"
        )

    def tab_to(self, name: str, *, within: str = "body") -> None:
        """Press Tab until the element called ``name`` has the focus; the focus must be seen on every stop."""
        stops = []
        for _ in range(MANY_STOPS):
            self.page.press_key("Tab")
            stops.append(str(self.page.run(FOCUSED)))
            assert self.page.run(SEEN), f"nobody sees that {stops[-1]!r} has the focus"
            if stops[-1] == name and self.page.run(f"!!document.activeElement.closest({json.dumps(within)})"):
                return
        pytest.fail(f"{name!r} is not reached by Tab, but these are: {stops}")

    def fill(self, label: str, text: str) -> None:
        """Go to a field by Tab and type into it."""
        self.tab_to(label)
        self.page.write(text)

    def follow(self, name: str, *, within: str = "body") -> None:
        """Go to a link or a button by Tab and press Enter."""
        self.tab_to(name, within=within)
        self.page.press_key("Enter")

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Sign in by keyboard; the field for the name has the focus already."""
        self.open("/sign-in")
        self.page.wait(f"{FOCUSED} === 'Name'", 30, "the focus in the field of the name")
        self.page.write(name)
        self.fill("Password", password)
        self.page.press_key("Enter")
        self.arrives("Studies")

    def sign_out(self) -> None:
        """Sign out by keyboard."""
        self.follow("Sign out")
        self.arrives("Sign in")

    def photograph(self, name: str) -> Path:
        """Keep the whole page as a picture."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        picture = SCREENSHOTS / f"{name}.png"
        picture.write_bytes(self.page.photograph(whole=True))
        return picture

    def look_at(self, name: str) -> None:
        """What axe-core says of the page, and what sticks out, on both screens, in light and in dark; keep pictures."""
        for dark in (True, False):
            self.page.resize(*DESK, dark=dark)
            assert serious(self.page) == [], f"dark: {dark}"
        assert self.cut_off() == []
        self.photograph(name)
        self.page.resize(*PHONE)
        assert serious(self.page) == []
        assert self.cut_off() == []
        self.photograph(f"{name}-phone")
        self.page.resize(*DESK)
        assert self.complaints() == []

    def cut_off(self) -> list[str]:
        """What sticks out of the page."""
        return [str(element) for element in self.page.run(CUT)]

    def complaints(self) -> list[str]:
        """Uncaught errors, errors and warnings in the browser's console, and requests to anything but the console."""
        told = [line for line in self.page.console if line.startswith(("error:", "warning:"))]
        foreign = [url for url in self.page.requests if not url.startswith((f"{self.address}/", "data:"))]
        return self.page.errors + told + foreign
