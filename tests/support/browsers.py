"""Real browsers for tests: Debian's Chromium and Firefox in a home folder of the test's own, driven without a screen.

    with Firefox(home) as browser:
        browser.visit(f"https://inference.cerebras.ai:{port}/login")

Each makes its profile where it makes one on a fresh machine. Every name leads to 127.0.0.1 (the port is the address'
own, and cookies do not care for ports), and any certificate is accepted. ``with`` ends the browser as its user would,
so that it writes all it has; what is left of its process group then is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

__all__ = ["Browser", "Chromium", "Firefox", "ProcessGroup", "not_installed", "until", "until_written"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for a browser's start, a visit and its end; each takes about one."""

PACKAGES = {
    **dict.fromkeys(("dbus-daemon", "dbus-send"), "dbus"),
    "firefox": "firefox-esr",
    "gnome-keyring-daemon": "gnome-keyring",
}
"""Debian's package where it is not called as the program is."""


CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",  # for root in a container, where the sandbox refuses to start
    "--disable-dev-shm-usage",
    *("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"),
    *("--disable-breakpad", "--disable-sync", "--no-first-run", "--no-proxy-server"),
    "--host-resolver-rules=MAP * 127.0.0.1",
    "--ignore-certificate-errors",
    "--remote-debugging-pipe",
)

FIREFOX_PREFERENCES = {
    "marionette.port": 0,  # any free one, told in the profile's file MarionetteActivePort
    "network.dns.forceResolve": "127.0.0.1",
    "network.dns.disableIPv6": True,
    "network.proxy.type": 0,
    "network.trr.mode": 5,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.enabled": False,
    "extensions.update.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.unified": False,
}


def not_installed(*programs: str) -> str:
    """Why a test that needs these programs cannot run, with the remedy; ``""`` where all are there."""
    absent = [program for program in programs if find_program(program) is None]
    packages = " ".join(dict.fromkeys(PACKAGES.get(program, program) for program in absent))
    verb = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {verb} not installed: apt-get install {packages}" if absent else ""


def find_program(name: str) -> str | None:
    """Its path, or ``None``. A snap does not count: it takes no home folder of the test's choice."""
    found = next(filter(None, map(shutil.which, ("firefox-esr", "firefox") if name == "firefox" else (name,))), None)
    if found is None or "/snap/" in found:
        return None
    with Path(found).open("rb") as file:
        return None if b"/snap/" in file.read(4096) else found  # Ubuntu's package is a script that starts the snap


def until(ask: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """The first answer that is neither ``None`` nor false.

    Raises:
        TimeoutError: none came within ``seconds``; the message names ``what`` was waited for.
    """
    end = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)
    return answer


def until_written(path: Path, mark: bytes, seconds: float = PATIENCE) -> None:
    """Waits until the file is there and ``mark`` stands in it. Raises: as ``until``."""
    until(lambda: path.exists() and mark in path.read_bytes(), f"{mark!r} in {path.name}", seconds)


class ProcessGroup:
    """A program and all that it starts, in a process group of their own.

    Args:
        command: the program and its arguments.
        env: its whole environment.
        log: the file that gets its stderr.
        **streams: ``stdin`` and ``stdout``, as of ``subprocess.Popen``; by default nothing.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path, **streams: int) -> None:
        self._log = log
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, env=dict(env), stderr=stderr, start_new_session=True, bufsize=0, **streams
            )

    def until(self, ask: Callable[[], T | None], what: str) -> T:
        """As ``until``, but given up when the program ends: ``RuntimeError`` with what it said last."""

        def ask_the_living() -> T | None:
            if self.process.poll() is not None:
                said = self._log.read_text(errors="replace")[-500:]
                raise RuntimeError(f"{what}: {self.process.args[0]} ended with {self.process.returncode}: {said}")
            return ask()

        return until(ask_the_living, what)

    def end(self) -> None:
        """Kills whatever is left of the group, and waits for the program."""
        with contextlib.suppress(ProcessLookupError):  # all gone already
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in filter(None, (self.process.stdin, self.process.stdout)):
            stream.close()


class Browser(ABC):
    """One browser in the home folder ``home``; ``with`` runs it. It may be run again: the profile stays.

    Args:
        home: its ``HOME``; the folder has to be there.
        env: variables besides ``HOME`` and ``PATH``. Nothing else of this process' environment reaches the browser.
    """

    def __init__(self, home: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._env = {"PATH": os.environ["PATH"], "HOME": str(home), **(env or {})}

    def __enter__(self) -> Browser:  # noqa: PYI034 - typing.Self is not in 3.10
        self._group = self._launch()
        try:
            self._connect()
        except BaseException:
            self._group.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._quit()
            self._group.process.wait(PATIENCE)
        finally:
            self._group.end()

    @abstractmethod
    def visit(self, url: str) -> None:
        """Opens the page; its cookies are set when this returns, but need not be on the disk yet."""

    @abstractmethod
    def _launch(self) -> ProcessGroup: ...

    @abstractmethod
    def _connect(self) -> None: ...

    @abstractmethod
    def _quit(self) -> None: ...


class Chromium(Browser):
    """Debian's Chromium, by the DevTools protocol over a pipe (https://chromedevtools.github.io/devtools-protocol/).

    Args:
        home: as of ``Browser``; the profiles lie in ``~/.config/chromium``.
        password_store: where the key for the cookies is: ``"basic"``, a fixed one (values ``v10``), or
            ``"gnome-libsecret"``, the desktop's keyring (``v11``).
        profile: the profile's folder, ``"Profile 1"`` being a user's second.
        env: as of ``Browser``.
    """

    def __init__(
        self,
        home: Path,
        *,
        password_store: Literal["basic", "gnome-libsecret"] = "basic",
        profile: str = "Default",
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(home, env=env)
        self._folder = home / ".config" / "chromium"
        self.profile = self._folder / profile
        self._password_store = password_store

    @property
    def cookie_file(self) -> Path:
        """The database with its cookies."""
        return self.profile / "Cookies"

    def _launch(self) -> ProcessGroup:
        self._unread = b""
        self._last_id = 0
        browser = [
            find_program("chromium") or "chromium",
            *CHROMIUM_FLAGS,
            f"--password-store={self._password_store}",
            f"--user-data-dir={self._folder}",
            f"--profile-directory={self.profile.name}",
            "about:blank",
        ]
        # DevTools reads from descriptor 3 and writes to 4; subprocess hands on 0 and 1 under their own numbers alone.
        command = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", *browser]
        self._log = self.home / "chromium.log"
        return ProcessGroup(command, env=self._env, log=self._log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _connect(self) -> None:
        self._ask("Browser.getVersion")

    def visit(self, url: str) -> None:
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        if failure := self._ask("Page.navigate", session, url=url).get("errorText"):
            raise RuntimeError(f"{url}: {failure}")

    def _quit(self) -> None:
        self._ask("Browser.close")

    def _ask(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        pipe = self._group.process.stdin
        assert pipe is not None
        pipe.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._last_id:
            pass  # an event, which nobody waits for
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        pipe = self._group.process.stdout
        assert pipe is not None
        while b"\0" not in self._unread:
            if not select.select([pipe], [], [], PATIENCE)[0]:
                raise TimeoutError(f"Chromium says nothing for {PATIENCE:g} s: {self._said()}")
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                raise RuntimeError(f"Chromium went away: {self._said()}")
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-500:]


class Firefox(Browser):
    """Debian's Firefox, by Marionette (https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).

    It is started without a profile and makes its own, as on the first day.
    """

    profile: Path
    """The folder of the running profile."""

    @property
    def cookie_file(self) -> Path:
        """The database with its cookies; beside it lies its log, ``cookies.sqlite-wal``."""
        return self.profile / "cookies.sqlite"

    def _launch(self) -> ProcessGroup:
        self._unread = b""
        self._last_id = 0
        for told in self._ports():
            told.unlink()  # of an earlier run
        env = {
            **self._env,
            "MOZ_CRASHREPORTER_DISABLE": "1",
            # How Marionette keeps its preferences over a restart; a fresh home has no profile yet to write a user.js to.
            "MOZ_MARIONETTE_PREF_STATE_ACROSS_RESTARTS": json.dumps(FIREFOX_PREFERENCES),
        }
        command = [find_program("firefox") or "firefox", "--headless", "--no-remote", "--marionette"]
        return ProcessGroup(command, env=env, log=self.home / "firefox.log")

    def _ports(self) -> list[Path]:
        folders = (".config/mozilla/firefox", ".mozilla/firefox")  # before 147 the second
        return [told for folder in folders for told in self.home.glob(f"{folder}/*/MarionetteActivePort")]

    def _connect(self) -> None:
        told = self._group.until(lambda: next(iter(self._ports()), None), "Firefox names its port")
        self.profile = told.parent
        port = int(self._group.until(told.read_text, "Firefox names its port"))
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            self._read()  # its greeting
            self._ask("WebDriver:NewSession", acceptInsecureCerts=True)
        except BaseException:
            self._socket.close()
            raise

    def visit(self, url: str) -> None:
        self._ask("WebDriver:Navigate", url=url)

    def _quit(self) -> None:
        with self._socket:
            self._ask("Marionette:Quit", flags=["eAttemptQuit"])

    def _ask(self, command: str, **params: object) -> None:
        self._last_id += 1
        message = json.dumps([0, self._last_id, command, params]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, number, failure, _ = self._read()
        assert number == self._last_id, f"{command}: the answer to command {number} came, not to {self._last_id}"
        if failure:
            raise RuntimeError(f"{command}: {failure['error']}: {failure['message']}")

    def _read(self) -> Any:
        while b":" not in self._unread:
            self._receive()
        length, _, self._unread = self._unread.partition(b":")
        while len(self._unread) < int(length):
            self._receive()
        message, self._unread = self._unread[: int(length)], self._unread[int(length) :]
        return json.loads(message)

    def _receive(self) -> None:
        piece = self._socket.recv(65536)
        if not piece:
            raise RuntimeError("Firefox went away")
        self._unread += piece
