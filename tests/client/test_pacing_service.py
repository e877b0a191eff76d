"""The whole client with the service's limits, in virtual time."""

from __future__ import annotations

import asyncio
import collections
import json

import pytest

from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.client.limiter import Limiter, process_limiter, use_limiter
from langchain_cerebras_demo.errors import APIError, RateLimitError
from langchain_cerebras_demo.keys import StaticKey
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy
from langchain_cerebras_demo.records import Limit, RateLimitSnapshot
from langchain_cerebras_demo.testing.refusals import QUEUE_EXCEEDED, REQUESTS_EXCEEDED
from langchain_cerebras_demo.wire.failure import from_answer
from langchain_cerebras_demo.wire.request import ChatRequest, to_parameters
from tests.support.metered_service import FREE, PAID, SECONDS, TEN_O_CLOCK, MeteredService
from tests.support.scripted import json_answer
from tests.support.virtual_time import in_virtual_time


@pytest.fixture(autouse=True)
def _own_limiter():
    before = process_limiter()
    yield
    use_limiter(before)


class Outcome:
    """The results of many calls: the times of the answers, and the errors with their times."""

    def __init__(self):
        self.answered = []
        self.errors = []


async def ask(service, count, *, max_tokens=300, utc=None, **settings):
    """So many calls at once, of about 360 tokens each."""
    loop = asyncio.get_running_loop()
    use_limiter(Limiter(clock=loop.time, utc=utc or service.now))
    client = Client(
        base_url="https://api.cerebras.ai/v1",
        keys=StaticKey("csk-0123456789"),
        transport=service,
        compress=False,
        **settings,
    )
    outcome = Outcome()

    async def one(number):
        question = [{"role": "user", "content": "x" * 240 + str(number)}]
        try:
            await client.complete(ChatRequest("gpt-oss-120b", question, to_parameters({"max_tokens": max_tokens})))
            outcome.answered.append(loop.time())
        except APIError as error:
            outcome.errors.append((loop.time(), error))

    await asyncio.gather(*(one(number) for number in range(count)))
    return outcome


TRUTHS = pytest.mark.parametrize("is_bucket", [True, False], ids=["bucket", "calendar"])
WORDS = pytest.mark.parametrize("names_wait", [False, True], ids=["without_retry_after", "with_retry_after"])


def ideal(limits, count, *, is_bucket, start):
    """The seconds that ``count`` requests need at least, by the limits of requests alone."""
    if is_bucket:
        return max((count - n) * SECONDS[period] / n for period, n in limits["requests"].items())
    now, left = start, count
    while True:
        hour_left = limits["requests"]["hour"]
        while hour_left:
            sent = min(left, limits["requests"]["minute"], hour_left)
            left, hour_left = left - sent, hour_left - sent
            if not left:
                return now - start
            now = (now // 60 + 1) * 60
        now = (now // 3600 + 1) * 3600


@TRUTHS
@WORDS
@in_virtual_time
async def test_200_requests_of_a_free_account_are_200_answers_in_about_the_ideal_time(is_bucket, names_wait):
    """At most two refusals, whichever truth holds, and no request is lost."""
    service = MeteredService(FREE, is_bucket=is_bucket, names_wait=names_wait)
    outcome = await ask(service, 200)
    assert (len(outcome.answered), outcome.errors) == (200, [])
    assert len(service.refused) <= 2
    assert outcome.answered[-1] <= 1.1 * ideal(FREE, 200, is_bucket=is_bucket, start=TEN_O_CLOCK)


@TRUTHS
@pytest.mark.parametrize("seed", range(3))
@in_virtual_time
async def test_that_holds_at_any_time_of_the_minute_and_where_answers_have_a_date(is_bucket, seed):
    """The local clock is two minutes wrong: the date corrects it."""
    start = TEN_O_CLOCK + 17.3 * seed
    service = MeteredService(FREE, is_bucket=is_bucket, start=start, tells_date=True, seed=seed)
    outcome = await ask(service, 100, utc=lambda: service.now() - 123.4)
    assert len(outcome.answered) == 100
    assert len(service.refused) <= 2
    assert outcome.answered[-1] <= 1.1 * ideal(FREE, 100, is_bucket=is_bucket, start=start) + 5


@TRUTHS
@WORDS
@in_virtual_time
async def test_2000_requests_of_a_paid_account_are_answered_with_hardly_a_refusal(is_bucket, names_wait):
    """At most one in a hundred, within 15 % of the ideal time; and never a minute's requests at once."""
    service = MeteredService(PAID, is_bucket=is_bucket, names_wait=names_wait)
    outcome = await ask(service, 2000)
    assert len(outcome.answered) == 2000
    assert len(service.refused) <= 20
    assert outcome.answered[-1] <= 1.15 * ideal(PAID, 2000, is_bucket=is_bucket, start=TEN_O_CLOCK)
    seconds = collections.Counter(int(when) for when in service.admitted)
    assert max(seconds.values()) <= 20


@TRUTHS
@WORDS
@in_virtual_time
async def test_of_a_day_with_20_requests_left_20_are_answered_and_the_others_refused_unsent_at_once(
    is_bucket, names_wait
):
    """As soon as the first answer says so, not when the 20 are used up; and they say when to come back."""
    service = MeteredService(FREE, is_bucket=is_bucket, names_wait=names_wait, used={("requests", "day"): 2380})
    outcome = await ask(service, 60)
    assert len(outcome.answered) == len(service.admitted) == 20
    assert service.refused == []
    assert len(outcome.errors) == 40
    for when, error in outcome.errors:
        assert isinstance(error, RateLimitError)
        assert when < 2
        assert (error.limit, error.attempts) == (Limit.REQUESTS_PER_DAY, 0)
        assert error.retry_after == pytest.approx(86_400 - TEN_O_CLOCK - when)
        assert not error.is_worth_waiting


@WORDS
@in_virtual_time
async def test_of_a_day_with_few_tokens_left_those_that_fit_are_answered_and_the_others_refused_unsent(names_wait):
    """The service's calendar says when to come back."""
    used = {("tokens", "day"): 996_000}
    service = MeteredService(FREE, is_bucket=False, names_wait=names_wait, used=used)
    outcome = await ask(service, 60)
    assert len(outcome.answered) == len(service.admitted) == 23  # as many as use 160 while there are 360
    assert len(outcome.errors) == 37
    assert service.refused == []
    for when, error in outcome.errors:
        assert when <= outcome.answered[-1] + 1
        assert (error.limit, error.attempts) == (Limit.TOKENS_PER_DAY, 0)
        assert error.retry_after == pytest.approx(86_400 - TEN_O_CLOCK - when)


@WORDS
@in_virtual_time
async def test_tokens_of_the_day_that_come_back_in_seconds_are_waited_for(names_wait):
    """A bucket of a million a day refills with eleven a second."""
    service = MeteredService(FREE, names_wait=names_wait, used={("tokens", "day"): 996_000})
    outcome = await ask(service, 60)
    assert len(outcome.answered) == 60
    assert len(service.refused) <= 2


@in_virtual_time
async def test_the_end_of_the_day_is_waited_for_where_it_is_near():
    """20 requests are left one minute before midnight."""
    service = MeteredService(FREE, is_bucket=False, start=86_400 - 60.0, used={("requests", "day"): 2398})
    outcome = await ask(service, 6)
    assert len(outcome.answered) == 6
    assert len(service.refused) <= 2


@TRUTHS
@in_virtual_time
async def test_without_max_tokens_a_request_reserves_more_than_half_of_a_free_minute(is_bucket):
    """16,384 tokens and the prompt: they come back with the answer, so the requests are as many as with a number."""
    service = MeteredService(FREE, is_bucket=is_bucket)
    outcome = await ask(service, 60, max_tokens=None)
    assert len(outcome.answered) == 60
    assert len(service.refused) <= 2
    assert outcome.answered[-1] <= 1.1 * ideal(FREE, 60, is_bucket=is_bucket, start=TEN_O_CLOCK) + 60


@TRUTHS
@pytest.mark.parametrize("older_form", [False, True], ids=["twelve_headers", "six_headers"])
@in_virtual_time
async def test_requests_that_use_all_that_they_reserve_keep_to_the_tokens(is_bucket, older_form):
    """400 requests of 1,000 tokens each, 150,000 a minute."""
    service = MeteredService(PAID, is_bucket=is_bucket, older_form=older_form, answer_tokens=940)
    outcome = await ask(service, 400, max_tokens=940)
    assert len(outcome.answered) == 400
    assert len(service.refused) <= 4
    ideal_seconds = (400 - 150) / 2.5 if is_bucket else 108.0
    assert outcome.answered[-1] <= 1.3 * ideal_seconds


# -- refusals that nobody could foresee


class Busy(MeteredService):
    """A service that refuses requests in its first second, independent of the limits."""

    async def send(self, request):
        await asyncio.sleep(0.02)
        if asyncio.get_running_loop().time() < 1:
            self.refused.append(asyncio.get_running_loop().time())
            return json_answer(QUEUE_EXCEEDED, 429)
        return await super().send(request)


@in_virtual_time
async def test_eight_that_were_refused_together_come_back_together():
    """With `retry-after: 1` they are answered as soon as without pacing: no request is tried alone while the others wait."""
    loop = asyncio.get_running_loop()
    limiter = Limiter(clock=loop.time)
    tickets = [await limiter.acquire("a", "m", 10, RateLimit())]
    tickets[0].observe(RateLimitSnapshot())
    tickets += [await limiter.acquire("a", "m", 10, RateLimit()) for _ in range(7)]
    refusal = from_answer(429, {"retry-after": "1"}, json.dumps(REQUESTS_EXCEEDED).encode())
    for ticket in tickets:
        ticket.refused(refusal)

    async def again(ticket):
        (await limiter.acquire("a", "m", 10, RateLimit(), place=ticket.place)).observe(RateLimitSnapshot())
        return loop.time()

    assert max(await asyncio.gather(*(again(ticket) for ticket in tickets))) < 1.5


@in_virtual_time
async def test_a_refusal_without_a_word_is_not_tried_by_all_who_wait():
    """One looks, and when it is answered the others follow, twice as many with each answer."""
    service = Busy(PAID, latency=(0.1, 0.1))
    outcome = await ask(service, 100, retry=RetryPolicy(max_retries=10))
    assert len(outcome.answered) == 100
    assert len(service.refused) <= 4
    assert outcome.answered[-1] <= 20


# -- max_wait


@in_virtual_time
async def test_max_wait_bounds_the_wait_for_a_slot_and_for_limits_together():
    """Four requests a second apart fit into three seconds; the others have waited for a slot, or for a limit, and were not sent."""
    service = MeteredService(FREE, latency=(0.5, 0.5))
    outcome = await ask(service, 12, max_wait=3.0, max_concurrency=3)
    assert len(outcome.answered) == len(service.admitted) >= 2
    assert {"slot" in str(error) for _, error in outcome.errors} == {True, False}
    for when, error in outcome.errors:
        assert isinstance(error, RateLimitError)
        assert when <= 3.6
        assert "max_wait" in str(error)
        assert error.is_worth_waiting


@in_virtual_time
async def test_without_max_wait_a_call_waits_as_long_as_its_limits_need():
    """The rest of a minute that others have used up, before anything was announced: two retries are enough."""
    service = MeteredService(FREE, used={("requests", "minute"): 5}, is_bucket=False, start=TEN_O_CLOCK - 10)
    outcome = await ask(service, 3)
    assert len(outcome.answered) == 3
    assert outcome.answered[0] >= 58
    assert len(service.refused) == 2
