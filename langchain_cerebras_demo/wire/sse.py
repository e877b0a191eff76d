"""A push decoder of server-sent events: ``feed`` accepts bytes from the network and returns the complete events.

The rules are those of the WHATWG HTML standard, section 9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html):
lines end in CRLF, CR or LF; a leading byte order mark is dropped; a line that starts with a colon is a comment; several
``data`` lines of one event are joined by a line feed; a blank line dispatches the event. ``id`` and ``retry`` are for
reconnecting, which a paid completion must never do, so they are ignored.
"""

from __future__ import annotations

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire.repair import BYTE_ORDER_MARK

MAX_EVENT_BYTES = 16 * 1024 * 1024

# How the first line of a stream may begin, and how a line of a stream never begins.
_STREAM_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
_OTHER_BEGINNINGS = (b"{", b"[", b"<")


ServerSentEvent = tuple[str, bytes]
"""One event: its ``event`` field (``""`` if it has none) and its ``data``, as bytes."""


class SSEDecoder:
    """Converts bytes, in pieces of any size, to events.

    Args:
        max_event_bytes: the largest event, in bytes: its data lines as sent, and the line that is still incomplete, of any
            kind. Larger ones are refused, so that a server that never ends an event or a line cannot fill the memory.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail: list[bytes] = []  # the pieces of an incomplete line
        self._tail_bytes = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._at_start = True
        self._after_cr = False

    def feed(self, received: bytes) -> list[ServerSentEvent]:
        """Return the events that ``received`` completes.

        Raises:
            APIResponseValidationError: an event or a line is larger than ``max_event_bytes``.
        """
        if self._after_cr and received:
            self._after_cr = False
            if received[0] == 0x0A:  # the second half of a CRLF that was split between two reads
                received = received[1:]
        end = max(received.rfind(b"\n"), received.rfind(b"\r")) + 1
        if not end:
            self._keep(received)
            return []
        whole = received[:end] if end < len(received) else received
        if self._tail:
            whole = b"".join((*self._tail, whole))
            self._tail.clear()
            self._tail_bytes = 0
        self._after_cr = received.endswith(b"\r")
        events = _plain_events(whole) if self._is_between_events and len(whole) <= self._max_event_bytes else None
        if events is None:
            events = self._lines(whole)
        if end < len(received):
            self._keep(received[end:])
        return events

    def finish(self) -> list[ServerSentEvent]:
        """Return the last event, if its lines are complete but the blank line after it is missing.

        The standard discards it. It is kept because some servers end the stream directly after ``data: [DONE]``. An
        incomplete line is discarded, because a part of a JSON object is useless.
        """
        event = self._line(b"")
        return [event] if event is not None else []

    @property
    def _is_between_events(self) -> bool:
        return not (self._at_start or self._data or self._name)

    def _lines(self, whole: bytes) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        for line in whole.splitlines():  # bytes.splitlines knows CRLF, CR and LF and nothing else
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._tail.append(piece)
            self._tail_bytes += len(piece)
            self._check_size(self._tail_bytes)

    def _line(self, line: bytes) -> ServerSentEvent | None:
        self._check_size(len(line))
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(line)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        if not self._data:
            self._name = ""  # by the standard, an event without data is ignored
            return None
        event = (self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
        self._name = ""
        self._data = []
        self._data_bytes = 0
        return event

    def _check_size(self, line_bytes: int) -> None:
        if self._data_bytes + line_bytes > self._max_event_bytes:
            raise APIResponseValidationError(
                f"an event of the stream is larger than {self._max_event_bytes:,} bytes: this is not a chat completion"
            )


def _plain_events(whole: bytes) -> list[ServerSentEvent] | None:
    """Return the events if each is a ``data`` line and an empty line, as nearly all are, in a quarter of the time."""
    if not (whole.startswith(b"data: ") and whole.endswith(b"\n\n")) or b"\r" in whole:
        return None
    parts = whole[6:-2].split(b"\n\ndata: ")
    if whole.count(b"\n") != 2 * len(parts):  # an event of several lines, or a comment
        return None
    return [("", part) for part in parts]


def is_event_stream(begin: bytes) -> bool | None:
    """Return whether a body with this beginning is a stream of events; ``None`` if it cannot be told."""
    start = begin.removeprefix(BYTE_ORDER_MARK).lstrip()
    if start.startswith(_STREAM_BEGINNINGS):
        return True
    return False if start.startswith(_OTHER_BEGINNINGS) else None
