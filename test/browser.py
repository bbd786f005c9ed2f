"""A real browser without a window, for tests of pages: opened, clicked, typed into, looked at."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
KEYS = {"Escape": 27, "Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
KEYS |= {"ArrowDown": 40, "Tab": 9, " ": 32}
DEADLINE_S = 60


class Browser:
    """Chromium, spoken to over its DevTools pipe: JSON messages that end with a zero byte.

    problems  what the page complained about: errors, exceptions, what its policy refused
    requests  addresses that it asked for
    """

    def __init__(self, profile: Path) -> None:
        (theirs, self._out), (self._in, ours) = os.pipe(), os.pipe()
        # The browser expects these two numbers; another shell may know none above 9.
        start = f'exec 3<&{theirs} 4>&{ours}; exec "$@"'
        flags = (*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}")
        self._process = subprocess.Popen(
            ["bash", "-c", start, "bash", CHROMIUM, *flags, "about:blank"],
            pass_fds=(theirs, ours),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self._buffer, self._number, self._session = b"", 0, {}
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = {}
        self.call("Browser.close")
        self._process.wait(DEADLINE_S)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict:
        """Ask for something and wait for the answer; what happens meanwhile is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path: Path, width: int = 1366, height: int = 768, scheme: str = "light") -> None:
        """Load a file into a window of this size and wait until it is there."""
        self.problems.clear()
        self.requests.clear()
        self.resize(width, height)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media="", features=features)
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.until("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression is worth."""
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", **wanted)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + DEADLINE_S
        while not self.ask(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} is not true after {DEADLINE_S} s")
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Scroll the first such element into sight and click its middle."""
        box = self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        self.drag(box, box)

    def drag(self, start: list[float], end: list[float]) -> None:
        """Press the mouse in one place of the window and let go in another."""
        steps = {"Moved": start, "Pressed": start}, {"Moved": end, "Released": end}
        for kind, (x, y) in (step for part in steps for step in part.items()):
            held = {"button": "left", "clickCount": 1} if kind != "Moved" else {}
            self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **held)

    def press(self, key: str) -> None:
        """A key, to what has the focus."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0]))}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, path: Path, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], DEADLINE_S)[0]:
                raise TimeoutError(f"the browser said nothing for {DEADLINE_S} s")
            if not (more := os.read(self._in, 1 << 20)):
                raise RuntimeError("the browser has ended")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict) -> None:
        found = message.get("params", {})
        notes: dict[str, Callable[[], str]] = {
            "Log.entryAdded": lambda: found["entry"]["text"],
            "Runtime.exceptionThrown": lambda: json.dumps(found["exceptionDetails"]),
            "Page.javascriptDialogOpening": lambda: f"a dialog says {found['message']}",
        }
        if message.get("method") in notes:
            self.problems.append(notes[message["method"]]())
        if message.get("method") == "Runtime.consoleAPICalled" and found["type"] == "error":
            self.problems.append(str(found["args"]))
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
