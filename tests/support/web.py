"""The applications of the pages on web servers, behind a server, and clients of which some leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

__all__ = ["SITE", "Client", "crowd", "listen", "open_answers", "server", "visit", "write_site"]

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
SITE = "site_of_the_pages"

# Both applications in one process, with a look inside. `/state` is asked by the tests, which know the process by its id.
MAIN = """
import asyncio
import gc
import os
import time

from {app} import app, llm as model
from {agents} import app as agents, llm as model_of_the_agent

app.mount("/agents", agents)


@app.get("/state")
async def state(seconds: float = 0.0):
    time.sleep(seconds)  # meanwhile another process takes the next request
    gc.collect()
    with open("/proc/self/status", encoding="utf-8") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return {{
        "pid": os.getpid(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "kilobytes": resident,
        "loop": type(asyncio.get_running_loop()).__module__.split(".")[0],
    }}
"""


def code_of(page: str, title: str) -> str:
    """The block of a page that has this title."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.search(rf'^```python title="{re.escape(title)}"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)[1]


def write_site(folder: Path, *changes: tuple[str, str]) -> str:
    """Write the applications into a folder, with some of their code changed; return the name of the module that has both."""
    for page, title in (("web_server.md", "app"), ("agents_over_http.md", "agents")):
        code = code_of(page, f"{title}.py")
        for old, new in changes:
            code = code.replace(old, new)
        (folder / f"{SITE}_{title}.py").write_text(code, encoding="utf-8")
    (folder / f"{SITE}.py").write_text(MAIN.format(app=f"{SITE}_app", agents=f"{SITE}_agents"), encoding="utf-8")
    return SITE


def listen() -> socket.socket:
    """A socket that a server may inherit: clients may connect before it has started."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    return listening


@contextlib.contextmanager
def server(command: list[str], listening: socket.socket, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process, which is killed with its children; ``{fd}`` in the command is the number of the socket."""
    number = listening.fileno()
    paths = [str(folder), str(Path(__file__).parents[2])]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=number) for part in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=[number],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Client:
    """A connection with one request on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def ask(cls, address: tuple[str, int], path: str, **query: str) -> Client:
        """Connect and send the request."""
        reader, writer = await asyncio.open_connection(*address)
        words = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        writer.write(f"GET {path}?{words} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        return cls(reader, writer)

    async def answer(self) -> bytes:
        """All that comes, until the server closes the connection."""
        received = await self._reader.read()
        self.leave()
        return received

    async def some(self) -> bytes:
        """What comes next."""
        return await self._reader.read(2**16)

    def leave(self) -> None:
        """Close the connection, whatever is still to come."""
        self._writer.transport.abort()


async def visit(address: tuple[str, int], path: str, question: str, leaves_after: float | None) -> bytes | None:
    """The answer to a question; ``None`` if the client leaves after so many seconds and was not answered by then."""
    client = await Client.ask(address, path, question=question)
    try:
        async with asyncio.timeout(leaves_after) if leaves_after is not None else contextlib.nullcontext():
            return await client.answer()
    except TimeoutError:
        return None
    finally:
        client.leave()


async def crowd(address, questions, seed, share=0.4, within=0.5):
    """Visit with many clients at once, a share of which leaves at a random moment; return the answers of those that stayed."""
    chance = random.Random(seed)
    visits = [
        visit(address, path, question, chance.uniform(0, within) if chance.random() < share else None)
        for path, question in questions
    ]
    answers = await asyncio.gather(*visits)
    return [answer for answer in answers if answer is not None]


def open_answers(upstream) -> int:
    """How many answers the loopback Cerebras has begun and not ended, to clients that are still there."""
    return sum(connection.answering for connection in tuple(upstream._connections))
