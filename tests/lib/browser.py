# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian's Chromium, driven by its own protocol over a pipe (--remote-debugging-pipe): no port, no other library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

_PATIENCE = 60.0


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not 3 and 4."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Browser:
    """One headless browser with one page, which counts everything that goes wrong on it.

    Attributes:
        errors: exceptions of scripts, and what the console was told as an error (refused scripts are among it).
        requests: every address that the page wanted.
    """

    def __init__(self, folder: Path) -> None:
        to_read, to_write = _pipe()
        from_read, from_write = _pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        words = ["chromium", *flags, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        # The browser reads from 3 and writes to 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write} {to_read}<&- {from_write}>&-', "-", *words]
        self._process = subprocess.Popen(
            shell, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(from_write)
        self._to, self._from, self._rest, self._number = to_write, from_read, b"", 0
        self._session: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []
        page = next(one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *dummy: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=_PATIENCE)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **params: object) -> dict:
        """One command; what it returns."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def open(self, path: Path) -> None:
        """Open a file and wait until it is there."""
        self._loaded = False
        self.ask("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._next()

    def look(self, width: int, height: int, scheme: str) -> None:
        """Size of the window, and the colours that the user prefers."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        """A screenshot of the window."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict:
        message = json.loads(self._line())
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

    def _line(self) -> bytes:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready = select.select([self._from], [], [], max(end - time.monotonic(), 0))[0]
            assert ready, "the browser did not answer"
            data = os.read(self._from, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        line, dummy, self._rest = self._rest.partition(b"\0")
        return line
