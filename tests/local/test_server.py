"""The embedded server: starting, sharing, finding and stopping it, and its errors when it cannot start."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from langchain_cerebras_demo.errors import LocalServerError
from langchain_cerebras_demo.local import LocalServer, find_server, shared_server
from langchain_cerebras_demo.local import server as module

pytestmark = pytest.mark.xdist_group("embedded")

SMALL = 4 * 256  # the least context: a child of 250 MB instead of 330
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor signals")


def test_the_shared_server_is_one_and_is_found_by_its_url(embedded):
    """So that a client given the URL alone knows the key and the dialect."""
    assert shared_server() is embedded
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", embedded.base_url)
    assert find_server(embedded.base_url) is embedded
    assert find_server(embedded.base_url + "/") is embedded
    assert find_server("http://127.0.0.1:9/v1") is None


def test_no_repr_and_no_command_line_shows_the_key(embedded, monkeypatch):
    """The key is random, goes by the environment, and no key of the user's goes along."""
    assert len(embedded.api_key) >= 32
    assert embedded.api_key != LocalServer().api_key
    assert repr(embedded) == f"<LocalServer {embedded.base_url}>"
    assert repr(LocalServer()) == "<LocalServer not running>"
    assert embedded.api_key not in repr(embedded._child.process.args)
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-user")
    assert "csk-user" not in module.child_environment("k").values()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
        ({"threads": True}, "threads must be .* not True"),
        ({"slots": "4"}, "slots must be a whole number of at least 1, not '4'"),
        ({"context_tokens": 1023}, "context_tokens must be a whole number of at least 1024, not 1023"),
        ({"start_timeout": 0}, "start_timeout must be a number of seconds above 0, not 0"),
        ({"start_timeout": None}, "start_timeout must be a number of seconds above 0, not None"),
        ({"start_timeout": float("nan")}, "start_timeout must be .* not nan"),
    ],
)
def test_arguments_are_checked_by_name(arguments, message):
    """Before anything is started."""
    with pytest.raises(ValueError, match=message):
        LocalServer(**arguments)


def test_start_and_stop_may_be_called_again():
    """Each does nothing where there is nothing to do; a stopped server starts again."""
    server = LocalServer(context_tokens=SMALL, start_timeout=60)
    server.stop()
    assert not server.running
    with pytest.raises(LocalServerError, match=r"is not running: call start\(\)"):
        server.base_url  # noqa: B018 - the access raises
    for _ in range(2):
        server.start()
        server.start()
        child = server._child
        assert server.running
        server.stop()
        server.stop()
        assert child.process.returncode == 0
        assert not server.running
    assert find_server(child.url + "/v1") is None


async def test_async_with_starts_and_stops_it():
    """Without blocking the loop."""
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with LocalServer(context_tokens=SMALL) as server:
        assert server.running
        assert ticks > 5
    assert not server.running
    ticking.cancel()


async def test_a_cancelled_start_leaves_no_child(made_up_engine):
    """The thread that starts it cannot be cancelled; its child is stopped as soon as it is there."""
    loading = asyncio.get_running_loop().create_future()
    gate = await asyncio.start_server(lambda _, writer: loading.set_result(writer), "127.0.0.1")
    port = gate.sockets[0].getsockname()[1]
    made_up_engine(f"import socket\nsocket.create_connection(('127.0.0.1', {port})).recv(1)")
    server = LocalServer(start_timeout=20)
    task = asyncio.create_task(server.__aenter__())
    engine = await asyncio.wait_for(loading, 20)
    child = server._child
    task.cancel()
    await asyncio.sleep(0)
    engine.close()  # and so it goes on
    with pytest.raises(asyncio.CancelledError):
        await task
    assert child.process.returncode == 0
    assert not server.running
    gate.close()
    await gate.wait_closed()


async def test_a_start_cancelled_before_its_thread_runs_leaves_no_child(made_up_engine):
    """A stop that came first would find nothing to stop."""
    free = threading.Event()

    class Late(LocalServer):
        def start(self):
            free.wait(20)
            super().start()

    made_up_engine("pass")
    server = Late()
    task = asyncio.create_task(server.__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, free.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()
    is_running = server.running
    server.stop()
    assert not is_running


def test_a_server_that_nobody_keeps_ends():
    """And does so without a warning."""
    server = LocalServer(context_tokens=SMALL)
    server.start()
    process = server._child.process
    del server
    gc.collect()
    assert process.returncode == 0


def test_eight_threads_at_once_start_one_child_and_a_death_is_noticed(monkeypatch):
    """All get the same shared server; when its child dies it says so, and the next call starts another."""
    monkeypatch.setattr(module, "shared", LocalServer(context_tokens=SMALL))
    together, made, got = threading.Barrier(8), [], []

    class Counted(module.Child):
        def __init__(self, *args):
            made.append(self)
            super().__init__(*args)

    monkeypatch.setattr(module, "Child", Counted)

    def first_use():
        together.wait()
        got.append((shared_server(), shared_server().base_url))

    threads = [threading.Thread(target=first_use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert set(got) == {(module.shared, made[0].url + "/v1")}

    url = module.shared.base_url
    made[0].process.kill()
    made[0].process.wait()
    assert not module.shared.running
    assert find_server(url) is None
    assert repr(module.shared) == "<LocalServer not running>"
    with pytest.raises(LocalServerError, match=r"has ended \(exit code -?\d+\): start\(\) starts it again"):
        module.shared.base_url  # noqa: B018 - the access raises
    try:
        assert shared_server().running
        assert len(made) == 2
    finally:
        module.shared.stop()


# What cannot start


def test_without_the_engine_the_message_names_the_extra_and_the_platforms(monkeypatch):
    """On some there is no wheel to install."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(LocalServerError) as caught:
        LocalServer().start()
    assert 'the embedded model needs the "local" extra: pip install "langchain-cerebras-demo[local]"' in str(
        caught.value
    )
    assert "none for musl (Alpine), Windows on ARM" in str(caught.value)


def test_a_damaged_weights_file_is_named_with_the_remedy(tmp_path, monkeypatch):
    """The engine itself names no cause."""
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, but no more")
    monkeypatch.setattr(module, "find_weights", lambda: tmp_path / "bad.gguf")
    server = LocalServer()
    with pytest.raises(LocalServerError, match=r"could not start: RuntimeError: .* delete .*bad\.gguf"):
        server.start()
    assert not server.running


def test_a_death_at_start_shows_the_exit_code_and_the_end_of_stderr(made_up_engine):
    """A flood on stderr or stdout neither blocks the child nor floods the message."""
    made_up_engine("""
        os.write(1, b"not JSON\\n" * 100_000)
        os.write(2, b"y" * 1_000_000 + b" last words")
        os._exit(7)
    """)
    with pytest.raises(LocalServerError, match=r"ended while it started \(exit code 7: .*y last words\)") as caught:
        LocalServer().start()
    assert len(str(caught.value)) < 1200


def test_a_death_later_shows_them_too(made_up_engine):
    """Where the next use asks for the URL."""
    made_up_engine("""
        import threading
        def die():
            os.write(2, b"out of luck")
            os._exit(9)
        threading.Timer(0.1, die).start()
    """)
    with LocalServer() as server:
        server._child.process.wait()
        with pytest.raises(LocalServerError, match=r"has ended \(exit code 9: out of luck\)"):
            server.base_url  # noqa: B018 - the access raises


def test_a_start_that_takes_too_long_is_ended(made_up_engine, monkeypatch):
    """After start_timeout, which the message names."""
    made_up_engine("time.sleep(60)")
    made = []
    end = module.Child.end
    monkeypatch.setattr(module.Child, "end", lambda child: (made.append(child), end(child)))
    with pytest.raises(LocalServerError, match=r"not ready within start_timeout=0.3 seconds"):
        LocalServer(start_timeout=0.3).start()
    assert made[0].process.returncode not in {None, 0}


@posix
def test_an_interrupted_start_leaves_no_child(made_up_engine, ctrl_c):
    """Ctrl-C while the model loads."""
    made_up_engine("""
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
    """)
    server = LocalServer()
    ended = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        end = module.Child.end
        patch.setattr(module.Child, "end", lambda child: (end(child), ended.append(child.process.returncode)))
        server.start()
    assert ended == [-signal.SIGKILL]
    assert not server.running


def test_a_python_that_cannot_be_run_is_said(monkeypatch):
    """An embedded interpreter may not know its own executable."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(LocalServerError, match=r"process could not be started: .*/no/such/python"):
        LocalServer().start()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is new in Python 3.11")
def test_python_files_beside_the_weights_are_not_imported(made_up_engine, tmp_path, monkeypatch):
    """The cache folder may be any folder of the user's, and is the child's working directory."""
    made_up_engine("pass")
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "signal.py").write_text("raise RuntimeError('not the standard library')", encoding="utf-8")
    monkeypatch.setattr(module, "find_weights", lambda: folder / "weights.gguf")
    with LocalServer() as server:
        assert server.running


def test_other_processes_do_not_hold_the_leash():
    """A program started meanwhile, with all that it can inherit, does not keep the child alive."""
    with LocalServer(context_tokens=SMALL) as server:
        assert not os.get_inheritable(server._child.stdin.fileno())
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        child = server._child
        server.stop()
        assert child.process.returncode == 0  # closed its eyes by itself: was not killed
        other.communicate(b"\n")
