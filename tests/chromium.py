"""A real browser for tests, driven through its own command line and its debugging pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")
PATIENCE = 60  # seconds without a word
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--disable-dev-shm-usage"),
)


def dumped(address: str, profile: Path) -> tuple[str, list[str]]:
    """The DOM after loading, and what the page's console said."""
    done = subprocess.run(
        [str(PROGRAM), *_SWITCHES, f"--user-data-dir={profile}", "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Browser:
    """One page of a running browser. `said`: console messages and errors, as they came."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._number, self._rest = to, back, 0, b""
        self.said: list[str] = []
        self._kept: list[dict[str, Any]] = []  # events that nobody has waited for yet
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._page = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._ask(method, self._page, **parameters)

    def size(self, width: int, height: int) -> None:
        shape = {"deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, **shape)

    def go(self, address: str) -> None:
        self._pass_by()
        self.ask("Page.navigate", url=address)
        self._until("Page.loadEventFired")

    def eval(self, code: str) -> Any:
        """The value of an expression in the page (the debugger's, which no policy forbids)."""
        return self.ask("Runtime.evaluate", expression=code, returnByValue=True)["result"].get(
            "value"
        )

    def press(self, selector: str) -> None:
        """A real click in the middle of an element, and the page that follows it."""
        middle = (
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        x, y = self.eval(middle)
        self._pass_by()
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self._until("Page.loadEventFired")

    def back(self) -> None:
        history = self.ask("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]["id"]
        self._pass_by()
        self.ask("Page.navigateToHistoryEntry", entryId=entry)
        self._until("Page.loadEventFired")

    def type(self, selector: str, text: str) -> None:
        self.eval(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)

    def picture(self) -> bytes:
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def _ask(self, method: str, where: Any = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters, **(where or {})}
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self._kept.append(message)
        assert "error" not in message, message
        return message["result"]

    def _until(self, event: str) -> None:
        while True:
            message = self._kept.pop(0) if self._kept else self._read()
            self._note(message)
            if message.get("method") == event:
                return

    def _pass_by(self) -> None:
        """Note what has happened, so that the next event waited for is a new one."""
        while self._kept:
            self._note(self._kept.pop(0))

    def _note(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "Log.entryAdded", "params": {"entry": entry}}:
                self.said.append(entry["text"])
            case {"method": "Runtime.consoleAPICalled" | "Runtime.exceptionThrown"}:
                self.said.append(json.dumps(message["params"]))
            case {"method": "Page.javascriptDialogOpening"}:
                self.said.append("a dialog")

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], PATIENCE)[0], "the browser says nothing"
            read = os.read(self._back, 1 << 16)
            assert read, "the browser has gone"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; bash puts the pipe where chromium looks: 3 and 4."""
    heard, to = os.pipe()
    back, said = os.pipe()
    command = ["bash", "-c", f'exec "$@" 3<&{heard} 4>&{said}', "bash", str(PROGRAM), *_SWITCHES]
    command += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        command, pass_fds=(heard, said), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(heard)
    os.close(said)
    try:
        yield Browser(to, back)
    finally:
        os.close(to)
        os.close(back)
        process.terminate()
        process.wait(30)
