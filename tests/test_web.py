"""The applications of the pages on web servers leave nothing behind, however their clients leave, and end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

from langchain_cerebras_demo.testing import Gate, Reply, Silence, Slow
from tests.support.web import SITE, Client, crowd, listen, open_answers, server, write_site

pytest.importorskip("fastapi", reason="fastapi is not installed: the dependency group `web`")
pytest.importorskip("langchain.agents", reason="langchain is not installed: the dependency group `test`")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: the dependency group `web`")

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc"),
    pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is in Python 3.11 and newer"),
]

LONG = Reply(text=" ".join(f"word{number}" for number in range(60)))
DONE = b"event: done"
WAYS = {"/stream": "Say hi.", "/ask": "Say hi.", "/agents/stream": "Call get_weather for Rome."}


@contextlib.asynccontextmanager
async def serving(folder, monkeypatch, *changes):
    """The site in this loop, behind uvicorn: its address, the server, and the task that serves."""
    module = write_site(folder, *changes)
    monkeypatch.syspath_prepend(folder)
    site = importlib.import_module(module)
    running = uvicorn.Server(uvicorn.Config(site.app, log_level="error", ws="none", timeout_graceful_shutdown=20))
    listening = listen()
    task = asyncio.create_task(running._serve([listening]))  # `serve` without the signals of the whole process
    try:
        assert await until(lambda: running.started)
        yield listening.getsockname(), running, task
    finally:
        running.should_exit = True
        await task
        listening.close()
        for name in (module, f"{module}_app", f"{module}_agents"):
            del sys.modules[name]


async def until(condition, seconds=10.0):
    """Whether a condition of another thread became true in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    return condition()


async def state(address, seconds=0.0):
    """What the process that answers knows of itself."""
    answer = await (await Client.ask(address, "/state", seconds=str(seconds))).answer()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
async def site(tmp_path, monkeypatch, loopback_cerebras):
    async with serving(tmp_path, monkeypatch) as (address, _, _):
        yield address


async def test_the_applications_answer(site):
    """Whole, as a stream of events, and by an agent that calls a tool and says what came of it."""
    whole = await (await Client.ask(site, "/ask", question="Say hi.")).answer()
    assert json.loads(whole.partition(b"\r\n\r\n")[2])["answer"]
    for path, question in list(WAYS.items())[::2]:
        streamed = await (await Client.ask(site, path, question=question)).answer()
        assert b"content-type: text/event-stream" in streamed
        assert streamed.count(b"data: ") > 1
        assert DONE in streamed


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize("step", ["before the answer", "within the answer"])
async def test_the_request_to_the_service_ends_when_the_client_leaves(site, loopback_cerebras, path, step):
    """Also where the service is silent, so that only the client's leaving can end it."""
    silence = Silence(before_headers=True) if step == "before the answer" else Silence(after=9, reply=LONG)
    loopback_cerebras.script(silence)
    client = await Client.ask(site, path, question=WAYS[path])
    assert await until(lambda: open_answers(loopback_cerebras) == 1)
    while step == "within the answer" and path != "/ask" and b"word" not in await client.some():
        pass
    client.leave()
    assert await until(lambda: open_answers(loopback_cerebras) == 0)


@pytest.mark.upstream
async def test_without_the_task_of_the_page_the_agents_model_goes_on(tmp_path, monkeypatch, loopback_cerebras):
    """This is why the page has it. If this fails, LangGraph has learnt to stop: tell the page."""
    gate = Gate(after=9, reply=LONG)
    loopback_cerebras.script(gate)
    async with serving(tmp_path, monkeypatch, ("in_task(agent.astream(", "(agent.astream(")) as (address, _, _):
        client = await Client.ask(address, "/agents/stream", question="Say hi.")
        assert await asyncio.to_thread(gate.wait_reached)
        while b"word" not in await client.some():
            pass
        client.leave()
        assert not await until(lambda: open_answers(loopback_cerebras) == 0, 1.0)
        gate.open()
        assert await until(lambda: open_answers(loopback_cerebras) == 0)


async def test_one_request_too_many_is_answered_with_503(tmp_path, monkeypatch, loopback_cerebras):
    """At once and with `retry-after`, also where a stream was asked for; here while three run and two wait."""
    fewer = ("max_concurrency=200", "max_concurrency=3"), ("MAX_QUEUE = 100", "MAX_QUEUE = 2")
    async with serving(tmp_path, monkeypatch, *fewer) as (address, _, _):
        # The first answer announces the limits, which all others wait for.
        await (await Client.ask(address, "/ask", question="Say hi.")).answer()
        loopback_cerebras.script(*[Silence(before_headers=True)] * 3)
        clients = [await Client.ask(address, "/ask", question="Say hi.") for _ in range(5)]
        assert await until(lambda: open_answers(loopback_cerebras) == 3)
        llm = sys.modules[f"{SITE}_app"].llm
        assert await until(lambda: llm.load == (3, 2))
        for path in ("/ask", "/stream"):
            refused = await (await Client.ask(address, path, question="Say hi.")).answer()
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in refused
        for client in clients:
            client.leave()
        assert await until(lambda: llm.load == (0, 0))


async def test_a_failure_of_the_service_is_answered_with_502(site, loopback_cerebras):
    """With the name of the exception, and nothing of what it says."""
    loopback_cerebras.key = "another"
    refused = await (await Client.ask(site, "/ask", question="Say hi.")).answer()
    assert refused.startswith(b"HTTP/1.1 502 ")
    assert json.loads(refused.partition(b"\r\n\r\n")[2]) == {"error": "AuthenticationError"}


async def test_a_server_that_is_told_to_end_finishes_what_is_under_way(tmp_path, monkeypatch, loopback_cerebras):
    """What uvicorn does on SIGTERM: no new connections, the old ones to their end, then `aclose`."""
    gates = [Gate(after=9, reply=LONG) for _ in range(3)]
    loopback_cerebras.script(*gates)
    async with serving(tmp_path, monkeypatch) as (address, running, task):
        clients = [
            await Client.ask(address, path, question="Say hi.") for path in ("/stream", "/stream", "/agents/stream")
        ]
        for gate in gates:
            assert await asyncio.to_thread(gate.wait_reached)
        running.handle_exit(signal.SIGTERM, None)
        for gate in gates:
            gate.open()
        for client in clients:
            assert DONE in await client.answer()
        await task
    assert await until(lambda: loopback_cerebras.open_connections == 0)


async def test_clients_that_leave_at_random_moments_leave_nothing_behind(site, loopback_cerebras):
    """The short form of what follows: in this process, with a few clients."""
    questions = [(path, question) for path, question in WAYS.items() for _ in range(6)]
    loopback_cerebras.latency = 0.02
    await crowd(site, questions[::3], seed=0)
    before = await states(site, 1)
    for number in (1, 2):
        answers = await crowd(site, questions, seed=number, within=0.15)
        assert len(answers) >= len(questions) / 2
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        assert await until(lambda: open_answers(loopback_cerebras) == 0)
    assert (await settled(site, before))[0]["tasks"] <= before[0]["tasks"]


async def states(address, processes):
    """The states of all processes of a server, by their ids in order."""
    found = {}
    for _ in range(20):
        asked = []
        for _ in range(processes):
            asked.append(asyncio.create_task(state(address, 0.5 * (processes - 1))))
            await asyncio.sleep(0.1 * (processes - 1))  # it is in the hands of one of them
        found.update({one["pid"]: one for one in await asyncio.gather(*asked)})
        if len(found) == processes:
            return [found[pid] for pid in sorted(found)]
    raise AssertionError(f"of {processes} processes, only these answer: {sorted(found)}")


async def settled(address, before):
    """The states of all processes, once they have no more tasks than before; or as they are after some tries."""
    for _ in range(20):
        after = await states(address, len(before))
        if all(new["tasks"] <= old["tasks"] for new, old in zip(after, before, strict=True)):
            break
        await asyncio.sleep(0.05)
    return after


# -- the long form: real servers with two processes

CLIENTS, ROUNDS, DEADLINE = 200, 5, 30.0

UVICORN = ["uvicorn", f"{SITE}:app", "--fd", "{fd}", "--workers", "2", "--log-level", "warning"]
UVICORN += ["--timeout-worker-healthcheck", "60"]  # by default, a busy worker is replaced after five seconds
GUNICORN = ["gunicorn", f"{SITE}:app", "--bind", "fd://{fd}", "--workers", "2", "--preload", "--graceful-timeout", "30"]
SERVERS = {
    "uvicorn": ([*UVICORN, "--loop", "asyncio"], "asyncio", ()),
    "uvicorn with uvloop": ([*UVICORN, "--loop", "uvloop"], "uvloop", ("uvloop",)),
    "gunicorn with preload": (
        [*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker"],
        "uvloop",
        ("gunicorn", "uvicorn_worker", "uvloop"),
    ),
}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", SERVERS)
async def test_two_hundred_clients_of_a_real_server_leave_nothing_behind(tmp_path, loopback_cerebras, kind):
    """Five rounds, two fifths leaving: no open stream upstream, memory flat, tasks and descriptors as before; SIGTERM finishes all."""
    command, loop, needed = SERVERS[kind]
    for name in needed:
        pytest.importorskip(name, reason=f"{name} is not installed: the dependency group `web-long`")
    write_site(tmp_path)
    listening = listen()
    with listening, server(command, listening, tmp_path) as process:
        rounds = asyncio.create_task(five_rounds(listening.getsockname(), loopback_cerebras, loop))
        ended = asyncio.create_task(asyncio.to_thread(process.wait))
        await asyncio.wait({rounds, ended}, return_when=asyncio.FIRST_COMPLETED)
        assert rounds.done(), (tmp_path / "server.log").read_text()
        await rounds
        await finishes_what_is_under_way(process, listening.getsockname(), loopback_cerebras)
        await ended


async def five_rounds(address, upstream, loop):
    """Of clients of the one application, then of the other."""
    await crowd(address, [(path, question) for path, question in WAYS.items() for _ in range(20)], seed=0, share=0)
    before = await states(address, 2)
    assert {one["loop"] for one in before} == {loop}
    idle = upstream.open_connections
    for number in range(1, ROUNDS + 1):
        upstream.script(*[Slow(0.01)] * (4 * CLIENTS))
        for paths in (("/stream", "/ask"), ("/agents/stream",)):
            questions = [(paths[one % len(paths)], WAYS[paths[one % len(paths)]]) for one in range(CLIENTS)]
            answers = await crowd(address, questions, seed=number, within=1.0)
            whole = [
                answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ") and b"event: error" not in answer
            ]
            assert len(whole) > CLIENTS / 3  # a busy machine may answer some with 503
            assert not [answer for answer in answers if answer.startswith(b"HTTP/1.1 500 ")]
            assert await until(lambda: open_answers(upstream) == 0, DEADLINE)
        after = await settled(address, before)
        if number == 1:
            first = after
        print(number, after)
    connections = upstream.open_connections - idle
    assert sum(one["descriptors"] for one in after) <= sum(one["descriptors"] for one in before) + connections
    for old, warm, new in zip(before, first, after, strict=True):
        assert new["tasks"] <= old["tasks"]
        assert new["kilobytes"] < warm["kilobytes"] * 1.1


async def finishes_what_is_under_way(process, address, upstream):
    """SIGTERM: streams that have begun come to their end, and the server ends."""
    gates = [Gate(after=9, reply=LONG) for _ in range(20)]
    while upstream.unused_steps:  # those that nobody has asked for
        upstream._next_step("/v1/chat/completions")
    upstream.script(*gates)
    clients = [await Client.ask(address, path, question="Say hi.") for path in ("/stream", "/agents/stream") * 10]
    for gate in gates:
        assert await asyncio.to_thread(gate.wait_reached, 20)
    process.send_signal(signal.SIGTERM)
    for gate in gates:
        gate.open()
    for client in clients:
        assert DONE in await client.answer()
    assert await asyncio.to_thread(process.wait, 30) in {0, -signal.SIGTERM}
