"""Floor 2: the smallest chat model LangChain allows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from tests.benchmarks.prepared import Expected


class FloorModel(BaseChatModel):
    """Answers with prepared pieces, a chunk each."""

    pieces: Any

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content="".join(self.pieces.text)))])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return self._generate()

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces.reasoning:
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", additional_kwargs={"reasoning_content": piece})
            )
        for piece in self.pieces.text:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        for piece in self.pieces.arguments:
            message = AIMessageChunk(content="")
            message.tool_call_chunks = [tool_call_chunk(args=piece, index=0)]
            yield ChatGenerationChunk(message=message)

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield from self._chunks()

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield chunk


def make_model(pieces: Expected) -> FloorModel:
    """A model that answers with these."""
    return FloorModel(pieces=pieces)
