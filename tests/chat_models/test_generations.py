"""Events to messages: broken calls stay broken, and calls get their ids, however the chunks are put together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks

from langchain_cerebras_demo import ChatCerebrasDemo, StreamInterruptedError
from langchain_cerebras_demo.chat_models.generations import Origin, to_chunks, to_result
from langchain_cerebras_demo.testing import Call, CutAfter, LoopbackCerebras, Reply
from langchain_cerebras_demo.wire.completion import CompletionDecoder
from tests.chat_models.test_parity import WAYS
from tests.wire.shapes import call, chunk, to_data, whole

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
]

ORIGIN = Origin("cerebras")
BROKEN = [
    '{"port": "Co',
    '{"port": "Co\\',
    '{"port": "Cork", "when": [1, {"a": "b',
    '{"port": "Cork"',
    '{"port": tru',
    '{"port',
    "{",
    '{"port": "Cork"} and Hull',
    '{"port": "Cork"}{"port": "Hull"}',
    '{"port": "Cork"}}',
    '["Cork"',
    '["Cork"]',
    '"Cork"',
    "5",
    "the port of Cork",
]
HUGE = ["[" * 10_000, '{"a": ' + "1" * 5000 + "}"]
WHOLE = '{"port": "Hull"}'


def chunks_of(arguments, *, size=5, is_coalesced=False, finish="tool_calls"):
    """The messages of a stream with a call of these arguments and one that is whole."""
    decoder = CompletionDecoder(salt="s")
    pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    deltas = [
        call(index=0, call_id="a", name="tide", arguments=""),
        *(call(index=0, arguments=piece) for piece in pieces),
        call(index=1, call_id="b", name="tide", arguments=WHOLE),
    ]
    batches = [decoder.feed("", to_data(chunk({"tool_calls": [delta]}))) for delta in deltas]
    batches += [decoder.feed("", to_data(chunk(finish=finish))), decoder.end()]
    if is_coalesced:
        batches = [[event for batch in batches for event in batch]]
    return [one.message for batch in batches for one in to_chunks(batch, ORIGIN, is_coalesced=is_coalesced)]


def one_by_one(chunks):
    merged = chunks[0]
    for one in chunks[1:]:
        merged = merged + one
    return merged


def from_the_end(chunks):
    merged = chunks[-1]
    for one in reversed(chunks[:-1]):
        merged = one + merged
    return merged


SUMS = {
    "a + b": one_by_one,
    "a + (b + c)": from_the_end,
    "all at once": lambda chunks: add_ai_message_chunks(*chunks),
    "a list": lambda chunks: chunks[0] + chunks[1:],
    "as a message": lambda chunks: message_chunk_to_message(one_by_one(chunks)),
    "again": lambda chunks: one_by_one(chunks) + AIMessageChunk(""),
}


@pytest.mark.parametrize("add", SUMS)
@pytest.mark.parametrize("is_coalesced", [True, False])
@pytest.mark.parametrize("arguments", BROKEN)
def test_a_broken_call_is_invalid_however_the_chunks_are_added_up(arguments, is_coalesced, add):
    """LangChain would mend it, and a tool would run with what nobody meant. The call beside it stays as it is."""
    for finish in ("tool_calls", "length", "stop"):
        merged = SUMS[add](chunks_of(arguments, is_coalesced=is_coalesced, finish=finish))
        assert [(one["id"], one["args"]) for one in merged.tool_calls] == [("b", {"port": "Hull"})]
        (broken,) = merged.invalid_tool_calls
        assert (broken["id"], broken["name"]) == ("a", "tide")
        assert broken["args"].startswith(arguments)
        assert len(broken["args"]) <= len(arguments) + 3


@pytest.mark.parametrize("arguments", HUGE, ids=["brackets", "digits"])
def test_what_python_refuses_to_read_is_broken_too(arguments):
    """Nested too deeply, or a number too long for it."""
    merged = add_ai_message_chunks(*chunks_of(arguments, is_coalesced=True))
    assert [one["id"] for one in merged.tool_calls] == ["b"]
    assert [(one["id"], one["args"]) for one in merged.invalid_tool_calls] == [("a", arguments)]


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.text(alphabet='{}[]",:\\1a\n', max_size=30)
    | st.sampled_from(BROKEN[:8]).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end]))
)
def test_streamed_and_whole_answers_agree_on_what_is_broken(arguments):
    """Any text at all."""
    merged = one_by_one(chunks_of(arguments))
    answer = whole(
        {
            "tool_calls": [
                call(call_id="a", name="tide", arguments=arguments),
                call(call_id="b", name="tide", arguments=WHOLE),
            ]
        }
    )
    message = to_result(CompletionDecoder().feed_whole(to_data(answer)), ORIGIN).generations[0].message
    assert merged.tool_calls == message.tool_calls
    assert [one["id"] for one in merged.invalid_tool_calls] == [one["id"] for one in message.invalid_tool_calls]
    assert [one["args"] for one in message.invalid_tool_calls] in ([], [arguments])


def test_a_whole_answer_says_why_a_call_is_invalid():
    """The exact arguments, and the reason."""
    for arguments, why in (
        ('{"port": "Co', "the arguments are not valid JSON: Unterminated"),
        ("[]", "the arguments are not a JSON object"),
    ):
        answer = whole({"tool_calls": [call(call_id="a", name="tide", arguments=arguments)]})
        message = to_result(CompletionDecoder().feed_whole(to_data(answer)), ORIGIN).generations[0].message
        (broken,) = message.invalid_tool_calls
        assert broken["args"] == arguments
        assert broken["error"].startswith(why)


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras() as running:
        yield running


def fragment(name=None, arguments=None, **more):
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    return {"tool_calls": [{"index": 0, "type": "function", **more, "function": function}]}


@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_agrees_on_broken_calls_and_made_up_ids(loopback, way, output_version):
    """Events of all versions too."""
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, output_version=output_version)
    loopback.script(Reply(tool_calls=[Call("tide", '{"port": "Co', id="c1"), Call("tide", {"port": "Hull"}, id="c2")]))
    message = WAYS[way](model)
    assert [(one["id"], one["args"]) for one in message.tool_calls] == [("c2", {"port": "Hull"})]
    assert [(one["id"], one["name"]) for one in message.invalid_tool_calls] == [("c1", "tide")]
    if "invoke" in way:
        return  # a reply with its own deltas is told by its script, ids included
    loopback.script(
        Reply(deltas=[fragment("tide", '{"po'), fragment(None, 'rt": "Cork"}')], finish_reason="tool_calls")
    )
    (made,) = WAYS[way](model).tool_calls
    assert (made["name"], made["args"]) == ("tide", {"port": "Cork"})
    assert made["id"].startswith("call_")


@pytest.mark.parametrize("coalesce", [True, False])
def test_what_a_stream_had_said_of_a_call_before_it_broke_is_not_to_be_run(loopback, coalesce):
    """In ``partial`` too it is invalid; a call that was whole by then is one."""
    deltas = [
        fragment("tide", WHOLE, id="a"),
        {"tool_calls": [{**fragment("tide", '{"port": "Co')["tool_calls"][0], "index": 1, "id": "b"}]},
        {"content": "x"},
    ]
    loopback.script(CutAfter(2, reply=Reply(deltas=deltas)))
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, max_retries=0, coalesce=coalesce)
    with pytest.raises(StreamInterruptedError) as caught:
        list(model.stream("hi"))
    partial = caught.value.partial
    assert [one["id"] for one in partial.tool_calls] == ["a"]
    assert [one["id"] for one in partial.invalid_tool_calls] == ["b"]


def test_healthy_calls_have_no_chunk_more():
    """One a delta, and the last one; nothing is put behind their arguments."""
    chunks = chunks_of("{}")
    assert [one.chunk_position for one in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert len(chunks) == 4
    merged = message_chunk_to_message(one_by_one(chunks))
    assert type(merged) is AIMessage
    assert [one["args"] for one in merged.tool_calls] == [{}, {"port": "Hull"}]
