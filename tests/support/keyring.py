"""A desktop's password store for tests: gnome-keyring, unlocked, on a D-Bus session bus that nobody else is on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.support.browsers import ProcessGroup, find_program, until

__all__ = ["Keyring"]

# No service folders: a session's own bus would start a new keyring in the place of one that has ended.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""


class Keyring:
    """A bus with an empty, unlocked keyring; ``with`` runs both and removes what they wrote.

    ``address`` is what ``DBUS_SESSION_BUS_ADDRESS`` has to be for whoever is to use it.
    """

    address: str

    def __enter__(self) -> Keyring:  # noqa: PYI034 - typing.Self is not in 3.10
        # Its own, and not pytest's: the path of a Unix socket may have 107 characters at most.
        self._folder = tempfile.TemporaryDirectory(prefix="keyring-", ignore_cleanup_errors=True)
        self._groups: list[ProcessGroup] = []
        try:
            self._start_bus(Path(self._folder.name))
            self._start_keyring(Path(self._folder.name))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for group in reversed(self._groups):
            group.end()
        self._folder.cleanup()

    def end_keyring(self) -> None:
        """The keyring goes; the bus stays."""
        self._groups.pop().end()

    def lock(self) -> None:
        """Locks the keyring, as a screen saver may; there is nobody here who could unlock it."""
        until(self._try_to_lock, "the keyring is locked")

    def _start_bus(self, folder: Path) -> None:
        settings = folder / "bus.conf"
        settings.write_text(BUS.format(path=folder / "bus"), encoding="utf-8")
        command = [
            find_program("dbus-daemon") or "dbus-daemon",
            "--nofork",
            "--print-address",
            f"--config-file={settings}",
        ]
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        bus = ProcessGroup(command, env=self._env, log=folder / "bus.log", stdout=subprocess.PIPE)
        self._groups.append(bus)
        assert bus.process.stdout is not None
        self.address = bus.process.stdout.readline().decode().strip()
        self._env["DBUS_SESSION_BUS_ADDRESS"] = self.address

    def _start_keyring(self, folder: Path) -> None:
        command = [find_program("gnome-keyring-daemon") or "gnome-keyring-daemon"]
        command += ["--foreground", "--unlock", "--components=secrets", f"--control-directory={folder}"]
        keyring = ProcessGroup(command, env=self._env, log=folder / "keyring.log", stdin=subprocess.PIPE)
        self._groups.append(keyring)
        assert keyring.process.stdin is not None
        keyring.process.stdin.write(b"a password")  # of the keyring that it makes now
        keyring.process.stdin.close()
        keyring.until(self._default, "the keyring answers")

    def _default(self) -> str:
        answer = self._send("ReadAlias", "string:default")
        return next((word.strip('"') for word in answer.split() if "/collection/" in word), "")

    def _send(self, method: str, *arguments: str) -> str:
        service = [
            "--dest=org.freedesktop.secrets",
            "/org/freedesktop/secrets",
            f"org.freedesktop.Secret.Service.{method}",
        ]
        return self._dbus_send(*service, *arguments)

    def _try_to_lock(self) -> bool:
        self._send("Lock", f"array:objpath:{self._default()}")
        get = ["--dest=org.freedesktop.secrets", self._default(), "org.freedesktop.DBus.Properties.Get"]
        return "true" in self._dbus_send(*get, "string:org.freedesktop.Secret.Collection", "string:Locked")

    def _dbus_send(self, *arguments: str) -> str:
        """The answer as text, ``""`` where there was none."""
        return subprocess.run(
            ["dbus-send", "--session", "--print-reply=literal", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        ).stdout
