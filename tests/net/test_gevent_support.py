"""gevent: a patched process makes synchronous calls like any other, and may run event loops as well."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.testing import Reply, Silence
from tests.support.processes import STRICT, run_python

pytest.importorskip("gevent", reason="gevent is not installed: pip install gevent")

# gevent is what is held to its word here, and a new release of it may change that.
pytestmark = pytest.mark.upstream

PATCH = "from gevent import monkey\nmonkey.patch_all()\n"
MODEL = """
import asyncio, atexit, gc, os, sys, threading
from langchain_cerebras_demo import ChatCerebrasDemo

llm = ChatCerebrasDemo(base_url=sys.argv[1], api_key="csk-0123456789", rate_limit=None, max_retries=0)

def invoke():
    return len(llm.invoke("hi").content) > 0

def stream():
    return len("".join(chunk.content for chunk in llm.stream("hi"))) > 0

async def ainvoke():
    return len((await llm.ainvoke("hi")).content) > 0
"""


def output(code, server, *, host="localhost", flags=STRICT):
    server.key = "csk-0123456789"
    done = run_python(code, server.base_url.replace("127.0.0.1", host), flags=flags)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.split()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_event_loop_runs_after_a_synchronous_call(server, host):
    """And before the next one: the loop that serves synchronous calls runs on a thread, and on no greenlet of the caller's."""
    code = """
print(invoke(), asyncio.run(ainvoke()), stream(), asyncio.run(ainvoke()))
print(len(llm.batch(["a", "b", "c"])), len(llm.list_models()) > 0, invoke())

async def inside():
    return invoke() and stream()

print(asyncio.run(inside()), asyncio.run(ainvoke()))
"""
    assert output(PATCH + MODEL + code, server, host=host) == [*["True"] * 4, "3", *["True"] * 4]


def test_greenlets_call_at_once_and_let_each_other_run(server):
    """No greenlet blocks another one while it waits; one that times out leaves no call that affects the next."""
    code = """
import gevent

turns = []

def turn():
    while True:
        turns.append(1)
        gevent.sleep(0.001)  # without a pause, it would keep the interpreter's lock from the portal's thread

turning = gevent.spawn(turn)
jobs = [gevent.spawn(job) for job in (invoke, stream) * 10]
gevent.joinall(jobs)
print(sum(job.value for job in jobs))

before = len(turns)
try:
    with gevent.Timeout(1):  # long enough for any machine to send the request
        invoke()  # which is not answered
except gevent.Timeout:
    print("gave-up", len(turns) - before > 20)
turning.kill()
killed = gevent.spawn(stream)
gevent.sleep(0)
killed.kill()
for begun in (llm.stream("hi"), llm.stream("hi")):
    next(begun)
begun.close()
del begun
gc.collect()
print(invoke(), stream())
"""
    server.script(*[Reply(text="hi")] * 20, Silence(before_headers=True))
    # asyncio's debug mode logs whatever takes long, and a greenlet's turn may.
    assert output(PATCH + MODEL + code, server, flags=("-W", "error")) == ["20", "gave-up", "True", "True", "True"]


def test_threads_real_ones_forks_and_the_end_of_the_process_work(server):
    """A patched thread is a greenlet, a worker of gevent's pool is none; the child of a fork opens a portal of its own."""
    code = """
import gevent

print(invoke())
thread = threading.Thread(target=lambda: print(invoke()))
thread.start()
thread.join()
print(gevent.get_hub().threadpool.apply(invoke))
sys.stdout.flush()  # else the child would print it once more
pid = os.fork()
if pid == 0:
    print(invoke(), stream(), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1], invoke())
atexit.register(lambda: print(invoke()))
"""
    lines = output(PATCH + MODEL + code, server, flags=("-W", "error"))
    assert lines == ["True", "True", "True", "True", "True", "0", "True", "True"]


def test_a_key_function_that_blocks_is_asked_in_a_real_thread(server):
    """A greenlet would never run in the thread of the portal's loop; so too in the child of a fork and at the end."""
    code = """
import time

def ask():
    time.sleep(0.001)
    return "csk-0123456789"

llm = llm.model_copy(update={"api_key": ask})
print(invoke(), stream(), asyncio.run(ainvoke()))
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print(invoke(), asyncio.run(ainvoke()), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1], invoke())
atexit.register(lambda: print(invoke()))
"""
    lines = output(PATCH + MODEL + code, server, flags=("-W", "error"))
    assert lines == ["True"] * 5 + ["0", "True", "True"]


def test_no_greenlet_is_left_that_the_end_of_the_process_would_wait_for(server):
    """A greenlet of another thread is never woken there: the process would hang. Looking up a name must not start one."""
    code = "print(invoke(), any('asyncio' in thread.name for thread in threading.enumerate()))"
    assert output(PATCH + MODEL + code, server) == ["True", "False"]


def test_a_process_that_is_patched_late_opens_another_portal(server):
    """The one that is open would wait for threads that are greenlets now."""
    code = "print(invoke())\n" + PATCH + "print(invoke(), stream(), asyncio.run(ainvoke()), invoke())"
    # No name is looked up: gevent complains of threads that there are when it patches, asyncio's among them.
    assert output(MODEL + code, server, host="127.0.0.1", flags=("-W", "ignore")) == ["True"] * 5


def test_a_call_on_the_portals_own_thread_is_refused(server):
    """As without gevent: it would wait for itself."""
    code = """
async def ask():
    return llm.invoke("hi").content

other = llm.model_copy(update={"api_key": ask})
try:
    other.invoke("hi")
except RuntimeError as error:
    print("waits-for-itself" if "would wait for itself" in str(error) else error)
"""
    assert output(PATCH + MODEL + code, server) == ["waits-for-itself"]
