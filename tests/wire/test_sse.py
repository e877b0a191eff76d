"""Server-sent events: the WHATWG standard, whichever way the network cuts the bytes."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire.sse import MAX_EVENT_BYTES, SSEDecoder

PIECE = 64 * 1024


def decode(*pieces, **limits):
    decoder = SSEDecoder(**limits)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [tuple(event) for event in (*events, *decoder.finish())]


def cut(stream, places):
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def by_the_book(stream):
    """The standard's algorithm, written down line by line; at the end, what `finish` keeps besides."""
    events, name, data = [], "", []
    *lines, _unended = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in [*lines, b""]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = "", []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return events


# -- the standard's own examples, and its rules one by one

EXAMPLES = {
    "three messages, one of two lines": (
        b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: Third.\n\n",
        [
            ("", b"This is the first message."),
            ("", b"This is the second message, it\nhas two lines."),
            ("", b"Third."),
        ],
    ),
    "named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [("add", b"73857293"), ("remove", b"2153"), ("add", b"113411")],
    ),
    "stock ticker": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("", b"YHOO\n+2\n10")]),
    "a comment, ids, and one space of two taken away": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("", b"first event"), ("", b"second event"), ("", b" third event")],
    ),
    "fields without a colon; the last block has no end": (
        b"data\n\ndata\ndata\n\ndata:",
        [("", b""), ("", b"\n")],
    ),
    "a space behind the colon is optional": (b"data:test\n\ndata: test\n\n", [("", b"test"), ("", b"test")]),
}

RULES = {
    "LF": (b"data: a\n\n", [("", b"a")]),
    "CR": (b"data: a\r\r", [("", b"a")]),
    "CRLF": (b"data: a\r\n\r\n", [("", b"a")]),
    "all three mixed": (b"data: a\r\ndata: b\rdata: c\n\r\n", [("", b"a\nb\nc")]),
    "a CR, then an LF that ends another line": (b"data: a\rdata: b\n\ndata: c\n\n", [("", b"a\nb"), ("", b"c")]),
    "a byte order mark at the start is dropped": (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
    "a byte order mark further on is not": (b"\n\xef\xbb\xbfdata: a\n\n", []),
    "comments are nothing": (b": ping\n\n:\n\ndata: a\n: in between\ndata: b\n\n", [("", b"a\nb")]),
    "id and retry are passed over": (b"id: 7\nretry: 10\ndata: a\n\n", [("", b"a")]),
    "an unknown field is passed over": (b"datum: x\n data: y\ndata: a\n\n", [("", b"a")]),
    "a name without data is no event, and is forgotten": (b"event: error\n\ndata: a\n\n", [("", b"a")]),
    "the last name counts": (b"event: a\nevent: b\ndata: x\n\n", [("b", b"x")]),
    "a name does not outlive its event": (b"event: a\ndata: x\n\ndata: y\n\n", [("a", b"x"), ("", b"y")]),
    "a name that is not UTF-8": (b"event: \xff\ndata: x\n\n", [("\ufffd", b"x")]),
    "a colon in the data": (b"data: {a: b}\n\n", [("", b"{a: b}")]),
    "other line ends of Unicode are text": (
        "data: a\u2028b\x85c\vd\fe\n\n".encode(),
        [("", "a\u2028b\x85c\vd\fe".encode())],
    ),
    "blank lines alone": (b"\n\n\r\n\r\r", []),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "events"), (EXAMPLES | RULES).values(), ids=(EXAMPLES | RULES).keys())
def test_the_standard_is_kept_however_the_bytes_are_cut(stream, events):
    """The same events whole, cut in two at every byte, and byte by byte."""
    assert decode(stream) == events
    for place in range(len(stream)):
        assert decode(*cut(stream, [place])) == events, place
    assert decode(*cut(stream, range(1, len(stream)))) == events


LINES = st.sampled_from(
    [b"data", b"data:", b"data: x", b"data:  y", b"event: e", b"event", b": ping", b"id: 1", b"", b""]
)
WILD_LINES = st.binary(max_size=6).map(lambda line: re.sub(rb"[\r\n]", b"", line))
STREAMS = st.builds(
    lambda mark, lines, tail: mark + b"".join(lines) + tail,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.builds(bytes.__add__, LINES | WILD_LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=12),
    LINES,
)


@settings(deadline=None, max_examples=300)
@given(stream=STREAMS, data=st.data())
@example(stream=b"data: x\rdata: y\n\n", data=None)
@example(stream=b"data: first\n\n\ndata: x\rdata: y\n\n", data=None)
def test_any_stream_gives_the_events_of_the_standard_however_it_is_cut(stream, data):
    """Held against the standard's algorithm on the whole stream; the cuts may fall anywhere, empty reads included."""
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8)) if data else [15]
    assert decode(*cut(stream, places)) == by_the_book(stream)


def test_an_event_is_handed_out_with_the_byte_that_completes_it():
    """Nothing waits for a further read: not the event, and not the second half of a CRLF."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n") == []
    assert decoder.feed(b"\r") == [("", b"a")]
    assert decoder.feed(b"\ndata: b\r\n\r\n") == [("", b"b")]


# -- the end of the stream


@pytest.mark.parametrize(
    ("stream", "left"),
    [
        (b"data: [DONE]\n", [("", b"[DONE]")]),
        (b"data: [DONE]\r", [("", b"[DONE]")]),
        (b"event: error\ndata: x\n", [("error", b"x")]),
        (b"data: [DONE]\n\n", []),
        (b'data: {"choices": [', []),
        (b"event: error\n", []),
        (b"", []),
    ],
)
def test_finish_gives_the_event_whose_blank_line_never_came(stream, left):
    """An event of whole lines counts; a line that was cut off does not, nor does a name alone."""
    decoder = SSEDecoder()
    decoder.feed(stream)
    assert [tuple(event) for event in decoder.finish()] == left
    assert decoder.finish() == []


# -- how large an event may be


def test_an_event_of_16_mib_passes_and_its_bytes_are_joined_once():
    """Pieces of 64 KiB are kept as they came until the line ends: the work grows with the bytes, not with their square."""
    assert MAX_EVENT_BYTES == 16 * 1024 * 1024
    line = b"data: ".ljust(MAX_EVENT_BYTES, b"x")
    pieces = [line[start : start + PIECE] for start in range(0, len(line), PIECE)]
    decoder = SSEDecoder()
    for number, piece in enumerate(pieces, start=1):
        assert decoder.feed(piece) == []
        assert len(decoder._tail) == number
        assert decoder._tail[-1] is piece
    assert decoder.feed(b"\n\n") == [("", line[6:])]


def test_a_late_event_of_one_byte_more_is_refused_too():
    """Also where it comes whole, in one read, behind others."""
    decoder = SSEDecoder(max_event_bytes=20)
    assert decoder.feed(b"data: a\n\n") == [("", b"a")]
    assert decoder.feed(b"data: aaaaaaaaaaaaaa\n\n" * 2) == [("", b"a" * 14)] * 2
    with pytest.raises(APIResponseValidationError, match="larger than 20 bytes"):
        decoder.feed(b"data: aaaaaaaaaaaaaaa\n\n")


@pytest.mark.parametrize("ending", [b"", b"\n\n"])
def test_one_byte_more_is_refused(ending):
    """Whether the line ends or not."""
    line = b"data: ".ljust(MAX_EVENT_BYTES + 1, b"x") + ending
    decoder = SSEDecoder()
    with pytest.raises(APIResponseValidationError, match=r"larger than 16,777,216 bytes"):
        for start in range(0, len(line), PIECE):
            decoder.feed(line[start : start + PIECE])


TOO_LARGE = {
    "a line": b"data: 12345678901\n\n",
    "a line without an end": b"data: 12345678901",
    "several lines": b"data: 1\ndata: 2\ndata: 3\n\n",
    "lines of nothing": b"data\ndata\ndata\ndata\ndata\n",
    "a comment without an end": b": 456789012345678",
    "a name without an end": b"event: 89012345678",
    "data and a comment without an end": b"data: 7890\n: 3456789",
}


@pytest.mark.parametrize("stream", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_an_event_is_too_large_or_not_however_it_is_cut(stream):
    """The bound is on the bytes of the data lines and of the line that is growing, and not on how they came."""
    for pieces in ([stream], *(cut(stream, [place]) for place in range(len(stream))), cut(stream, range(len(stream)))):
        with pytest.raises(APIResponseValidationError):
            decode(*pieces, max_event_bytes=16)


def test_the_bound_is_on_one_event_and_not_on_the_stream():
    """Events, comments and names that are done with leave room for the next."""
    stream = b"data: 7890123456\n\n: 34567890123456\n\nevent: 890123456\n\n" * 50
    assert decode(*cut(stream, range(0, len(stream), 5)), max_event_bytes=16) == [("", b"7890123456")] * 50
