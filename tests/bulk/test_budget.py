"""Budgets, as users give them and as they are spent."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.bulk.budget import Budget, Spending


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        (None, Budget()),
        ("2M tokens", Budget(tokens=2_000_000)),
        ("500 requests", Budget(requests=500)),
        ("1,500 Requests", Budget(requests=1500)),
        ("1.5k tokens, 20 requests", Budget(tokens=1500, requests=20)),
        ("10 requests and 1B tokens", Budget(tokens=1e9, requests=10)),
        ({"tokens": 5}, Budget(tokens=5)),
        (Budget(tokens=1), Budget(tokens=1)),
    ],
)
def test_a_budget_is_given_in_words_or_numbers(given, budget):
    """Tokens, requests, both."""
    assert Budget.from_value(given) == budget


@pytest.mark.parametrize(
    "given", ["", "5", "5 dollars", "-5 tokens", "0 tokens", {"euros": 1}, 5, {"tokens": True}, {"tokens": -1}]
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
