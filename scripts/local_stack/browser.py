"""A Chromium without a screen, driven as a person would: it looks for what can be seen, clicks it, pastes into it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import requests

from local_stack.airflow_env import clean_env
from local_stack.ports import LOOPBACK
from local_stack.processes import Processes, StackError

if TYPE_CHECKING:
    from collections.abc import Callable

_START_SECONDS = 60.0
_ANSWER_SECONDS = 60.0
_PATIENCE = 30.0
_PAUSE = 0.1
_READY = re.compile(r"started successfully on port (\d+)")
# what WebDriver calls an element in its JSON
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# it is not there yet, or has just been drawn anew, moved or covered: a person would try again
_AGAIN = {
    "no such element",
    "stale element reference",
    "element click intercepted",
    "element not interactable",
    "not enabled",
    "still there",
    "not yet",
}
# what moves for ever, such as a sign of something that runs, is not waited for
_STILL = """
document.activeElement.blur();
return document.getAnimations().every(each => each.playState != 'running'
    || each.effect.getComputedTiming().endTime == Infinity);
"""
_CONTROL = "\ue009"
ENTER = "\ue007"

T = TypeVar("T")


class BrowserError(StackError):
    """The browser could not do what it was told; `kind` is WebDriver's name for the reason."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def browser_programs() -> tuple[str, str]:
    """The paths of Chromium and its driver, empty if not there."""
    return shutil.which("chromium") or "", shutil.which("chromedriver") or ""


class Browser:
    """One window; everything is looked for by XPath, and waited for."""

    def __init__(self, processes: Processes, *, width: int = 1280, height: int = 1000) -> None:
        chromium, driver = browser_programs()
        if not chromium or not driver:
            raise StackError("Chromium or its driver is missing; Debian has them in chromium and chromium-driver.")
        # not in a folder of the stack's: Chromium makes sockets in it, whose paths must be short
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        home = self._folder.name
        env = clean_env() | {"HOME": home, "TMPDIR": home, "LC_ALL": "C.UTF-8"}
        self._http = requests.Session()
        self._http.trust_env = False
        # port 0: the driver itself takes a free one
        self._processes = processes
        self._driver = processes.start("browser", [driver, "--port=0"], env=env, cwd=Path(home))
        self._driver.until(lambda: bool(_READY.search(self._driver.output())), _START_SECONDS)
        self._base = f"http://{LOOPBACK}:{_READY.findall(self._driver.output())[0]}"
        options = {"binary": chromium, "args": [*_arguments(width, height), f"--user-data-dir={home}/profile"]}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._base += f"/session/{session['sessionId']}"

    def open(self, url: str) -> None:
        """Go to an address."""
        self._call("POST", "/url", {"url": url})

    def size(self, width: int, height: int) -> None:
        """Make the window as large."""
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def emulate(self, width: int, height: int, scheme: str) -> None:
        """Be a screen of this size, a phone's too, whose owner prefers a "light" or a "dark" scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", {"features": features})

    def cookie(self, url: str, name: str, value: str) -> None:
        """Keep a cookie for this address."""
        self._devtools("Network.setCookie", {"url": url, "name": name, "value": value})

    def frame(self, xpath: str) -> None:
        """Look into a frame; into the page itself again with nothing."""
        frame = _patiently(lambda: (self._seen(xpath) or _fail("no such element", xpath))[0]) if xpath else None
        self._call("POST", "/frame", {"id": frame and {_ELEMENT: frame}})

    def click(self, xpath: str) -> None:
        """Click the first that can be seen, once it is enabled: a click on one that is not would do nothing."""

        def click() -> None:
            if not self._element(xpath, "GET", "enabled"):
                _fail("not enabled", xpath)
            self._element(xpath, "POST", "click", {})

        _patiently(click)

    def keys(self, text: str) -> None:
        """Press keys, wherever the cursor is."""
        active = self._call("GET", "/element/active")[_ELEMENT]
        self._call("POST", f"/element/{active}/value", {"text": text})

    def paste(self, xpath: str, text: str) -> None:
        """Put a text into a field in place of what is there, in one go: keys that come too fast get lost in a form."""
        self.click(xpath)
        self.keys(f"{_CONTROL}a")
        self._execute("document.execCommand('insertText', false, arguments[0])", text)

    def value(self, xpath: str) -> str:
        """What stands in a field."""
        return str(_patiently(lambda: self._element(xpath, "GET", "property/value")))

    def gone(self, xpath: str) -> None:
        """Wait until nothing of the kind can be seen; the error says what can be read there."""

        def look() -> None:
            if seen := self._seen(xpath):
                _fail("still there", f"{xpath}: {self._call('GET', f'/element/{seen[0]}/text')}")

        _patiently(look)

    def script(self, code: str) -> Any:
        """Run a function's body in the page and return what it returns."""
        return self._execute(code)

    def until(self, code: str) -> Any:
        """What a function's body returns as soon as that is something."""
        return _patiently(lambda: self.script(code) or _fail("not yet", code))

    def source(self) -> str:
        """The page as it is now, with what stands in its fields."""
        fields = "return [...document.querySelectorAll('input, textarea')].map(each => each.value).join('\\n')"
        return f"{self._call('GET', '/source')}\n{self.script(fields)}"

    def picture(self, file: Path, xpath: str = "") -> None:
        """A PNG of the window, or of one thing in it, when nothing moves any more and no cursor blinks."""
        self.until(_STILL)
        what = self._element(xpath, "GET", "screenshot") if xpath else self._call("GET", "/screenshot")
        file.write_bytes(base64.b64decode(what))

    def close(self) -> None:
        """Close the window, and leave nothing of it."""
        try:
            self._call("DELETE", "")
        finally:
            self._http.close()
            self._processes.stop(self._driver)
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _execute(self, code: str, *arguments: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": code, "args": arguments})

    def _devtools(self, command: str, params: dict[str, Any]) -> None:
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def _seen(self, xpath: str) -> list[str]:
        found = [each[_ELEMENT] for each in self._call("POST", "/elements", {"using": "xpath", "value": xpath})]
        return [each for each in found if self._call("GET", f"/element/{each}/displayed")]

    def _element(self, xpath: str, method: str, what: str, json: dict[str, Any] | None = None) -> Any:
        seen = self._seen(xpath) or _fail("no such element", xpath)
        return self._call(method, f"/element/{seen[0]}/{what}", json)

    def _call(self, method: str, path: str, json: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, f"{self._base}{path}", json=json, timeout=_ANSWER_SECONDS)
        value = answer.json()["value"]
        if not answer.ok:
            raise BrowserError(value["error"], value["message"].partition("\n")[0])
        return value


def _fail(kind: str, message: str) -> NoReturn:
    raise BrowserError(kind, message)


def _patiently(do: Callable[[], T]) -> T:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return do()
        except BrowserError as error:
            if error.kind not in _AGAIN or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE)


def _arguments(width: int, height: int) -> list[str]:
    """No screen, nothing fetched from elsewhere; root must do without Chromium's own sandbox, which refuses it."""
    quiet = ["background-networking", "component-update", "sync", "default-apps", "extensions", "quic", "gpu"]
    return [
        "--headless=new",
        f"--window-size={width},{height}",
        "--hide-scrollbars",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
        f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
        *(f"--disable-{each}" for each in quiet),
        *([] if os.geteuid() else ["--no-sandbox"]),
    ]
