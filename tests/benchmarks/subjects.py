"""The subjects of the benchmarks: one class for each library, all with the same methods.

A library is imported by the methods of its subject, so an environment needs only its own. ``NotThereError`` says that a
library cannot do something. The loops contain what every user of the library has to write, and no more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tests.benchmarks.prepared import MODEL, Plan, events, expected

PROMPT = "Why is the sky blue?"
KEY = "csk-made-up"


class NotThereError(Exception):
    """The library cannot do this; the message says what is missing."""


@dataclass
class Delivery:
    """What one call returned: the pieces as they came, and the reported completion tokens."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    tokens: int | None = None
    seen_by_handler: list[str] | None = None


class Subject:
    """A library that is measured.

    Args:
        address: The server's base URL without ``/v1``.
        plan: The answer that will be requested.
    """

    import_statement = ""
    needs_model = True
    merges_deltas = False
    reports_usage = True

    def __init__(self, address: str, plan: Plan) -> None:
        self.address, self.plan = address, plan
        self.model: Any = None

    def build(self) -> Any:
        """Return a new model or client."""
        raise NotThereError("nothing to construct")

    def make_tools(self, count: int) -> list[Any]:
        """Return tools to be bound."""
        raise NotThereError("no tools to bind")

    def bind_tools(self, tools: list[Any], *, strict: bool | None = None) -> Any:
        raise NotThereError("no bind_tools")

    def invoke(self) -> Delivery:
        raise NotThereError("no synchronous call")

    async def structured(self) -> Delivery:
        """Stream the values of a structured output; deliver the last one, as JSON."""
        raise NotThereError("no structured output")

    async def chunks_to_add(self) -> list[Any]:
        """Return the chunks of one streamed answer."""
        raise NotThereError("no chunks that can be added")

    def add(self, chunks: list[Any]) -> Delivery:
        """Add the chunks up as they would come, one by one."""
        raise NotThereError("no chunks that can be added")

    async def astream(self) -> Delivery:
        raise NotThereError("no async stream")

    def stream(self) -> Delivery:
        raise NotThereError("no sync stream")

    async def ainvoke(self) -> Delivery:
        raise NotThereError("no plain call")

    async def abatch(self, size: int) -> list[Delivery]:
        """Make several calls at once, with the library's own method if it has one."""
        return await asyncio.gather(*(self.ainvoke() for _ in range(size)))

    async def callback(self) -> Delivery:
        raise NotThereError("no callback handlers")

    async def events(self) -> Delivery:
        raise NotThereError("no astream_events")

    async def decode(self) -> Delivery:
        """Turn the stream's bytes into text, without a socket and without LangChain."""
        raise NotThereError("no decoder of its own")

    async def open(self) -> tuple[str, Any]:
        """Return the first piece of a stream, and the object that keeps the stream open."""
        raise NotThereError("no stream to open")


class Raw(Subject):
    """Floor 1: the least that such a request costs with aiohttp and orjson."""

    import_statement = "import aiohttp, orjson"
    needs_model = False

    async def post(self, *, stream: bool) -> Any:
        import aiohttp
        import orjson

        if self.model is None:
            self.model = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**18)
        body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        url = f"{self.address}/v1/chat/completions"
        return await self.model.post(url, data=orjson.dumps(body), headers=headers)

    async def chunks(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the chunks of each network read."""
        from orjson import loads

        response = await self.post(stream=True)
        left = b""
        while received := await response.content.readany():
            *whole, left = (left + received).split(b"\n\n")
            yield [loads(event[6:]) for event in whole if event != b"data: [DONE]"]

    async def astream(self) -> Delivery:
        got = Delivery()
        say, think, call = got.text.append, got.reasoning.append, got.arguments.append
        async for chunks in self.chunks():
            for chunk in chunks:
                delta = chunk["choices"][0]["delta"]
                if "content" in delta:
                    say(delta["content"])
                elif "reasoning" in delta:
                    think(delta["reasoning"])
                elif "tool_calls" in delta:
                    call(delta["tool_calls"][0]["function"]["arguments"])
                elif "usage" in chunk:
                    got.tokens = chunk["usage"]["completion_tokens"]
        return got

    async def ainvoke(self) -> Delivery:
        import orjson

        response = await self.post(stream=False)
        answer = orjson.loads(await response.read())
        return Delivery([answer["choices"][0]["message"]["content"]], tokens=answer["usage"]["completion_tokens"])

    def invoke(self) -> Delivery:
        return asyncio.get_event_loop().run_until_complete(self.ainvoke())  # the caller's own loop: no thread between

    async def open(self) -> tuple[str, Any]:
        chunks = self.chunks()
        async for read in chunks:
            for chunk in read:
                if content := chunk["choices"][0]["delta"].get("content"):
                    return content, chunks
        raise NotThereError("the stream ended before its first piece")


class LangChain(Subject):
    """What all LangChain models have in common."""

    answer_type: ClassVar[dict[str, Any]] = {
        "title": "Story",
        "description": "A story.",
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }

    def config(self) -> dict[str, Any] | None:
        return None

    def make_tools(self, count: int) -> list[Any]:
        from langchain_core.tools import StructuredTool

        def weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius", days: int = 1) -> str:
            """The weather in a city."""
            return f"{city}: {days} days in {unit}"

        return [StructuredTool.from_function(weather, name=f"weather_{number}") for number in range(count)]

    def bind_tools(self, tools: list[Any], *, strict: bool | None = None) -> Any:
        return self.model.bind_tools(tools, **({} if strict is None else {"strict": strict}))

    def take(self, got: Delivery) -> Callable[[Any], None]:
        """Return the function that collects a chunk of this plan."""
        say, think, call = got.text.append, got.reasoning.append, got.arguments.append

        def text(chunk: Any) -> None:
            say(chunk.content)
            if chunk.usage_metadata:
                got.tokens = chunk.usage_metadata["output_tokens"]

        def reasoning(chunk: Any) -> None:
            extra = chunk.additional_kwargs
            think(extra.get("reasoning_content") or extra.get("reasoning") or "")
            text(chunk)

        def arguments(chunk: Any) -> None:
            for fragment in chunk.tool_call_chunks:
                call(fragment["args"] or "")
            text(chunk)

        return {"text": text, "json": text, "reasoning": reasoning, "tools": arguments}[self.plan.kind]

    async def astream(self, config: Any = None) -> Delivery:
        got = Delivery()
        take = self.take(got)
        async for chunk in self.model.astream(PROMPT, config):
            take(chunk)
        return got

    def stream(self) -> Delivery:
        got = Delivery()
        take = self.take(got)
        for chunk in self.model.stream(PROMPT):
            take(chunk)
        return got

    def invoke(self) -> Delivery:
        return self.to_delivery(self.model.invoke(PROMPT))

    async def ainvoke(self) -> Delivery:
        return self.to_delivery(await self.model.ainvoke(PROMPT))

    async def structured(self) -> Delivery:
        asked = self.model.with_structured_output(self.answer_type)
        values = [value async for value in asked.astream(PROMPT)]
        return Delivery([json.dumps(values[-1])] if values else [])

    async def chunks_to_add(self) -> list[Any]:
        return [chunk async for chunk in self.model.astream(PROMPT)]

    def add(self, chunks: list[Any]) -> Delivery:
        total = chunks[0]
        for chunk in chunks[1:]:
            total = total + chunk  # what LangChain's documentation shows
        return self.to_delivery(total)

    async def abatch(self, size: int) -> list[Delivery]:
        return [self.to_delivery(message) for message in await self.model.abatch([PROMPT] * size)]

    def to_delivery(self, message: Any) -> Delivery:
        return Delivery([message.content], tokens=(message.usage_metadata or {}).get("output_tokens"))

    async def callback(self) -> Delivery:
        from langchain_core.callbacks import BaseCallbackHandler

        class Handler(BaseCallbackHandler):
            def __init__(self) -> None:
                self.seen: list[str] = []

            def on_llm_new_token(self, token: str, **_: Any) -> None:
                self.seen.append(token)

        handler = Handler()
        got = await self.astream({"callbacks": [handler]})
        got.seen_by_handler = handler.seen
        return got

    async def events(self) -> Delivery:
        from langchain_core.language_models.chat_models import BaseChatModel

        if "astream_events" not in vars(BaseChatModel):  # before core had v3
            return await self.events_v2()
        got = Delivery()
        async for event in await self.model.astream_events(PROMPT, version="v3"):
            if event["event"] == "content-block-delta" and event["delta"]["type"] == "text-delta":
                got.text.append(event["delta"]["text"])
            elif event["event"] == "message-finish":
                got.tokens = event.get("usage", {}).get("output_tokens")
        return got

    async def events_v2(self) -> Delivery:
        got = Delivery()
        take = self.take(got)
        async for event in self.model.astream_events(PROMPT, version="v2"):
            if event["event"] == "on_chat_model_stream":
                take(event["data"]["chunk"])
        return got

    async def open(self) -> tuple[str, Any]:
        chunks = self.model.astream(PROMPT)
        async for chunk in chunks:
            if chunk.content:
                return chunk.content, chunks
        raise NotThereError("the stream ended before its first piece")


class Floor(LangChain):
    """Floor 2: a chat model that only makes messages and chunks, so what LangChain itself costs."""

    import_statement = "from langchain_core.language_models.chat_models import BaseChatModel"
    reports_usage = False

    def build(self) -> Any:
        from tests.benchmarks.floor import make_model

        return make_model(expected(self.plan))

    async def structured(self) -> Delivery:
        raise NotThereError("no structured output")

    async def open(self) -> tuple[str, Any]:
        raise NotThereError("no connection")


class Ours(LangChain):
    """``ChatCerebrasDemo`` from the checkout."""

    import_statement = "from langchain_cerebras_demo import ChatCerebrasDemo"
    coalesce = False

    def build(self) -> Any:
        from langchain_cerebras_demo import ChatCerebrasDemo

        given: dict[str, Any] = {"base_url": f"{self.address}/v1", "api_key": KEY, "model": MODEL}
        if "coalesce" in ChatCerebrasDemo.model_fields:
            given["coalesce"] = self.coalesce
        elif self.coalesce:
            raise NotThereError("this version has no coalesce")
        return ChatCerebrasDemo(**given)

    async def decode(self) -> Delivery:
        from langchain_cerebras_demo.wire.completion import CompletionDecoder, TextDelta, Usage
        from langchain_cerebras_demo.wire.sse import SSEDecoder

        got = Delivery()
        sse, completion = SSEDecoder(), CompletionDecoder()
        sent = b"".join(events(self.plan))
        found = [
            event
            for start in range(0, len(sent), 2**16)
            for name, data in sse.feed(sent[start : start + 2**16])
            for event in completion.feed(name, data)
        ]
        for event in found + completion.end():
            if isinstance(event, TextDelta):
                got.text.append(event.text)
            elif isinstance(event, Usage):
                got.tokens = event.completion_tokens
        return got


class OursCoalesced(Ours):
    """The same with its default, ``coalesce=True``: the deltas of one network read become one chunk."""

    coalesce = True
    merges_deltas = True


class LangChainCerebras(LangChain):
    """The official integration."""

    import_statement = "from langchain_cerebras import ChatCerebras"

    def build(self) -> Any:
        from langchain_cerebras import ChatCerebras

        return ChatCerebras(base_url=f"{self.address}/v1", api_key=KEY, model=MODEL)


class LangChainOpenAI(LangChain):
    """LangChain's model for OpenAI, which many use with compatible endpoints."""

    import_statement = "from langchain_openai import ChatOpenAI"

    def build(self) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(base_url=f"{self.address}/v1", api_key=KEY, model=MODEL)
