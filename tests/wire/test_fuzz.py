"""Broken answers: events or an error of ours, the same however the bytes are cut. The fuzzer is ``fuzz.py`` beside this."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from langchain_cerebras_demo.wire.sse import SSEDecoder
from tests.support.processes import ROOT, environment
from tests.wire import fuzz

SECONDS = 600


def run_fuzzer(seconds, seed):
    """The script as it is run by hand; a process of its own, since it traces its own lines."""
    done = subprocess.run(
        [sys.executable, "tests/wire/fuzz.py", "--seconds", str(seconds), "--seed", str(seed)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    print(f"\n{done.stdout}")
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def test_the_decoders_survive_three_seconds_of_fuzzing():
    """The short form, from a fixed seed; it meets the endings that there are."""
    figures = run_fuzzer(3, 1)
    for ending in ("APIResponseValidationError", "InternalServerError", "RateLimitError", "cut off"):
        assert ending in figures


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
def test_the_decoders_survive_ten_minutes_of_fuzzing():
    """The whole form, from a seed of its own each time; the error names what broke."""
    run_fuzzer(SECONDS, random.SystemRandom().randrange(2**32))


@pytest.mark.parametrize("stream", fuzz.STREAMS)
def test_any_cut_of_a_recorded_stream_gives_its_events(stream):
    """Cut in two at every byte, into pieces of every size up to 16, and into 20 random sets of pieces."""
    uncut, chance = fuzz.decode_stream([stream]), random.Random(1)
    assert uncut.events or uncut.error
    for place in range(len(stream) + 1):
        assert fuzz.decode_stream(fuzz.cut(stream, [place])) == uncut, place
    for size in range(1, 17):
        assert fuzz.decode_stream(fuzz.cut(stream, list(range(size, len(stream), size)))) == uncut, size
    for _ in range(20):
        places = [chance.randint(0, len(stream)) for _ in range(chance.randint(2, 30))]
        assert fuzz.decode_stream(fuzz.cut(stream, places)) == uncut, places


def test_the_fuzzer_finds_a_decoder_that_depends_on_the_cuts(monkeypatch):
    """It is no ornament: one that forgets the second half of a line is found within a second."""

    def forgetful(self, piece):
        self._tail = [piece] if piece else self._tail
        self._tail_bytes = len(piece)

    monkeypatch.setattr(SSEDecoder, "_keep", forgetful)
    with pytest.raises(AssertionError, match="uncut"):
        fuzz.Fuzzer(seed=1)


def test_the_fuzzer_finds_a_decoder_that_raises_what_is_not_ours(monkeypatch):
    """An exception of Python's own, in a place that only a broken answer reaches."""

    def careless(self, line, _right=SSEDecoder._line):
        if b"\xff" in line:
            raise KeyError(line)
        return _right(self, line)

    monkeypatch.setattr(SSEDecoder, "_line", careless)
    with pytest.raises(AssertionError, match="KeyError"):
        fuzz.Fuzzer(seed=1).run(20)
