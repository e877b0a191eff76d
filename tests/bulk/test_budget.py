"""Budgets: parsing and spending."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone

import pytest

from langchain_cerebras_demo.bulk.budget import Budget, Spending


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        (None, Budget()),
        ("2M tokens", Budget(tokens=2_000_000)),
        ("500 requests", Budget(requests=500)),
        ("1 request, 1 token", Budget(requests=1, tokens=1)),
        ("1,500 Requests", Budget(requests=1500)),
        ("1.5k tokens, 20 requests", Budget(tokens=1500, requests=20)),
        ("10 requests and 1B tokens", Budget(tokens=1e9, requests=10)),
        ("$5", Budget(usd=5)),
        ("2.50 USD, 20 requests", Budget(usd=2.5, requests=20)),
        ("2M tokens, $1,000.50, by 07:00", Budget(tokens=2_000_000, usd=1000.5, deadline="07:00")),
        ("2030-01-31 07:00", Budget(deadline="2030-01-31 07:00")),
        ({"tokens": 5}, Budget(tokens=5)),
        (Budget(tokens=1), Budget(tokens=1)),
    ],
)
def test_a_budget_is_given_in_words_or_numbers(given, budget):
    """Tokens, requests, dollars, a time."""
    assert Budget.from_value(given) == budget


@pytest.mark.parametrize(
    "given",
    [
        "",
        "5",
        "5 euros",
        "-5 tokens",
        "0 tokens",
        {"euros": 1},
        5,
        "by 25:00",
        "by noon",
        {"deadline": 5},
        {"tokens": True},
        {"tokens": -1},
    ],
)
def test_what_is_no_budget_is_refused(given):
    """And the message shows one."""
    with pytest.raises(ValueError, match="budget"):
        Budget.from_value(given)


def test_requests_under_way_count():
    """Three are allowed: a fourth has to wait, or a failed one's retries would be too many."""
    spending = Spending(Budget(requests=3))
    for _ in range(3):
        assert spending.may_ask()
        spending.begin()
    assert not spending.may_ask()
    spending.end(10, 2)
    assert not spending.may_ask()


def test_tokens_under_way_count_as_the_mean():
    """1,000 allowed, 300 a row: after the first answer three more fit, but not two at once with one of 300 spent on top."""
    spending = Spending(Budget(tokens=1000))
    spending.begin()
    spending.end(300, 1)
    for _ in range(2):
        assert spending.may_ask()
        spending.begin()
    assert not spending.may_ask()
    spending.end(50, 1)
    assert spending.may_ask()
    assert "350 of 1,000 tokens" in str(spending)


NOW = datetime(2026, 3, 1, 8, 30).astimezone()


@pytest.mark.parametrize(
    ("deadline", "minutes"),
    [
        ("08:45", 15),
        ("08:00", 23.5 * 60),
        ("by 08:45", 15),
        ("By 2026-03-01 09:30", 60),
        (timedelta(hours=2), 120),
        (NOW.astimezone(timezone.utc) + timedelta(hours=1), 60),
        ((NOW + timedelta(hours=1)).isoformat(), 60),
    ],
)
def test_a_deadline_is_the_next_time_of_day_or_a_moment_or_a_while(deadline, minutes):
    """At half past eight, eight o'clock is tomorrow."""
    assert Budget(deadline=deadline).ends_at(NOW) == NOW.timestamp() + minutes * 60


def test_dollars_in_flight_count_as_the_mean():
    """A dollar allowed, 40 cents a row: after the first answer one more fits, not two at once. Reused answers cost nothing."""
    spending = Spending(Budget(usd=1.0))
    spending.begin()
    spending.end(10, 1, 0.4)
    spending.begin()
    spending.end(0, 0)
    assert spending.may_ask()
    spending.begin()
    assert not spending.may_ask()
    assert "$0.4000 of $1" in str(spending)


def test_rows_that_are_not_sent_do_not_lower_the_mean():
    """5,000 tokens allowed, a hundred rows without a valid prompt, and one of 1,000: four more fit at once."""
    spending = Spending(Budget(tokens=5000))
    for _ in range(100):
        spending.begin()
        spending.end(0, 0)
    spending.begin()
    spending.end(1000, 1)
    for _ in range(4):
        assert spending.may_ask()
        spending.begin()
    assert not spending.may_ask()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no time.tzset")
def test_a_time_of_day_is_right_across_the_change_of_the_clocks(monkeypatch):
    """On the evening before the summer time begins, 7 a.m. is 7 hours away at midnight, not 8."""
    try:
        monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        evening = datetime(2026, 3, 28, 23, 0).astimezone()
        ends_at = Budget(deadline="07:00").ends_at(evening)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert datetime.fromtimestamp(ends_at, timezone.utc) == datetime(2026, 3, 29, 5, 0, tzinfo=timezone.utc)
