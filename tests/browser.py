"""Headless Chromium by its own protocol over a pipe: no driver, no port, no further package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--force-device-scale-factor=1", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
DESKTOP, PHONE = (1280, 900), (390, 844)


def find_browser() -> str:
    """The path of Chromium; a missing one fails the test, it does not skip it."""
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        if name and (path := shutil.which(name)):
            return path
    raise AssertionError(
        "the tests of the report need Chromium: install it (tools/setup test does, as root on Debian), or set CHROMIUM "
        "to its path"
    )


class Browser:
    """A browser with one page, and all that it said."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer, self._number = write, read, b"", 0
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.show_as("screen")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the page; events that come before its answer are kept."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while (answer := self._next(end)) is not None:
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
        raise AssertionError(f"the browser did not answer {method}")

    def _next(self, end: float) -> dict[str, Any] | None:
        """The next message; events are noted on the way."""
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                return None
            part = os.read(self._read, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def show_as(self, medium: str) -> None:
        """Shows pages as on a screen or as on paper ("print"), and without moving scenery."""
        still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=still)

    def open(self, page: Path, size: tuple[int, int]) -> None:
        """Loads a file at a window size and waits until its scripts have run."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        url = page.resolve().as_uri()
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === '{url}' && document.readyState === 'complete'")
        self.wait(
            "document.querySelectorAll('[data-figure]').length === document.querySelectorAll('.js-plotly-plot').length"
        )

    def wait(self, expression: str, *, act: Callable[[], None] | None = None, seconds: float = 20) -> None:
        """Waits until an expression of JavaScript holds, and does `act` again and again until then."""
        end = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < end, f"never came true: {expression}"
            if act is not None:
                act()
            time.sleep(0.05 if act is None else 0.3)

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """Presses and releases the left button at a place in the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def hover(self, x: float, y: float) -> None:
        """Moves the pointer to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, code: int) -> None:
        """Presses and releases a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Saves a picture of the page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def print(self, path: Path) -> bytes:
        """Prints the page to a PDF."""
        content = base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])
        path.write_bytes(content)
        return content

    def errors(self) -> list[str]:
        """Exceptions, and errors and warnings of the console, since the page was opened."""
        found = []
        for event in self.events:
            method, given = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(str(given["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
                found.append(str(given["args"]))
            elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                found.append(given["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def start_browser(folder: Path) -> Iterator[Browser]:
    """Starts Chromium with an empty profile in `folder`, and ends it."""
    command = [find_browser(), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    to_browser, from_browser = os.pipe(), os.pipe()
    # The browser reads descriptor 3 and writes 4; ours must not be these two while they are put in place.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser[0], from_browser[1])]
    actions = [(os.POSIX_SPAWN_DUP2, ends[0], 3), (os.POSIX_SPAWN_DUP2, ends[1], 4)]
    with open(folder / "browser.log", "wb") as log:
        actions += [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        environment = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        process = os.posix_spawn(command[0], command, environment, file_actions=actions, setpgroup=0)
    for end in (*ends, to_browser[0], from_browser[1]):
        os.close(end)
    try:
        yield Browser(to_browser[1], from_browser[0])
    finally:
        os.close(to_browser[1])
        os.close(from_browser[0])
        _end(process)


def _end(process: int) -> None:
    """A browser whose pipe is closed ends by itself; after five seconds its process group is ended."""
    gone: Callable[[], bool] = lambda: os.waitpid(process, os.WNOHANG)[0] == process  # noqa: E731
    end = time.monotonic() + 5
    while not gone():
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return
        time.sleep(0.05)
