"""A hundred thousand calls against a server of which one answer in fifty fails: nothing is lost, nothing piles up.

One call in a hundred has no key, and two are cancelled or left. Observers are told of each call once when it begins and once
when it ends.

The server and the client are processes of their own; both keep one byte an attempt and a call, and nothing else. What
fails, and how, is random from a seed. ``-s`` prints the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from langchain_cerebras_demo import CerebrasError, ChatCerebrasDemo, MissingKeyError, Timeout, add_observer
from langchain_cerebras_demo.net.portal import portal
from tests.support.processes import ROOT, environment
from tests.support.wire_shapes import SHAPES, to_data, to_sse

FAULTS = 0.02
STALL_SECONDS = 2.0  # the client's patience; only a server that is silent takes so long
LONG_STALL_SECONDS = 10.0  # in the whole form, in which a busy machine may hold up one of the two processes
TASKS = 60
THREADS = 4
SAMPLES = 200
MOST_WARM_CALLS = 1000

# One letter a request, as the server has answered it; a capital where the connection had been used before.
WHOLE, RESET, TOO_MANY, BROKEN, STALLED, CUT, CUT_OFF, EVENT = "wrqbscex"
KINDS = (RESET, TOO_MANY, BROKEN, STALLED, CUT, CUT_OFF, EVENT)

ERRORS = {
    RESET: {"APIConnectionError"},
    TOO_MANY: {"RateLimitError"},
    BROKEN: {"InternalServerError"},
    STALLED: {"APITimeoutError"},
    CUT: {"APIConnectionError", "StreamInterruptedError"},
    CUT_OFF: {"APIConnectionError", "StreamInterruptedError"},
    EVENT: {"InternalServerError"},
}
"""How each fault ends a call that is not tried again, or was the last try."""

KEYLESS, LEFT = {17}, {53, 54}  # the last two digits of calls that have no key, and that are cancelled or left
CANCELLED = "cancelled"

proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="sockets and memory are read from /proc")


def soak(calls, seed):
    """What the server and the client say at the end: the answers by call, and the client's figures."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.test_soak", "serve", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as server:
        try:
            port = server.stdout.readline().strip()
            client = subprocess.run(
                [sys.executable, "-W", "error", "-m", "tests.test_soak", "ask", port, str(calls)],
                capture_output=True,
                text=True,
                timeout=60 + calls / 50,
                check=False,
                cwd=ROOT,
                env=environment(),
            )
            assert (client.stderr, client.returncode) == ("", 0)
            served = json.loads(server.communicate(timeout=30)[0])
        finally:
            server.kill()
    return served, json.loads(client.stdout)


def assert_counts_agree(served, told):
    """Call by call: how it ended is how the last answer to it was, and it was sent as often as the server has seen it."""
    wrong = []
    for call, (ending, attempts) in enumerate(zip(told["endings"], told["attempts"], strict=True)):
        seen = served["answers"].get(str(call), "")
        if ending == CANCELLED or (ending == "MissingKeyError" and (seen, attempts) == ("", 0)):
            continue
        last = seen[-1:].lower()
        right = ending == "" if last == WHOLE else ending in ERRORS.get(last, ())
        if not right or attempts != len(seen):
            wrong.append((call, seen, ending, attempts))
    assert not wrong, wrong[:10]


def assert_records_agree(served, told):
    """Call by call: its beginning and its end were told once, and the end is the one that the caller has seen."""
    assert set(told["starts"]) == set(told["ends"]) == {1}
    wrong = []
    for call, (ending, outcome) in enumerate(zip(told["endings"], told["outcomes"], strict=True)):
        is_right = outcome == (ending or "answered")
        if ending == CANCELLED:  # the call may have ended, well or badly, just before the caller left
            last = served["answers"].get(str(call), "")[-1:].lower()
            is_right = outcome in {CANCELLED, "answered", *ERRORS.get(last, ())}
        if not is_right:
            wrong.append((call, ending, outcome))
    assert not wrong, wrong[:10]


def slope(samples):
    """Bytes a call, by least squares."""
    calls, sizes = zip(*samples, strict=True)
    middle, mean = sum(calls) / len(calls), sum(sizes) / len(sizes)
    above = sum((call - middle) * (size - mean) for call, size in samples)
    return above / sum((call - middle) ** 2 for call in calls)


def assert_endures(calls, seed, most_bytes_a_call):
    served, told = soak(calls, seed)
    letters = Counter("".join(served["answers"].values()).lower())
    endings = Counter(ending or "whole" for ending in told["endings"])
    settled = [sample for sample in told["samples"] if sample[0] >= calls * 0.3]
    print(
        f"\n{calls:,} calls in {told['seconds']:.0f} s ({calls / told['seconds']:.0f} a second), "
        f"{letters.total():,} requests: {dict(letters)}; ended {dict(endings)}; {sum(told['ends']):,} records; "
        f"memory {settled[0][1] / 2**20:.1f} to {settled[-1][1] / 2**20:.1f} MiB, slope {slope(settled):+.1f} bytes a call; "
        f"at first and at last {told['before']} {told['after']}"
    )
    assert len(told["endings"]) == calls
    assert set(letters) == {WHOLE, *KINDS}, "a kind of fault did not come"
    assert abs(1 - letters[WHOLE] / letters.total() - FAULTS) < (0.003 if calls > 50_000 else 0.02)
    assert_records_agree(served, told)
    assert_counts_agree(served, told)
    assert endings["whole"] > 0.94 * calls
    assert endings["MissingKeyError"] == calls // 100
    assert endings[CANCELLED] > 0.9 * calls / 50  # some fail before
    assert told["after"] == told["before"]
    assert slope(settled) < most_bytes_a_call
    assert served["open"] == 0


@proc
@pytest.mark.parametrize(("calls", "seed"), [(1000, 2), pytest.param(2000, 2, marks=pytest.mark.long)])
def test_calls_end_as_whole_answers_or_typed_errors_and_leave_nothing(calls, seed):
    """The short forms. Their memory still finds its level, so that the slope says only that no call is kept whole."""
    assert_endures(calls, seed, 5000)


@proc
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_100_000_calls_end_as_whole_answers_or_typed_errors_and_leave_nothing():
    """The whole form: 20 bytes a call would be 2 MB at its end."""
    assert_endures(100_000, 1, 20)


def test_records_that_do_not_agree_are_seen():
    """None, two, or one of another end."""
    right = {"starts": [1, 1, 1], "ends": [1, 1, 1], "endings": ["", "X", CANCELLED]}
    served = {"answers": {"2": "b"}}
    for last in ("answered", CANCELLED, "InternalServerError"):
        assert_records_agree(served, {**right, "outcomes": ["answered", "X", last]})
    for wrong in (
        {"ends": [1, 0, 1]},
        {"starts": [2, 1, 1]},
        {"outcomes": ["answered", "answered", CANCELLED]},
        {"outcomes": ["answered", "X", "APITimeoutError"]},
    ):
        with pytest.raises(AssertionError):
            assert_records_agree(served, {**right, "outcomes": ["answered", "X", CANCELLED], **wrong})


def test_counts_that_do_not_agree_are_seen():
    """Else the two above say nothing: a call too few, one too many, another ending, and a send that was not counted."""
    assert slope([(0, 1000), (10, 1050), (20, 1100)]) == pytest.approx(5)
    assert_counts_agree({"answers": {"0": "w"}}, {"endings": [""], "attempts": [1]})
    assert_counts_agree({"answers": {"0": "bRW"}}, {"endings": [""], "attempts": [3]})
    for seen, ending, attempts in (
        ("", "", 1),
        ("ww", "", 1),
        ("b", "", 1),
        ("w", "APITimeoutError", 1),
        ("rw", "", 1),
    ):
        with pytest.raises(AssertionError):
            assert_counts_agree({"answers": {"0": seen}}, {"endings": [ending], "attempts": [attempts]})


# -- the server

_HEAD = b"HTTP/1.1 %d X\r\ncontent-type: %s\r\nx-ratelimit-limit-requests-day: 1440000\r\n"
_STREAM = to_sse(*SHAPES["reasoning, then text"].stream, "[DONE]")
_HALF = _STREAM[: _STREAM.index(b"The answer") + 40]
_FAILED = to_sse(*SHAPES["reasoning, then text"].stream[:3], {"error": {"message": "no"}, "status_code": 500})
_BODY = to_data(SHAPES["reasoning, then text"].whole)
_ERROR = b'{"message": "no", "type": "x", "param": "", "code": "y"}'


def to_chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One client's connection. It answers a request as chance has it, and notes how."""

    answers: dict[str, str]
    connections: set
    chance: random.Random

    def connection_made(self, transport):
        self.transport, self.received, self.requests = transport, b"", 0
        self.connections.add(self)

    def connection_lost(self, _problem):
        self.connections.discard(self)

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if not end or len(body) < length:
            return
        self.received = b""
        request = json.loads(body)
        kind = self.chance.choice(KINDS) if self.chance.random() < FAULTS else WHOLE
        call = request["messages"][0]["content"]
        if call.isdecimal():  # the first ones only warm the client
            letter = kind.upper() if self.requests else kind
            self.answers[call] = self.answers.get(call, "") + letter
        else:
            kind = WHOLE
        self.requests += 1
        self.answer(kind, is_stream=bool(request.get("stream")))

    def answer(self, kind, *, is_stream):
        head = _HEAD % (200, b"text/event-stream" if is_stream else b"application/json")
        if kind in {TOO_MANY, BROKEN}:
            status = 429 if kind == TOO_MANY else 500
            error = _HEAD % (status, b"application/json") + b"retry-after: 0.01\r\ncontent-length: %d\r\n\r\n%s"
            self.transport.write(error % (len(_ERROR), _ERROR))
        elif kind == RESET:
            self.transport.abort()
        elif kind == STALLED:
            if is_stream:
                self.transport.write(head + b"transfer-encoding: chunked\r\n\r\n" + to_chunk(_HALF))
        elif is_stream:
            data = to_chunk({WHOLE: _STREAM, EVENT: _FAILED}.get(kind, _HALF)) + (b"" if kind == CUT else b"0\r\n\r\n")
            self.transport.write(head + b"transfer-encoding: chunked\r\n\r\n" + data)
            if kind == CUT:
                self.transport.close()
        else:
            self.answer_whole(kind, head)

    def answer_whole(self, kind, head):
        """A body; one that is cut is closed before its end."""
        body = {EVENT: b'{"error": {"message": "no"}, "status_code": 500}'}.get(kind, _BODY)
        data = head + b"content-length: %d\r\n\r\n%s" % (len(body), body)
        self.transport.write(data[:-100] if kind in {CUT, CUT_OFF} else data)
        if kind in {CUT, CUT_OFF}:
            self.transport.close()


async def serve(seed):
    """Until standard input ends."""
    Connection.answers, Connection.connections, Connection.chance = {}, set(), random.Random(seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"answers": Connection.answers, "open": len(Connection.connections)}))
    server.close()


# -- the client


class Soak:
    """So many calls, in tasks and threads, streamed and whole by turns."""

    def __init__(self, port, calls):
        self.calls = calls
        self.endings, self.attempts = [None] * calls, bytearray(calls)
        self.samples, self.done = [], 0
        patience = STALL_SECONDS if calls <= 2000 else LONG_STALL_SECONDS
        self.model = ChatCerebrasDemo(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key="csk-soak",
            rate_limit=None,
            max_retries=1,
            timeout=Timeout(connect=30.0, first_event=patience, idle=patience),
        )
        self.keyless = ChatCerebrasDemo(base_url="https://cerebras.invalid/v1", api_key=no_key)
        self.starts, self.ends, self.outcomes = bytearray(calls), bytearray(calls), [None] * calls
        self.begun = {}  # calls that wait to be cancelled
        add_observer(self)
        self.numbers, self.lock = iter(range(calls)), threading.Lock()

    def next_call(self):
        with self.lock:
            return next(self.numbers, None)

    def note(self, call, ending, attempts):
        with self.lock:
            assert self.endings[call] is None, "a call ended twice"
            self.endings[call], self.attempts[call] = sys.intern(ending), attempts
            self.done += 1
            if self.done % max(1, self.calls // SAMPLES) == 0:
                self.samples.append((self.done, resident_bytes()))

    # As an observer of the client. It wants the messages to know which call it is told of.

    wants_messages = True

    def started(self, start):
        (message,) = start.messages
        if not message["content"].isdecimal():
            return None
        call = int(message["content"])
        self.starts[call] += 1
        if (begun := self.begun.get(call)) is not None:
            begun.get_loop().call_soon_threadsafe(begun.set_result, None)

        def ended(record):
            self.ends[call] += 1
            self.outcomes[call] = sys.intern(record.error or record.outcome)

        return ended

    async def task(self):
        while (call := self.next_call()) is not None:
            try:
                if call % 100 in LEFT:
                    await (self.leave(call) if call % 2 else self.cancel(call))
                    self.note(call, CANCELLED, 0)
                    continue
                attempts = await (self.stream(call) if call % 2 else self.invoke(call))
                self.note(call, "", attempts)
            except CerebrasError as error:
                self.note(call, type(error).__name__, getattr(error, "attempts", 0))

    def thread(self):
        while (call := self.next_call()) is not None:
            model = self.model_for(call)
            try:
                if call % 100 in LEFT:
                    with closing(model.stream(str(call))) as chunks:
                        next(chunks)
                    self.note(call, CANCELLED, 0)
                    continue
                chunks = list(model.stream(str(call))) if call % 2 else [model.invoke(str(call))]
                self.note(call, "", check(chunks))
            except CerebrasError as error:
                self.note(call, type(error).__name__, getattr(error, "attempts", 0))

    def model_for(self, call):
        return self.keyless if isinstance(call, int) and call % 100 in KEYLESS else self.model

    async def stream(self, prompt):
        return check([chunk async for chunk in self.model_for(prompt).astream(str(prompt))])

    async def invoke(self, prompt):
        return check([await self.model_for(prompt).ainvoke(str(prompt))])

    async def leave(self, call):
        """Read the first chunk of a stream and close it."""
        async with aclosing(self.model.astream(str(call))) as chunks:
            await anext(chunks)

    async def cancel(self, call):
        """Cancel a call at some moment after it has begun."""
        begun = self.begun[call] = asyncio.get_running_loop().create_future()
        asking = asyncio.create_task(self.model.ainvoke(str(call)))
        await begun
        del self.begun[call]
        for _ in range(call // 100 % 40):
            await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def run(self):
        for number in range(min(MOST_WARM_CALLS, self.calls // 2) // 100):
            await asyncio.gather(*(self.stream(f"warm {number}") for _ in range(100)))
        await asyncio.to_thread(self.model.invoke, "warm")
        before = await self.standing()
        threads = [asyncio.to_thread(self.thread) for _ in range(THREADS)]
        began = time.perf_counter()
        await asyncio.gather(*(self.task() for _ in range(TASKS)), *threads)
        seconds = time.perf_counter() - began
        return {
            "seconds": seconds,
            "before": before,
            "after": await self.standing(),
            "samples": self.samples,
            "endings": self.endings,
            "attempts": list(self.attempts),
            "starts": list(self.starts),
            "ends": list(self.ends),
            "outcomes": self.outcomes,
        }

    async def standing(self):
        """Open files, tasks of both loops and threads of ours, when all connections are closed."""
        await self.model.aclose()
        await asyncio.to_thread(portal.run, self.model.aclose)
        gc.collect()
        await asyncio.sleep(0.2)  # a closed socket leaves the loop in its next round
        return {
            "files": len(list(Path("/proc/self/fd").iterdir())),
            "tasks": len(asyncio.all_tasks()),
            "threads": sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
        }


async def no_key():
    raise MissingKeyError("none")


def check(chunks):
    """How often a call was sent whose answer is whole."""
    text = "".join(chunk.text for chunk in chunks)
    reasoning = "".join(chunk.additional_kwargs.get("reasoning_content", "") for chunk in chunks)
    assert (text, reasoning) == ("The answer is 4.", "A simple sum.")
    return chunks[-1].response_metadata["calls"][0]["attempts"]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    what, fact, *more = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(int(fact)))
    else:
        print(json.dumps(asyncio.run(Soak(fact, int(*more)).run())))
