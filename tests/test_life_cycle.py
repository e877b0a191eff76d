"""How a model lives and dies: opened ahead, closed, opened again, in loops of any kind, and at the end of a process.

What only the transport does stands in ``test_transport_surroundings.py``, what only the portal does in
``test_portal_exit.py``; here it is the whole model. Each script runs in a process of its own, in which every warning, of its
last moments too, is an error that shows. Most are forked when the package has been loaded: the first lines of all would load it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys

import pytest

from langchain_cerebras_demo import AiohttpTransport, APIConnectionError, ChatCerebrasDemo
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.testing import Gate, Reply, Silence
from tests.support.processes import STRICT, run_python

LINUX_OR_MAC = pytest.mark.skipif(sys.platform == "win32", reason="the names of the options are those of Unix")


def model_for(server, **fields):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None, max_retries=0, **fields)


def connections(server):
    """The number of the connection that each request has come on."""
    return [request.connection for request in server.requests]


# -- opened ahead, closed, opened again


async def test_awarm_opens_the_connection_that_the_first_call_uses(server):
    """One connection for both; the request that warms it shows no key."""
    model = model_for(server)
    await model.awarm()
    assert [(request.path, request.bearer) for request in server.requests] == [("/v1/tcp_warming", None)]
    await model.ainvoke("hello")
    assert connections(server) == [1, 1]
    await model.aclose()


async def test_aclose_closes_the_sockets_and_a_new_call_opens_others(server):
    """As often as one likes, also when nothing is open."""
    model = model_for(server)
    for number in range(1, 4):
        assert (await model.ainvoke("hello")).content
        assert connections(server)[-1] == number
        await model.aclose()
        await model.aclose()
        assert server.wait_for_connections(0)


async def test_async_with_closes_the_sockets_at_its_end_also_by_an_error(server):
    """The model itself stays good."""
    with pytest.raises(ZeroDivisionError):
        async with model_for(server) as model:
            assert [chunk async for chunk in model.astream("hello")]
            assert server.open_connections == 1
            raise ZeroDivisionError
    assert server.wait_for_connections(0)
    assert (await model.ainvoke("hello")).content
    await model.aclose()


async def test_aclose_ends_a_stream_that_is_being_read(server):
    """With an error of ours that holds what had come, and not with a wait for the idle timeout."""
    server.script(Silence(after=4))
    model = model_for(server)
    stream = model.astream("hello")
    await anext(stream)
    reading = asyncio.ensure_future(anext_to_the_end(stream))
    await asyncio.sleep(0)
    await model.aclose()
    done, _ = await asyncio.wait([reading], timeout=1.0)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError, APIConnectionError):
        await reading
    assert done
    assert isinstance(reading.exception(), APIConnectionError)


@pytest.mark.parametrize("close", ["aclose", "async with", "own transport"])
async def test_closing_a_model_leaves_the_streams_of_others_alone(server, close):
    """Of the same loop, which share its connections: idle ones are closed, and a stream of its own is broken off."""
    gate = Gate(after=4, reply=Reply(text="one two three four five six"))
    server.script(gate, Silence(after=4), Reply())
    transport = AiohttpTransport() if close == "own transport" else None
    other, closing = model_for(server, transport=transport), model_for(server, transport=transport)
    stream, own = other.astream("hello"), closing.astream("hello")
    first = await anext(stream)
    await anext(own)
    await closing.ainvoke("leaves an idle connection")
    assert server.open_connections == 3
    if close == "async with":
        async with closing:
            pass
    else:
        await closing.aclose()
    with pytest.raises(APIConnectionError):
        await anext_to_the_end(own)
    assert await asyncio.to_thread(server.wait_for_connections, 1)
    gate.open()
    assert first.text + "".join([chunk.text async for chunk in stream]) == "one two three four five six"
    await other.aclose()
    assert await asyncio.to_thread(server.wait_for_connections, 0)


async def test_closing_a_model_leaves_a_call_of_another_one_alone_whose_answer_has_not_begun(server):
    """It is not broken off for a connection that waits for its first byte."""
    gate = Gate(after=0)
    server.script(gate)
    other, closing = model_for(server), model_for(server)
    call = asyncio.create_task(other.ainvoke("hello"))
    assert await asyncio.to_thread(gate.wait_reached)
    await closing.aclose()
    gate.open()
    assert (await call).content
    await other.aclose()


def test_close_and_with_close_the_connections_of_synchronous_calls(server):
    """Those of another model's stream stay; without a call before, there is nothing to do, and no thread for it."""
    portal.close()
    with model_for(server):
        pass
    assert not portal.is_open
    gate = Gate(after=4, reply=Reply(text="one two three four five six"))
    server.script(gate)
    stream = model_for(server).stream("hello")
    texts = [next(stream).text]
    with model_for(server) as model:
        model.invoke("hello")
        assert server.open_connections == 2
    assert server.wait_for_connections(1)
    gate.open()
    assert "".join(texts + [chunk.text for chunk in stream]) == "one two three four five six"
    model.close()
    assert server.wait_for_connections(0)
    assert model.invoke("hello").content
    model.close()


async def anext_to_the_end(stream):
    async for _ in stream:
        pass


# -- streams that nobody reads to their end


@pytest.mark.parametrize("leave", ["aclose", "del", "cancel"])
async def test_a_stream_that_is_left_closes_its_connection(server, leave):
    """Closed, forgotten to the garbage collector, or cancelled: no socket and no task stays."""
    server.script(Gate(after=2))
    model = model_for(server)
    before = len(asyncio.all_tasks())
    stream = model.astream("hello")
    await anext(stream)
    if leave == "aclose":
        await stream.aclose()
    elif leave == "del":
        del stream
        gc.collect()
    else:
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await asyncio.to_thread(server.wait_for_connections, 0)
    assert len(asyncio.all_tasks()) == before
    await model.aclose()


async def test_garbage_is_collected_at_every_step_of_a_stream(server):
    """The collector may run anywhere, and finds nothing that is still needed."""
    thresholds = gc.get_threshold()
    model = model_for(server)
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(3):
            assert "".join([chunk.text async for chunk in model.astream("hello")])
            assert model.model_copy()
    finally:
        gc.set_threshold(*thresholds)
    await model.aclose()


# -- dead peers


@LINUX_OR_MAC
async def test_sockets_are_probed_when_they_are_silent(server):
    """A peer that is gone without a word is found after a minute: keep-alive is on, and its figures are ours."""
    model = model_for(server)
    await model.ainvoke("hello")
    # Transports of earlier tests may not be collected yet; a closed one of TLS cannot even be asked for its peer.
    transports = [one for one in gc.get_objects() if isinstance(one, asyncio.Transport) and not one.is_closing()]
    opened = [one for one in transports if goes_to(one, server.port)]
    assert opened
    for transport in opened:
        options = transport.get_extra_info("socket")
        assert options.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE
        assert options.getsockopt(socket.IPPROTO_TCP, idle) == 30
        assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
    await model.aclose()


def goes_to(transport, port):
    peer = transport.get_extra_info("peername")
    return isinstance(peer, tuple) and peer[1] == port


# -- in a process of its own

PRELUDE = """
import asyncio, gc, logging, os, sys, threading, warnings
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import Gate, LoopbackCerebras

warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)  # that threads and forks go badly together is known
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))  # a slow machine's callbacks
server = LoopbackCerebras().start()
model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, rate_limit=None)

async def ask():
    return bool((await model.ainvoke("hello")).content)

async def read():
    return bool([chunk async for chunk in model.astream("hello")])
"""


def assert_silent(code, *lines, flags=STRICT, forked=True):
    done = run_python(PRELUDE + code, flags=flags, forked=forked)
    assert (done.stderr, done.stdout.splitlines(), done.returncode) == ("", list(lines), 0)


def test_one_model_serves_asyncio_run_in_a_row_and_sync_calls_in_between():
    """Nothing of one loop is left for the next."""
    assert_silent(
        """
for _ in range(3):
    print(asyncio.run(ask()), asyncio.run(read()), bool(model.invoke("hello").content), bool(list(model.stream("hello"))))
print(server.wait_for_connections(1))  # the portal's
server.stop()
""",
        *["True True True True"] * 3,
        "True",
    )


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("last", ["", "sys.exit(0)", "gc.collect()"])
def test_a_process_ends_in_silence_while_a_stream_is_open(way, last):
    """The user has broken off and forgotten it, or still holds it."""
    begun = {
        "sync": "stream = model.stream('hello')\nprint(bool(next(stream)))",
        "async": """
async def begin():
    global stream
    stream = model.astream("hello")
    print(bool(await anext(stream)))
asyncio.run(begin())
""",
    }
    assert_silent(f"server.script(Gate(after=2))\n{begun[way]}\n{last}", "True", forked=last != "")


def test_many_loops_at_once_in_threads_of_their_own():
    """Each has its connections, and each closes its own."""
    assert_silent(
        """
answers = []
threads = [threading.Thread(target=lambda: answers.append(asyncio.run(ask()))) for _ in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(answers == [True] * 10, server.wait_for_connections(0), threading.active_count())
server.stop()
""",
        "True True 2",
    )


@pytest.mark.parametrize(
    ("end", "flags"),
    [
        ("loop.run_until_complete(loop.shutdown_asyncgens())", STRICT),
        ("pass", ()),
    ],
)
def test_a_loop_that_dies_with_a_stream_open_does_not_disturb_the_next(end, flags):
    """Old scripts stop a loop in the middle and begin another. The stream is lost, the model is not.

    asyncio itself warns of sockets that it finds open, where such warnings are switched on; they are off by default.
    """
    assert_silent(
        f"""
server.script(Gate(after=2))

async def begin():
    global stream
    stream = model.astream("hello")
    return bool(await anext(stream))

loop = asyncio.new_event_loop()
print(loop.run_until_complete(begin()))
{end}
loop.close()
del stream, loop
gc.collect()
print(asyncio.run(ask()), asyncio.run(read()))
gc.collect()
print(server.wait_for_connections(0))
""",
        "True",
        "True True",
        "True",
        flags=flags,
    )


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_asks_with_the_same_model(leave):
    """Sync and async, on connections of its own; the parent goes on with its."""
    assert_silent(
        f"""
print(bool(model.invoke("hello").content), flush=True)
pid = os.fork()
if pid == 0:
    print(bool(model.invoke("hello").content), asyncio.run(read()), flush=True)
    {leave}
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bool(model.invoke("hello").content))
print([request.connection for request in server.requests])
""",
        "True",
        "True True",
        "0 True",
        "[1, 2, 3, 1]",
    )


def test_sync_calls_work_inside_a_loop_that_runs():
    """As in a notebook's cell, which is code in a running loop."""
    assert_silent(
        """
async def cell():
    print(bool(model.invoke("hello").content), bool(list(model.stream("hello"))), await ask())

asyncio.run(cell())
""",
        "True True True",
    )


def test_the_model_works_in_a_loop_of_uvloop():
    """Its transports are not asyncio's own."""
    pytest.importorskip("uvloop", reason="uvloop is not installed: it is no dependency")
    assert_silent(
        """
import uvloop
for _ in range(2):
    loop = uvloop.new_event_loop()
    print(loop.run_until_complete(ask()), loop.run_until_complete(read()))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
print(server.wait_for_connections(0))
""",
        "True True",
        "True True",
        "True",
    )


def test_tasks_are_as_many_as_before_after_calls_of_every_kind():
    """Nothing runs in the background of a loop once its calls have ended."""
    assert_silent(
        """
async def main():
    async with model:
        await asyncio.gather(*(ask() for _ in range(20)), *(read() for _ in range(20)))
        print(len(asyncio.all_tasks()))
    print(server.wait_for_connections(0))

asyncio.run(main())
server.stop()
print(threading.active_count())
""",
        "1",
        "True",
        "1",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="open descriptors are counted in /proc")
@pytest.mark.parametrize("loops", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_loops_that_are_dropped_without_being_closed_leave_nothing_behind(loops):
    """Neither descriptors nor sessions nor threads, whatever was called in them; asyncio's own complaint apart."""
    ran = run_python(
        """
        import asyncio, contextlib, gc, os, sys, threading, warnings

        import aiohttp

        from langchain_cerebras_demo import ChatCerebrasDemo
        from langchain_cerebras_demo.errors import InternalServerError
        from langchain_cerebras_demo.testing import LoopbackCerebras, Status

        # Python's own words on a loop that nobody has closed, and on the generators that were open in it.
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.filterwarnings("ignore", "coroutine method 'aclose' of .* was never awaited", RuntimeWarning)

        def left():
            gc.collect()
            server.wait_for_connections(0)  # the server's own descriptors are in this process, too
            sessions = sum(isinstance(one, aiohttp.ClientSession) for one in gc.get_objects())
            return len(os.listdir("/proc/self/fd")), sessions, threading.active_count()

        with LoopbackCerebras() as server:
            model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_concurrency=2, max_retries=0)

            async def call(number):
                await asyncio.gather(*(model.ainvoke("x") for _ in range(3)))  # one of them waits for a slot
                stream = model.astream("x")
                async for _ in stream:
                    if number % 2:
                        break  # and the stream is left open
                with contextlib.suppress(InternalServerError):
                    server.script(Status(500))
                    await model.ainvoke("x")

            def drop(number):
                asyncio.new_event_loop().run_until_complete(call(number))

            drop(0)
            before = left()
            for number in range(int(sys.argv[1])):
                drop(number)
            after = left()
            print(before == after, before, after)
        """,
        str(loops),
        flags=(),
    )
    assert ran.stdout.startswith("True"), ran.stdout + ran.stderr
    assert ran.stderr == ""


def test_a_generator_that_the_loop_closes_may_close_its_model(server):
    """The loop closes all generators at once, the transport's too."""
    closed = []

    async def answers():
        async with ChatCerebrasDemo(
            base_url=server.base_url, api_key=server.key, transport=AiohttpTransport()
        ) as model:
            async for chunk in model.astream("hi"):
                yield chunk
        closed.append(model)

    kept = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: kept.append(context))
        answering = answers()
        kept.append(answering)
        await anext(answering)

    asyncio.run(main())
    assert len(kept) == 1, kept[1:]
