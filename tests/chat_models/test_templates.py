"""A copy of a template is what LangChain's constructors make, and shares nothing with other copies."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from langchain_cerebras_demo.chat_models.templates import AnswerTemplate, ChunkTemplate

METADATA = {"model_provider": "cerebras"}
CHUNKS = {
    "text": {"content": "some words"},
    "nothing": {"content": ""},
    "reasoning": {"content": "", "additional_kwargs": {"reasoning_content": "hm"}},
    "metadata": {"content": "", "response_metadata": {**METADATA, "logprobs": {"content": []}}},
    "a tool call": {
        "content": "",
        "tool_call_chunks": [tool_call_chunk(name="add", args="{}", id="c1", index=0)],
        "tool_calls": [tool_call(name="add", args={}, id="c1")],
    },
}


def chunks_of(fields):
    """A copied and a constructed chunk of the same fields."""
    given = {name: value for name, value in fields.items() if name != "content"}
    message = AIMessageChunk(**{"response_metadata": dict(METADATA), **copy.deepcopy(fields)})
    return ChunkTemplate("cerebras").copy(fields["content"], **copy.deepcopy(given)), ChatGenerationChunk(
        message=message
    )


@pytest.mark.parametrize("fields", CHUNKS.values(), ids=CHUNKS)
def test_a_copied_chunk_is_equal_to_a_constructed_one(fields):
    """In every part of a pydantic model's state, in print, in a dump, in a pickle and in a sum."""
    copied, built = chunks_of(fields)
    assert copied == built
    assert repr(copied) == repr(built)
    assert copied.model_dump() == built.model_dump()
    for one, other in ((copied, built), (copied.message, built.message)):
        assert type(one) is type(other)
        assert list(vars(one)) == list(vars(other))
        assert one.model_extra == other.model_extra
        # The constructor names invalid_tool_calls as set whenever it parses a call.
        assert one.model_fields_set == other.model_fields_set - {"invalid_tool_calls"}
    assert pickle.loads(pickle.dumps(copied)) == built
    assert copy.deepcopy(copied) == built
    assert copied + copied == built + built


def values(chunk):
    return [
        *vars(chunk).values(),
        *vars(chunk.message).values(),
        chunk.model_fields_set,
        chunk.message.model_fields_set,
    ]


def test_copied_chunks_share_nothing_that_can_be_changed():
    """LangChain and users change messages in place; a new mutable field of LangChain's shows here."""
    template = ChunkTemplate("cerebras")
    first, second = template.copy("a"), template.copy("b")
    changeable = [value for value in values(first) if isinstance(value, list | dict | set)]
    assert len(changeable) >= 7
    assert not {id(value) for value in changeable} & {id(value) for value in values(second)}
    first.message.response_metadata["mine"] = True
    first.message.id = "run-1"
    third = template.copy("c")
    assert third.message.response_metadata == METADATA
    assert third.message.id is None


ANSWER = {
    "additional_kwargs": {},
    "response_metadata": dict(METADATA),
    "usage_metadata": None,
    "tool_calls": [],
    "invalid_tool_calls": [],
}
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "output_token_details": {"reasoning": 1}}
ANSWERS = {
    "text": {"content": "some words"},
    "nothing": {"content": ""},
    "reasoning and usage": {
        "content": "4",
        "additional_kwargs": {"reasoning_content": "hm"},
        "usage_metadata": USAGE,
        "response_metadata": {**METADATA, "calls": [{"attempts": 1}]},
    },
    "tool calls": {
        "content": "",
        "tool_calls": [tool_call(name="add", args={"a": 1}, id="c1")],
        "invalid_tool_calls": [invalid_tool_call(name="add", args="{", id="c2", error="cut off")],
    },
}


@pytest.mark.parametrize("info", [{}, {"finish_reason": "stop"}], ids=["no info", "info"])
@pytest.mark.parametrize("fields", ANSWERS.values(), ids=ANSWERS)
def test_a_copied_answer_is_equal_to_a_constructed_one(fields, info):
    """In every part of a pydantic model's state, in a dump, in a pickle, and in its content blocks."""
    fields = {**ANSWER, **fields}
    given = {name: copy.deepcopy(value) for name, value in fields.items() if name != "content"}
    copied = AnswerTemplate("cerebras").copy(fields["content"], dict(info), **given)
    built = ChatGeneration(message=AIMessage(**copy.deepcopy(fields)), generation_info=dict(info))
    assert copied == built
    assert copied.model_dump() == built.model_dump()
    for one, other in ((copied, built), (copied.message, built.message)):
        assert type(one) is type(other)
        assert list(vars(one)) == list(vars(other))
        assert one.model_extra == other.model_extra
        assert one.model_fields_set == other.model_fields_set
    assert pickle.loads(pickle.dumps(copied)) == built
    assert copy.deepcopy(copied) == built
    assert copied.message.content_blocks == built.message.content_blocks
    assert copied.message.text == built.message.text


def test_copied_answers_share_nothing_that_can_be_changed():
    """As for chunks."""
    template = AnswerTemplate("cerebras")
    first, second = (template.copy("a", {}, **copy.deepcopy(ANSWER)) for _ in range(2))
    changeable = [value for value in values(first) if isinstance(value, list | dict | set)]
    assert len(changeable) >= 7
    assert not {id(value) for value in changeable} & {id(value) for value in values(second)}
    first.message.id = "run-1"
    assert template.copy("c", {}, **copy.deepcopy(ANSWER)).message.id is None
