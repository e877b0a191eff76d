"""A stamped chunk is what LangChain's own constructors would have made."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_cerebras_demo.chat_models.moulds import ChunkMould

METADATA = {"model_provider": "cerebras"}
FIELDS = {
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


def both(fields):
    """A stamped and a constructed chunk of the same fields."""
    given = {name: value for name, value in fields.items() if name != "content"}
    message = AIMessageChunk(**{"response_metadata": dict(METADATA), **copy.deepcopy(fields)})
    return ChunkMould("cerebras").stamp(fields["content"], **copy.deepcopy(given)), ChatGenerationChunk(message=message)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_stamped_chunk_is_equal_to_a_constructed_one(fields):
    """In every part of a pydantic model's state, in print, in a dump, in a pickle and in a sum."""
    stamped, built = both(fields)
    assert stamped == built
    assert repr(stamped) == repr(built)
    assert stamped.model_dump() == built.model_dump()
    for one, other in ((stamped, built), (stamped.message, built.message)):
        assert type(one) is type(other)
        assert list(vars(one)) == list(vars(other))
        assert one.model_extra == other.model_extra
        # The constructor names invalid_tool_calls as set whenever it parses a call.
        assert one.model_fields_set == other.model_fields_set - {"invalid_tool_calls"}
    assert pickle.loads(pickle.dumps(stamped)) == built
    assert copy.deepcopy(stamped) == built
    assert stamped + stamped == built + built


def values(chunk):
    return [
        *vars(chunk).values(),
        *vars(chunk.message).values(),
        chunk.model_fields_set,
        chunk.message.model_fields_set,
    ]


def test_stamped_chunks_share_nothing_that_can_be_changed():
    """LangChain and users change messages in place; a new mutable field of LangChain's shows here."""
    mould = ChunkMould("cerebras")
    first, second = mould.stamp("a"), mould.stamp("b")
    changeable = [value for value in values(first) if isinstance(value, list | dict | set)]
    assert len(changeable) >= 7
    assert not {id(value) for value in changeable} & {id(value) for value in values(second)}
    first.message.response_metadata["mine"] = True
    first.message.id = "run-1"
    third = mould.stamp("c")
    assert third.message.response_metadata == METADATA
    assert third.message.id is None
