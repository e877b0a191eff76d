"""Whether a failed attempt is made again, and when: pure arithmetic over every error, attempt and chance."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.policy import RetryPolicy
from langchain_cerebras_demo.wire.failure import from_answer

WISHES = st.none() | st.floats(0, 1e15)
CHANCES = st.floats(0, 1)
ATTEMPTS = st.integers(1, 5) | st.integers(1, 100_000)
POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 5) | st.integers(0, 200_000),
    first_wait=st.floats(0, 10),
    longest_wait=st.floats(0, 100),
    longest_retry_after=st.floats(0, 1000),
)
STATUSES = st.sampled_from([400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529])


def status_error(status, seconds=None):
    error = from_answer(status, {}, b"{}")
    error.retry_after = seconds
    return error


ERRORS = st.builds(status_error, STATUSES, WISHES) | st.sampled_from(
    [
        errors.APIConnectionError("m"),
        errors.APITimeoutError("m"),
        errors.StreamInterruptedError("m"),
        errors.APIResponseValidationError("m"),
    ]
)


@settings(deadline=None, max_examples=300)
@given(policy=POLICIES, error=ERRORS, attempt=ATTEMPTS, chance=CHANCES)
@example(policy=RetryPolicy(max_retries=200_000), error=status_error(500), attempt=100_000, chance=1.0)
def test_every_decision_keeps_the_rules(policy, error, attempt, chance):
    """Stop behind the last retry, for what a fresh call cannot mend, and for an absurd `retry-after`; else a bounded wait."""
    wait = policy.wait(error, attempt, chance)
    seconds = getattr(error, "retry_after", None)
    if attempt > policy.max_retries or not error.is_retryable or (seconds or 0) > policy.longest_retry_after:
        assert wait is None
        return
    assert wait is not None
    assert math.isfinite(wait)
    assert (
        (seconds or 0.0)
        <= wait
        <= (seconds or 0.0) + min(policy.longest_wait, policy.first_wait * 2.0 ** min(attempt - 1, 99))
    )


def test_two_retries_are_the_default():
    """As in the vendors' SDKs."""
    assert RetryPolicy().max_retries == 2


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_policy_allows_one_send_more_than_its_retries(max_retries):
    """`max_retries=3` means at most four sends."""
    policy, sends = RetryPolicy(max_retries=max_retries), 1
    while policy.wait(errors.APIConnectionError("m"), sends, 0.5) is not None:
        sends += 1
    assert sends == max_retries + 1


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_waits_double_up_to_the_longest_and_jitter_takes_any_part_of_them(chance, part):
    """Full jitter: callers that failed together do not wake together."""
    policy = RetryPolicy(max_retries=9)
    waits = [policy.wait(errors.APITimeoutError("m"), attempt, chance) for attempt in range(1, 8)]
    assert waits == [part * bound for bound in (0.5, 1, 2, 4, 8, 8, 8)]


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(0.0, 0.25), (3.0, 3.25), (61.0, 61.25), (120.0, 120.25), (120.1, None), (86_400.0, None)],
)
def test_the_servers_retry_after_is_obeyed_with_jitter_on_top_and_an_absurd_one_stops(seconds, wait):
    """Never sooner than it asked; beyond two minutes the error tells the caller instead."""
    assert RetryPolicy().wait(status_error(429, seconds), 1, 0.5) == wait


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_what_a_fresh_call_cannot_mend_is_never_sent_again(status):
    """Not even where the server names a time."""
    assert RetryPolicy(max_retries=100).wait(status_error(status, 1.0), 1, 0.5) is None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_sent_again(status):
    """Timeouts and failures of theirs, conflicts, limits."""
    assert RetryPolicy().wait(status_error(status), 1, 1.0) == 0.5


def test_refusals_have_a_bound_of_their_own():
    """The tenth is the last, for any `max_retries` and number of requests sent."""
    for max_retries in (0, 2, 100):
        policy = RetryPolicy(max_retries=max_retries)
        waits = [policy.wait(status_error(429), 1000, 1.0, refusals=refusals) for refusals in range(1, 12)]
        assert waits == [0.5, 1, 2, 4, 8, 8, 8, 8, 8, None, None]


def rate_limit_error(words, seconds):
    error = from_answer(429, {}, b'{"message": "%s limit exceeded"}' % words.encode())
    error.retry_after = seconds
    return error


@pytest.mark.parametrize(
    ("words", "seconds", "is_waited_for"),
    [
        ("Requests per minute", None, True),
        ("Requests per minute", 120.0, True),
        ("Requests per minute", 120.1, False),
        ("Requests per day", None, False),
        ("Requests per day", 0.0, True),
        ("Requests per day", 120.0, True),
        ("Requests per day", 120.1, False),
    ],
)
def test_a_refusal_is_waited_for_where_waiting_is_of_use(words, seconds, is_waited_for):
    """At most two minutes, for any limit; a daily limit without a time is not waited for."""
    error = rate_limit_error(words, seconds)
    assert (RetryPolicy().wait(error, 1, 0.0, refusals=1) is not None) is is_waited_for
    assert error.is_worth_waiting is is_waited_for


CLASSES = sorted(
    (
        kind
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, errors.APIError)
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_policy_says_of_every_class_what_its_exceptions_say_themselves(kind):
    """Middleware that reads `is_retryable` and our own retries never disagree."""
    error = kind("m")
    assert (RetryPolicy().wait(error, 1, 0.5) is not None) is error.is_retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 503, 529])
@pytest.mark.parametrize(("advice", "again"), [("true", True), ("False", False)])
def test_the_servers_own_advice_counts_against_any_other_rule(status, advice, again):
    """x-should-retry, true and false, for errors that are otherwise retried and not."""
    error = from_answer(status, {"x-should-retry": advice}, b"{}")
    assert error.is_retryable is again
    assert (RetryPolicy().wait(error, 1, 0.5) is not None) is again


@pytest.mark.parametrize("advice", ["", "maybe", "1"])
def test_advice_that_is_none_changes_nothing(advice):
    """The status decides."""
    assert from_answer(503, {"x-should-retry": advice}, b"{}").is_retryable
    assert not from_answer(400, {"x-should-retry": advice}, b"{}").is_retryable
