"""The kinds of limit, one by one. test_pacing.py and test_pacing_simulation.py test how they work together."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.policy.limits import (
    AnnouncedWindow,
    Gate,
    GivenWindow,
    NamedRate,
    RateLimit,
    Reservation,
)
from langchain_cerebras_demo.records import Limit

# -- what users give


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("auto", RateLimit()),
        (None, None),
        (RateLimit(requests_per_minute=5), RateLimit(requests_per_minute=5)),
        ({"tokens_per_hour": 30_000}, RateLimit(tokens_per_hour=30_000)),
    ],
)
def test_a_rate_limit_is_auto_nothing_numbers_or_a_mapping(value, limit):
    """`rate_limit="auto"`, off, and explicit numbers."""
    assert RateLimit.from_value(value) == limit


def test_the_first_three_numbers_may_be_given_by_position():
    """As before there were more of them."""
    assert RateLimit(1, 2, 3) == RateLimit(requests_per_minute=1, tokens_per_minute=2, requests_per_day=3)


def test_each_window_has_a_number():
    """Requests and tokens, a second, a minute, an hour and a day."""
    names = [field.name for field in fields(RateLimit)]
    numbers = RateLimit(**{name: place + 1 for place, name in enumerate(names)}).numbers()
    assert {limit.replace(" ", "_"): number for limit, number in numbers.items()} == {
        name: place + 1 for place, name in enumerate(names)
    }


@pytest.mark.parametrize("name", [field.name for field in fields(RateLimit)])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 10**400, "600", True])
def test_a_limit_that_is_not_a_positive_number_is_refused_with_its_name_and_value(name, value):
    """The message names field and value."""
    with pytest.raises((ValueError, TypeError), match=rf"rate_limit\.{name}={value!r:.20}"):
        RateLimit(**{name: value})


@pytest.mark.parametrize("value", ["fast", 600, {"rpm": 5}])
def test_anything_else_is_refused_and_named(value):
    """With what may be given instead."""
    with pytest.raises((ValueError, TypeError), match="requests_per_minute"):
        RateLimit.from_value(value)


def test_the_former_address_still_works():
    """`policy.rate_limit`, of the first releases."""
    from langchain_cerebras_demo.policy import rate_limit

    assert rate_limit.RateLimit is RateLimit


# -- given numbers


@settings(deadline=None, max_examples=200)
@given(
    name=st.sampled_from([limit for limit in Limit if limit.unit]),
    number=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 1.5), st.floats(0, 1.0)), max_size=60),
)
def test_a_given_number_is_never_exceeded_in_any_period(name, number, steps):
    """In any order: a request that does not fit waits for the time that was returned, and is then sent."""
    window = GivenWindow(name, number)
    clock, sent = 0.0, []
    for pause, part in steps:
        clock += pause * name.seconds
        amount = 1.0 if name.unit == "requests" else part * number
        for _ in range(60):
            seconds = window.wait(amount, clock)
            if not seconds:
                break
            clock += max(seconds, 1e-4)  # as the pacer does: rounding errors are not waited for
        else:
            pytest.fail("it waits without end")
        window.take(amount, clock)
        inside = [one for when, one in sent if when > clock - name.seconds]
        assert not inside or sum(inside) + amount <= number * (1 + 1e-6)
        sent.append((clock, amount))


def test_most_of_a_given_number_can_be_used():
    """600 a minute, over five minutes."""
    window, clock, count = GivenWindow(Limit.REQUESTS_PER_MINUTE, 600), 0.0, 0
    while clock < 300:
        seconds = window.wait(1.0, clock)
        if not seconds:
            window.take(1.0, clock)
            count += 1
        clock += seconds + 0.001
    assert 0.95 * 3000 <= count <= 3000


def test_tokens_that_were_not_used_come_back_to_a_given_number():
    """To the slice that they were taken from."""
    window = GivenWindow(Limit.TOKENS_PER_HOUR, 1000)
    window.take(900, 0.0)
    assert window.wait(200, 0.0) > 0
    window.give_back(100, 0.0)
    assert window.wait(200, 0.0) == 0


# -- announced windows


def window(name=Limit.REQUESTS_PER_MINUTE, limit=60, ends=60.0):
    return AnnouncedWindow(name, limit, 0.0, ends)


def test_a_bucket_that_is_proven_refills_all_the_time_and_a_calendar_at_its_end():
    """30 of 60 are used: one more comes a second, or all at the end."""
    unproven, proven = window(), window()
    proven.is_refilling = True
    for one in (unproven, proven):
        for _ in range(60):
            one.take(1, 1)
    assert unproven.wait(1, 10.0, 0) == pytest.approx(50)
    assert proven.wait(1, 0.5, 0) == pytest.approx(0.5, abs=0.05)


def test_what_may_come_after_the_period_has_begun_counts_for_it():
    """It was sent just before."""
    one = window(Limit.TOKENS_PER_HOUR, limit=100, ends=60.0)
    one.take(100, 100)
    one.wait(1, 61.0, 30)
    assert one._calendar == 70


def test_the_pace_follows_what_is_left():
    """At three tenths it is that of the refill, at half of that half of it, above six tenths at most twice of it."""
    one = window(limit=600)
    paces = []
    for level in (600, 360, 180, 90):
        one._bucket = level
        paces.append(one._pace())
    assert paces == pytest.approx([20, 20, 10, 5])


# -- rates that refusals name


def test_a_rate_that_was_refused_twice_is_lower_and_grows_again():
    """By 15 %, or to a half where nothing was let in since."""
    rate = NamedRate(Limit.REQUESTS_PER_SECOND, 600, 0.0)
    rate.refuse(0.0, in_a_row=False)
    assert rate._per_minute == pytest.approx(510)
    rate.refuse(0.0, in_a_row=True)
    assert rate._per_minute == pytest.approx(255)
    rate.wait(5.0)
    assert rate._per_minute == pytest.approx(510)


# -- the pause after a refusal


def test_a_gate_that_was_never_closed_lets_all_through():
    """Nothing is counted against them."""
    gate = Gate()
    for _ in range(100):
        assert gate.wait(0.0) == 0
        gate.take(0.0)


def test_a_longer_pause_is_not_cut_by_a_shorter_one():
    """Whichever is heard of first."""
    gate = Gate()
    gate.close(Limit.UNKNOWN, 10.0, None, 0.0, 1)
    gate.close(Limit.QUEUE, 1.0, None, 0.0, 2)
    assert (gate.wait(0.0), gate.name) == (10.0, Limit.UNKNOWN)


@pytest.mark.parametrize(
    ("name", "is_proof"),
    [(Limit.REQUESTS_PER_MINUTE, True), (Limit.TOKENS_PER_MINUTE, False)],
)
def test_requests_that_come_back_within_a_period_prove_a_refill_and_tokens_do_not(name, is_proof):
    """Tokens come back in other ways, too: what a request has reserved and not used."""
    window = AnnouncedWindow(name, 600, clock=0.0, ends=60.0)
    window.correct(300, 0, Reservation(1, 5.0, 1, sent=1, spent=1), 5.1)
    window.correct(400, 0, Reservation(2, 20.0, 1, sent=2, spent=2), 20.1)
    assert window.is_refilling is is_proof
