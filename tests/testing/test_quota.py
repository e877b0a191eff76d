"""The loopback's limits: announced, enforced, counted."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.testing import Disconnect, LoopbackCerebras, Quota, Status
from langchain_cerebras_demo.testing.quota import DEFAULT_COMPLETION_TOKENS
from langchain_cerebras_demo.testing.refusals import TOKENS_EXCEEDED, RefusedError, quota_exceeded
from tests.testing.wire_client import ask, chat, connect, read, send


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_bucket_refills_continuously_up_to_its_capacity():
    """200,000 a minute are 10,000 in three seconds."""
    clock = Clock()
    quota = Quota(200_000, level=0.0, clock=clock)
    clock.now += 3
    assert quota.remaining_tokens == pytest.approx(10_000)
    clock.now += 1e6
    assert quota.remaining_tokens == 200_000


def test_a_request_takes_its_cost_and_gives_back_what_it_did_not_use():
    """When its answer is over, and once."""
    quota = Quota(10_000, clock=Clock())
    admission = quota.admit(8_000)
    assert quota.remaining_tokens == 2_000
    admission.used_tokens = 500
    for _ in range(2):
        quota.end(admission)
    assert quota.remaining_tokens == 9_500
    assert (quota.admitted, quota.refused, quota.used_tokens) == (1, 0, 500)


def test_what_is_not_there_is_refused_and_takes_nothing():
    """With the documented body."""
    quota = Quota(10_000, clock=Clock())
    quota.admit(8_000)
    with pytest.raises(RefusedError) as caught:
        quota.admit(2_001)
    assert (caught.value.status, caught.value.body) == (429, TOKENS_EXCEEDED)
    assert quota.remaining_tokens == 2_000
    quota.admit(2_000)
    assert [admission.number for admission in quota.admissions] == [1, 2]
    assert quota.refusal_times == [100.0]


def test_a_request_larger_than_the_bucket_is_let_in_when_it_is_full():
    """It could never be else."""
    clock = Clock()
    quota = Quota(10_000, clock=clock)
    quota.admit(12_000)
    clock.now += 60
    with pytest.raises(RefusedError):
        quota.admit(12_000)
    clock.now += 12
    assert quota.admit(12_000).number == 2


def test_a_burst_is_refused_by_a_limit_of_the_second_that_is_not_announced():
    """It comes back at the rate of the minute's requests."""
    clock = Clock()
    quota = Quota(requests_minute=60, requests_burst=2, clock=clock)
    quota.admit(1)
    quota.admit(1)
    with pytest.raises(RefusedError) as caught:
        quota.admit(1)
    assert caught.value.body == quota_exceeded("requests", "second")
    clock.now += 1
    quota.admit(1)
    assert not any("second" in name for name, _ in quota.headers())


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@pytest.mark.parametrize("period", ["minute", "hour", "day"])
@pytest.mark.parametrize("is_calendar", [False, True])
def test_each_window_is_announced_and_refused_by_its_name(unit, period, is_calendar):
    """And full again a period later, in either truth."""
    clock = Clock()
    quota = Quota(**{f"{unit}_{period}": 1}, is_calendar=is_calendar, clock=clock)
    admission = quota.admit(1)
    admission.used_tokens = 1
    quota.end(admission)
    assert dict(quota.headers())[f"x-ratelimit-limit-{unit}-{period}"] == "1"
    assert dict(quota.headers())[f"x-ratelimit-remaining-{unit}-{period}"] == "0"
    with pytest.raises(RefusedError) as caught:
        quota.admit(1)
    assert caught.value.body == quota_exceeded(unit, period)
    clock.now += 86_400
    quota.admit(1)


def test_a_calendar_counts_what_was_used_until_the_utc_period_ends():
    """Nothing is reserved, and nothing comes back in between."""
    clock = Clock()
    clock.now = 119.0
    quota = Quota(10_000, is_calendar=True, clock=clock)
    admission = quota.admit(8_000)
    assert quota.remaining_tokens == 10_000
    admission.used_tokens = 500
    for _ in range(2):
        quota.end(admission)
    assert quota.remaining_tokens == 9_500
    clock.now = 120.0
    assert quota.remaining_tokens == 10_000


def test_the_day_is_counted_and_comes_back_tomorrow():
    """And its 429 says that it was the day."""
    clock = Clock()
    quota = Quota(requests_day=1, clock=clock)
    quota.admit(1)
    with pytest.raises(RefusedError, match="Requests per day"):
        quota.admit(1)
    clock.now += 86_400
    assert dict(quota.headers())["x-ratelimit-remaining-requests-day"] == "1"


@pytest.mark.parametrize("older_form", [False, True])
def test_the_limits_stand_on_every_answer_of_the_server_but_not_on_refusals(older_form):
    """On answers, and on what is not a completion; with resets in the older form alone."""
    quota = Quota(20_000, requests_day=10, older_form=older_form)
    with LoopbackCerebras(quota=quota) as server:
        first = ask(server, chat(max_completion_tokens=5))
        ask(server, chat(max_completion_tokens=15_000, stream=True))
        listed = ask(server, path="/v1/models")
        refused = ask(server, chat(max_completion_tokens=30_000))
    for answer in (first, listed):
        limits = {name.removeprefix("x-ratelimit-"): value for name, value in answer.headers.items() if "ratel" in name}
        assert limits["limit-tokens-minute"] == "20000"
        assert 0 <= int(limits["remaining-tokens-minute"]) < 20_001
        resets = [float(limits[name]) for name in limits if name.startswith("reset")]
        assert len(limits) == 4 + len(resets)
        assert len(resets) == 2 * older_form
        assert all(0 < reset <= 86_400 for reset in resets)
    assert not any("ratel" in name for name in refused.headers)
    assert first.headers["x-ratelimit-remaining-requests-day"] == "9"
    assert int(first.headers["x-ratelimit-remaining-tokens-minute"]) < 19_990
    assert (refused.status, refused.json) == (429, TOKENS_EXCEEDED)
    assert quota.used_tokens == first.json["usage"]["total_tokens"] + quota.admissions[1].used_tokens
    assert quota.admissions[1].request.json["stream"] is True
    assert all(admission.is_over for admission in quota.admissions)


def test_a_request_without_a_number_takes_the_measured_upper_bound():
    """16,384 and its prompt."""
    quota = Quota()
    with LoopbackCerebras(quota=quota) as server:
        prompt = ask(server, chat()).json["usage"]["prompt_tokens"]
    assert quota.admissions[0].cost == prompt + DEFAULT_COMPLETION_TOKENS


def test_a_request_that_fails_gives_all_back():
    """An error and a broken connection use nothing; a bad request is not let in at all."""
    quota = Quota(20_000)
    with LoopbackCerebras(quota=quota) as server:
        server.script(Status(500), Disconnect())
        assert ask(server, chat(max_completion_tokens=15_000)).status == 500
        with connect(server) as connection:
            send(connection, server, chat(max_completion_tokens=15_000))
            with pytest.raises((ConnectionError, OSError)):
                read(connection)
        assert ask(server, chat(nonsense=1)).status == 400
        assert server.wait_for_connections(0)
    assert (quota.admitted, quota.used_tokens) == (2, 0)
    assert quota.remaining_tokens == 20_000


def test_the_order_of_admission_is_that_of_arrival_whatever_the_latency():
    """Admission comes before the wait."""
    quota = Quota(20_000)
    with LoopbackCerebras(quota=quota, latency=0.2) as server, connect(server) as one, connect(server) as two:
        send(one, server, chat("first", max_completion_tokens=15_000))
        assert server.wait_for_requests(1)
        send(two, server, chat("second", max_completion_tokens=15_000))
        assert (read(two).status, read(one).status) == (429, 200)
