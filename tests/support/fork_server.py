"""A Python that has loaded the package and what it stands on, and forks a process for each script that it is given.

Loading takes a second of processor time; a fork takes a hundredth of it. In everything else a forked process is one of its own: it
has its own environment, folder, descriptors and signals, and it ends as an interpreter ends. ``tests.support.processes`` is the
other side.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import signal
import socket
import sys
import termios
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["COUNT", "DESCRIPTORS", "serve"]

COUNT = 4
"""The bytes that say how long a request is."""

DESCRIPTORS = 4
"""The standard ones, and one that is closed by the end of the process alone."""

PACKAGE = "langchain_cerebras_demo"
NOT_LOADED = (
    f"{PACKAGE}.__main__",
    f"{PACKAGE}.plugins.llm",
    f"{PACKAGE}.ray",
    f"{PACKAGE}.telemetry",
    f"{PACKAGE}.testing.plugin",
)  # what runs, and what no script needs


def serve() -> CodeType:
    """Serves until its client goes away, and ends the process then; in each forked process it returns what is to be run.

    The client's socket is the descriptor whose number is the first argument. A request is a JSON object: ``wait`` and a process'
    number for how that process ended, or a script with all it needs. The answer is a number and a line feed.
    """
    client = socket.socket(fileno=int(sys.argv[1]))
    load()
    # Ctrl-C at the terminal of the tests goes to this process, too. A signal to a forked one waits until it can be dealt with.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    while True:
        head, descriptors, _, _ = socket.recv_fds(client, COUNT, DESCRIPTORS)
        if not head:
            client.close()
            sys.exit()
        request = json.loads(client.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                client.close()
                return begin(request, descriptors)
            for one in descriptors:
                os.close(one)
        client.sendall(b"%d\n" % answer)


def load() -> None:
    """Loads every module of the package, and hides them from the collector: it would copy them in each forked process."""
    folder = Path(importlib.import_module(PACKAGE).__file__).parent
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join((PACKAGE, *parts)).removesuffix(".__init__")
        if not name.startswith(NOT_LOADED):
            with contextlib.suppress(ModuleNotFoundError):  # an extra that is not installed
                importlib.import_module(name)
    gc.collect()
    gc.freeze()


def begin(request: dict[str, Any], descriptors: list[int]) -> CodeType:
    """Makes of a process that was just forked the one that is wanted."""
    *standard, end = descriptors
    os.set_inheritable(end, False)
    if request["is_terminal"]:
        os.setsid()
        fcntl.ioctl(standard[0], termios.TIOCSCTTY, 0)
    for number, one in enumerate(standard):
        os.dup2(one, number)
        os.close(one)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    open_streams()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return compile(request["script"], "<string>", "exec")


def open_streams() -> None:
    """Standard input and output as the interpreter opens them."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        buffer = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 - it stays open
        buffer.raw.name = f"<{name}>"
        stream = io.TextIOWrapper(
            buffer,
            encoding=encoding or getattr(sys, name).encoding,
            errors="backslashreplace" if name == "stderr" else errors or "strict",
            newline="\n",
            line_buffering=name == "stderr" or buffer.raw.isatty(),
        )
        stream.mode = "w" if number else "r"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
