"""Limits as users give them, and as a refusal names them."""

from __future__ import annotations

import json
import math

import pytest

from langchain_cerebras_demo.errors import RateLimitError
from langchain_cerebras_demo.policy import rate_limit
from langchain_cerebras_demo.policy.rate_limit import RateLimit, to_limit
from langchain_cerebras_demo.testing.refusals import QUEUE_EXCEEDED, REQUESTS_EXCEEDED, TOKENS_EXCEEDED
from langchain_cerebras_demo.wire.failure import from_answer

# -- what users give


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("auto", RateLimit()),
        (None, None),
        (RateLimit(requests_per_minute=5), RateLimit(requests_per_minute=5)),
        ({"tokens_per_minute": 30_000}, RateLimit(tokens_per_minute=30_000)),
    ],
)
def test_a_rate_limit_is_auto_nothing_numbers_or_a_mapping(value, limit):
    """`rate_limit="auto"`, off, and explicit numbers."""
    assert RateLimit.from_value(value) == limit


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "requests_per_day"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 10**400, "600", True])
def test_a_limit_that_is_no_positive_number_is_refused_with_its_name_and_value(name, value):
    """Field and value stand in the message."""
    with pytest.raises((ValueError, TypeError), match=rf"rate_limit\.{name}={value!r:.20}"):
        RateLimit(**{name: value})


@pytest.mark.parametrize("value", ["fast", 600, {"rpm": 5}])
def test_anything_else_is_refused_and_named(value):
    """With what may be given instead."""
    with pytest.raises((ValueError, TypeError), match="requests_per_minute"):
        RateLimit.from_value(value)


# -- which limit a 429 names


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (REQUESTS_EXCEEDED, rate_limit.REQUESTS_A_MINUTE),
        (TOKENS_EXCEEDED, rate_limit.TOKENS_A_MINUTE),
        (QUEUE_EXCEEDED, rate_limit.QUEUE),
        ({"message": "Requests per day limit exceeded", "code": "request_quota_exceeded"}, rate_limit.REQUESTS_A_DAY),
        ({"message": "Tokens per day limit exceeded", "code": "token_quota_exceeded"}, rate_limit.UNKNOWN),
        ({"message": "Tokens per hour limit exceeded", "code": "token_quota_exceeded"}, rate_limit.UNKNOWN),
        ({"message": "no"}, rate_limit.UNKNOWN),
    ],
)
def test_a_429_says_which_limit(body, limit):
    """By its recorded words."""
    error = from_answer(429, {}, json.dumps(body).encode())
    assert isinstance(error, RateLimitError)
    assert to_limit(error) == limit
