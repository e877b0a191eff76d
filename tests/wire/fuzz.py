"""Fuzzes the decoders of streams and of whole answers with broken versions of recorded ones.

    python tests/wire/fuzz.py --seconds 600

Random mutation, guided by coverage: an answer that takes the decoders where none has taken them before is kept and broken
further. Of each it is asserted that the decoders

* give events or raise a subclass of ``APIError``, and nothing else;
* say the same however the bytes are cut;
* hold back no more than they are allowed to, and are done in time that grows with the bytes.

Ends with an ``AssertionError`` that holds the bytes, or with one line of figures. Random from ``--seed``.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain_cerebras_demo import wire
from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.wire.completion import CompletionDecoder
from langchain_cerebras_demo.wire.sse import SSEDecoder
from tests.support.wire_shapes import LOCAL_STREAM, LOCAL_WHOLE, ROLE, SHAPES, chunk, to_data, to_sse, whole

MAX_EVENT_BYTES = 4096  # small, so that it is run into
MAX_INPUT_BYTES = 3 * MAX_EVENT_BYTES
MAX_CORPUS = 3000
SLOW_SECONDS = 1.0  # what takes longer takes more than its bytes explain; a busy machine may take a while
MAX_GROWTH_BYTES = 64 * 2**20

_WIRE = str(Path(wire.__file__).parent)

_OTHERS = [
    [ROLE, chunk({"content": "<think>\nHm"}), chunk({"content": ".</th"}), chunk({"content": "ink>\n\n4"})],
    [ROLE, chunk({"content": "a"}), {"error": {"message": "Overloaded", "type": "server_error"}, "status_code": 503}],
    [ROLE, {"message": "Too many", "type": "too_many_requests_error", "param": "quota", "code": "x"}],
    [chunk({"content": "a"}, index=0), chunk({"content": "b"}, index=1), chunk(finish="stop", index=1)],
    [chunk({"reasoning_content": "Hm."}), chunk({"refusal": "I "}), chunk({"refusal": "won't."}), chunk(finish="stop")],
    [{"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}]}],
    [chunk({"content": [{"type": "text", "text": "4"}]}, usage={"prompt_tokens": "1", "total_tokens": 2.0})],
    [chunk({"content": "a"}, logprobs={"logprobs": {"content": [{"token": "a", "logprob": -0.5}]}})],
]

STREAMS = [
    *(to_sse(*shape.stream, "[DONE]") for shape in SHAPES.values()),
    *(to_sse(*stream) for stream in _OTHERS),
    to_sse(*LOCAL_STREAM, "[DONE]"),
    to_sse(*SHAPES["reasoning, then text"].stream, "[DONE]").replace(b"\n", b"\r\n"),
    b"\xef\xbb\xbf: ping\r\rid: 1\revent: x\r" + to_sse(ROLE).replace(b"\n", b"\r") + b"event: error\ndata: busy\n\n",
]
"""Streams as they were recorded, or as the service's types say they may be."""

WHOLE_ANSWERS = [
    *(to_data(shape.whole) for shape in SHAPES.values()),
    to_data(LOCAL_WHOLE),
    to_data(whole({"content": "<think>Hm.</think>4"}, logprobs={"logprobs": {"content": [{"token": "4"}]}})),
]
"""The same for answers that are not streamed."""

_WORDS = (
    b'null true false 0 -1 1e400 1e-9 18446744073709551616 0.5 "" "x" "\\ud800" "\\u0000" [] {} [[]] [{}] {"a":[]} [null] '
    b'"<think>" "</think>" "<thi" "nk>" "error" "stop" "length" "tool_calls" "choices" "delta" "message" "content" '
    b'"reasoning" "logprobs" "reasoning_logprobs" "index" "finish_reason" "usage" "time_info" "function" "arguments" '
    b'"status_code" "code" "service_tier" data: event: id: retry: : [DONE] , } ] { [ : \xff \xef\xbb\xbf \xe2\x80\xa8'
).split(b" ")
_WORDS += [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b": ping\n\n",
    b"[" * 2000,
    b"x" * 4000,
]
_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|null|true|false|\[\]|\{\}')


@dataclass(frozen=True)
class Said:
    """What a decoder made of an answer: its events, and the kind of the error that came behind them."""

    events: list[Any]
    error: str = ""

    def agrees(self, other: Said) -> bool:
        """Whether both say the same.

        What is too large takes along whatever came in one read with it. A read of the transport is a small part of
        ``wire.sse.MAX_EVENT_BYTES``, so nothing does; here the bound is small and the reads are not.
        """
        if "larger than" in self.error or "larger than" in other.error:
            return all(one == another for one, another in zip(self.events, other.events, strict=False))
        return (self.events, self.error) == (other.events, other.error)


def decode_stream(pieces: list[bytes]) -> Said:
    """The events of a stream that comes in these pieces, each as one network read."""
    sse, completion = SSEDecoder(MAX_EVENT_BYTES), CompletionDecoder()
    events: list[Any] = []
    try:
        for number, piece in enumerate([*pieces, None], start=1):
            arrived = sse.finish() if piece is None else sse.feed(piece)
            if number % 64 == 0 or number == len(pieces):
                held = sum(map(len, sse._tail)) + sum(map(len, sse._data))
                assert held <= MAX_EVENT_BYTES, f"{held} bytes are held back"
            for name, data in arrived:
                events += completion.feed(name, data)
    except APIError as error:
        return Said(events + completion.flush(), to_kind(error))
    return Said(events + completion.end(), "" if completion.complete else "cut off")


def decode_whole(body: bytes) -> Said:
    """The events of an answer that was not streamed."""
    try:
        return Said(CompletionDecoder().feed_whole(body))
    except APIError as error:
        return Said([], to_kind(error))


def to_kind(error: APIError) -> str:
    """What must not depend on the cuts: the class and the words."""
    return f"{type(error).__name__}: {error}"


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces; some may be empty."""
    return [stream[start:end] for start, end in itertools.pairwise([0, *sorted(places), len(stream)])]


@dataclass
class Fuzzer:
    """Breaks answers, has them decoded, and keeps those that lead somewhere new.

    Args:
        seed: the same seed breaks them in the same way.
    """

    seed: int = 0
    executions: int = 0
    slowest: float = 0.0
    errors: set[str] = field(default_factory=set)
    arcs: set[tuple[Any, int, int, int]] = field(default_factory=set)
    counts: Counter[tuple[Any, int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.streams, self.wholes = list(STREAMS), list(WHOLE_ANSWERS)
        for stream in STREAMS:
            self.try_stream(stream)
        for body in WHOLE_ANSWERS:
            self.try_whole(body)

    def run(self, seconds: float) -> None:
        """Goes on for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            is_whole = self.chance.random() < 0.25
            corpus = self.wholes if is_whole else self.streams
            broken = self.broken(self.chance.choice(corpus), corpus)
            is_new = self.try_whole(broken) if is_whole else self.try_stream(broken)
            if is_new:
                corpus.append(broken)
                if len(corpus) > MAX_CORPUS:
                    del corpus[self.chance.randrange(len(STREAMS), MAX_CORPUS)]

    def try_stream(self, stream: bytes) -> bool:
        """Decodes it uncut and cut in two ways; whether it went where none went before."""
        uncut, is_new = self.traced(decode_stream, [stream])
        places = sorted(self.chance.randint(0, len(stream)) for _ in range(self.chance.choice((1, 3, 20))))
        step = self.chance.choice((1, 2, 7))
        for pieces in (cut(stream, places), cut(stream, list(range(step, len(stream), step)))):
            said = self.checked(decode_stream, pieces)
            assert said.agrees(uncut), f"cut into {pieces!r}:\n{said}\nuncut:\n{uncut}"
        return is_new

    def try_whole(self, body: bytes) -> bool:
        """Decodes it as an answer that was not streamed; whether it went where none went before."""
        return self.traced(decode_whole, body)[1]

    def traced(self, decode: Any, given: Any) -> tuple[Said, bool]:
        """What was said, and whether a step from line to line was new, or was taken far more often than ever."""
        before = len(self.arcs)
        self.counts.clear()
        sys.settrace(self.trace)
        try:
            said = self.checked(decode, given)
        finally:
            sys.settrace(None)
        self.arcs.update((*arc, count.bit_length()) for arc, count in self.counts.items())
        return said, len(self.arcs) > before

    def trace(self, frame: Any, _event: str, _arg: Any) -> Any:
        """For ``sys.settrace``: notes the steps inside the package's ``wire``."""
        code, last, counts = frame.f_code, 0, self.counts
        if not code.co_filename.startswith(_WIRE):
            return None

        def line(frame: Any, event: str, _arg: Any) -> Any:
            nonlocal last
            if event == "line":
                counts[code, last, frame.f_lineno] += 1
                last = frame.f_lineno
            return line

        return line

    def checked(self, decode: Any, given: Any) -> Said:
        """What was said. Raises ``AssertionError`` with the bytes where it is none of ours, or takes too long."""
        self.executions += 1
        began = time.process_time()
        try:
            said: Said = decode(given)
        except Exception as error:
            raise AssertionError(f"{decode.__name__}({given!r}) raised {error!r}") from error
        taken = time.process_time() - began
        assert taken < SLOW_SECONDS, f"{taken:.1f} s for {given!r}"
        self.slowest = max(self.slowest, taken)
        self.errors.add(said.error.partition(":")[0])
        return said

    def broken(self, answer: bytes, corpus: list[bytes]) -> bytes:
        """The answer with one to eight things changed."""
        for _ in range(self.chance.choice((1, 1, 2, 4, 8))):
            answer = self.chance.choice((self.change_bytes, self.change_value, self.change_lines, self.splice))(
                answer, corpus
            )
        return answer[:MAX_INPUT_BYTES]

    def change_bytes(self, answer: bytes, _corpus: list[bytes]) -> bytes:
        """Some bytes go, and some others or a word come."""
        start = self.chance.randint(0, len(answer))
        gone = self.chance.choice((0, 0, 1, 1, 5, 100))
        new = self.chance.choice((b"", self.chance.randbytes(self.chance.randint(1, 4)), self.chance.choice(_WORDS)))
        return answer[:start] + new + answer[start + gone :]

    def change_value(self, answer: bytes, _corpus: list[bytes]) -> bytes:
        """A value or a key of the JSON becomes another, so that it stays JSON."""
        values = list(_VALUE.finditer(answer))
        if not values:
            return answer
        one = self.chance.choice(values)
        new = self.chance.choice((self.chance.choice(_WORDS), self.chance.choice(values).group()))
        return answer[: one.start()] + new + answer[one.end() :]

    def change_lines(self, answer: bytes, _corpus: list[bytes]) -> bytes:
        """A line goes, comes twice, or trades places."""
        lines = answer.splitlines(keepends=True)
        if not lines:
            return answer
        one, other = self.chance.randrange(len(lines)), self.chance.randrange(len(lines))
        what = self.chance.choice(("drop", "double", "swap", "unend"))
        if what == "drop":
            del lines[one]
        elif what == "double":
            lines.insert(other, lines[one])
        elif what == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines[one] = lines[one].rstrip(b"\r\n") + self.chance.choice((b"", b"\r", b"\r\n", b"\n"))
        return b"".join(lines)

    def splice(self, answer: bytes, corpus: list[bytes]) -> bytes:
        """The beginning of this and the end of another."""
        other = self.chance.choice(corpus)
        return answer[: self.chance.randint(0, len(answer))] + other[self.chance.randint(0, len(other)) :]


def fuzz(seconds: float, seed: int) -> str:
    """Fuzzes for so long; the figures in one line. Raises ``AssertionError`` with the bytes that broke something."""
    fuzzer = Fuzzer(seed)
    fuzzer.run(seconds / 10)  # until the corpus has grown
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzzer.run(seconds * 9 / 10)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert growth < MAX_GROWTH_BYTES, f"the memory has grown by {growth:,} bytes"
    return (
        f"{fuzzer.executions:,} executions in {seconds:g} s, {len(fuzzer.arcs):,} arcs and their counts, "
        f"{len(fuzzer.streams):,} streams and {len(fuzzer.wholes):,} whole answers kept, slowest {fuzzer.slowest:.3f} s, "
        f"memory {growth / 2**20:+.1f} MiB, endings: {', '.join(sorted(fuzzer.errors - {''}))}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fuzzes the decoders of streams and of whole answers.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(fuzz(arguments.seconds, arguments.seed))
