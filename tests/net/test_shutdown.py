"""Calls while the interpreter exits return an answer or raise a CerebrasError that says why not; they never hang."""

from __future__ import annotations

import sys

import pytest

from tests.support.processes import STRICT, run_python

# Every way of calling, one after the other; what comes of each is a line.
PRELUDE = """
import asyncio, atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

{before_the_import}
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.errors import CerebrasError

llm = ChatCerebrasDemo(base_url=sys.argv[1], api_key={key}, rate_limit=None, max_retries=0)
CALLS = {{
    "invoke": lambda: llm.invoke("hi").content,
    "stream": lambda: "".join(chunk.content for chunk in llm.stream("hi")),
    "batch": lambda: [answer.content for answer in llm.batch(["hi", "ho"])],
    "list_models": llm.list_models,
    "ainvoke": lambda: asyncio.run(llm.ainvoke("hi")).content,
}}

def call(*names):
    for name in names or CALLS:
        try:
            print(name, "answered" if CALLS[name]() else "empty", flush=True)
        except CerebrasError as error:
            print(name, error, flush=True)
        except BaseException as error:
            print(name, "bare", repr(error), flush=True)
"""
CALLS = ["invoke", "stream", "batch", "list_models", "ainvoke"]
ENDED = "no call can be made while the interpreter shuts down: make it before the end of the program"

# Python 3.12 starts no thread any more once the main one has done its work, and a synchronous call may need one.
OUTCOMES = {"answered"} if sys.version_info < (3, 12) else {"answered", ENDED}

MOMENTS = {
    "an exit function": "atexit.register(call)",
    "a thread that outlives the main one": """
def last():
    threading.main_thread().join()
    call()

threading.Thread(target=last).start()
""",
    "a thread of a pool that is shut": """
def last():
    ended.wait()
    call()

ended = threading.Event()
threading._register_atexit(ended.set)  # runs before the pools are shut and waited for
ThreadPoolExecutor(1).submit(last)
""",
}


KEY = '"csk-0123456789"'


def lines_of(code, server, *, before_the_import="", host="localhost", flags=STRICT, key=KEY):
    url = server.base_url.replace("127.0.0.1", host)
    done = run_python(PRELUDE.format(before_the_import=before_the_import, key=key) + code, url, flags=flags)
    assert done.returncode == 0
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(autouse=True)
def _key(server):
    server.key = "csk-0123456789"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_calls_at_the_end_are_answered_where_one_was_made_before(server, host):
    """The thread that serves them is there; a name is looked up without another one."""
    code = 'assert CALLS["invoke"]()\natexit.register(call)'
    assert lines_of(code, server, host=host) == dict.fromkeys(CALLS, "answered")


@pytest.mark.parametrize("key", [KEY, pytest.param(f"lambda: {KEY}", marks=pytest.mark.long)], ids=["key", "function"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_calls_at_the_end_are_answered_or_say_why_not(server, moment, key):
    """Wherever they are made once the main thread is through; a key function needs no thread then."""
    lines = lines_of(MOMENTS[moment], server, key=key)
    assert list(lines) == CALLS
    assert lines.pop("ainvoke") == "answered"
    assert set(lines.values()) <= OUTCOMES


def test_an_exit_function_that_was_registered_first_runs_last_and_is_answered_or_told(server):
    """By then the package has closed what it had open."""
    lines = lines_of("call('invoke')", server, before_the_import="atexit.register(lambda: call())")
    assert lines.pop("ainvoke") == "answered"
    assert set(lines.values()) <= OUTCOMES


def test_the_very_last_moments_are_told(server):
    """``__del__`` of what is left when modules are taken apart: no other thread runs, nothing can be imported."""
    code = """
class Last:
    def __init__(self, call):
        self.call, self.me = call, self

    def __del__(self):
        self.call("invoke", "stream", "batch", "list_models")

last = Last(call)
"""
    assert lines_of(code, server) == dict.fromkeys(CALLS[:-1], ENDED)


def test_a_daemon_thread_that_is_cut_off_in_its_call_is_told(server):
    """Its call is cancelled when the interpreter exits; this is not a cancellation by the caller."""
    code = """
from langchain_cerebras_demo.net.portal import portal

async def forever():
    began.set()
    await asyncio.Event().wait()

async def items():
    yield 1
    await forever()

def last(call):
    try:
        call()
    except CerebrasError as error:
        sys.stdout.write(f"{call.__name__} {error}\\n")  # at once: the two do this at the same time
    finally:
        told.release()

def run():
    portal.run(forever)

def iterate():
    list(portal.iterate(items))

told = threading.Semaphore(0)
atexit.unregister(portal.close)
atexit.register(lambda: [told.acquire(timeout=10) for _ in range(2)])
atexit.register(portal.close)
for one in (run, iterate):
    began = threading.Event()
    threading.Thread(target=last, args=(one,), daemon=True).start()
    began.wait()
"""
    assert lines_of(code, server) == dict.fromkeys(["run", "iterate"], ENDED)
