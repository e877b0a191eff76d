"""A Python of its own for what can only be seen from outside: exits, forks, signals, and commands.

On Linux it is forked from a Python that has loaded the package already (``fork_server``). Elsewhere, and where the interpreter's own
beginning matters, it is a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

if CAN_FORK := sys.platform == "linux":  # on macOS a fork without exec ends in the system's own libraries
    from tests.support.fork_server import COUNT

__all__ = [
    "CAN_FORK",
    "COMMAND",
    "STRICT",
    "Forked",
    "environment",
    "forget_servers",
    "run_command",
    "run_python",
    "start_command",
    "start_python",
]

ROOT = Path(__file__).parents[2]
STRICT = ("-X", "dev", "-W", "error")
"""Every warning, of the interpreter's last moments too, becomes words on stderr."""

COMMAND = "import runpy; runpy.run_module('langchain_cerebras_demo', run_name='__main__', alter_sys=True)"
"""The script that does what ``python -m langchain_cerebras_demo`` does."""

_ORIGINAL = dict(os.environ)
_UNDERSTOOD = {"PYTHONPATH", "PYTHONIOENCODING"}  # of what an interpreter reads when it begins
_SERVERS: dict[tuple[str, ...], _Server] = {}


def environment(**variables: str) -> dict[str, str]:
    """This process' environment without proxies and keys, with the package importable, and with ``variables``."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "_API_KEY" not in name}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def run_python(
    code: str, *arguments: str, flags: tuple[str, ...] = STRICT, forked: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` to its end; the arguments are those of ``start_python``."""
    return _to_its_end(start_python(code, *arguments, flags=flags, forked=forked))


def run_command(
    *arguments: object, variables: dict[str, str], stdin: bytes = b"", **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m langchain_cerebras_demo`` to its end; the other arguments are those of ``start_command``."""
    return _to_its_end(start_command(*arguments, variables=variables, **more), stdin)


def start_python(
    code: str, *arguments: str, flags: tuple[str, ...] = (), forked: bool = False
) -> subprocess.Popen[bytes] | Forked:
    """Starts a script in three pipes, with the variables of ``environment()``.

    Args:
        code: what runs.
        arguments: of the script.
        flags: of the interpreter.
        forked: whether the package may have been loaded before the script begins. It saves a second.
    """
    script = textwrap.dedent(code)
    return _start(script, ["-c", script], arguments, environment(), flags, forked=forked)


def start_command(
    *arguments: object,
    variables: dict[str, str],
    flags: tuple[str, ...] = (),
    forked: bool = True,
    output: IO[bytes] | None = None,
    before: str = "",
) -> subprocess.Popen[bytes] | Forked:
    """Starts ``python -m langchain_cerebras_demo`` in three pipes.

    Args:
        arguments: of the command.
        variables: all of its environment.
        flags: of the interpreter.
        forked: whether the package may have been loaded before the command begins. It saves a second.
        output: where its standard output goes instead of into a pipe.
        before: Python that runs before it.
    """
    script = f"{before}\n{COMMAND}"
    plain = ["-c", script] if before else ["-m", "langchain_cerebras_demo"]
    return _start(script, plain, arguments, variables, flags, forked=forked, output=output)


def _start(
    script: str,
    plain: list[str],
    arguments: Iterable[object],
    variables: dict[str, str],
    flags: tuple[str, ...],
    *,
    forked: bool,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes] | Forked:
    """By a fork where that is possible and wanted."""
    changed = {name for name, value in variables.items() if value != _ORIGINAL.get(name) and name.startswith("PYTHON")}
    words = [str(one) for one in arguments]
    if forked and CAN_FORK and changed <= _UNDERSTOOD:
        return Forked.in_pipes(script, *words, flags=flags, variables=variables, output=output)
    pipes = {"stdin": subprocess.PIPE, "stdout": output or subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *flags, *plain, *words], env=variables, **pipes)


def _to_its_end(process: subprocess.Popen[bytes] | Forked, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """What a process said, once it has ended; that has to come within a minute and a half."""
    with process:
        try:
            out, err = process.communicate(stdin, timeout=90)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, (out or b"").decode(), err.decode())


class Forked:
    """A forked process, as ``subprocess.Popen`` shows one; its pipes are of bytes."""

    def __init__(
        self,
        script: str,
        *arguments: str,
        standard: tuple[int, int, int],
        flags: tuple[str, ...] = (),
        variables: dict[str, str],
        is_terminal: bool = False,
    ) -> None:
        """Starts ``script`` with the three descriptors of ``standard``; the terminal that they are becomes its own."""
        self.args = ["-c", *arguments]
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self._server = _server(flags)
        self._end, ends = os.pipe()
        request = {
            "script": script,
            "arguments": self.args,
            "environment": variables,
            "folder": str(Path.cwd()),
            "is_terminal": is_terminal,
        }
        try:
            self.pid = self._server.ask(request, *standard, ends)
        except BaseException:
            os.close(self._end)
            raise
        finally:
            os.close(ends)

    @classmethod
    def in_pipes(cls, script: str, *arguments: str, output: IO[bytes] | None = None, **more: Any) -> Forked:
        """With pipes for all three, or standard output into a file; ``more`` as ``Forked``."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        ours_err, theirs_err = os.pipe()
        opened = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb"), os.fdopen(ours_err, "rb")
        standard = (theirs_in, output.fileno() if output else theirs_out, theirs_err)
        try:
            made = cls(script, *arguments, standard=standard, **more)
        except BaseException:
            for one in opened:
                one.close()
            raise
        finally:
            for descriptor in (theirs_in, theirs_out, theirs_err):
                os.close(descriptor)
        made.stdin, made.stdout, made.stderr = opened
        return made

    def __enter__(self) -> Forked:  # noqa: PYI034 - typing.Self is not in 3.10
        return self

    def __exit__(self, *_exception: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was written and never read
                    pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; ``subprocess.TimeoutExpired`` after so many seconds."""
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._end, select.POLLIN)
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._server.ask({"wait": self.pid})
            os.close(self._end)
        return self.returncode

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Writes, reads what is said to its end, and waits for the process; a second call is too late."""
        said: dict[str, bytes] = {}
        readers = [
            threading.Thread(target=lambda name=name: said.update({name: getattr(self, name).read()}), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for one in readers:
            one.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(given or b"")
                self.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
        for one in readers:
            one.join(timeout)
            if one.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return said["stdout"], said["stderr"]

    def send_signal(self, number: int) -> None:
        """Nothing where the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)


class _Server:
    """A process that forks others; it ends when this end of the socket is closed."""

    def __init__(self, flags: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        script = "from tests.support.fork_server import serve; exec(serve())"
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, *flags, "-c", script, str(number)]
            self._process = subprocess.Popen(
                command,
                env={**_ORIGINAL, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
            )

    def ask(self, request: dict[str, Any], *descriptors: int) -> int:
        """The number that is the answer."""
        body = json.dumps(request).encode()
        with self._lock:
            try:
                socket.send_fds(self._socket, [len(body).to_bytes(COUNT, "big")], descriptors)
                self._socket.sendall(body)
                answer = b""
                while not answer.endswith(b"\n"):
                    piece = self._socket.recv(64)
                    if not piece:
                        raise RuntimeError("the process that others are forked from has ended")
                    answer += piece
            except BaseException:  # a timeout of the test, say: the answer to come would be taken for that of another
                self._socket.close()
                self._process.kill()
                raise
        return int(answer)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """Ends it."""
        self._socket.close()
        self._process.wait()


def _server(flags: tuple[str, ...]) -> _Server:
    server = _SERVERS.get(flags)
    if server is not None and not server.is_open:
        server.close()
        server = None
    if server is None:
        server = _SERVERS[flags] = _Server(flags)
    return server


def forget_servers() -> None:
    """Ends the processes that others are forked from; pytest's configuration does so at its end."""
    while _SERVERS:
        _SERVERS.popitem()[1].close()
