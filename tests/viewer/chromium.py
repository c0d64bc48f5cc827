"""Headless Chromium, driven over the pipe of its DevTools protocol: pages that are read, clicked and photographed.

Each message is a JSON text that ends with a zero byte: commands go to the file descriptor 3, answers and events come
from 4 (``--remote-debugging-pipe``). So neither a web socket nor another program stands between the test and the page.
"""

import base64
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PeerProcess, require_file

PROGRAM = Path("/usr/lib/chromium/chromium-headless-shell")
FLAGS = (
    "--no-sandbox",  # it refuses to run as root otherwise; it sees our own pages only
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
    "--disable-gpu",  # the page itself is drawn without any
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL on the processor
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
SHELL = 'exec "$@" 3<"$0/commands" 4>"$0/answers"'
POLL_SECONDS = 0.1

FIND = """((selector, text) => [...document.querySelectorAll(selector)].find(
  element => element.getClientRects().length && (element.innerText ?? '').includes(text)))"""
"""The first visible element with a text."""

CENTER = """(element => {
  if (!element) return null;
  element.scrollIntoView({block: 'nearest', inline: 'nearest'});
  const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
  const hit = document.elementFromPoint(x, y);
  return hit && (element.contains(hit) || hit.contains(element)) ? [x, y] : null;
})"""
"""The middle of an element, unless something else covers it."""


KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}
"""Keys that have a name: their code, and the character that they type."""
SHIFT = 8
LEFT = ("Execution context was destroyed", "Inspected target navigated", "Cannot find context", "Cannot find default")
"""What Chromium says of a script whose page gave way to another."""


class PageError(Exception):
    """Chromium refused a command, or the script in a page failed."""


class PageLeft(PageError):
    """The page gave way to another while it was asked."""


@dataclass
class Chromium:
    """A running Chromium: the two ends of its pipe, what it still has to say, and who wants to hear it."""

    process: PeerProcess
    commands: int
    answers: int
    listeners: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    received: bytes = b""
    number: int = 0

    def call(self, method: str, session: str = "", seconds: float = 60, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come before it go to the listeners."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self.number:
                break
            for listener in self.listeners:
                listener(answer)
        if "error" in answer:
            reason = str(answer["error"].get("message"))
            raise (PageLeft if reason.startswith(LEFT) else PageError)(f"{method}: {reason}")
        return dict(answer["result"])

    def _receive(self, deadline: float, method: str) -> dict[str, Any]:
        """The next message; ``PageError`` when none comes in time."""
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                message = f"no answer to {method}; Chromium's last words: {self.process.last_words()}"
                raise PageError(message)
            self.received += os.read(self.answers, 1 << 20)
        text, _, self.received = self.received.partition(b"\0")
        return dict(json.loads(text))

    def open_page(self, width: int, height: int) -> "Page":
        """A new page of this size in CSS pixels."""
        target = self.call("Target.createTarget", url="about:blank", width=width, height=height)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self.listeners.append(page.hear)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable", session)
        return page


@dataclass
class Page:
    """One page. ``errors`` are scripts' uncaught exceptions, ``console`` all lines of its console with their level.

    ``requests`` are the addresses that it asked for since ``watch_requests``.
    """

    browser: Chromium
    session: str
    errors: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hear(self, message: dict[str, Any]) -> None:
        """Note what an event of this page says."""
        if message.get("sessionId") != self.session:
            return
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif message["method"] == "Runtime.consoleAPICalled":
            words = [str(word.get("value", word.get("description", ""))) for word in parameters["args"]]
            self.console.append(f"{parameters['type']}: {' '.join(words)}")
        elif message["method"] == "Log.entryAdded":
            entry = parameters["entry"]
            self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(str(parameters["request"]["url"]))

    def watch_requests(self) -> None:
        """Note from now on what the page asks for."""
        self.browser.call("Network.enable", self.session)

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the page another size in CSS pixels, and say whether its user likes dark pages."""
        self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            self.session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.browser.call("Emulation.setScrollbarsHidden", self.session, hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.call("Emulation.setEmulatedMedia", self.session, features=[scheme])

    def go(self, url: str) -> None:
        """Open an address; return when the answer has come, before it is shown."""
        answer = self.browser.call("Page.navigate", self.session, url=url)
        if "errorText" in answer:
            message = f"{url}: {answer['errorText']}"
            raise PageError(message)

    def run(self, script: str) -> Any:
        """The value (JSON) of a script's expression."""
        answer = self.browser.call(
            "Runtime.evaluate", self.session, expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise PageError(str(answer["exceptionDetails"].get("exception", {}).get("description")))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float, what: str) -> Any:
        """Return the value of a script's expression as soon as it is truthy; fail the test with ``what`` if never."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(PageLeft):
                if value := self.run(script):
                    return value
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds:g} s in vain for {what}; the page says:\n{self.text()}")
            time.sleep(POLL_SECONDS)

    def text(self) -> str:
        """All that the page shows as text."""
        return str(self.run("document.body.innerText"))

    def shows(self, selector: str, text: str = "") -> bool:
        """Return whether a visible element with this text fits the CSS selector."""
        return bool(self.run(f"!!{_found(selector, text)}"))

    def wait_for(self, selector: str, text: str = "", seconds: float = 60) -> None:
        """Wait until a visible element with this text fits the CSS selector."""
        self.wait(f"!!{_found(selector, text)}", seconds, f"{selector} {text!r}")

    def click(self, selector: str, text: str = "", *, times: int = 1, seconds: float = 60) -> None:
        """Click the first visible element with this text, once it lies still with nothing above it."""
        center = f"{CENTER}({_found(selector, text)})"
        before, now = None, self.wait(center, seconds, f"{selector} {text!r}")
        while now != before:
            time.sleep(POLL_SECONDS)
            before, now = now, self.wait(center, seconds, f"{selector} {text!r}")
        x, y = now
        self._mouse("mouseMoved", x, y)
        for count in range(1, times + 1):
            self._mouse("mousePressed", x, y, button="left", clickCount=count)
            self._mouse("mouseReleased", x, y, button="left", clickCount=count)

    def press(self, key: str) -> None:
        """Press the key of a character."""
        for kind, text in (("keyDown", key), ("keyUp", "")):
            code = ord(key.upper())
            self.browser.call(
                "Input.dispatchKeyEvent", self.session, type=kind, key=key, text=text, windowsVirtualKeyCode=code
            )

    def press_key(self, name: str, *, shift: bool = False) -> None:
        """Press a key that has a name (see ``KEYS``)."""
        code, text = KEYS[name]
        key = text if text == " " else name
        modifiers = SHIFT if shift else 0
        for kind, typed in (("keyDown", text), ("keyUp", "")):
            self.browser.call(
                "Input.dispatchKeyEvent",
                self.session,
                type=kind,
                key=key,
                code=name,
                text=typed,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
            )

    def write(self, text: str) -> None:
        """Type a text where the focus is."""
        self.browser.call("Input.insertText", self.session, text=text)

    def choose_files(self, selector: str, *files: Path) -> None:
        """Choose files in an ``<input type="file">`` as its dialog would."""
        answer = self.browser.call(
            "Runtime.evaluate", self.session, expression=f"document.querySelector({json.dumps(selector)})"
        )
        handle = answer["result"]["objectId"]
        self.browser.call("DOM.setFileInputFiles", self.session, files=[str(file) for file in files], objectId=handle)

    def photograph(self, *, whole: bool = False) -> bytes:
        """What the page shows, or all of it however long it is, as a PNG."""
        more: dict[str, Any] = {}
        if whole:
            size = self.browser.call("Page.getLayoutMetrics", self.session)["cssContentSize"]
            more = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        answer = self.browser.call("Page.captureScreenshot", self.session, format="png", **more)
        return base64.b64decode(answer["data"])

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.browser.call("Input.dispatchMouseEvent", self.session, type=kind, x=x, y=y, **more)


def _found(selector: str, text: str) -> str:
    """The script that finds the first visible element with this text."""
    return f"{FIND}({json.dumps(selector)}, {json.dumps(text)})"


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Run Chromium with its profile, pipe and log under ``folder``."""
    program = require_file(PROGRAM)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("commands", "answers"):
        os.mkfifo(folder / name)
    commands, answers = (os.open(folder / name, os.O_RDWR) for name in ("commands", "answers"))
    command = ["sh", "-c", SHELL, str(folder), str(program), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    process = PeerProcess(command, folder / "chromium.log")
    browser = Chromium(process, commands, answers)
    try:
        process.start()
        browser.call("Browser.getVersion")
        yield browser
    finally:
        process.kill()
        os.close(commands)
        os.close(answers)
