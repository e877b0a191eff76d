"""The child process ends with its parent, however the parent ends, and not with the parent's forks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langchain_cerebras_demo import local

ROOT = Path(local.__file__).parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor signals")


def is_gone(pid):
    """Whether the process is no more; a container's first process may leave it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_gone_within(pid, seconds):
    deadline = time.monotonic() + seconds
    while not is_gone(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Parent:
    """A Python process that starts a server, prints the pid of its child and then does the given lines.

    ``engine`` is a folder with a made-up engine: it loads nothing, and the leash is the same.
    """

    def __init__(self, lines, *options, start="server = LocalServer(context_tokens=1024)", engine=None):
        source = (
            "import os, signal, subprocess, sys, threading, time\n"
            "from langchain_cerebras_demo.local import LocalServer, find_server, shared_server\n"
            f"{start}\n"
            "server.start()\n"
            "print(server._child.process.pid, flush=True)\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", *options, "-c", source + lines],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a signal can go to the group, as a terminal sends Ctrl-C
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (engine, ROOT))))},
        )
        self.child = None

    def wait_for_the_child(self):
        line = self.process.stdout.readline()
        self.child = int(line) if line.strip() else None

    def kill(self):
        """End the whole process group after a failed test."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL) if sys.platform != "win32" else self.process.kill()
        self.process.communicate()

    def result(self):
        """Exit code, the rest of stdout, stderr; the child has ten seconds to follow, and needs a tenth of one."""
        out, err = self.process.communicate(timeout=60)
        assert self.child is not None, err
        assert is_gone_within(self.child, 10)
        return self.process.returncode, out, err


@pytest.fixture
def parent():
    """Makes parents, and ends what is left of them."""
    with contextlib.ExitStack() as stack:

        def make(*arguments, **keywords):
            made = Parent(*arguments, **keywords)
            stack.callback(made.kill)
            made.wait_for_the_child()
            return made

        yield make


@pytest.fixture
def engine(made_up_engine, tmp_path):
    """The folder of a made-up engine, for what does not depend on the real one."""
    made_up_engine("self.listening_address = f'http://127.0.0.1:{os.getpid()}'  # no server's but this one's")
    return tmp_path


@pytest.mark.parametrize("start", ["server = LocalServer(context_tokens=1024)", "server = shared_server()"])
def test_a_parent_that_comes_to_its_end_is_silent(start, parent):
    """Whether its server was its own or the shared one, and stopped or not."""
    assert parent("", start=start).result() == (0, "", "")


def test_a_parent_that_comes_to_its_end_with_a_request_in_flight_is_silent(parent):
    """On a daemon thread, which in the engine's own process meant a crash."""
    lines = (
        "import http.client, json\n"
        "from urllib.parse import urlsplit\n"
        "url, arrived = urlsplit(server.base_url), threading.Event()\n"
        "def stream():\n"
        "    connection = http.client.HTTPConnection(url.hostname, url.port)\n"
        "    body = {'messages': [{'role': 'user', 'content': 'a story'}], 'stream': True}\n"
        "    headers = {'Authorization': 'Bearer ' + server.api_key}\n"
        "    connection.request('POST', '/v1/chat/completions', json.dumps(body), headers)\n"
        "    answer = connection.getresponse()\n"
        "    answer.readline()\n"
        "    arrived.set()\n"
        "    try:\n"
        "        while answer.readline(): pass\n"
        "    except (OSError, http.client.HTTPException): pass\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=stream, daemon=True).start()\n"
        "arrived.wait()\n"
    )
    assert parent(lines).result() == (0, "", "")


@pytest.mark.parametrize(
    ("lines", "code", "last_line"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("sys.exit(3)", 3, ""),
        ("os._exit(4)", 4, ""),
    ],
)
def test_the_child_follows_a_parent_that_leaves(lines, code, last_line, parent, engine):
    """By an exception, by sys.exit, and by os._exit, which runs no exit handler."""
    returned, out, err = parent(lines, engine=engine).result()
    assert (returned, out, err.strip().rpartition("\n")[2]) == (code, "", last_line)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_child_follows_a_parent_that_is_killed(number, parent):
    """No process of the parent runs any more."""
    process = parent("time.sleep(60)")
    process.process.send_signal(number)
    assert process.result() == (-number, "", "")


@posix
def test_ctrl_c_belongs_to_the_parent(parent, engine, ctrl_c):
    """A terminal sends it to the whole group: the child serves on where the parent does, and goes where it goes."""
    lines = (
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    try:\n"
        "        server._child.process.wait(0.3)\n"
        "    except subprocess.TimeoutExpired:\n"
        "        print('alive', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = parent(lines, engine=engine)
    assert process.process.stdout.readline() == "ready\n"
    os.killpg(process.process.pid, signal.SIGINT)
    assert process.process.stdout.readline() == "alive\n"
    os.killpg(process.process.pid, signal.SIGINT)
    code, _, err = process.result()
    assert code == -signal.SIGINT
    assert err.strip().endswith("KeyboardInterrupt")


@posix
def test_a_forked_process_has_servers_of_its_own(parent, engine):
    """It neither uses nor ends nor waits for its parent's child, starts one of its own, and ends in silence."""
    lines = (
        "url, pid = server.base_url, os.fork()\n"
        "if pid == 0:\n"
        "    assert not server.running and find_server(url) is None\n"
        "    server.start()\n"
        "    assert server.running and server.base_url != url and find_server(server.base_url) is server\n"
        "    own = shared_server()\n"
        "    own.stop()\n"
        "    sys.exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5\n"
        "assert server.running and server.base_url == url\n"
        "child = server._child\n"
        "server.stop()\n"
        "assert child.process.returncode == 0\n"
    )
    assert parent(lines, engine=engine).result() == (0, "", "")


@posix
def test_a_forked_process_does_not_hold_the_leash(parent, engine):
    """The child ends with its parent even though a fork of it lives on."""
    lines = (
        "if os.fork() == 0:\n"
        "    sys.stdin.read()\n"  # until the test lets it go
        "    os._exit(0)\n"
        "print('forked', flush=True)\n"
        "os._exit(0)\n"
    )
    process = parent(lines, engine=engine)
    assert process.process.stdout.readline() == "forked\n"
    assert process.process.wait(60) == 0
    assert is_gone_within(process.child, 10)
    assert process.result() == (0, "", "")


@posix
def test_a_fork_in_the_midst_of_a_start_finds_a_free_server(parent, engine):
    """Another thread was starting it and held its lock; the forked process has neither."""
    start = (
        "from langchain_cerebras_demo.local import server as module\n"
        "server = LocalServer(context_tokens=1024)\n"
        "forked, hand_over = threading.Event(), module.Child.hand_over\n"
        "starting = threading.Event()\n"
        "def wait_for_the_fork(*args):\n"
        "    starting.set()\n"
        "    forked.wait()\n"
        "    hand_over(*args)\n"
        "module.Child.hand_over = wait_for_the_fork\n"
        "thread = threading.Thread(target=server.start)\n"
        "thread.start()\n"
        "starting.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    module.Child.hand_over = hand_over\n"
        "    assert server._child is None\n"
        "    server.start()\n"
        "    server.stop()\n"
        "    os._exit(6)\n"
        "forked.set()\n"
        "thread.join()\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6\n"
    )
    # From Python 3.12 on a fork beside threads is warned of.
    assert parent("", "-W", "ignore::DeprecationWarning", start=start, engine=engine).result() == (0, "", "")
