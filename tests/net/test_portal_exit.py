"""The portal seen from outside the process: interrupts, forks and exits."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.processes import STRICT, environment, run_python

# Everything the scripts below share: a portal, and a generator that says when it is closed.
PRELUDE = """
import asyncio, contextlib, gc, logging, os, sys, threading
import warnings
from langchain_cerebras_demo.net.portal import portal

warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)  # that threads and forks go badly together is known
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))  # a slow machine's callbacks

async def answer(word="answer"):
    await asyncio.sleep(0)
    return word

async def items():
    try:
        for number in range(10**9):
            yield number
    finally:
        print("closed", flush=True)
"""


def assert_ends_silently(code, *lines):
    done = run_python(PRELUDE + code, flags=STRICT)
    assert (done.stderr, done.stdout.splitlines(), done.returncode) == ("", list(lines), 0)


@pytest.mark.parametrize("last", ["", "sys.exit(0)", "del iterator"])
def test_a_process_ends_in_silence_while_an_iteration_is_open(last):
    """Open generators are closed: their ``finally`` runs, and there are no warnings."""
    assert_ends_silently(
        f"""
print(portal.run(answer))
iterator = portal.iterate(items)
print(next(iterator), next(iterator))
{last}
""",
        "answer",
        "0 1",
        "closed",
    )


def test_a_process_ends_in_silence_after_the_portal_looked_up_a_name():
    """A look-up starts threads that have to end, and some Pythons start none for that at their own end."""
    assert_ends_silently('print(bool(portal.run(lambda: asyncio.to_thread(len, "ab"))))', "True")


def test_a_process_ends_in_silence_while_another_thread_still_waits():
    """A daemon thread in the middle of a call does not hold the end up."""
    assert_ends_silently(
        """
began = threading.Event()

async def forever():
    began.set()
    await asyncio.Event().wait()

def call():
    with contextlib.suppress(BaseException):  # cancelled, where the thread still gets to see it
        portal.run(forever)

threading.Thread(target=call, daemon=True).start()
began.wait()
"""
    )


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_opens_a_portal_of_its_own(leave):
    """The parent's thread did not come along; the parent's portal works on, and both end in silence."""
    assert_ends_silently(
        f"""
print(portal.run(answer), flush=True)
pid = os.fork()
if pid == 0:
    iterator = portal.iterate(items)
    print(portal.run(lambda: answer("child")), next(iterator), flush=True)
    iterator.close()
    portal.run(lambda: asyncio.sleep(0))
    {leave}
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), portal.run(lambda: answer("parent")))
""",
        "answer",
        "child 0",
        "closed",
        "0 parent",
    )


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_a_fork_while_an_iteration_is_open_leaves_it_to_the_parent(leave):
    """The child has a portal that works and says nothing of what it inherited; the parent reads on."""
    assert_ends_silently(
        f"""
iterator = portal.iterate(items)
print(next(iterator), flush=True)
pid = os.fork()
if pid == 0:
    del iterator
    gc.collect()
    print(portal.run(lambda: answer("child")), flush=True)
    {leave}
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), next(iterator), flush=True)
""",
        "0",
        "child",
        "0 1",
        "closed",
    )


def test_a_child_that_is_forked_while_the_portals_lock_is_held_does_not_hang():
    """Another thread may be opening the loop at that very moment."""
    assert_ends_silently(
        """
portal._lock.acquire()
pid = os.fork()
if pid == 0:
    print(portal.run(answer), flush=True)
    os._exit(0)
portal._lock.release()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        "answer",
        "0",
    )


INTERRUPTED = {
    "run": """
async def forever():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        cancelled.set()
        raise

cancelled = threading.Event()
try:
    portal.run(forever)
except KeyboardInterrupt:
    print("interrupted", cancelled.wait(5), portal.run(answer), flush=True)
""",
    "iterate": """
async def forever():
    yield 1
    try:
        print("ready", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)
        cancelled.set()

cancelled = threading.Event()
try:
    for _ in portal.iterate(forever):
        pass
except KeyboardInterrupt:
    print("interrupted", cancelled.wait(5), portal.run(answer), flush=True)
""",
}


@pytest.mark.parametrize("way", INTERRUPTED)
def test_ctrl_c_cancels_what_the_caller_waits_for(way):
    """Nothing continues in the background, and the portal serves the next call."""
    process = subprocess.Popen(
        [sys.executable, *STRICT, "-c", PRELUDE + INTERRUPTED[way]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert sorted(out.splitlines()) == ["cancelled", "interrupted True answer"]
    assert (err, process.returncode) == ("", 0)
