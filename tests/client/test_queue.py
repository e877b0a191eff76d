"""How many calls may wait and for how long, and how waiting calls are reported: load, records, errors."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, run_bulk
from langchain_cerebras_demo.client import slots as slots_module
from langchain_cerebras_demo.client.call import waiting_out_refusals
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.client.limiter import Limiter, process_limiter, use_limiter
from langchain_cerebras_demo.client.slots import Slots
from langchain_cerebras_demo.errors import APITimeoutError, QueueFullError, RateLimitError
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout
from langchain_cerebras_demo.records import Limit, Load
from langchain_cerebras_demo.testing import Gate
from langchain_cerebras_demo.wire.request import ChatRequest
from tests.support.scripted import ScriptedTransport, json_answer
from tests.support.virtual_time import in_virtual_time

HELLO = ChatRequest("gpt-oss-120b", [{"role": "user", "content": "hi"}])
ANSWER = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
REFUSED = {"message": "Requests per minute limit exceeded", "code": "request_quota_exceeded"}
SLOW = RateLimit(requests_per_minute=6)  # one each ten seconds, after the first


@pytest.fixture(autouse=True)
def _own_limiter():
    before = process_limiter()
    yield
    use_limiter(before)


class Answering(ScriptedTransport):
    """Answers after some seconds."""

    def __init__(self, *answers, seconds=10.0):
        super().__init__(*answers)
        self.seconds = seconds

    async def send(self, request):
        await asyncio.sleep(self.seconds)
        return await super().send(request)


def client_with(transport, **settings):
    loop = asyncio.get_running_loop()
    use_limiter(Limiter(clock=loop.time, utc=loop.time))
    settings = {"rate_limit": None, "retry": RetryPolicy(max_retries=1, first_wait=0.0), **settings}
    return Client(
        base_url="https://cerebras.invalid/v1", keys=StaticKey("csk-0123456789"), transport=transport, **settings
    )


def answers(count):
    return [json_answer(ANSWER) for _ in range(count)]


async def asked(client, count):
    """So many calls that have begun."""
    calls = [asyncio.create_task(client.complete(HELLO)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return calls


# -- max_queue


@in_virtual_time
async def test_one_more_than_may_wait_for_a_slot_is_refused_at_once():
    """Nothing is sent for it, and the others are answered."""
    records = []
    client = client_with(Answering(*answers(3)), max_concurrency=1, max_queue=2, on_call=records.append)
    assert client.load == Load(0, 0)
    calls = await asked(client, 3)
    assert client.load == Load(in_flight=1, queued=2)
    with pytest.raises(QueueFullError, match=r"wait for a slot \(max_concurrency\).*\(max_queue=2\)") as caught:
        await client.complete(HELLO)
    assert asyncio.get_running_loop().time() == 0.0
    assert (caught.value.attempts, caught.value.limit, caught.value.status_code) == (0, None, 429)
    await asyncio.gather(*calls)
    assert client.load == Load(0, 0)
    refused, *answered = records
    assert (refused.outcome, refused.error, refused.attempts, refused.status_code) == (
        "failed",
        "QueueFullError",
        0,
        None,
    )
    assert [record.queued for record in answered] == [0.0, 10.0, 20.0]
    assert [record.seconds for record in answered] == [10.0, 20.0, 30.0]


@in_virtual_time
async def test_one_more_than_may_wait_for_a_limit_is_refused_at_once():
    """The error names the limit."""
    client = client_with(Answering(*answers(2), seconds=1.0), rate_limit=SLOW, max_queue=1)
    calls = await asked(client, 2)
    assert client.load == Load(in_flight=1, queued=1)
    with pytest.raises(QueueFullError) as caught:
        await client.complete(HELLO)
    assert caught.value.limit in {Limit.REQUESTS_PER_MINUTE, Limit.FIRST_ANSWER}
    await asyncio.gather(*calls)
    assert client.load == Load(0, 0)


@in_virtual_time
async def test_without_a_queue_only_what_goes_at_once_is_let_in():
    """max_queue=0."""
    client = client_with(Answering(*answers(2)), max_concurrency=2, max_queue=0)
    calls = await asked(client, 2)
    with pytest.raises(QueueFullError):
        await client.complete(HELLO)
    await asyncio.gather(*calls)


@in_virtual_time
async def test_a_call_that_was_let_in_is_not_turned_away_when_it_has_to_wait_again():
    """For its retry it may wait in a full queue."""
    refused = json_answer(REFUSED, 429, retry_after="1")
    transport = Answering(refused, *answers(3), seconds=1.0)
    client = client_with(transport, rate_limit=SLOW, max_queue=1)
    calls = await asked(client, 2)
    await asyncio.gather(*calls)
    assert len(transport.requests) == 3


@in_virtual_time
async def test_rows_of_batch_work_are_not_counted_against_the_queue():
    """They wait in any number: batch work has the time."""
    client = client_with(Answering(*answers(4)), max_concurrency=1, max_queue=1)
    with waiting_out_refusals():
        calls = await asked(client, 4)
    assert client.load == Load(in_flight=1, queued=3)
    await asyncio.gather(*calls)


def test_a_full_queue_is_a_rate_limit_error_that_travels():
    """A server turns it into a 503."""
    error = QueueFullError("full")
    error.attempts = 0
    copied = pickle.loads(pickle.dumps(error))
    assert isinstance(copied, RateLimitError)
    assert (str(copied), copied.attempts, copied.is_retryable) == ("full", 0, True)


def test_a_model_and_its_copies_share_their_queue_and_say_how_full_it_is(server):
    """In any thread and loop; a bulk run is let in."""
    gate = Gate(after=0)
    server.script(gate)
    model = ChatCerebrasDemo(
        base_url=server.base_url, api_key=server.key, rate_limit=None, max_concurrency=1, max_queue=0
    )
    running = threading.Thread(target=model.invoke, args=("hi",))
    running.start()
    assert gate.wait_reached()
    copy = model.model_copy()
    assert model.load == copy.load == Load(in_flight=1, queued=0)
    with pytest.raises(QueueFullError):
        copy.invoke("hi")
    gate.open()
    running.join()
    assert run_bulk(model, ["a", "b", "c"], concurrency=3).run().done == 3
    assert model.load == Load(0, 0)
    with pytest.raises(ValueError, match="max_queue"):
        ChatCerebrasDemo(max_queue=-1)


def test_a_forked_child_counts_its_own_calls():
    """The calls of the parent do not count in the child."""
    slots = Slots(None)
    slots.count(calls=2, queued=1)
    assert slots.load == Load(1, 1)
    slots_module._forget_all()
    assert slots.load == Load(0, 0)


# -- how long they may wait


@pytest.mark.parametrize(
    ("max_wait", "total", "error", "after"),
    [(5.0, None, RateLimitError, 5.0), (5.0, 8.0, RateLimitError, 5.0), (8.0, 5.0, APITimeoutError, 5.0)],
)
def test_the_wait_for_a_limit_ends_with_max_wait_or_with_timeout_total(max_wait, total, error, after):
    """Whichever comes first, and the error says which."""

    @in_virtual_time
    async def run():
        records = []
        timeout = Timeout(total=total)
        transport = Answering(*answers(2), seconds=0.0)
        client = client_with(transport, rate_limit=SLOW, max_wait=max_wait, timeout=timeout, on_call=records.append)
        await client.complete(HELLO)
        with pytest.raises(error):
            while True:  # the first ones go at once
                transport.answers.append(json_answer(ANSWER))
                began = asyncio.get_running_loop().time()
                await client.complete(HELLO)
        assert asyncio.get_running_loop().time() - began == pytest.approx(after)
        assert (records[-1].outcome, records[-1].attempts) == ("failed", 0)
        assert records[-1].paced == pytest.approx(after)

    run()


@in_virtual_time
async def test_the_time_outs_begin_with_the_slot_which_max_wait_bounds():
    """So a call takes max_wait and timeout.total at most."""
    client = client_with(Answering(*answers(2), seconds=6.0), max_concurrency=1, timeout=Timeout(total=7.0))
    calls = await asked(client, 2)
    await asyncio.gather(*calls)
    assert asyncio.get_running_loop().time() == 12.0
    records = []
    client = client_with(Answering(*answers(2), seconds=6.0), max_concurrency=1, max_wait=5.0, on_call=records.append)
    calls = await asked(client, 2)
    with pytest.raises(RateLimitError, match=r"waited 5\.0 s for a slot"):
        await calls[1]
    await calls[0]
    (late, _) = records
    assert (late.outcome, late.queued, late.seconds, late.attempts) == ("failed", 5.0, 5.0, 0)


@in_virtual_time
async def test_a_refusal_that_asks_for_a_longer_wait_than_max_wait_leaves_is_raised_at_once():
    """Nobody waits for nothing; a wait that fits is waited for."""
    client = client_with(Answering(json_answer(REFUSED, 429, retry_after="8"), seconds=0.0), max_wait=5.0)
    with pytest.raises(RateLimitError) as caught:
        await client.complete(HELLO)
    assert (asyncio.get_running_loop().time(), caught.value.attempts, caught.value.retry_after) == (0.0, 1, 8.0)
    client = client_with(Answering(json_answer(REFUSED, 429, retry_after="3"), *answers(1), seconds=0.0), max_wait=5.0)
    assert await client.complete(HELLO)


@pytest.mark.parametrize("waits_for", ["slot", "limit"])
def test_a_call_that_is_cancelled_while_it_waits_has_its_record(waits_for):
    """With the seconds that it has waited."""

    @in_virtual_time
    async def run():
        records = []
        settings = {"max_concurrency": 1} if waits_for == "slot" else {"rate_limit": SLOW}
        client = client_with(Answering(*answers(1)), on_call=records.append, **settings)
        first, second = await asked(client, 2)
        await asyncio.sleep(0.5)
        second.cancel()
        await asyncio.wait([second])
        assert client.load == Load(1, 0)
        await first
        cancelled, answered = records
        assert (cancelled.outcome, cancelled.attempts, cancelled.seconds) == ("cancelled", 0, 0.5)
        assert (cancelled.queued, cancelled.paced) == ((0.5, 0.0) if waits_for == "slot" else (0.0, 0.5))
        assert answered.outcome == "answered"

    run()


@in_virtual_time
async def test_a_call_that_is_cancelled_between_two_attempts_says_why_the_first_one_failed():
    """And how long it has waited since."""
    records = []
    client = client_with(Answering(json_answer(REFUSED, 429, retry_after="8"), seconds=0.0), on_call=records.append)
    (call,) = await asked(client, 1)
    await asyncio.sleep(2.0)
    call.cancel()
    await asyncio.wait([call])
    (record,) = records
    (failure,) = record.failures
    assert (record.outcome, record.attempts, record.backed_off) == ("cancelled", 1, 2.0)
    assert (failure.error, failure.status_code, failure.waited) == ("RateLimitError", 429, 2.0)
