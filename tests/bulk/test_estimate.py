"""Estimates before a run: the counts and their basis."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit
from langchain_cerebras_demo.bulk import BulkInputError, bulk


def make(server, **arguments):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, **arguments)


async def test_rows_that_are_answered_equal_or_unusable_are_not_estimated(server, model, write, output):
    """Nothing is sent; the rows can still be run; the progress has both figures."""
    source = write([{"id": n, "prompt": f"What is {n // 2}?"} for n in range(8)] + [{"id": "bad"}])
    await bulk(model, [{"id": 0, "prompt": "What is 0?"}], output=output).arun()
    run = bulk(model, source, output=output, resume=True)
    estimate = run.estimate()
    assert (estimate.rows, estimate.requests, len(server.requests)) == (9, 3, 1)
    assert "as in this output so far" in estimate.basis
    progress = await run.arun()
    assert (progress.requests, progress.estimate) == (3, estimate)
    assert estimate.total_tokens == pytest.approx(progress.tokens, rel=0.5)
    assert estimate.cost_usd == pytest.approx(progress.cost_usd, rel=0.5)
    assert bulk(model, source, dedupe=False).estimate().requests == 8


def test_the_length_of_answers_and_the_limits_are_what_is_known(server):
    """The most that max_tokens allows, the slowest of the limits; a day's requests may be sent at once."""
    limit = RateLimit(requests_per_minute=60, tokens_per_minute=6_000, requests_per_day=100)
    rows = [f"row {number}" for number in range(100)]
    estimate = bulk(make(server, max_tokens=100, rate_limit=limit), rows).estimate()
    assert estimate.output_tokens == 10_000
    assert 7_000 < estimate.input_tokens < 9_000
    assert estimate.seconds == pytest.approx(estimate.total_tokens / 100)
    assert "max_tokens allows" in estimate.basis
    assert "60 requests per minute" in estimate.basis
    later = bulk(make(server, max_tokens=100, rate_limit=limit), [*rows, "one more"]).estimate()
    assert later.seconds == 86_400
    unknown = bulk(make(server), rows).estimate()
    assert (unknown.seconds, unknown.output_tokens) == (None, 50_000)
    assert "(assumed)" in unknown.basis


def test_rows_that_can_be_read_only_once_are_not_estimated(model):
    """They would be gone."""
    with pytest.raises(BulkInputError, match="can be read only once: use a list, a table or a file"):
        bulk(model, (text for text in "ab")).estimate()


def test_dollars_need_a_price(server):
    """A budget in dollars is refused where the catalogue has none."""
    with pytest.raises(ValueError, match="no price for the model"):
        bulk(make(server, model="my-endpoint"), ["a"], budget="$5")
    assert bulk(make(server, model="my-endpoint"), ["a"]).estimate().cost_usd is None
