"""What a completion says, as typed events: one stream chunk or one whole answer at a time.

Shapes and oddities: the API's own types (cerebras-cloud-sdk-python, ``types/chat/chat_completion.py``) and recordings of
the real service. The decoder emits text, reasoning and tool calls as they come and holds back how it ended (finish
reasons, identity, usage, timing) until the end: usage may come with the last choice, behind it or on several chunks, and
must be counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire import failure, repair
from langchain_cerebras_demo.wire.metadata import FactReader, Usage, to_count
from langchain_cerebras_demo.wire.thinking import Piece, ThinkSplitter
from langchain_cerebras_demo.wire.tool_calls import ToolCallFragment, ToolCallTracker, join_fragments

T = TypeVar("T")
E = TypeVar("E")

__all__ = [
    "CompletionDecoder",
    "Event",
    "Finish",
    "Identity",
    "LogprobsDelta",
    "ReasoningDelta",
    "RefusalDelta",
    "TextDelta",
    "Timing",
    "ToolCallFragment",
    "Usage",
    "with_whole_calls",
]

_DONE = b"[DONE]"

# What a chunk repeats beside a piece of text. With any other key it is read key by key.
_KEYS_OF_EVERY_CHUNK = frozenset({"id", "choices", "created", "model", "system_fingerprint", "object"})

_REASONING_KEYS = frozenset({"reasoning", "reasoning_content"})
_LOGPROBS_KEYS = (("logprobs", False), ("reasoning_logprobs", True))
_TEXT_KEYS = ("content", "reasoning", "reasoning_content", "refusal")


# Events are plain slotted dataclasses: a frozen one costs three times as much to make, and one is made a delta.


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of what the model thought before it answered."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class RefusalDelta:
    """A piece of what the model says where it declines to answer."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class LogprobsDelta:
    """Log probabilities of the tokens of one delta; ``of_reasoning`` tells the two lists of version 2 apart."""

    tokens: list[dict[str, Any]]
    of_reasoning: bool = False
    choice: int = 0


@dataclass(slots=True)
class Finish:
    """Why a choice ended: ``stop``, ``length``, ``tool_calls``, ``content_filter``, or ``None`` where none was said.

    ``broken_calls`` are the tool calls whose arguments are not a JSON object, as a cut by ``length`` leaves them, each as one
    fragment; ``is_silent`` says that no text, refusal or tool call came, as when reasoning has used up all tokens;
    ``is_refusal`` that the model refused in words, whatever the reason says.
    """

    reason: str | None
    choice: int = 0
    broken_calls: list[ToolCallFragment] = field(default_factory=list)
    is_silent: bool = False
    is_refusal: bool = False


@dataclass(slots=True)
class Identity:
    """Which answer this is: the service's id, the model that served it, its fingerprint, the tier it ran on."""

    id: str | None
    model: str | None
    system_fingerprint: str | None
    service_tier: str | None = None


@dataclass(slots=True)
class Timing:
    """The server's own ``time_info``: queue, prompt, completion and total time in seconds, ``created`` in Unix time."""

    time_info: dict[str, float]


Event = (
    TextDelta | ReasoningDelta | RefusalDelta | ToolCallFragment | LogprobsDelta | Finish | Identity | Usage | Timing
)


@dataclass(
    slots=True, repr=False
)  # a traceback that shows variables must not show the answer, which may repeat the key
class CompletionDecoder:
    """Collects one answer, streamed or whole.

    ``complete`` says whether it has ended as the service ends one: every choice that began has its finish reason, or
    ``[DONE]`` came. ``done`` says that ``[DONE]`` came or the answer was a whole one: nothing more is to be read.
    ``ended`` says that ``end`` has told how it ended. ``hide`` takes out of an answer what no error may repeat. ``salt``
    stands in the ids that tool calls without one are given; where it differs, no two answers give the same.
    ``closing_tag_only`` says that the content begins with the reasoning, which no opening tag announces.
    """

    done: bool = False
    ended: bool = False
    hide: Callable[[bytes], bytes] = bytes
    salt: str = ""
    closing_tag_only: bool = False
    _finishes: dict[int, str | None] = field(default_factory=dict)
    _identity: Identity | None = None
    _usage: Usage | None = None
    _time_info: dict[str, float] | None = None
    _text: list[str] = field(default_factory=list)
    _splitters: dict[int, ThinkSplitter] = field(default_factory=dict)
    _calls: dict[int, ToolCallTracker] = field(default_factory=dict)
    _reasoned: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    _said_in_messages: set[tuple[int, str]] = field(default_factory=set)
    _facts: FactReader = field(default_factory=FactReader)
    _halves: repair.Halves = field(default_factory=repair.Halves)
    _has_halves: bool = False  # whether a chunk has come that may hold half of a character
    _flows: bool = False

    @property
    def complete(self) -> bool:
        """Whether the answer has ended properly."""
        return self.done or (bool(self._finishes) and None not in self._finishes.values())

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        return "".join(self._text)

    @property
    def has_choices(self) -> bool:
        """Whether the answer has begun: a choice was mentioned, with or without a word."""
        return bool(self._finishes)

    @property
    def usage(self) -> Usage | None:
        """The token counts, as far as the service has told them."""
        return self._usage

    def flush(self) -> list[Event]:
        """What was held back, as it could have become a tag or a character: at the end, or when nothing more will come."""
        events: list[Event] = []
        for (choice, key), text in self._halves.rest().items():
            self._read_choice(choice, {}, {key: text}, events)
        for choice, tracker in self._calls.items():
            events += tracker.close(choice)
        for choice, splitter in self._splitters.items():
            self._say_pieces(splitter.finish(), choice, events)
        return events

    def feed(self, name: str, data: bytes) -> list[Event]:
        """The events of one server-sent event; see ``feed_all``."""
        events: list[Event] = []
        self.feed_all([(name, data)], events)
        return events

    def feed_all(self, arrived: Iterable[tuple[str, bytes]], events: list[Event]) -> None:
        """Puts the events of several server-sent events behind ``events``; where one fails, those before it are there.

        Args:
            arrived: names and data; the name ``error`` marks a failure whatever its shape.
            events: is added to.

        Raises:
            APIStatusError: an event speaks of an error.
            APIResponseValidationError: an event is no JSON object, or not in the shape of a completion.
        """
        for name, data in arrived:
            if self.done:
                return  # nothing counts behind [DONE]
            if data == _DONE:
                self.done = True
            elif name == "error":
                raise failure.from_event(failure.to_json_or_text(data), self.hide)
            elif data.strip():  # an event without data says nothing, whatever its name
                chunk = self._to_object(data, "an event of the stream")
                if self._flows and (text := _lone_text(chunk)):
                    self._text.append(text)
                    events.append(TextDelta(text))
                elif failure.is_failure(chunk):
                    raise failure.from_event(failure.to_json_or_text(data), self.hide)
                else:
                    events += self._read(chunk, "delta", "message", data)

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole answer, its end included.

        Raises:
            APIStatusError: the body is an error, although the status was 200.
            APIResponseValidationError: the body is no JSON object, or has no choices.
        """
        answer = self._to_object(body, "the answer")
        if failure.is_failure(answer):
            raise failure.from_event(failure.to_json_or_text(body), self.hide)
        if not answer.get("choices"):
            raise APIResponseValidationError("the answer has no choices", status_code=200)
        events = self._read(answer, "message", "delta", body)
        self.done = True
        return events + self.end()

    def end(self) -> list[Event]:
        """How the answer ended: a ``Finish`` a choice, then what is known of identity, usage and timing, each once."""
        self.ended = True
        events = self.flush()
        self._say_unclosed(events)
        events += [self._finish(choice, reason) for choice, reason in sorted(self._finishes.items())]
        if self._identity is not None:
            events.append(self._identity)
        if self._usage is not None:
            events.append(self._usage)
        if self._time_info is not None:
            events.append(Timing(self._time_info))
        return events

    def _finish(self, choice: int, reason: str | None) -> Finish:
        splitter, tracker = self._splitters.get(choice), self._calls.get(choice)
        has_calls = tracker is not None and bool(tracker.calls)
        has_refused = choice in self._refused
        is_silent = not has_calls and not has_refused and not (splitter and splitter.is_plain)
        return Finish(reason, choice, tracker.broken(choice) if tracker else [], is_silent, has_refused)

    def _say_unclosed(self, events: list[Event]) -> None:
        """The answer of a model that never closed its reasoning.

        Where the tokens ran out, it was still thinking, as in all recordings that have no closing tag. Where it stopped by
        itself, what it said is the answer, as with a response format that leaves no room for thoughts. It has gone out as
        reasoning by then, so it is said once more as text rather than leave the answer empty.
        """
        for choice, splitter in self._splitters.items():
            if (
                self._finishes.get(choice) == "stop"
                and choice not in self._calls
                and (text := splitter.take_unclosed())
            ):
                self._say(text, choice, events)

    def _read(self, chunk: dict[str, Any], usual: str, other: str, data: bytes) -> list[Event]:
        """The events of a chunk whose choices speak in ``usual``, or else in ``other``: a delta or a whole message."""
        events: list[Event] = []
        try:
            if self._has_halves:
                self._join_halves(chunk)
                chunk = repair.mend_all(chunk, but="arguments")  # which come in pieces too: the tracker joins them
            self._note(chunk)
            for position, choice in enumerate(chunk.get("choices") or ()):  # typed nullable
                index = _to_index(choice, position)
                said = choice.get(usual) or {}
                if unusual := choice.get(other):
                    said = self._unsaid(index, unusual) | {key: value for key, value in said.items() if value}
                self._read_choice(index, choice, said, events)
        except (AttributeError, TypeError, ValueError) as error:  # a list, a number or a word where an object belongs
            raise APIResponseValidationError(
                f"the answer does not have the shape of a completion: {self.hide(data)[:200]!r}", status_code=200
            ) from error
        if self._halves:
            self._flows = False
        return events

    def _unsaid(self, index: int, message: dict[str, Any]) -> dict[str, Any]:
        """What a message in place of a delta adds: behind deltas, one repeats what they have said."""
        known = {
            "content": self._splitters,
            **dict.fromkeys(_REASONING_KEYS, self._reasoned),
            "refusal": self._refused,
            "tool_calls": self._calls,
        }
        unsaid = {
            key: value
            for key, value in message.items()
            if (index, key) in self._said_in_messages or index not in known.get(key, ())
        }
        self._said_in_messages.update((index, key) for key in unsaid)
        return unsaid

    def _to_object(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            decoded = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            decoded = self._to_lenient(data, what, error)
        if not isinstance(decoded, dict):
            raise APIResponseValidationError(
                f"{what} is JSON but no object: {self.hide(data)[:100]!r}", status_code=200
            )
        return decoded

    def _to_lenient(self, data: bytes, what: str, error: ValueError) -> Any:
        """The value of what orjson does not take. From here on texts are looked through for halves of characters."""
        try:
            decoded = repair.loads_with_halves(data)
        except (ValueError, RecursionError):
            raise _not_json(self.hide(data), what, error) from None
        self._has_halves, self._flows = True, False
        if b"NaN" in data or b"Infinity" in data:
            self._facts.leave_out("a number that is not finite")
        return decoded

    def _join_halves(self, chunk: dict[str, Any]) -> None:
        """Holds back the half of a character that a text ends in until its next piece is here."""
        for position, choice in enumerate(chunk.get("choices") or ()):
            index = _to_index(choice, position)
            for said in filter(None, (choice.get("delta"), choice.get("message"))):
                for key in _TEXT_KEYS:
                    if isinstance(text := said.get(key), str):
                        said[key] = self._halves.join((index, key), text)

    def _note(self, chunk: dict[str, Any]) -> None:
        """Latches what must be said once, whichever chunk it comes on; a later figure replaces an earlier one."""
        if self._identity is None and (chunk.get("id") or chunk.get("model")):
            self._identity = Identity(*(self._facts.word(chunk, key) for key in ("id", "model", "system_fingerprint")))
        if chunk.get("usage"):
            self._usage = self._facts.usage(chunk["usage"]) or self._usage
        if chunk.get("time_info"):
            self._time_info = self._facts.time_info(chunk["time_info"]) or self._time_info
        # Documented as service_tier_used for "auto", later seen as service_tier: either is taken.
        if ("service_tier" in chunk or "service_tier_used" in chunk) and self._identity is not None:
            tier = self._facts.word(chunk, "service_tier") or self._facts.word(chunk, "service_tier_used")
            self._identity.service_tier = tier or self._identity.service_tier

    def _read_choice(self, index: int, choice: dict[str, Any], said: dict[str, Any], events: list[Event]) -> None:
        # Other servers of this protocol call it reasoning_content. Where both are there, they are the same.
        if reasoning := _typed(said.get("reasoning") or said.get("reasoning_content"), str):
            self._reasoned.add(index)
            events.append(ReasoningDelta(reasoning, index))
        if (content := said.get("content")) and (text := _to_text(content)):
            self._read_text(text, index, events)
        if refusal := _typed(said.get("refusal"), str):
            self._refused.add(index)
            events.append(RefusalDelta(refusal, index))
        if said.get("tool_calls") or said.get("function_call"):
            tracker = self._calls.setdefault(index, ToolCallTracker(f"call_{self.salt}{index}_"))
            events.extend(tracker.read(said, index, is_message=bool(choice.get("message"))))
        for key, of_reasoning in _LOGPROBS_KEYS:
            if choice.get(key) and (tokens := self._facts.tokens(choice[key], key)):
                events.append(LogprobsDelta(tokens, of_reasoning, index))
        reason = choice.get("finish_reason")
        if reason or index not in self._finishes:
            self._finishes[index] = str(reason) if reason else None  # of whatever type: it ends the choice

    def _read_text(self, text: str, index: int, events: list[Event]) -> None:
        splitter = self._splitters.get(index)
        if splitter is None:
            starts = self.closing_tag_only and index not in self._reasoned  # else it has a field of its own
            splitter = self._splitters[index] = ThinkSplitter(closing_tag_only=starts)
        if splitter.is_plain:
            self._say(text, index, events)
            self._flows = self._flows or (index == 0 and self._identity is not None)
        else:
            self._say_pieces(splitter.feed(text), index, events)

    def _say(self, text: str, index: int, events: list[Event]) -> None:
        events.append(TextDelta(text, index))
        if index == 0:
            self._text.append(text)

    def _say_pieces(self, pieces: list[Piece], index: int, events: list[Event]) -> None:
        for kind, text in pieces:
            if kind == "reasoning":
                events.append(ReasoningDelta(text, index))
            else:
                self._say(text, index, events)


def with_whole_calls(events: Iterable[E]) -> list[E]:
    """The events with each call in one piece, where its first fragment stands."""
    fragments: dict[tuple[int, int], list[ToolCallFragment]] = {}
    joined: list[Any] = []
    for event in events:
        if not isinstance(event, ToolCallFragment):
            joined.append(event)
        elif (known := fragments.get((event.choice, event.index))) is not None:
            known.append(event)
        else:
            fragments[event.choice, event.index] = [event]
            joined.append(event)
    for place, event in enumerate(joined):
        if isinstance(event, ToolCallFragment):
            joined[place] = join_fragments(fragments[event.choice, event.index])
    return joined


def _lone_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk that says nothing else, as nearly all of an answer do: a third of what it costs to ask for all."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        text = delta["content"]
        is_lone = (
            type(text) is str
            and len(delta) == 1
            and len(choice) == 2
            and choice["index"] == 0
            and _KEYS_OF_EVERY_CHUNK.issuperset(chunk)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return text if is_lone else None


def _not_json(data: bytes, what: str, error: ValueError) -> APIResponseValidationError:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return APIResponseValidationError(f"{what} is not UTF-8: {data[:100]!r}", status_code=200)
    if text.lstrip()[:1] == "<":
        return APIResponseValidationError(
            f"{what} is an HTML page, not JSON: a proxy or a login page stands in between ({text.strip()[:100]!r})",
            status_code=200,
        )
    return APIResponseValidationError(f"{what} is not JSON ({error}): {text[:200]!r}", status_code=200)


def _to_index(choice: dict[str, Any], position: int) -> int:
    """The choice's number: its own, or its place where it names none that can be read."""
    index = choice.get("index")
    if type(index) is int and index >= 0:
        return index
    index = to_count(index)
    return position if index is None else index


def _to_text(content: Any) -> str | None:
    """The text of ``content``, which may come as a list of parts."""
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _typed(part.get("text"), str) for part in content]
        return "".join(text for text in texts if text)
    return _typed(content, str)


def _typed(value: Any, kind: type[T]) -> T | None:
    """``value``, which may be null. Raises ``TypeError`` where it is of another kind."""
    if value is None or isinstance(value, kind):
        return value
    raise TypeError
