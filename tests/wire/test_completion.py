"""What a completion says: every shape seen on the wire, streamed and whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.testing import completions
from langchain_cerebras_demo.wire import completion
from langchain_cerebras_demo.wire.completion import (
    CompletionDecoder,
    Finish,
    Identity,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    Usage,
)
from tests.support.wire_shapes import (
    ENDING,
    FINGERPRINT,
    FRAME,
    ID,
    LAST_WORDS,
    LOCAL_STREAM,
    LOCAL_WHOLE,
    MODEL,
    ROLE,
    SHAPES,
    TIME_INFO,
    USAGE,
    chunk,
    facts,
    read,
    read_whole,
    to_data,
    to_sse,
    whole,
)

each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def streamed(*chunks):
    return read(to_sse(*chunks))[0]


def only(kind, events):
    return [event for event in events if isinstance(event, kind)]


# -- both forms of every shape


@each_shape
def test_a_stream_gives_its_deltas_and_then_how_it_ended(shape):
    """A delta an event, in their order; finish reason, identity, usage and timing at the end, each once."""
    events, decoder = read(to_sse(*shape.stream, "[DONE]"))
    is_silent = all(isinstance(event, ReasoningDelta) for event in shape.events)
    assert events == [*shape.events, Finish(shape.finish, is_silent=is_silent), *LAST_WORDS]
    assert decoder.complete
    assert decoder.done
    assert decoder.text == "".join(event.text for event in only(TextDelta, shape.events))


@each_shape
def test_a_whole_answer_says_what_its_stream_says(shape):
    """The same text, reasoning, calls, finish reason, identity, usage and timing."""
    assert facts(read_whole(shape.whole)) == facts(streamed(*shape.stream, "[DONE]"))


@each_shape
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_says_the_same_however_it_is_cut(shape, line_end):
    """The network may cut anywhere: inside a character, a line end or a word of JSON."""
    stream = to_sse(*shape.stream, "[DONE]").replace(b"\n", line_end)
    events, _ = read(stream)
    for place in range(0, len(stream), 7):
        assert read(stream[:place], stream[place:])[0] == events
    assert read(*(stream[place : place + 1] for place in range(len(stream))))[0] == events


# What a service could send that was never recorded: the loopback's own writer makes both forms of a random answer.
TEXTS = st.none() | st.text(max_size=40)
CHOICES = st.builds(
    completions.Choice,
    content=TEXTS,
    reasoning=TEXTS,
    calls=st.lists(
        st.builds(completions.ToolCall, id=st.uuids().map(str), name=st.just("f"), arguments=st.text(max_size=40)),
        max_size=3,
    ).map(tuple),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
ANSWERS = st.builds(
    completions.Completion,
    id=st.just(ID),
    model=st.just(MODEL),
    created=st.just(1),
    choices=st.lists(CHOICES, min_size=1, max_size=3).map(tuple),
    usage=st.just(USAGE),
    time_info=st.just(TIME_INFO),
    sends_whole_calls=st.booleans(),
)


@settings(deadline=None, max_examples=100)
@given(answer=ANSWERS, data=st.data())
def test_any_answer_says_the_same_streamed_and_whole_and_however_it_is_cut(answer, data):
    """Text of any script, several choices, several calls."""
    stream = to_sse(*completions.to_chunks(answer), "[DONE]")
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert facts(read(*pieces)[0]) == facts(read_whole(completions.to_completion(answer)))


# -- what is nothing


@pytest.mark.parametrize(
    "nothing",
    [
        ROLE,
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": None, "reasoning": None, "tool_calls": None}),
        chunk({"tool_calls": []}),
        chunk(logprobs={"logprobs": None}),
        chunk(logprobs={"logprobs": {"content": None}}),
        {**FRAME, "choices": None},
        {**FRAME, "choices": []},
        {**FRAME, "choices": [{"index": 0, "delta": None}]},
        {**FRAME, "choices": [{"index": 0}]},
        FRAME,
        {},
    ],
)
def test_a_chunk_that_says_nothing_gives_no_event(nothing):
    """Roles, empty texts, nulls and chunks without choices are no progress."""
    assert CompletionDecoder().feed("", to_data(nothing)) == []


# -- the embedded server's form


def test_the_stream_of_llama_cpp_is_read():
    """A null content first, a null finish reason on every chunk, usage behind the last choice, timings of its own."""
    events = streamed(*LOCAL_STREAM, "[DONE]")
    assert events == [
        TextDelta("Paris"),
        TextDelta(","),
        TextDelta(" the"),
        Finish("length"),
        Identity("chatcmpl-Sc", "smollm2-135m", "b0-unknown"),
        Usage(41, 3, 44, 0),
    ]
    assert facts(events) == facts(read_whole(LOCAL_WHOLE))


# -- reasoning inside the text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<think>2+2</think>4", {("ReasoningDelta", 0): "2+2", ("TextDelta", 0): "4"}),
        ("<think>cut off </th", {("ReasoningDelta", 0): "cut off </th"}),
        ("<thi", {("TextDelta", 0): "<thi"}),
        ("see <think>", {("TextDelta", 0): "see <think>"}),
    ],
)
def test_a_think_block_is_reasoning_streamed_and_whole(content, said):
    """What is held back, as it may be the beginning of a tag, comes at the end at the latest."""
    for events in (
        streamed(*(chunk({"content": letter}) for letter in content), "[DONE]"),
        read_whole(whole({"content": content})),
    ):
        assert {key: text for key, text in facts(events).items() if isinstance(key, tuple)} == said


# -- usage and timing


COUNTS = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
SO_FAR = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "a"}), chunk(finish="stop", usage=COUNTS)],
        [chunk({"content": "a"}), chunk(finish="stop"), {**FRAME, "choices": [], "usage": COUNTS}],
        [chunk({"content": "a"}), chunk(finish="stop"), {**FRAME, "choices": None, "usage": COUNTS}],
        [chunk({"content": "a"}, usage=SO_FAR), chunk(finish="stop", usage=COUNTS)],
        [chunk({"content": "a"}, usage=None), chunk(finish="stop", usage=COUNTS), chunk(usage=None)],
        [chunk(finish="stop", usage=COUNTS), {**FRAME, "choices": [], "usage": COUNTS}],
    ],
)
def test_usage_is_counted_once_wherever_it_comes(chunks):
    """With the last choice, behind it, on every chunk: the last figures are the answer's."""
    assert only(Usage, streamed(*chunks, "[DONE]")) == [Usage(1, 2, 3)]


@pytest.mark.parametrize(
    ("said", "read_as"),
    [
        ({**COUNTS, "image_tokens": 7}, Usage(1, 2, 3, image_tokens=7)),
        ({**COUNTS, "prompt_tokens_details": {"image_tokens": 7}}, Usage(1, 2, 3, image_tokens=7)),
        ({**COUNTS, "image_tokens": 9, "prompt_tokens_details": {"image_tokens": 0}}, Usage(1, 2, 3, image_tokens=0)),
        (
            {**COUNTS, "image_tokens": 7, "prompt_tokens_details": {"image_tokens": None}},
            Usage(1, 2, 3, image_tokens=7),
        ),
        ({**COUNTS, "prompt_tokens_details": None, "completion_tokens_details": None}, Usage(1, 2, 3)),
        ({**COUNTS, "completion_tokens_details": {"reasoning_tokens": 0}}, Usage(1, 2, 3, reasoning_tokens=0)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": None}, Usage(1, 0, 1)),
    ],
)
def test_what_usage_does_not_report_is_none_and_a_zero_is_a_figure(said, read_as):
    """Image tokens stood at the top in July 2026 and under the details in August: both places are read."""
    assert only(Usage, read_whole(whole({"content": "a"}, usage=said))) == [read_as]


# -- identity


@pytest.mark.parametrize("key", ["service_tier", "service_tier_used"])
def test_the_service_tier_is_read_in_both_spellings(key):
    """On the first chunk, on the last, and in a whole answer."""
    expected = [Identity(ID, MODEL, FINGERPRINT, "flex")]
    said = {key: "flex"}
    assert only(Identity, streamed(chunk({"content": "a"}, **said), chunk(finish="stop"))) == expected
    assert only(Identity, streamed(chunk({"content": "a"}), chunk(finish="stop", **said))) == expected
    assert only(Identity, read_whole(whole({"content": "a"}, **said))) == expected


def test_an_answer_is_known_by_the_first_chunk_that_names_it():
    """An empty first frame, as gateways send it, does not hide the id."""
    nameless = {"id": "", "model": None, "choices": [], "prompt_filter_results": []}
    assert only(Identity, streamed(nameless, ROLE, chunk(finish="stop"))) == [Identity(ID, MODEL, FINGERPRINT)]


@pytest.mark.parametrize("named", [{"id": ID}, {"model": MODEL}, {}])
def test_an_answer_with_half_a_name_is_known_by_it(named):
    """Id and model are independent; without both there is no identity."""
    said = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], **named}
    expected = [Identity(named.get("id"), named.get("model"), None)] if named else []
    assert only(Identity, streamed(said)) == expected


# -- several choices, log probabilities


def test_several_choices_are_kept_apart():
    """Each event says which choice it belongs to; `text` is the first one's."""
    stream = [
        chunk({"content": "a"}),
        chunk({"content": "x"}, index=1),
        chunk({"content": "b"}),
        chunk(finish="length", index=1),
        chunk(finish="stop", **ENDING),
    ]
    events, decoder = read(to_sse(*stream))
    assert events[:3] == [TextDelta("a", 0), TextDelta("x", 1), TextDelta("b", 0)]
    assert events[3:] == [Finish("stop", 0), Finish("length", 1), *LAST_WORDS]
    assert decoder.text == "ab"


def test_a_choice_without_an_index_is_known_by_its_place():
    """The types call the index required; nothing hangs on it."""
    answer = whole({"content": "a"})
    answer["choices"] = [{"message": {"content": text}, "finish_reason": "stop"} for text in "ab"]
    assert only(TextDelta, read_whole(answer)) == [TextDelta("a", 0), TextDelta("b", 1)]


def test_log_probabilities_of_text_and_of_reasoning_are_told_apart():
    """Version 2 returns two lists."""
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    said = {"logprobs": {"content": [token], "refusal": None}, "reasoning_logprobs": {"content": [token, token]}}
    expected = [LogprobsDelta([token]), LogprobsDelta([token, token], of_reasoning=True)]
    assert only(LogprobsDelta, streamed(chunk({"content": "a"}, logprobs=said))) == expected
    assert only(LogprobsDelta, read_whole(whole({"content": "a"}, logprobs=said))) == expected


# -- whether the answer is whole


@pytest.mark.parametrize(
    ("stream", "complete"),
    [
        ([ROLE, chunk({"content": "a"}), chunk(finish="stop"), "[DONE]"], True),
        ([ROLE, chunk({"content": "a"}), chunk(finish="stop")], True),
        ([ROLE, chunk({"content": "a"}), "[DONE]"], True),
        (["[DONE]"], True),
        ([ROLE, chunk({"content": "a"})], False),
        ([chunk({"content": "a"}, finish=None), chunk({"content": "b"})], False),
        ([{**FRAME, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": ""}]}], False),
        ([{**FRAME, "choices": [], "usage": COUNTS}], False),
        ([chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk(finish="stop")], False),
        ([chunk(finish="stop"), chunk(finish="stop", index=1)], True),
        ([chunk(finish="stop"), {**FRAME, "choices": [{"index": 0, "finish_reason": None}]}], True),
        ([], False),
    ],
)
def test_an_answer_is_complete_when_every_choice_has_its_finish_reason_or_done_came(stream, complete):
    """Anything else was cut off, however much had come."""
    _, decoder = read(to_sse(*stream))
    assert decoder.complete is complete
    assert decoder.done is ("[DONE]" in stream)


def test_a_whole_answer_is_complete():
    """Also where the service gives no finish reason: nothing more can come."""
    decoder = CompletionDecoder()
    assert decoder.feed_whole(to_data(whole({"content": "a"}, finish=None)))[1] == Finish(None)
    assert decoder.done
    assert decoder.complete


@pytest.mark.parametrize("late", [chunk({"content": "late"}), {"error": {"message": "late"}}, "no JSON", "[DONE]"])
def test_nothing_counts_behind_done(late):
    """Not even an error."""
    assert streamed(*SHAPES["reasoning, then text"].stream, "[DONE]", late)[-4:] == [Finish("stop"), *LAST_WORDS]


def test_the_end_of_an_answer_without_a_finish_reason_says_so():
    """Only [DONE] ends it; the reason is None."""
    assert streamed(chunk({"content": "a"}), "[DONE]")[1] == Finish(None)


WORDS = st.sampled_from(["a", "b", "c", "", None, 1])
PLAIN = {"content": WORDS}
CHOICES = st.fixed_dictionaries(
    {"index": st.sampled_from([0, 0, 0, 1, None])},
    optional={
        "message": st.fixed_dictionaries(PLAIN),
        "delta": st.fixed_dictionaries(PLAIN)
        | st.fixed_dictionaries(
            PLAIN, optional=dict.fromkeys(("role", "reasoning", "reasoning_content", "refusal"), WORDS)
        ),
        "finish_reason": WORDS,
        "logprobs": st.sampled_from([None, {"content": [{"token": "a"}]}]),
    },
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=2)},
    optional={
        "id": WORDS,
        "error": WORDS,
        "another": WORDS,
        "service_tier": WORDS,
        "usage": st.sampled_from([None, {"prompt_tokens": 1}]),
        "time_info": st.sampled_from([None, {"total_time": 1.0}]),
    },
)


def told(decoder, chunks):
    """What a decoder makes of these chunks: its events, and how it ended or failed."""
    events = []
    try:
        for chunk in chunks:
            events += decoder.feed("", to_data(chunk))
        return events + decoder.end(), decoder.text, decoder.complete
    except APIError as error:
        return events, type(error), str(error)


@settings(max_examples=500, deadline=None)
@given(st.lists(CHUNKS, max_size=6))
def test_the_short_way_for_plain_text_says_what_the_long_one_says(chunks):
    """Most chunks only contain a piece of text; anything else in a chunk is not ignored."""
    begun = [*[{"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}]}] * 2, *chunks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "_lone_text", lambda _chunk: None)
        wanted = told(CompletionDecoder(), begun)
    assert told(CompletionDecoder(), begun) == wanted
