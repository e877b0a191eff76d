"""Answer headers: rate limits and the wish to wait, believed where they are sane figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.headers import to_printable, to_request_id, to_retry_after, to_snapshot
from tests.support.announcements import announce

# The form of 2025, and that of 2026 (a paid account).
OLDER = {
    "x-ratelimit-limit-requests-day": "1000000000",
    "x-ratelimit-remaining-requests-day": "999999999",
    "x-ratelimit-reset-requests-day": "33011.382867097855",
    "x-ratelimit-limit-tokens-minute": "1000000000",
    "x-ratelimit-remaining-tokens-minute": "999999577",
    "x-ratelimit-reset-tokens-minute": "11.382867097854614",
}
TWELVE = {
    "x-ratelimit-limit-requests-minute": "450",
    "x-ratelimit-remaining-requests-minute": "449",
    "x-ratelimit-limit-requests-hour": "27000",
    "x-ratelimit-remaining-requests-hour": "26999",
    "x-ratelimit-limit-requests-day": "648000",
    "x-ratelimit-remaining-requests-day": "647999",
    "x-ratelimit-limit-tokens-minute": "150000",
    "x-ratelimit-remaining-tokens-minute": "149935",
    "x-ratelimit-limit-tokens-hour": "9000000",
    "x-ratelimit-remaining-tokens-hour": "26999935",
    "x-ratelimit-limit-tokens-day": "216000000",
    "x-ratelimit-remaining-tokens-day": "215999935",
}
FIGURES = ("limit", "remaining", "reset")
LIES = ["-1", "-0.5", "nan", "inf", "-inf", "1e300", "1e16", "lots", "", " ", "12 requests", "0x10", "1,000", "9" * 400]
DATE = "Mon, 23 Nov 2026 07:28:00 GMT"


def test_the_six_figures_of_2025_are_read():
    """Requests and tokens as whole numbers, resets in seconds."""
    assert to_snapshot(OLDER) == announce(
        requests_day=(1_000_000_000, 999_999_999, 33011.382867097855),
        tokens_minute=(1_000_000_000, 999_999_577, 11.382867097854614),
    )


def test_the_twelve_figures_of_2026_are_read():
    """Without resets; more may be left than the limit says."""
    assert to_snapshot(TWELVE) == announce(
        requests_minute=(450, 449),
        requests_hour=(27_000, 26_999),
        requests_day=(648_000, 647_999),
        tokens_minute=(150_000, 149_935),
        tokens_hour=(9_000_000, 26_999_935),
        tokens_day=(216_000_000, 215_999_935),
    )


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@pytest.mark.parametrize("period", ["second", "minute", "hour", "day"])
def test_any_window_is_read(unit, period):
    """Which of them come differs by year and account."""
    headers = {f"x-ratelimit-{what}-{unit}-{period}": figure for what, figure in zip(FIGURES, "321", strict=True)}
    assert to_snapshot(headers) == announce(**{f"{unit}_{period}": (3, 2, 1.0)})


@pytest.mark.parametrize("name", [*OLDER, *TWELVE])
@pytest.mark.parametrize("figure", [None, *LIES])
def test_a_figure_that_lies_or_is_missing_is_none_and_the_others_stay(name, figure):
    """Negative, not finite, beyond any account, or not a number at all: no figure is better than a wrong one."""
    documented = OLDER if name in OLDER else TWELVE
    headers = {**documented, name: figure}
    if figure is None:
        del headers[name]
    what, unit, period = name.removeprefix("x-ratelimit-").split("-")
    for window in to_snapshot(documented).windows:
        expected = window._replace(**{what: None}) if window.name == f"{unit} per {period}" else window
        assert to_snapshot(headers)[window.name] == expected


def test_the_date_of_an_answer_is_that_of_its_snapshot():
    """The service's clock, for windows that begin anew with its calendar."""
    assert to_snapshot({**TWELVE, "date": DATE}).date == 1795418880
    for date in ("yesterday", ""):
        assert to_snapshot({**TWELVE, "date": date}).date is None


def test_a_count_with_a_fraction_is_rounded_down():
    """Half a request cannot be sent."""
    snapshot = to_snapshot({"x-ratelimit-remaining-requests-day": "4.9", "x-ratelimit-reset-requests-day": "4.9"})
    assert (snapshot.remaining_requests_day, snapshot.reset_requests_day) == (4, 4.9)
    assert isinstance(snapshot.remaining_requests_day, int)


def test_headers_without_limits_give_an_empty_snapshot():
    """It is false, so "nothing was said" needs no other sign."""
    assert not to_snapshot({"content-type": "application/json", "x-ratelimit-limit-requests-month": "5"})


# -- retry-after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "49"}, 49.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1e15"}, 1e15),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "-1", "retry-after": "2"}, 2.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 GMT", "date": DATE}, 75.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:28:30 +0200", "date": DATE}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:27:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 07:28:00 GMT", "date": DATE}, 86_400.0),
        ({"retry-after": "Monday, 23-Nov-26 07:29:15 GMT", "date": DATE}, 75.0),
        ({"retry-after": "Mon Nov 23 07:29:15 2026", "date": DATE}, 75.0),
        # neither the server nor the caller says what time it is
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 GMT", "date": ""}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 GMT", "date": "today"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 -0000", "date": DATE}, None),
        ({}, None),
        ({"date": DATE}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        *(({"retry-after": lie, "date": DATE}, None) for lie in LIES),
        *(({"retry-after-ms": lie}, None) for lie in LIES),
    ],
)
def test_the_servers_wish_is_read_in_seconds(headers, seconds):
    """Seconds, milliseconds, or a date counted from the answer's own date; what cannot be read is no wish."""
    assert to_retry_after(headers) == seconds


NOW = 1_795_418_880.0  # DATE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Mon, 23 Nov 2026 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:28:30 GMT", "date": ""}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:28:30 GMT", "date": "today"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:28:30 +0200"}, 30.0),
        ({"retry-after": "Mon Nov 23 07:28:30 2026"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 07:28:00 GMT"}, 86_400.0),
        ({"retry-after": "Tue, 23 Nov 2027 07:28:00 GMT"}, 365 * 86_400.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:28:30 -0000"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:29:15 +99999999999999999999"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 07:28:30 GMT", "date": "Mon, 23 Nov 2026 07:28:20 GMT"}, 10.0),
        ({"retry-after": "49"}, 49.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_date_without_the_servers_own_is_counted_from_the_local_clock(headers, seconds):
    """A date in the past is no wait, one more than a year ahead no wish; the server's own date goes before our clock."""
    assert to_retry_after(headers, NOW) == seconds


DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Foo", ""]),
    st.integers(-1, 99),
    st.sampled_from(["Nov", "Brumaire", "2"]),
    st.integers(-1, 10**12),
    *(st.integers(-1, 99) for _ in range(3)),
    st.sampled_from(["GMT", "+0200", "-0000", "+99999999999999999999", "EST", ""]),
)


@settings(deadline=None, max_examples=300)
@given(wish=DATES | st.text(max_size=20), date=DATES | st.just(DATE))
@example(wish="Mon, 23 Nov 2026 07:29:15 +99999999999999999999", date=DATE)
def test_any_wish_gives_seconds_that_can_be_waited_or_none(wish, date):
    """A header is written by a stranger."""
    for headers in ({"retry-after": wish, "date": date}, {"retry-after": wish}):
        seconds = to_retry_after(headers, NOW)
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@settings(deadline=None)
@given(figure=st.text(alphabet="0123456789.+-eE_ nafi", max_size=8) | st.floats().map(str))
def test_any_figure_is_sane_or_none(figure):
    """Anything that Python's float() accepts."""
    for window in to_snapshot(dict.fromkeys([*OLDER, *TWELVE], figure)).windows:
        assert all(value is None or 0 <= value <= 1e15 for value in window[1:])


# -- the request's name


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"4b1e-FRA", "4b1e-FRA"),
        ("caf\xe9".encode(), "caf\xe9"),
        (b"caf\xe9-1", r"caf\xe9-1"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"a\xc2\x85b", r"a\x85b"),
        (b"a\tb", r"a\tb"),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
def test_a_header_of_any_bytes_can_be_printed(sent, shown):
    """Bytes that are not UTF-8, and letters that would break a line of the log, become escapes."""
    value = sent.decode("utf-8", "surrogateescape")  # as HTTP libraries do
    assert to_printable(value) == shown
    assert to_request_id({"x-request-id": value}) == shown


@given(st.binary(max_size=20))
def test_no_header_breaks_an_encoding(sent):
    """Whatever a stranger sends."""
    text = to_printable(sent.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    text.encode()
