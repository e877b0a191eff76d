"""When a request may go: arithmetic over costs, headers, refusals and a clock that the test holds."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.policy.limits import RateLimit
from langchain_cerebras_demo.policy.pacing import Pacer
from langchain_cerebras_demo.records import Limit, RateLimitSnapshot
from tests.support.announcements import announce

NOTHING = RateLimitSnapshot()
NOON = 12 * 3600.0


def heard(snapshot, given=None, utc=NOON, cost=0):
    """A pacer whose first request was answered with these headers at once, and its clock at 0."""
    pacer = Pacer(given, utc)
    reservation = pacer.take(cost, 0.0)
    pacer.observe(reservation, snapshot, 0.0)
    pacer.settle(reservation, cost, 0.0)
    return pacer


def sent_until(pacer, end, now=0.0, cost=10, snapshot=NOTHING):
    """When requests go that are answered at once with this snapshot, until ``end``."""
    times = []
    while now < end:
        seconds = pacer.wait(cost, now).seconds
        if seconds == 0:
            reservation = pacer.take(cost, now)
            pacer.observe(reservation, snapshot, now)
            pacer.settle(reservation, cost, now)
            times.append(now)
        now += max(seconds, 0.001)
    return times


# -- before and without limits


def test_the_first_request_goes_and_the_next_wait_for_its_answer():
    """And if that is slow, one more goes every two seconds."""
    pacer = Pacer()
    assert pacer.wait(1000, 0.0).seconds == 0
    first = pacer.take(1000, 0.0)
    assert pacer.wait(1000, 0.0).limit is Limit.FIRST_ANSWER
    for gone in range(1, 5):
        assert pacer.wait(1000, 2.0 * gone - 0.1).seconds > 0
        assert pacer.wait(1000, 2.0 * gone + 0.1).seconds == 0
        pacer.take(1000, 2.0 * gone + 0.1)
    pacer.observe(first, NOTHING, 8.5)
    assert pacer.wait(1000, 8.5).seconds == 0


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


# -- windows that are announced


@pytest.mark.parametrize(
    ("name", "period"), [("tokens_second", 1), ("tokens_minute", 60), ("tokens_hour", 3600), ("requests_hour", 3600)]
)
def test_a_window_that_is_used_up_is_waited_for_until_it_begins_anew(name, period):
    """Whether it refills is not known: the end of the UTC period is right in either case."""
    pacer = heard(announce(**{name: (60_000, 0)}), utc=NOON + 0.25 * period)
    wait = pacer.wait(10, 0.0)
    assert wait.limit == name.replace("_", " per ")
    assert wait.seconds == pytest.approx(0.75 * period)
    assert not wait.is_final


def test_a_reset_says_when_the_period_ends():
    """The older form of the headers."""
    pacer = heard(announce(tokens_minute=(60_000, 5_000, 11.4)))
    assert pacer.wait(10_000, 0.0) == (pytest.approx(11.4), Limit.TOKENS_PER_MINUTE, False)


def test_the_date_of_an_answer_corrects_the_clock():
    """The local one is two minutes wrong, and the minute ends in 20 s."""
    for date in (NOON + 120 + 40, NOON - 120 + 40):
        pacer = heard(announce(date, tokens_minute=(60_000, 0)))
        assert pacer.wait(10, 0.0).seconds == pytest.approx(20)


def test_a_date_a_second_old_does_not_set_the_clock_back():
    """It has whole seconds, and the answer was some time on its way."""
    pacer = heard(announce(NOON, tokens_minute=(60_000, 0)))
    pacer.observe(pacer.take(0, 1.5), announce(NOON, tokens_minute=(60_000, 0)), 1.5)
    assert pacer.wait(10, 1.5).seconds == pytest.approx(58.5)


def test_more_left_than_without_a_refill_proves_that_it_refills():
    """From then on the wait is that of a bucket."""
    pacer = heard(announce(requests_hour=(3600, 100)), utc=NOON + 60)
    later = pacer.take(0, 10.0)
    pacer.observe(later, announce(requests_hour=(3600, 109)), 10.0)
    for _ in range(109):
        pacer.take(0, 10.0)
    assert pacer.wait(0, 10.0).seconds <= 1.0


def test_answers_in_another_order_prove_nothing():
    """Of two requests in flight together, the second arrived first, so its answer reports more left."""
    pacer = heard(announce(requests_hour=(3600, 100)), utc=NOON + 60)
    first, second = pacer.take(0, 10.0), pacer.take(0, 10.0)
    pacer.observe(first, announce(requests_hour=(3600, 98)), 10.0)
    pacer.observe(second, announce(requests_hour=(3600, 99)), 10.0)
    for _ in range(99):
        pacer.take(0, 10.0)
    assert pacer.wait(0, 10.0).seconds == pytest.approx(3600 - 70)


def test_a_new_period_proves_nothing():
    """Of course more is left."""
    pacer = heard(announce(requests_hour=(3600, 0)), utc=NOON - 5)
    pacer.observe(pacer.take(0, 7.0), announce(requests_hour=(3600, 0)), 7.0)
    assert pacer.wait(0, 7.0).seconds == pytest.approx(3600 - 2)


def test_a_request_larger_than_the_whole_window_goes_when_it_is_full():
    """It would wait for ever."""
    assert heard(announce(tokens_minute=(60_000, 60_000))).wait(90_000, 0.0).seconds == 0
    assert heard(announce(tokens_minute=(60_000, 30_000))).wait(90_000, 0.0).seconds > 0


def test_what_was_sent_after_the_answered_request_is_not_forgotten():
    """The service had not seen it when it said what was left."""
    pacer = heard(announce(tokens_minute=(60_000, 60_000)))
    first = pacer.take(10_000, 0.0)
    pacer.take(20_000, 0.0)
    pacer.observe(first, announce(tokens_minute=(60_000, 50_000)), 0.0)
    assert pacer.wait(31_000, 0.0).seconds >= 1.0


def test_an_answer_older_than_one_already_heard_corrects_nothing():
    """It is old news."""
    pacer = heard(announce(tokens_minute=(60_000, 60_000)))
    first, second = pacer.take(100, 0.0), pacer.take(100, 0.0)
    pacer.observe(second, announce(tokens_minute=(60_000, 30_000)), 0.0)
    pacer.observe(first, announce(tokens_minute=(60_000, 59_900)), 0.0)
    assert pacer.wait(60_000, 0.0).seconds >= 30


def test_unused_tokens_come_back_once():
    """Settling twice gives back once."""
    pacer = heard(announce(tokens_hour=(60_000, 60_000)))
    reservation = pacer.take(50_000, 0.0)
    assert pacer.wait(50_000, 0.0).seconds > 0
    for _ in range(3):
        pacer.settle(reservation, 10_000, 0.0)
    assert pacer.wait(50_000, 0.0).seconds == 0
    assert pacer.wait(50_001, 0.0).seconds > 0


def test_the_slowest_window_counts_and_is_named():
    """The hour's, here."""
    windows = {"requests_minute": (5, 0), "requests_hour": (150, 0), "tokens_minute": (30_000, 30_000)}
    assert heard(announce(**windows), utc=NOON + 60).wait(10, 0.0) == (3540, Limit.REQUESTS_PER_HOUR, False)


def test_a_minutes_requests_are_not_sent_at_once():
    """A limit a second exists that is not announced: twice the mean rate at most, or one a second if that is more."""
    pacer = heard(announce(requests_minute=(600, 600)))
    assert len(sent_until(pacer, 1.0)) <= 22
    pacer = heard(announce(requests_minute=(5, 5)))
    assert len(sent_until(pacer, 2.5)) <= 4


def test_a_remainder_above_the_limit_is_believed():
    """The limit is that of uncached tokens, the remainder that of all."""
    pacer = heard(announce(tokens_hour=(9_000, 27_000)), utc=NOON + 60)
    assert pacer.wait(9_000, 0.0).seconds == 0
    pacer.take(9_000, 0.0)
    assert pacer.wait(1_000, 0.0).limit is Limit.TOKENS_PER_HOUR


def test_cached_tokens_come_back_where_the_service_tells_uncached_ones_from_all():
    """They count against the total alone."""
    pacer = heard(announce(tokens_hour=(9_000, 27_000)), utc=NOON + 60)
    pacer.settle(pacer.take(9_000, 0.0), 9_000, 0.0, cached_tokens=8_000)
    assert pacer.wait(8_000, 0.0).seconds == 0
    assert pacer.wait(8_001, 0.0).seconds > 0


def test_cached_tokens_do_not_come_back_where_one_bucket_is_known():
    """Nothing says that the service counts them apart."""
    pacer = heard(announce(tokens_hour=(9_000, 9_000)), utc=NOON + 60)
    pacer.settle(pacer.take(9_000, 0.0), 9_000, 0.0, cached_tokens=8_000)
    assert pacer.wait(1_000, 0.0).seconds > 0


def test_a_refusal_that_names_uncached_tokens_tells_them_from_all():
    """They are used up even if others are left; cached ones are released."""
    pacer = heard(announce(tokens_hour=(9_000, 9_000)), utc=NOON + 60)
    sent = pacer.take(4_000, 0.0)
    pacer.refused(pacer.take(1_000, 0.0), Limit.TOKENS_PER_HOUR, None, 0.0, is_uncached=True)
    pacer.settle(sent, 4_000, 0.0, cached_tokens=4_000)
    assert pacer.wait(4_000, 0.0).seconds == 0


# -- numbers that were given


def test_a_given_number_of_requests_is_evenly_spent():
    """5 a minute: one every 12 seconds and a bit, and the wait says why."""
    pacer = heard(NOTHING, RateLimit(requests_per_minute=5))
    wait = pacer.wait(10, 0.0)
    assert wait.limit is Limit.REQUESTS_PER_MINUTE
    assert wait.seconds == pytest.approx(12 / 0.975)


def test_a_given_number_holds_whatever_is_announced():
    """And the other way round."""
    plenty = announce(tokens_hour=(10**9, 10**9))
    pacer = heard(plenty, RateLimit(tokens_per_hour=6_000))
    pacer.take(4_000, 0.0)
    assert pacer.wait(2_001, 0.0).limit is Limit.TOKENS_PER_HOUR
    pacer = heard(announce(tokens_hour=(6_000, 100)), RateLimit(tokens_per_hour=10**9))
    assert pacer.wait(101, 0.0).seconds > 0


@pytest.mark.parametrize("period", ["minute", "hour", "day"])
def test_a_given_number_counts_what_answers_used_even_above_the_estimate(period):
    """Two answers of 60 tokens, estimated at 10 each, use up 100: the next request waits for nearly the whole period."""
    pacer = Pacer(RateLimit(**{f"tokens_per_{period}": 100}))
    now, seconds = 0.0, Limit[f"TOKENS_PER_{period.upper()}"].seconds
    for _ in range(2):
        now += pacer.wait(10, now).seconds
        pacer.settle(pacer.take(10, now), 60, now)
    wait = pacer.wait(10, now)
    assert wait.seconds >= 0.4 * seconds
    assert wait.is_final == (period == "day")


def test_an_announced_limit_counts_what_answers_used_even_above_the_estimate():
    """Until an answer reports what is left."""
    pacer = heard(announce(tokens_hour=(1_000, 1_000)))
    pacer.settle(pacer.take(100, 0.0), 600, 0.0)
    assert pacer.wait(400, 0.0).seconds == 0
    assert pacer.wait(401, 0.0).seconds > 0


# -- the day


def test_a_day_that_is_used_up_is_final_and_says_when_it_is_over():
    """The caller can raise at once, with the time to come back."""
    for name in ("requests_day", "tokens_day"):
        wait = heard(announce(**{name: (1000, 0)})).wait(10, 1.0)
        assert (wait.limit, wait.is_final) == (name.replace("_", " per "), True)
        assert wait.seconds == pytest.approx(12 * 3600 - 1)


def test_requests_on_their_way_count_for_the_day():
    """Two are left, two have gone: a third does not go."""
    pacer = heard(announce(requests_day=(1000, 2)))
    assert pacer.left_today(0.0) == 2
    for _ in range(2):
        assert pacer.wait(10, 0.0).seconds == 0
        pacer.take(10, 0.0)
    assert pacer.wait(10, 0.0).is_final
    assert pacer.left_today(0.0) == 0


def test_tokens_of_the_day_that_may_come_back_are_waited_for():
    """A request that is on its way has reserved more than it will use."""
    pacer = heard(announce(tokens_day=(100_000, 1000)))
    sent = pacer.take(600, 0.0)
    assert not pacer.wait(600, 0.0).is_final
    pacer.settle(sent, 500, 1.0)
    assert pacer.wait(600, 1.0).is_final
    assert pacer.wait(500, 1.0).seconds == 0


def test_the_end_of_a_day_that_is_near_is_waited_for():
    """Two minutes are no refusal."""
    pacer = heard(announce(requests_day=(1000, 0, 120.0)))
    assert pacer.wait(10, 1.0) == (119, Limit.REQUESTS_PER_DAY, False)
    assert pacer.left_today(1.0) is None


def test_a_day_that_is_used_up_is_tried_now_and_then():
    """The header may be wrong, or the limit may have been raised."""
    pacer = heard(announce(requests_day=(86_400, 0)))
    assert pacer.wait(10, 59.0).is_final
    assert pacer.wait(10, 119.0).seconds == 0
    one = pacer.take(10, 119.0)
    assert pacer.wait(10, 119.0).is_final
    pacer.observe(one, announce(requests_day=(86_400, 500)), 120.0)
    assert pacer.wait(10, 120.0).seconds == 0


def test_a_day_whose_try_got_no_answer_is_tried_again_within_an_hour():
    """A lost request says nothing. There is one try at a time, even if the day's limit would long have refilled."""
    pacer, now = heard(announce(requests_day=(86_400, 0))), 0.0
    for _ in range(8):
        assert pacer.wait(10, now).is_final
        now += 3600.0
        assert pacer.wait(10, now).seconds == 0
        one = pacer.take(10, now)
        assert pacer.wait(10, now).is_final
        pacer.settle(one, 0, now)


def test_a_day_whose_try_found_nothing_left_is_tried_again_within_an_hour():
    """It was accepted: that may be all that had been refilled by then."""
    pacer = heard(announce(requests_day=(864, 0)))
    assert pacer.wait(10, 0.0).is_final
    assert pacer.wait(10, 100.0).seconds == 0
    pacer.observe(pacer.take(10, 100.0), announce(requests_day=(864, 0)), 100.0)
    assert pacer.wait(10, 100.0 + 3600.0).seconds == 0


def test_tries_of_a_day_grow_rarer_however_they_end():
    """After one, two and four minutes: lost, refused, and refused with a remainder."""
    pacer = heard(announce(requests_day=(86_400, 0)))
    used_up = announce(requests_day=(86_400, 0))
    now = 0.0
    for pause, answer in ((60, None), (120, NOTHING), (240, used_up), (480, None)):
        assert pacer.wait(10, now).is_final
        assert pacer.wait(10, now + pause - 1).is_final
        now += pause
        assert pacer.wait(10, now).seconds == 0
        one = pacer.take(10, now)
        if answer is None:
            pacer.settle(one, 0, now)
        else:
            pacer.refused(one, Limit.REQUESTS_PER_DAY, None, now, answer)


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize(("is_bucket", "least", "most_refused"), [(True, 130, 1), (False, 0, 9)])
def test_an_hour_that_another_program_has_used_up(is_bucket, least, most_refused, is_lost):
    """If it refills, most of it is used; if it begins anew with the calendar, hardly a request is refused. A lost try changes nothing."""
    pacer, now, left, sent, refused = heard(announce(requests_hour=(150, 150))), 0.0, 0.0, 0, 0
    while now < 3599:
        seconds = min(pacer.wait(10, now).seconds, 3600 - now)
        if seconds:
            left += seconds * 150 / 3600 if is_bucket else 0.0
            now += seconds
            continue
        one = pacer.take(10, now)
        if refused and is_lost:
            is_lost = False
            pacer.settle(one, 0, now)
        elif left < 1:
            refused += 1
            pacer.refused(one, Limit.REQUESTS_PER_HOUR, None, now)
        else:
            left, sent = left - 1, sent + 1
            pacer.observe(one, announce(requests_hour=(150, int(left))), now)
            pacer.settle(one, 10, now)
    assert sent >= least
    assert refused <= most_refused


def test_a_given_number_a_day_is_final_when_used_up():
    """As an announced one."""
    pacer = Pacer(RateLimit(requests_per_day=2))
    for _ in range(2):
        pacer.observe(pacer.take(1, 0.0), NOTHING, 0.0)
    wait = pacer.wait(1, 0.0)
    assert (wait.limit, wait.is_final) == (Limit.REQUESTS_PER_DAY, True)
    assert pacer.left_today(0.0) == 0
    assert pacer.day_ends_in(0.0) >= 86_400


# -- refusals


def test_a_refused_request_has_taken_nothing():
    """What the 429 says is left, is left."""
    pacer = heard(announce(tokens_hour=(60_000, 60_000)))
    reservation = pacer.take(20_000, 0.0)
    pacer.refused(reservation, Limit.TOKENS_PER_HOUR, None, 0.0, announce(tokens_hour=(60_000, 15_000)))
    assert pacer.wait(15_000, 0.0).seconds == 0
    assert pacer.wait(20_000, 0.0).seconds > 0
    pacer.settle(reservation, 0, 0.0)
    assert pacer.wait(20_000, 0.0).seconds > 0


def test_a_refusal_without_a_word_uses_up_the_window_that_it_names():
    """It is tried when a bucket would have refilled, then later and later, at the latest when the period is over."""
    pacer = heard(announce(requests_minute=(5, 5)), utc=NOON + 10)
    now = 0.0
    for pause in (12, 24):
        pacer.refused(pacer.take(10, now), Limit.REQUESTS_PER_MINUTE, None, now)
        assert pacer.wait(10, now) == (pytest.approx(pause), Limit.REQUESTS_PER_MINUTE, False)
        now += pause + 0.01
        assert pacer.wait(10, now).seconds == 0
    pacer.refused(pacer.take(10, now), Limit.REQUESTS_PER_MINUTE, None, now)
    assert pacer.wait(10, now).seconds == pytest.approx(50 - now)


def test_one_tries_a_window_that_a_refusal_used_up_and_the_others_wait_for_its_answer():
    """Until it is answered, or the minute is over: a second try so soon would only cost refusals."""
    pacer = heard(announce(requests_minute=(5, 5)), utc=NOON)
    pacer.refused(pacer.take(10, 0.0), Limit.REQUESTS_PER_MINUTE, None, 0.0)
    assert pacer.wait(10, 12.1).seconds == 0
    one = pacer.take(10, 12.1)
    assert pacer.wait(10, 12.1).seconds == pytest.approx(60 - 12.1)
    pacer.observe(one, announce(requests_minute=(5, 4)), 12.5)
    assert pacer.wait(10, 12.5).seconds <= 1


@pytest.mark.parametrize("limit", [Limit.REQUESTS_PER_SECOND, Limit.REQUESTS_PER_MINUTE])
def test_a_rate_that_refusals_alone_name_is_found_by_trial(limit):
    """A rate is guessed, and forgotten when it has long not been reached."""
    pacer = heard(NOTHING)
    for _ in range(60):
        last = pacer.take(10, 1.0)
    pacer.refused(last, limit, None, 1.0)
    assert pacer.wait(10, 1.0).seconds > 0
    assert 5 <= len(sent_until(pacer, 10.0, now=1.0)) <= 40
    for minute in range(200):
        pacer.wait(10, 60.0 * minute)
    assert pacer.wait(10, 60.0 * 200) == (0.0, None, False)


def test_a_guess_ends_when_the_limit_is_announced():
    """The figure is better."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 1.0), Limit.REQUESTS_PER_MINUTE, None, 1.0)
    pacer.observe(pacer.take(10, 2.0), announce(requests_minute=(6000, 6000)), 2.0)
    assert len(sent_until(pacer, 3.0, now=2.0)) >= 100


def test_refusals_of_one_flight_count_once():
    """Ten requests that went together are one piece of news, not ten."""
    pacer = heard(NOTHING)
    flight = [pacer.take(10, 1.0) for _ in range(10)]
    for sent in flight:
        pacer.refused(sent, Limit.UNKNOWN, None, 1.0)
    assert pacer.wait(10, 1.0) == (0.5, Limit.UNKNOWN, False)


@pytest.mark.parametrize("limit", [Limit.QUEUE, Limit.UNKNOWN, Limit.TOKENS_PER_HOUR])
def test_after_a_pause_one_goes_and_each_answer_lets_two_go(limit):
    """Where nothing says how long to wait, or how much may be sent."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 0.0), limit, None, 0.0)
    assert pacer.wait(10, 0.0) == (0.5, limit, False)
    now, on_their_way = 0.6, []
    for most in (1, 2, 4, 8):
        for sent in on_their_way:
            pacer.observe(sent, NOTHING, now)
        on_their_way = []
        while pacer.wait(10, now).seconds == 0:
            on_their_way.append(pacer.take(10, now))
        assert len(on_their_way) == most


def test_pauses_in_a_row_grow():
    """Up to half a minute, one request each."""
    pacer, now, pauses = heard(NOTHING), 0.0, []
    for _ in range(9):
        pacer.refused(pacer.take(10, now), Limit.QUEUE, None, now)
        pauses.append(pacer.wait(10, now).seconds)
        now += pauses[-1]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])


def test_retry_after_stops_all_for_as_long_as_it_says_and_then_as_many_go_as_before():
    """Above two minutes it is final."""
    pacer = heard(NOTHING)
    flight = [pacer.take(10, 0.0) for _ in range(8)]
    for sent in flight:
        pacer.refused(sent, Limit.UNKNOWN, 7.0, 0.0)
    assert pacer.wait(10, 0.0) == (7.0, Limit.UNKNOWN, False)
    assert pacer.wait(10, 7.1).seconds == 0
    pacer.refused(pacer.take(10, 8.0), Limit.TOKENS_PER_DAY, 3600.0, 8.0)
    assert pacer.wait(10, 8.0) == (3600.0, Limit.TOKENS_PER_DAY, True)


def test_a_retry_after_that_is_too_long_is_tried_now_and_then():
    """It may be wrong: an answer lets all go."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 0.0), Limit.UNKNOWN, 1e15, 0.0)
    assert pacer.wait(10, 59.0) == (86_400 - 59.0, Limit.UNKNOWN, True)
    assert not pacer.wait(10, 60.0).is_final
    trial = pacer.take(10, 60.0)
    assert pacer.wait(10, 60.0).is_final
    pacer.observe(trial, NOTHING, 61.0)
    assert not pacer.wait(10, 61.0).is_final


def test_a_refusal_for_the_day_of_which_nothing_is_known_is_final_until_the_day_is_over():
    """Neither headers nor a `retry-after` came: the calendar says when."""
    pacer = heard(NOTHING)
    pacer.refused(pacer.take(10, 0.0), Limit.TOKENS_PER_DAY, None, 0.0)
    assert pacer.wait(10, 0.0) == (12 * 3600, Limit.TOKENS_PER_DAY, True)


def test_an_outage_does_not_slow_down_what_comes_after_it():
    """Twenty refusals in a row, and as many go as before."""
    pacer, now = heard(NOTHING), 0.0
    for _ in range(20):
        now += max(pacer.wait(10, now).seconds, 1.0)
        pacer.refused(pacer.take(10, now), Limit.UNKNOWN, None, now)
    outage = now + 31
    assert len(sent_until(pacer, outage + 1, now=outage)) >= 60


# -- clocks


def test_a_clock_that_jumps_back_stands_still():
    """A wait does not grow by the jump, and continues from there."""
    pacer = heard(announce(tokens_minute=(60_000, 0, 30.0)))
    pacer.wait(10, 1e6)
    pacer = heard(announce(tokens_minute=(60_000, 0, 30.0)))
    pacer.wait(10_000, -1e6)
    assert pacer.wait(10_000, -1e6 + 10.0).seconds == pytest.approx(20.0)


def test_what_a_request_has_reserved_and_not_used_may_be_used_by_others():
    """Of a given number as much comes back as was left over, and no more."""
    pacer = heard(NOTHING, RateLimit(tokens_per_hour=1_000))
    pacer.settle(pacer.take(600, 1.0), 100, 2.0)
    assert pacer.wait(900, 3.0).seconds == 0
    assert pacer.wait(901, 3.0).seconds > 0
