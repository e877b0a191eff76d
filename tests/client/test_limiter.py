"""The process-wide queue, with real tasks, loops, threads and forks around the pure pacer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from langchain_cerebras_demo.client import limiter as module
from langchain_cerebras_demo.client.limiter import Limiter
from langchain_cerebras_demo.errors import APITimeoutError, InternalServerError, RateLimitError
from langchain_cerebras_demo.policy import RateLimit
from langchain_cerebras_demo.records import Limit, RateLimitSnapshot
from langchain_cerebras_demo.testing.refusals import REQUESTS_EXCEEDED
from langchain_cerebras_demo.wire.failure import from_answer
from tests.support.announcements import announce
from tests.support.processes import run_python
from tests.support.virtual_time import VirtualTimeLoop, in_virtual_time

AUTO = RateLimit()
NOTHING = RateLimitSnapshot()
WHO = ("account", "gpt-oss-120b")
MANY = 600_000_000  # tokens a minute: who needs few of them waits a moment, who needs all of them a minute


def tokens(remaining, limit=60_000):
    return announce(tokens_minute=(limit, remaining, 11.4))


def limiter_in_virtual_time():
    return Limiter(clock=asyncio.get_running_loop().time)


async def heard(limiter, snapshot, limit=AUTO):
    """One request has been answered with these headers."""
    ticket = await limiter.acquire(*WHO, 0, limit)
    ticket.observe(snapshot)
    ticket.settle(0)


def the_lane(limiter):
    (lane,) = limiter._lanes.values()
    return lane


async def waiting(limiter, count):
    """Until so many stand in the one queue."""
    while len(the_lane(limiter).waiters) != count:
        await asyncio.sleep(0)


# -- passing


@in_virtual_time
async def test_without_a_limit_ten_thousand_pass_at_once():
    """`abatch` of 10,000: microseconds each."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, NOTHING)
    began = time.perf_counter()
    for _ in range(10_000):
        ticket = await limiter.acquire(*WHO, 1000, AUTO)
        ticket.observe(NOTHING)
        ticket.settle(10)
    assert time.perf_counter() - began < 2.0  # some 0.1 s; the bound is for a busy machine
    assert ticket.waited == 0.0


@in_virtual_time
async def test_switched_off_it_only_listens():
    """Nobody waits, and `model.limits` still shows the snapshot."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, tokens(0), None)
    for _ in range(100):
        assert (await limiter.acquire(*WHO, 50_000, None)).waited == 0.0
    assert limiter.snapshot(*WHO) == tokens(0)


@in_virtual_time
async def test_the_snapshot_is_what_was_last_heard_of_this_account_and_model():
    """Also those of errors, and only of this model."""
    limiter = limiter_in_virtual_time()
    assert limiter.snapshot(*WHO) is None
    await heard(limiter, tokens(100))
    await asyncio.sleep(1)
    error = from_answer(500, {"x-ratelimit-limit-tokens-minute": "7"}, b"{}")
    assert isinstance(error, InternalServerError)
    (await limiter.acquire(*WHO, 0, RateLimit(requests_per_minute=600))).refused(error)
    assert limiter.snapshot(*WHO) == announce(tokens_minute=(7,))
    assert limiter.snapshot("account", "other") is None
    assert limiter.snapshot("other", "gpt-oss-120b") is None


# -- the queue


@in_virtual_time
async def test_waiters_are_served_first_come_first_served_and_small_ones_do_not_pass_a_large_one():
    """The large one at the head needs 1,500 tokens that come at 1,000 a second; those behind it would have room."""
    limiter, order = limiter_in_virtual_time(), []
    await heard(limiter, tokens(0))

    async def ask(name, cost):
        ticket = await limiter.acquire(*WHO, cost, AUTO)
        order.append(name)
        ticket.observe(tokens(60_000))  # a whole bucket, for all the others
        ticket.settle(0)

    names = ["large", *(f"small {number}" for number in range(50))]
    tasks = [asyncio.create_task(ask(name, 1500 if name == "large" else 10)) for name in names]
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert order == names


@in_virtual_time
async def test_what_is_heard_wakes_the_one_whose_turn_is_next():
    """If an answer shows that there is room, the waiter does not sleep until the computed time."""
    limiter = limiter_in_virtual_time()
    ticket = await limiter.acquire(*WHO, 0, AUTO)
    ticket.observe(tokens(0, limit=6000))
    newer = await limiter.acquire(*WHO, 0, AUTO)
    task = asyncio.create_task(limiter.acquire(*WHO, 5000, AUTO))
    await waiting(limiter, 1)
    newer.observe(tokens(6000, limit=6000))
    assert (await asyncio.wait_for(task, 5)).waited < 5


@in_virtual_time
async def test_a_waiter_that_is_cancelled_leaves_and_the_next_takes_its_turn():
    """At the head, in the middle and at the end."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, tokens(0))
    head, *others = [asyncio.create_task(limiter.acquire(*WHO, cost, AUTO)) for cost in (60_000, 100, 60_000, 1)]
    await waiting(limiter, 4)
    for gone in (others[1], others[2], head):
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert (await asyncio.wait_for(others[0], 20)).waited > 0
    assert the_lane(limiter).waiters == []


@in_virtual_time
async def test_a_request_that_was_refused_keeps_its_place():
    """It does not queue behind later requests."""
    limiter, order = limiter_in_virtual_time(), []
    await heard(limiter, NOTHING)
    first = await limiter.acquire(*WHO, 10, AUTO)
    first.refused(from_answer(429, {"retry-after": "0.3"}, json.dumps(REQUESTS_EXCEEDED).encode()))

    async def ask(name, place=None):
        ticket = await limiter.acquire(*WHO, 10, AUTO, place=place)
        order.append(name)
        ticket.observe(NOTHING)
        ticket.settle(1)

    later = [asyncio.create_task(ask(name)) for name in range(2)]
    await waiting(limiter, 2)
    again = asyncio.create_task(ask("again", first.place))
    await asyncio.wait_for(asyncio.gather(*later, again), 20)
    assert order == ["again", 0, 1]


# -- time


@in_virtual_time
async def test_a_used_up_day_raises_at_once_with_the_time_to_come_back():
    """Nothing was sent."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, announce(requests_day=(1000, 0, 33_011.38)))
    with pytest.raises(RateLimitError, match="requests per day") as caught:
        await limiter.acquire(*WHO, 10, AUTO)
    assert (caught.value.status_code, caught.value.attempts) == (429, 0)
    assert 33_000 < caught.value.retry_after <= 33_011.38
    assert the_lane(limiter).waiters == []


@in_virtual_time
async def test_a_deadline_ends_the_wait():
    """For the head of the queue and for those behind it; the message says what for."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, tokens(0))
    deadline = asyncio.get_running_loop().time() + 0.05
    calls = [limiter.acquire(*WHO, 60_000, AUTO, deadline) for _ in range(2)]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, APITimeoutError)
        assert "tokens per minute" in str(error)
        assert "timeout.total" in str(error)
    assert the_lane(limiter).waiters == []


@in_virtual_time
async def test_the_log_says_that_a_wait_for_a_limit_begins(caplog):
    """When it begins, and not after it; one that is over at once is not worth a line. Never the account."""
    limiter = limiter_in_virtual_time()
    quick, slow = RateLimit(requests_per_minute=600), RateLimit(requests_per_minute=20)
    for limit in (quick, slow):
        await heard(limiter, NOTHING, limit)
    with caplog.at_level(logging.INFO, "langchain_cerebras_demo"):
        tickets = [await limiter.acquire(*WHO, 100, quick) for _ in range(6)]
        assert 0 < tickets[-1].waited < 1
        assert caplog.messages == []
        waits = asyncio.create_task(limiter.acquire(*WHO, 100, slow))
        await asyncio.sleep(0)
        assert caplog.messages == [
            "requests to gpt-oss-120b wait for the rate limit (requests per minute): 1 of them, the first for 2.5 s"
        ]
        assert (await waits).waited == pytest.approx(2.5, abs=0.1)
    (line,) = caplog.records
    assert (line.levelno, line.cerebras_event, line.cerebras_limit) == (
        logging.INFO,
        "limit_wait",
        "requests per minute",
    )
    assert (line.cerebras_model, line.cerebras_queued) == ("gpt-oss-120b", 1)
    assert line.cerebras_wait == pytest.approx(2.5, abs=0.1)
    assert "account" not in caplog.text


@in_virtual_time
async def test_two_hundred_that_wait_are_one_line(caplog):
    """As long as any of them waits; when the queue was empty there is another one, but not twice in ten seconds."""
    limiter = limiter_in_virtual_time()
    limit = RateLimit(requests_per_minute=600)  # each waits a tenth of a second for the one before it
    await heard(limiter, NOTHING, limit)
    with caplog.at_level(logging.INFO, "langchain_cerebras_demo"):
        await asyncio.gather(*(limiter.acquire(*WHO, 1, limit) for _ in range(200)))
        assert len(caplog.messages) == 1
        await asyncio.gather(*(limiter.acquire(*WHO, 1, limit) for _ in range(200)))
        assert len(caplog.messages) == 2
        for _ in range(3):  # three seconds each
            await asyncio.gather(*(limiter.acquire(*WHO, 1, limit) for _ in range(30)))
    assert len(caplog.messages) == 3


# -- tickets


@in_virtual_time
async def test_a_ticket_gives_back_what_was_never_let_in_and_once_alone():
    """A request that was let in counts as used until the service says otherwise."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, tokens(60_000))
    level = the_lane(limiter).pacer._announced[Limit.TOKENS_PER_MINUTE]
    lost = await limiter.acquire(*WHO, 10_000, AUTO)
    assert level.level < 51_000
    for _ in range(3):
        lost.close()
    assert 59_000 < level.level <= 60_000
    broken = await limiter.acquire(*WHO, 10_000, AUTO)
    broken.observe(NOTHING)
    broken.close()
    assert level.level < 51_000
    assert the_lane(limiter).open_tickets == 0


@in_virtual_time
async def test_idle_queues_are_forgotten_when_there_are_too_many():
    """Thousands of keys come and go."""
    limiter = limiter_in_virtual_time()
    kept = await limiter.acquire("kept", "m", 10, AUTO)
    for number in range(3 * module._MOST_LANES):
        (await limiter.acquire(f"account {number}", "m", 10, AUTO)).close()
    assert len(limiter._lanes) <= module._MOST_LANES
    assert ("kept", "m", AUTO) in limiter._lanes
    kept.close()


# -- threads, loops, forks


def test_eight_threads_with_eight_loops_share_one_queue():
    """600 a minute for all together, and everyone gets through."""
    limiter = Limiter()
    limit = RateLimit(requests_per_minute=3000)  # 50 a second, 25 at once
    passed = []

    async def work():
        for _ in range(10):
            ticket = await limiter.acquire(*WHO, 10, limit)
            passed.append(time.monotonic())
            ticket.observe(NOTHING)
            ticket.settle(1)

    began = time.monotonic()
    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(passed) == 80
    assert max(passed) - began >= (80 - 25) / 50 * 0.95
    assert the_lane(limiter).is_idle


def test_a_waiter_of_a_closed_loop_is_skipped():
    """Event loops give no shutdown notice; the waiters behind it continue."""
    limiter = Limiter()
    dead = asyncio.new_event_loop()

    async def leave_one_waiting():
        await heard(limiter, tokens(MANY // 2, limit=MANY))
        task = asyncio.ensure_future(limiter.acquire(*WHO, MANY, AUTO))
        await waiting(limiter, 1)
        return task

    task = dead.run_until_complete(leave_one_waiting())
    stopped = the_lane(limiter).waiters[0]

    async def go():
        return await asyncio.wait_for(limiter.acquire(*WHO, 100, AUTO), 10)

    asyncio.run(go()).close()  # it has only stopped: skipped
    assert the_lane(limiter).waiters == [stopped]
    task._log_destroy_pending = False
    dead.close()
    asyncio.run(go()).close()  # it is closed: gone
    assert the_lane(limiter).waiters == []
    with contextlib.suppress(RuntimeError):
        task.get_coro().close()


def test_a_waiter_notices_that_the_loop_before_it_has_stopped():
    """It was behind one of another loop when that loop stopped."""
    limiter = Limiter()
    is_stopping = threading.Event()
    first = asyncio.new_event_loop()

    async def head():
        await heard(limiter, tokens(MANY // 2, limit=MANY))
        task = asyncio.ensure_future(limiter.acquire(*WHO, MANY, AUTO))
        await waiting(limiter, 2)
        is_stopping.set()
        return task

    found = []
    thread = threading.Thread(target=lambda: found.append(first.run_until_complete(head())))

    async def behind():
        thread.start()
        while not limiter._lanes or not the_lane(limiter).waiters:
            await asyncio.sleep(0.001)
        ticket = await asyncio.wait_for(limiter.acquire(*WHO, 100, AUTO), 10)
        ticket.close()

    asyncio.run(behind())
    thread.join(5)
    assert is_stopping.is_set()
    (task,) = found
    task.cancel()
    first.run_until_complete(asyncio.gather(task, return_exceptions=True))
    first.close()
    assert the_lane(limiter).waiters == []


def test_a_forked_child_starts_anew_whatever_the_parent_held():
    """Another thread may have held the lock, and waiters do not live on."""
    ran = run_python(
        """
        import asyncio, os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: that is the point
        from langchain_cerebras_demo.client.limiter import process_limiter
        from langchain_cerebras_demo.policy import RateLimit
        limiter, held, done = process_limiter(), threading.Event(), threading.Event()
        async def ask():
            return await limiter.acquire("a", "m", 10, RateLimit(requests_per_minute=60))
        ticket = asyncio.run(ask())
        def hold():
            with limiter._lock:
                held.set()
                done.wait(20)
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(20)
        child = os.fork()
        if child == 0:
            asyncio.run(ask()).settle(1)
            ticket.close()
            os._exit(7)
        _, status = os.waitpid(child, 0)
        done.set()
        thread.join()
        print(os.waitstatus_to_exitcode(status))
        """
    )
    assert (ran.stdout.strip(), ran.stderr) == ("7", "")


# -- waits that are too long


@in_virtual_time
async def test_max_wait_ends_the_wait_with_an_error_that_names_it_and_the_limit():
    """For the head of the queue and for those behind it; nothing was sent."""
    limiter = limiter_in_virtual_time()
    await heard(limiter, tokens(0))
    began = asyncio.get_running_loop().time()
    calls = [limiter.acquire(*WHO, 1000, AUTO, max_wait=3.0) for _ in range(2)]
    head, behind = await asyncio.gather(*calls, return_exceptions=True)
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)
    for error in (head, behind):
        assert isinstance(error, RateLimitError)
        assert "max_wait" in str(error)
        assert (error.limit, error.attempts, error.is_worth_waiting) == (Limit.TOKENS_PER_MINUTE, 0, True)
    assert head.retry_after == pytest.approx(8.4)
    assert the_lane(limiter).waiters == []


@in_virtual_time
async def test_those_for_whom_the_day_has_nothing_left_are_refused_as_soon_as_that_is_known():
    """They do not wait until the others have used it up."""
    limiter = limiter_in_virtual_time()
    first = await limiter.acquire(*WHO, 0, AUTO)
    calls = [asyncio.create_task(limiter.acquire(*WHO, 0, AUTO)) for _ in range(5)]
    await waiting(limiter, 5)
    first.observe(announce(requests_minute=(1, 0, 60.0), requests_day=(1000, 2, 3600.0)))
    await asyncio.sleep(1)
    assert [call.done() for call in calls] == [False, False, True, True, True]
    for call in calls[2:]:
        error = call.exception()
        assert (error.limit, error.attempts) == (Limit.REQUESTS_PER_DAY, 0)
        assert error.retry_after == pytest.approx(3600)
    for call in calls[:2]:
        call.cancel()


# -- anything at all

NAMES = ["requests_second", "requests_minute", "tokens_minute", "requests_hour", "tokens_hour", "requests_day"]
FIGURES = st.tuples(st.sampled_from([0, 1, 3, 60, 5000, 10**9]), st.sampled_from([0, 1, 2, 100, 5000, 10**10]))
WINDOWS = st.dictionaries(st.sampled_from(NAMES), FIGURES, max_size=4)
DATES = st.none() | st.floats(0, 2e9)
REFUSALS = st.tuples(st.sampled_from(list(Limit)), st.none() | st.floats(0, 100))
GIVEN = {"requests_per_second": 2, "requests_per_minute": 20, "tokens_per_minute": 4000, "requests_per_hour": 400}


class AnyQueue(RuleBasedStateMachine):
    """Requests, answers, refusals, cancellations and a clock that jumps, in any order.

    Nothing is sent above a given number, nobody is forgotten, and nobody waits longer than the slowest window says.
    """

    def __init__(self):
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.ahead = 0.0
        self.limiter = Limiter(clock=self.now, utc=lambda: 1e9 + self.loop.time())
        self.tasks, self.tickets, self.sent = [], [], []
        self.given = RateLimit()

    def now(self):
        return self.loop.time() + self.ahead

    @initialize(given=st.dictionaries(st.sampled_from(list(GIVEN)), st.none(), max_size=3))
    def begin(self, given):
        self.given = RateLimit(**{name: GIVEN[name] for name in given})

    def sleep(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    async def ask(self, cost):
        with contextlib.suppress(RateLimitError):
            ticket = await self.limiter.acquire(*WHO, cost, self.given)
            sent = [self.now(), cost]
            self.tickets.append((ticket, sent))
            self.sent.append(sent)

    @rule(cost=st.sampled_from([0, 10, 1000, 3900]), count=st.integers(1, 4))
    def ask_for_some(self, cost, count):
        self.tasks += [self.loop.create_task(self.ask(cost)) for _ in range(count)]
        self.sleep(0)

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 9), windows=WINDOWS, date=DATES)
    def answer(self, which, windows, date):
        ticket, sent = self.tickets.pop(which % len(self.tickets))
        sent[1] /= 2
        ticket.observe(announce(date, **windows))
        ticket.settle(sent[1])

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 9), refusal=REFUSALS, windows=WINDOWS)
    def refuse(self, which, refusal, windows):
        error = RateLimitError("429: no", retry_after=refusal[1], limits=announce(**windows))
        error.limit = refusal[0]
        ticket, sent = self.tickets.pop(which % len(self.tickets))
        sent[1] = 0
        ticket.refused(error)

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 9))
    def cancel(self, which):
        self.tasks[which % len(self.tasks)].cancel()
        self.sleep(0)

    @rule(seconds=st.sampled_from([0.01, 1.0, 30.0, 3600.0]))
    def pass_time(self, seconds):
        self.sleep(seconds)

    @rule(seconds=st.sampled_from([-1e6, -5.0, 5.0, 1e6]))
    def jump(self, seconds):
        self.ahead += seconds
        if seconds < 0:  # then the times of two requests cannot be compared any more
            self.sent.clear()

    @invariant()
    def nothing_is_sent_above_a_given_number(self):
        for limit, number in self.given.numbers().items():
            inside = []
            for sent in self.sent:
                inside = [one for one in inside if one[0] > sent[0] - limit.seconds] + [sent]
                assert (sum(one[1] for one in inside) if limit.unit == "tokens" else len(inside)) <= number

    def teardown(self):
        """Whoever waits still, is let through in time when the service answers as it should."""
        good = announce(**dict.fromkeys(NAMES, (10**9, 10**9)))
        slowest = 2 * 3600.0 + 120.0  # twice an hour's window, and the longest retry-after
        by_given = max(
            (self.cost(limit) / number * limit.seconds for limit, number in self.given.numbers().items()), default=0
        )
        end = self.loop.time() + slowest + 2.2 * by_given + 62.0 * 2
        while not all(task.done() for task in self.tasks):
            assert self.loop.time() < end, "somebody was forgotten"
            self.sleep(1.0)
            while self.tickets:
                ticket, sent = self.tickets.pop()
                sent[1] = 0
                ticket.observe(good)
                ticket.settle(0)
        self.nothing_is_sent_above_a_given_number()
        self.loop.close()

    def cost(self, limit):
        left = [task for task in self.tasks if not task.done()]
        return len(left) * (3900 if limit.unit == "tokens" else 1)


TestAnyQueue = AnyQueue.TestCase
TestAnyQueue.settings = settings(deadline=None, max_examples=25, stateful_step_count=20)
