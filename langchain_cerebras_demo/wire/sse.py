"""Server-sent events, as a push decoder: ``feed`` it what the network gave, take the events that are whole.

The rules are those of the WHATWG HTML standard, section 9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html):
lines end in CRLF, CR or LF; a leading byte order mark is dropped; a line that starts with a colon is a comment; several
``data`` lines of one event are joined by a line feed; a blank line dispatches the event. ``id`` and ``retry`` are for
browsers that reconnect, which a paid completion must never do, so they are passed over.
"""

from __future__ import annotations

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire.repair import BYTE_ORDER_MARK

MAX_EVENT_BYTES = 16 * 1024 * 1024

# How a stream's first line may begin, and what no line of a stream begins with.
_STREAM_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
_OTHER_BEGINNINGS = (b"{", b"[", b"<")


ServerSentEvent = tuple[str, bytes]
"""One event: its ``event`` field (``""`` where none was sent) and its ``data``, still bytes."""


class SSEDecoder:
    """Turns bytes, cut anywhere, into events.

    Args:
        max_event_bytes: the largest event, in bytes: its data lines as they stand on the wire and the line that is still
            growing, whatever it is. More is refused, so that a server that never ends an event or a line cannot fill
            the memory.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail: list[bytes] = []  # a line that has not ended yet, in the pieces it came in
        self._tail_bytes = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._at_start = True
        self._after_cr = False

    def feed(self, received: bytes) -> list[ServerSentEvent]:
        """The events that ``received`` completes.

        Raises:
            APIResponseValidationError: an event or a line is larger than ``max_event_bytes``.
        """
        if self._after_cr and received:
            self._after_cr = False
            if received[0] == 0x0A:  # the second half of a CRLF that the network cut in two
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
        """What is left at the end of the stream: an event whose last line is whole but whose blank line never came.

        The standard drops it. It is kept because some servers end the stream right behind ``data: [DONE]``; a line
        that has itself not ended is dropped, as a part of a JSON object is worth nothing.
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
            self._name = ""  # an event without data is none, by the standard
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
    """The events, where each is one ``data`` line and an empty one, as nearly all are: a quarter of what lines cost."""
    if not (whole.startswith(b"data: ") and whole.endswith(b"\n\n")) or b"\r" in whole:
        return None
    parts = whole[6:-2].split(b"\n\ndata: ")
    if whole.count(b"\n") != 2 * len(parts):  # an event of several lines, or a comment
        return None
    return [("", part) for part in parts]


def is_event_stream(begin: bytes) -> bool | None:
    """Whether a body that begins like this is a stream of events or something else; ``None`` where it does not tell."""
    start = begin.removeprefix(BYTE_ORDER_MARK).lstrip()
    if start.startswith(_STREAM_BEGINNINGS):
        return True
    return False if start.startswith(_OTHER_BEGINNINGS) else None
