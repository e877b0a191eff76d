"""Answer headers: rate limits and the wish to wait, believed where they are sane figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.records import RateLimitSnapshot
from langchain_cerebras_demo.wire.headers import to_printable, to_request_id, to_retry_after, to_snapshot

DOCUMENTED = {
    "x-ratelimit-limit-requests-day": "1000000000",
    "x-ratelimit-remaining-requests-day": "999999999",
    "x-ratelimit-reset-requests-day": "33011.382867097855",
    "x-ratelimit-limit-tokens-minute": "1000000000",
    "x-ratelimit-remaining-tokens-minute": "999999577",
    "x-ratelimit-reset-tokens-minute": "11.382867097854614",
}
LIES = ["-1", "-0.5", "nan", "inf", "-inf", "1e300", "1e16", "lots", "", " ", "12 requests", "0x10", "1,000", "9" * 400]
DATE = "Mon, 23 Nov 2026 07:28:00 GMT"


def test_the_six_figures_of_the_documentation_are_read():
    """Requests and tokens as whole numbers, resets in seconds."""
    assert to_snapshot(DOCUMENTED) == RateLimitSnapshot(
        limit_requests_day=1_000_000_000,
        remaining_requests_day=999_999_999,
        reset_requests_day=33011.382867097855,
        limit_tokens_minute=1_000_000_000,
        remaining_tokens_minute=999_999_577,
        reset_tokens_minute=11.382867097854614,
    )


@pytest.mark.parametrize("name", DOCUMENTED)
@pytest.mark.parametrize("figure", [None, *LIES])
def test_a_figure_that_lies_or_is_missing_is_none_and_the_others_stay(name, figure):
    """Negative, not finite, beyond any account, or no number at all: no figure is better than a wrong one."""
    headers = {**DOCUMENTED, name: figure}
    if figure is None:
        del headers[name]
    expected, snapshot = to_snapshot(DOCUMENTED), to_snapshot(headers)
    field = name.removeprefix("x-ratelimit-").replace("-", "_")
    assert getattr(snapshot, field) is None
    for other in set(RateLimitSnapshot.__slots__) - {field}:
        assert getattr(snapshot, other) == getattr(expected, other)


def test_a_count_with_a_fraction_is_rounded_down():
    """Half a request cannot be sent."""
    snapshot = to_snapshot({"x-ratelimit-remaining-requests-day": "4.9", "x-ratelimit-reset-requests-day": "4.9"})
    assert (snapshot.remaining_requests_day, snapshot.reset_requests_day) == (4, 4.9)
    assert isinstance(snapshot.remaining_requests_day, int)


def test_headers_without_limits_give_an_empty_snapshot():
    """It is false, so "nothing was said" needs no other sign."""
    assert not to_snapshot({"content-type": "application/json", "x-ratelimit-limit-requests-minute": "5"})


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
    """Whatever Python's own float() would take."""
    snapshot = to_snapshot(dict.fromkeys(DOCUMENTED, figure))
    for name in RateLimitSnapshot.__slots__:
        value = getattr(snapshot, name)
        assert value is None or 0 <= value <= 1e15


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
