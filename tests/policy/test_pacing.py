"""When a request may go: pure arithmetic over costs, headers, refusals and a clock that the test holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.policy import pacing, rate_limit
from langchain_cerebras_demo.policy.pacing import Pacer
from langchain_cerebras_demo.policy.rate_limit import RateLimit
from langchain_cerebras_demo.policy.retry import LONGEST_WISH
from langchain_cerebras_demo.policy.sharing import Bucket
from langchain_cerebras_demo.records import RateLimitSnapshot
from langchain_cerebras_demo.wire.headers import to_snapshot

NOTHING = RateLimitSnapshot()


def tokens(remaining, limit=60_000):
    return RateLimitSnapshot(limit_tokens_minute=limit, remaining_tokens_minute=remaining, reset_tokens_minute=11.4)


def day(left, reset=33_011.38):
    return RateLimitSnapshot(limit_requests_day=1000, remaining_requests_day=left, reset_requests_day=reset)


def heard(snapshot, now=0.0):
    """A pacer whose first request was answered with these headers."""
    pacer = Pacer()
    reservation = pacer.take(0, now)
    pacer.observe(reservation, snapshot, now)
    pacer.settle(reservation, 0, now)
    return pacer


# -- the bucket


def test_a_bucket_refills_and_tells_when_a_cost_is_there():
    """Continuously, up to its capacity; more than it ever holds may go when it is full."""
    bucket = Bucket(100, 10, level=0)
    assert bucket.time_until(50) == 5
    bucket.advance(5)
    assert bucket.time_until(50) == 0
    bucket.take(50)
    assert bucket.time_until(1000) == 10
    bucket.advance(1e9)
    assert (bucket.level, bucket.time_until(1000)) == (100, 0)
    bucket.give_back(50)
    assert bucket.level == 100


# -- before and without limits


def test_the_first_request_goes_and_the_next_wait_for_its_answer():
    """And if that is slow, twice as many go every second."""
    pacer = Pacer()
    assert pacer.wait(1000, 0.0).seconds == 0
    first = pacer.take(1000, 0.0)
    assert pacer.wait(1000, 0.0).limit == pacing.FIRST_ANSWER
    gone = 1
    for second in range(1, 4):
        while pacer.wait(1000, second + 0.01).seconds == 0:
            pacer.take(1000, second + 0.01)
            gone += 1
        assert 2**second <= gone <= 2**second + 1
    pacer.observe(first, NOTHING, 3.5)
    assert pacer.wait(1000, 3.5).seconds == 0


def test_where_no_limit_is_known_nobody_waits():
    """The answer had no headers of limits."""
    pacer = heard(NOTHING)
    for _ in range(10_000):
        assert pacer.wait(1e6, 1.0).seconds == 0
        pacer.take(1e6, 1.0)


def test_a_first_request_that_never_arrived_holds_nobody_up():
    """Its reservation came back: the next one asks."""
    pacer = Pacer()
    pacer.settle(pacer.take(1000, 0.0), 0, 0.1)
    assert pacer.wait(1000, 0.1).seconds == 0


# -- tokens a minute


def test_a_request_waits_until_its_tokens_are_there():
    """1,000 tokens come in a second; 5,000 are missing."""
    wait = heard(tokens(5_000)).wait(10_000, 0.0)
    assert wait.limit == rate_limit.TOKENS_A_MINUTE
    assert wait.seconds == pytest.approx(5.0)
    assert not wait.is_final


def test_a_request_larger_than_the_whole_bucket_goes_when_it_is_full():
    """It would wait for ever."""
    assert heard(tokens(60_000)).wait(90_000, 0.0).seconds == 0
    assert heard(tokens(30_000)).wait(90_000, 0.0).seconds == pytest.approx(30.0)


def test_what_was_sent_after_the_answered_request_is_not_forgotten():
    """The service had not seen it when it said what was left."""
    pacer = heard(tokens(60_000))
    first = pacer.take(10_000, 0.0)
    pacer.take(20_000, 0.0)
    pacer.observe(first, tokens(50_000), 0.0)
    assert pacer._tokens.level == 30_000
    assert pacer.wait(31_000, 0.0).seconds >= 1.0


def test_an_answer_older_than_one_already_heard_corrects_nothing():
    """It is old news."""
    pacer = heard(tokens(60_000))
    first, second = pacer.take(100, 0.0), pacer.take(100, 0.0)
    pacer.observe(second, tokens(30_000), 0.0)
    pacer.observe(first, tokens(59_900), 0.0)
    assert pacer.wait(60_000, 0.0).seconds >= 30


def test_unused_tokens_come_back_once():
    """Settling twice gives back once."""
    pacer = heard(tokens(60_000))
    reservation = pacer.take(50_000, 0.0)
    for _ in range(3):
        pacer.settle(reservation, 10_000, 0.0)
    assert pacer.wait(60_000, 0.0).seconds == pytest.approx(10.0)


def test_a_refused_request_has_taken_nothing():
    """What the 429 says is left, is left."""
    pacer = heard(tokens(60_000))
    reservation = pacer.take(20_000, 0.0)
    pacer.refused(reservation, rate_limit.TOKENS_A_MINUTE, None, 0.0, tokens(15_000))
    assert pacer.wait(20_000, 0.0).seconds == pytest.approx(5.0)
    pacer.settle(reservation, 0, 0.0)
    assert pacer.wait(20_000, 0.0).seconds == pytest.approx(5.0)


def test_a_given_number_of_tokens_holds_whatever_is_announced():
    """Half of a minute's at once, the rest at its rate."""
    pacer = Pacer(RateLimit(tokens_per_minute=6_000))
    pacer.observe(pacer.take(3_000, 0.0), tokens(1_000_000, 1_000_000), 0.0)
    assert pacer.wait(975, 0.0).seconds == pytest.approx(10.0)


# -- requests


def test_a_given_number_of_requests_is_evenly_spent():
    """5 a minute: one every 12 seconds and a bit, and the wait says why."""
    pacer = Pacer(RateLimit(requests_per_minute=5))
    pacer.observe(pacer.take(10, 0.0), NOTHING, 0.0)
    wait = pacer.wait(10, 0.0)
    assert wait.limit == rate_limit.REQUESTS_A_MINUTE
    assert wait.seconds == pytest.approx(12 / 0.975)


def test_a_429_that_names_requests_a_minute_slows_all_down_and_the_pace_comes_back():
    """A rate is guessed, and forgotten when it has long not been reached."""
    pacer = heard(NOTHING)
    for _ in range(60):
        last = pacer.take(10, 1.0)
    pacer.refused(last, rate_limit.REQUESTS_A_MINUTE, None, 1.0)
    assert pacer.wait(10, 1.0).seconds > 0
    times = []
    now = 1.0
    while now < 10.0:
        wait = pacer.wait(10, now).seconds
        if wait == 0:
            pacer.observe(pacer.take(10, now), NOTHING, now)
            times.append(now)
        now += max(wait, 0.001)
    assert 5 <= len(times) <= 40
    for minute in range(200):
        pacer.wait(10, 60.0 * minute)
    assert pacer._guess is None


def test_refusals_of_one_flight_count_once():
    """Ten requests that went together are one piece of news, not ten."""
    pacer = heard(NOTHING)
    flight = [pacer.take(10, 1.0) for _ in range(10)]
    for sent in flight:
        pacer.refused(sent, rate_limit.UNKNOWN, None, 1.0)
    assert 0 < pacer.wait(10, 1.0).seconds <= 1


def test_an_outage_does_not_slow_down_what_comes_after_it():
    """Twenty refusals in a row, and two minutes later as many go as before."""
    pacer, now = heard(NOTHING), 0.0
    for _ in range(600):
        pacer.observe(pacer.take(10, 1.0), NOTHING, 1.0)
    for _ in range(20):
        now += max(pacer.wait(10, now).seconds, 1.0)
        pacer.refused(pacer.take(10, now), rate_limit.UNKNOWN, None, now)
    outage, gone = now, []
    while now < outage + 180:
        now += (wait := pacer.wait(10, now).seconds) and wait + 0.001
        if not wait:
            pacer.observe(pacer.take(10, now), NOTHING, now)
            gone.append(now)
    assert sum(when > outage + 120 for when in gone) >= 60


def test_retry_after_closes_the_gate_for_all():
    """For as long as it says; above two minutes it is a refusal."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 0.0), rate_limit.UNKNOWN, 7.0, 0.0)
    assert pacer.wait(10, 0.0) == (7.0, rate_limit.RETRY_AFTER, False)
    assert pacer.wait(10, 7.1).seconds < 7
    pacer.refused(pacer.take(10, 8.0), rate_limit.UNKNOWN, 3600.0, 8.0)
    assert pacer.wait(10, 8.0) == (3600.0, rate_limit.RETRY_AFTER, True)


def test_a_retry_after_that_is_too_long_is_tried_once_a_minute():
    """It may be a lie: an answer opens the gate for all."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 0.0), rate_limit.UNKNOWN, 1e15, 0.0)
    assert pacer.wait(10, 59.0) == (86_400 - 59.0, rate_limit.RETRY_AFTER, True)
    assert not pacer.wait(10, 60.0).is_final
    trial = pacer.take(10, 60.0)
    assert pacer.wait(10, 60.0).is_final
    pacer.observe(trial, NOTHING, 61.0)
    assert not pacer.wait(10, 61.0).is_final


# -- the day


def test_a_day_that_is_used_up_is_final_and_says_when_it_is_over():
    """The caller can raise at once, with the time to come back."""
    wait = heard(day(0)).wait(10, 1.0)
    assert (wait.limit, wait.is_final) == (rate_limit.REQUESTS_A_DAY, True)
    assert wait.seconds == pytest.approx(33_010.38)


def test_requests_on_their_way_count_for_the_day():
    """Two are left, two have gone: a third does not go."""
    pacer = heard(day(2))
    for _ in range(2):
        assert pacer.wait(10, 0.0).seconds == 0
        pacer.take(10, 0.0)
    assert pacer.wait(10, 0.0).is_final


def test_the_end_of_a_day_that_is_near_is_waited_for():
    """Two minutes are no refusal."""
    wait = heard(day(0, reset=LONGEST_WISH)).wait(10, 1.0)
    assert (wait.seconds, wait.is_final) == (LONGEST_WISH - 1, False)


def test_a_day_that_is_used_up_is_tried_once_a_minute():
    """The header may have lied, or the limit been raised."""
    pacer = heard(day(0))
    assert pacer.wait(10, 59.0).is_final
    assert pacer.wait(10, 60.0).seconds == 0
    one = pacer.take(10, 60.0)
    assert pacer.wait(10, 60.0).is_final
    pacer.observe(one, day(500), 61.0)
    assert pacer.wait(10, 61.0).seconds == 0


def test_a_given_number_a_day_is_final_when_used_up():
    """As an announced one."""
    pacer = Pacer(RateLimit(requests_per_day=2))
    for _ in range(2):
        pacer.observe(pacer.take(1, 0.0), NOTHING, 0.0)
    wait = pacer.wait(1, 0.0)
    assert (wait.limit, wait.is_final) == (rate_limit.REQUESTS_A_DAY, True)


# -- what lies

FIGURES = st.sampled_from(["-1", "nan", "inf", "abc", "1e300", "", "0", "1", "5", "200000", "1e15", "99.9"])
LYING = st.dictionaries(
    st.sampled_from(
        [
            f"x-ratelimit-{what}-{of}"
            for what in ("limit", "remaining", "reset")
            for of in ("tokens-minute", "requests-day")
        ]
    ),
    FIGURES,
)
STEPS = st.lists(
    st.tuples(LYING, st.floats(-1e6, 1e6) | st.floats(0, 5), st.floats(0, 1e6), st.sampled_from("osrx")), max_size=40
)


@settings(deadline=None, max_examples=300)
@given(steps=STEPS)
@example(steps=[({}, 0.0, 0.0, "o")] * 5 + [({}, 0.0, 0.0, "r")] * 6)
@example(steps=[({}, float(number == 5), 0.0, kind) for number, kind in enumerate("rrrrrrrrrooororr")])
def test_headers_that_lie_and_a_clock_that_jumps_do_no_harm(steps):
    """Whatever came: no exception, a finite wait, and good headers set all right within two minutes."""
    pacer, now = Pacer(), 0.0
    for headers, jump, cost, kind in steps:
        now += jump
        wait = pacer.wait(cost, now)
        assert math.isfinite(wait.seconds)
        assert wait.seconds >= 0
        reservation = pacer.take(cost, now)
        if kind == "r":
            pacer.refused(reservation, rate_limit.UNKNOWN, 1e15, now, to_snapshot(headers))
        elif kind == "x":
            pacer.refused(reservation, rate_limit.TOKENS_A_MINUTE, None, now, to_snapshot(headers))
        else:
            pacer.observe(reservation, to_snapshot(headers), now)
            if kind == "s":
                pacer.settle(reservation, cost * 2, now)
    good = RateLimitSnapshot(1000, 900, 33_000.0, 60_000, 60_000, 11.4)
    pacer.observe(pacer.take(1, now), good, now)
    end = now + 121  # two minutes, and the last look of a waiter that looks once a second
    while (wait := pacer.wait(1000, now)).seconds:
        assert not wait.is_final
        now += wait.seconds + 0.001
        assert now < end


def test_a_clock_that_jumps_back_stands_still():
    """A wait does not grow by the jump, and goes on from there."""
    pacer = heard(tokens(5_000), now=1e6)
    assert pacer.wait(10_000, 10.0).seconds == pytest.approx(5.0)
    assert pacer.wait(10_000, 14.0).seconds == pytest.approx(1.0)
