"""Answers in unusual shapes: halves of characters, other names, a message where a delta belongs, a tag without its pair."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import InternalServerError
from langchain_cerebras_demo.wire.completion import (
    CompletionDecoder,
    Finish,
    Identity,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallFragment,
)
from tests.support.wire_shapes import FRAME, ID, MODEL, call, chunk, whole
from tests.support.wire_shapes import facts as all_facts

HIGH, LOW, EMOJI = "\ud83d", "\ude00", "\U0001f600"
KINDS = {
    "content": TextDelta,
    "reasoning": ReasoningDelta,
    "reasoning_content": ReasoningDelta,
    "refusal": RefusalDelta,
}


def to_data(event):
    """As ``shapes.to_data``, in ASCII: a lone surrogate has no other form."""
    return event.encode() if isinstance(event, str) else json.dumps(event).encode()


def streamed(*chunks, **settings):
    decoder = CompletionDecoder(**settings)
    events = [event for one in chunks for event in decoder.feed("", to_data(one))]
    return [*events, *decoder.end()]


def read_whole(answer, **settings):
    return CompletionDecoder(**settings).feed_whole(to_data(answer))


def joined(events, kind):
    return "".join(event.text for event in events if isinstance(event, kind))


# -- halves of characters


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([HIGH, LOW], EMOJI),
        (["a" + HIGH, LOW + "b", "c"], f"a{EMOJI}bc"),
        (["ab", "c", HIGH, LOW, "d", "e"], f"abc{EMOJI}de"),
        (["a" + HIGH, "b"], "a\ufffdb"),
        (["a" + HIGH], "a\ufffd"),
        ([LOW + "a"], "\ufffda"),
        ([HIGH, HIGH, LOW], f"\ufffd{EMOJI}"),
        ([HIGH, "", LOW], EMOJI),
        (["a", HIGH + LOW, "b"], f"a{EMOJI}b"),
    ],
)
def test_half_a_character_waits_for_its_other_half(key, pieces, text):
    """Over two deltas, in all texts; if the second half never comes, it becomes U+FFFD. Also in a whole answer."""
    for events in (
        streamed(*(chunk({key: piece}) for piece in pieces), chunk(finish="stop")),
        streamed(chunk({"content": ""}), *(chunk({key: piece}) for piece in pieces), "[DONE]"),
        read_whole(whole({key: "".join(pieces)})),
    ):
        assert joined(events, KINDS[key]) == text


def test_halves_of_two_choices_are_kept_apart():
    """And those of two kinds."""
    events = streamed(
        chunk({"content": HIGH, "reasoning": "r" + HIGH}),
        chunk({"content": HIGH}, index=1),
        chunk({"content": LOW}),
        chunk({"reasoning": LOW}),
        chunk({"content": LOW}, index=1),
        "[DONE]",
    )
    said = {key: text for key, text in all_facts(events).items() if isinstance(key, tuple)}
    assert said == {("TextDelta", 0): EMOJI, ("TextDelta", 1): EMOJI, ("ReasoningDelta", 0): "r" + EMOJI}


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(["a", "<", "\n", HIGH, LOW]), max_size=3), max_size=8))
def test_however_a_text_is_cut_it_is_the_same_text(pieces):
    """Streamed, and whole."""
    events = streamed(chunk({"content": "x"}), chunk({"content": "x"}), *(chunk({"content": one}) for one in pieces))
    wanted = ("xx" + "".join(pieces)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert (
        joined(events, TextDelta) == wanted == joined(read_whole(whole({"content": "xx" + "".join(pieces)})), TextDelta)
    )


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (['{"a": "', HIGH, LOW, '"}'], f'{{"a": "{EMOJI}"}}'),
        (['{"a": "' + HIGH, '"}'], '{"a": "\ufffd"}'),
        ([r'{"a": "\ud8', r"3d\ude00", '"}'], r'{"a": "\ud83d\ude00"}'),
        ([r'{"a": "\ud83d', '"}'], r'{"a": "\ufffd"}'),
        ([r'{"a": "\\ud83d', '"}'], r'{"a": "\\ud83d"}'),
        ([r'{"a": "\n', '"}'], r'{"a": "\n"}'),
        ([r'{"a": "\ud83d'], r'{"a": "\ufffd'),
        ([r'{"a": "\u00'], r'{"a": "\u00'),
        (['{"a": "' + HIGH], '{"a": "\ufffd'),
    ],
)
def test_arguments_hold_no_half_of_a_character(pieces, arguments):
    """Neither as text nor as decoded JSON: they are sent back to the service in the next turn."""
    fragments = [chunk({"tool_calls": [call(index=0, arguments=piece)]}) for piece in pieces]
    begin = chunk({"tool_calls": [call(index=0, call_id="c", name="f", arguments="")]})
    in_one = whole({"tool_calls": [call(call_id="c", name="f", arguments="".join(pieces))]})
    for events in (streamed(begin, *fragments, "[DONE]"), read_whole(in_one)):
        calls = [event for event in events if isinstance(event, ToolCallFragment)]
        assert "".join(event.arguments for event in calls) == arguments
        assert {event.index for event in calls} == {0}


def test_no_fact_holds_half_of_a_character():
    """The id, the log probabilities, an error's message."""
    token = {"token": HIGH, "logprob": -1.0, "top_logprobs": [{"token": LOW}]}
    events = streamed(chunk({"content": "a"}, logprobs={"logprobs": {"content": [token]}}, id=f"c{HIGH}"), "[DONE]")
    mended = {"token": "\ufffd", "logprob": -1.0, "top_logprobs": [{"token": "\ufffd"}]}
    assert LogprobsDelta([mended]) in events
    assert Identity("c\ufffd", MODEL, FRAME["system_fingerprint"]) in events
    for name in ("", "error"):
        with pytest.raises(InternalServerError, match="boom \ufffd") as caught:
            CompletionDecoder().feed(name, to_data({"error": {"message": f"boom {HIGH}", "code": LOW}}))
        assert caught.value.code == "\ufffd"
        assert caught.value.body == {"error": {"message": "boom \ufffd", "code": "\ufffd"}}


def test_a_log_probability_that_is_no_number_is_none():
    """NaN is not valid JSON; the answer is returned."""
    data = to_data(
        whole({"content": "a"}, logprobs={"logprobs": {"content": [{"token": "a", "logprob": float("nan")}]}})
    )
    assert b"NaN" in data
    assert LogprobsDelta([{"token": "a", "logprob": None}]) in CompletionDecoder().feed_whole(data)


def test_a_byte_order_mark_in_front_of_a_whole_answer_is_passed_over():
    """As in front of a stream."""
    data = b"\xef\xbb\xbf" + to_data(whole({"content": "a"}))
    assert TextDelta("a") in CompletionDecoder().feed_whole(data)


# -- events that say nothing


@pytest.mark.parametrize("name", ["", "ping", "message"])
@pytest.mark.parametrize("data", [b"", b" ", b"\t"])
def test_an_event_without_data_says_nothing(name, data):
    """Whatever it is called."""
    assert CompletionDecoder().feed(name, data) == []


# -- other names and places


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "reasoning_content": "Hm."},
        {"reasoning": None, "reasoning_content": "Hm."},
        {"reasoning": "", "reasoning_content": "Hm."},
    ],
)
def test_reasoning_is_read_once_under_either_name(said):
    """`reasoning` is this service's, `reasoning_content` that of others."""
    for events in (streamed(chunk(said | {"content": "4"}), "[DONE]"), read_whole(whole(said | {"content": "4"}))):
        assert events[:2] == [ReasoningDelta("Hm."), TextDelta("4")]


def test_a_refusal_is_read():
    """In one piece or several; it is text, so the answer is not silent."""
    for events in (
        streamed(
            chunk({"role": "assistant", "content": None, "refusal": None}),
            chunk({"refusal": "I "}),
            chunk({"refusal": "won't."}),
            chunk(finish="stop"),
        ),
        read_whole(whole({"content": None, "refusal": "I won't."})),
    ):
        assert joined(events, RefusalDelta) == "I won't."
        assert Finish("stop", is_silent=False, is_refusal=True) in events


@pytest.mark.parametrize(
    "content", [[{"type": "text", "text": "4"}], ["4"], [{"type": "text", "text": "4"}, {"type": "x"}]]
)
def test_text_in_parts_is_text(content):
    """As other servers of this protocol write a content."""
    for events in (streamed(chunk({"content": content}), "[DONE]"), read_whole(whole({"content": content}))):
        assert joined(events, TextDelta) == "4"


MESSAGE = {"content": "4", "reasoning": "Hm.", "tool_calls": [call(call_id="c", name="f", arguments="{}")]}
SAID = [ReasoningDelta("Hm."), TextDelta("4"), ToolCallFragment(0, "c", "f", "{}")]


def in_message(message, **more):
    return {**FRAME, "choices": [{"index": 0, "message": message, **more}]}


def test_a_message_in_the_place_of_a_delta_is_read():
    """With an empty delta or none beside it; and a delta in a whole answer."""
    for delta in ({}, {"delta": None}, {"delta": {}}, {"delta": {"role": "assistant", "content": None}}):
        assert streamed(in_message(MESSAGE, finish_reason="stop", **delta))[:3] == SAID
    answer = {**FRAME, "choices": [{"index": 0, "delta": MESSAGE, "finish_reason": "stop"}]}
    assert read_whole(answer)[:3] == SAID


def test_messages_may_come_piece_by_piece():
    """A server that calls its deltas messages."""
    events = streamed(chunk({"role": "assistant"}), *(in_message({"content": piece}) for piece in "haha"), "[DONE]")
    assert joined(events, TextDelta) == "haha"


def test_a_message_that_repeats_the_deltas_is_not_said_twice():
    """At the end of a stream; what the deltas have not said is read."""
    deltas = [chunk({"content": "Hel"}), chunk({"content": "lo"})]
    events = streamed(*deltas, in_message({"content": "Hello"} | {"reasoning": "Hm."}, finish_reason="stop"))
    assert (joined(events, TextDelta), joined(events, ReasoningDelta)) == ("Hello", "Hm.")
    beside = chunk({"content": "Hi"}) | {
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "message": {"content": "Hi"}}]
    }
    assert joined(streamed(beside, "[DONE]"), TextDelta) == "Hi"


# -- reasoning that a closing tag alone tells apart


@pytest.mark.parametrize(
    ("content", "reason", "thought", "text"),
    [
        ("Hm.\n</think>\n\n4", "stop", "Hm.\n", "4"),
        ("<think>\nHm.</think>\n\n4", "stop", "Hm.", "4"),
        ("</think>4", "stop", "", "4"),
        ("Hm. Let me", "length", "Hm. Let me", ""),
        ("Hm.", "tool_calls", "Hm.", ""),
        ("Hm. Let me </th", "length", "Hm. Let me </th", ""),
        ('{"a": 4}', "stop", '{"a": 4}', '{"a": 4}'),
        ("<think>Hm.", "stop", "Hm.", ""),
        ("Hm.</think>4 and </think>", "stop", "Hm.", "4 and </think>"),
    ],
)
def test_the_content_is_reasoning_up_to_the_closing_tag(content, reason, thought, text):
    """For models that are known to begin like that. Without a closing tag, the finish reason decides which of the two it was."""
    for events in (
        streamed(*(chunk({"content": letter}) for letter in content), chunk(finish=reason), closing_tag_only=True),
        streamed(chunk({"content": content}), chunk(finish=reason), closing_tag_only=True),
        read_whole(whole({"content": content}, finish=reason), closing_tag_only=True),
    ):
        assert (joined(events, ReasoningDelta), joined(events, TextDelta)) == (thought, text)
        (finish,) = [event for event in events if isinstance(event, Finish)]
        assert finish.is_silent == (not text)


def test_such_reasoning_streams_at_once():
    """A reader sees it while the model thinks."""
    decoder = CompletionDecoder(closing_tag_only=True)
    assert decoder.feed("", to_data(chunk({"content": "Hm"}))) == [ReasoningDelta("Hm")]
    assert decoder.feed("", to_data(chunk({"content": ". So"}))) == [ReasoningDelta(". So")]


@pytest.mark.parametrize("content", ["Hm.</think>4", "4"])
def test_a_closing_tag_means_nothing_for_other_models(content):
    """Nor where the reasoning comes in a field of its own."""
    for events in (
        streamed(chunk({"content": content}), chunk(finish="stop")),
        read_whole(whole({"content": content})),
        streamed(chunk({"reasoning": "Hm."}), chunk({"content": content}), closing_tag_only=True),
        read_whole(whole({"reasoning": "Hm.", "content": content}), closing_tag_only=True),
    ):
        assert joined(events, TextDelta) == content


# -- facts in another type


@pytest.mark.parametrize(
    ("facts", "identity", "reason"),
    [
        ({"id": 5}, Identity("5", MODEL, FRAME["system_fingerprint"]), "stop"),
        ({"id": [5], "model": 4}, Identity(None, "4", FRAME["system_fingerprint"]), "stop"),
        ({"id": ""}, Identity(None, MODEL, FRAME["system_fingerprint"]), "stop"),
    ],
)
def test_an_id_of_another_type_costs_no_answer(facts, identity, reason):
    """Streamed and whole."""
    answer = whole({"content": "a"}, **facts)
    for events in (streamed(chunk({"content": "a"}, **facts), chunk(finish=reason, **facts)), read_whole(answer)):
        assert events == [TextDelta("a"), Finish("stop"), identity]


@pytest.mark.parametrize("index", ["0", 0.0, None, "first", [0], -1, True])
def test_a_choice_with_an_index_of_another_type_is_known_by_its_place(index):
    """Where the index cannot be read."""
    said = {**FRAME, "choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    assert TextDelta("a", 0) in streamed(said)


@pytest.mark.parametrize("index", ["1", 1.0, 1])
def test_a_call_with_an_index_of_another_type_is_read(index):
    """A second call begins where the index says so."""
    calls = [call(index=0, call_id="a", name="f", arguments="{}"), call(index=0, call_id="b", name="g", arguments="{}")]
    calls[1]["index"] = index
    events = streamed(*(chunk({"tool_calls": [one]}) for one in calls), "[DONE]")
    assert events[:2] == [ToolCallFragment(0, "a", "f", "{}"), ToolCallFragment(1, "b", "g", "{}")]


def test_a_new_key_on_a_plain_chunk_is_not_passed_over():
    """The fast path accepts only chunks with the keys that every chunk has."""
    plain = [chunk({"content": "a"})] * 3
    told = {"service_tier": "flex", "another": 1}
    assert Identity(ID, MODEL, FRAME["system_fingerprint"], "flex") in streamed(*plain, chunk({"content": "b"}, **told))
    said = chunk({"content": "b"})
    said["choices"][0]["message"] = {"refusal": "No."}
    assert RefusalDelta("No.") in streamed(*plain, said)
