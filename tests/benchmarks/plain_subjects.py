"""The peers without LangChain, and the table of all subjects."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.prepared import MODEL
from tests.benchmarks.subjects import (
    KEY,
    PROMPT,
    Delivery,
    Floor,
    LangChainCerebras,
    LangChainOpenAI,
    NotThereError,
    Ours,
    OursCoalesced,
    Raw,
    Subject,
)


class CerebrasSDK(Subject):
    """Cerebras' own client: the asynchronous one, or the synchronous one for ``stream`` and ``invoke``."""

    import_statement = "from cerebras.cloud.sdk import AsyncCerebras"

    def __init__(self, address: str, plan: Any) -> None:
        super().__init__(address, plan)
        self.sync_model: Any = None

    def build(self) -> Any:
        from cerebras.cloud.sdk import AsyncCerebras

        return AsyncCerebras(base_url=self.address, api_key=KEY)

    def ask(self, model: Any, *, stream: bool) -> Any:
        messages = [{"role": "user", "content": PROMPT}]
        return model.chat.completions.create(messages=messages, model=MODEL, stream=stream)

    @staticmethod
    def take(got: Delivery, chunk: Any) -> None:
        delta = chunk.choices[0].delta
        if delta.content:
            got.text.append(delta.content)
        elif delta.tool_calls:
            got.arguments.append(delta.tool_calls[0].function.arguments)
        elif delta.reasoning:
            got.reasoning.append(delta.reasoning)
        elif chunk.usage:
            got.tokens = chunk.usage.completion_tokens

    async def astream(self) -> Delivery:
        got = Delivery()
        async for chunk in await self.ask(self.model, stream=True):
            self.take(got, chunk)
        return got

    def sync_client(self) -> Any:
        from cerebras.cloud.sdk import Cerebras

        self.sync_model = self.sync_model or Cerebras(base_url=self.address, api_key=KEY)
        return self.sync_model

    def stream(self) -> Delivery:
        got = Delivery()
        for chunk in self.ask(self.sync_client(), stream=True):
            self.take(got, chunk)
        return got

    def invoke(self) -> Delivery:
        answer = self.ask(self.sync_client(), stream=False)
        return Delivery([answer.choices[0].message.content], tokens=answer.usage.completion_tokens)

    async def ainvoke(self) -> Delivery:
        answer = await self.ask(self.model, stream=False)
        return Delivery([answer.choices[0].message.content], tokens=answer.usage.completion_tokens)

    async def open(self) -> tuple[str, Any]:
        chunks = await self.ask(self.model, stream=True)
        async for chunk in chunks:
            if content := chunk.choices[0].delta.content:
                return content, chunks
        raise NotThereError("the stream ended before its first piece")


class PydanticAI(Subject):
    """pydantic-ai's ``CerebrasModel``, called directly, without an agent."""

    import_statement = "from pydantic_ai.models.cerebras import CerebrasModel"

    def build(self) -> Any:
        from openai import AsyncOpenAI
        from pydantic_ai.models.cerebras import CerebrasModel
        from pydantic_ai.providers.cerebras import CerebrasProvider

        client = AsyncOpenAI(base_url=f"{self.address}/v1", api_key=KEY)
        return CerebrasModel(MODEL, provider=CerebrasProvider(openai_client=client))

    def messages(self) -> list[Any]:
        from pydantic_ai import ModelRequest

        return [ModelRequest.user_text_prompt(PROMPT)]

    @staticmethod
    def take(got: Delivery, event: Any) -> None:
        if event.event_kind == "part_delta":
            delta = event.delta
            if delta.part_delta_kind == "text":
                got.text.append(delta.content_delta)
            elif delta.part_delta_kind == "thinking":
                got.reasoning.append(delta.content_delta or "")
            else:
                got.arguments.append(delta.args_delta or "")
        elif event.event_kind == "part_start":
            if event.part.part_kind == "text":
                got.text.append(event.part.content)
            elif event.part.part_kind == "thinking":
                got.reasoning.append(event.part.content)
            else:
                got.arguments.append(event.part.args or "")

    async def astream(self) -> Delivery:
        from pydantic_ai.direct import model_request_stream

        got = Delivery()
        async with model_request_stream(self.model, self.messages()) as events:
            async for event in events:
                self.take(got, event)
            got.tokens = events.usage.output_tokens
        return got

    def stream(self) -> Delivery:
        from pydantic_ai.direct import model_request_stream_sync

        got = Delivery()
        with model_request_stream_sync(self.model, self.messages()) as events:
            for event in events:
                self.take(got, event)
            got.tokens = events.usage.output_tokens
        return got

    async def ainvoke(self) -> Delivery:
        from pydantic_ai.direct import model_request

        answer = await model_request(self.model, self.messages())
        return Delivery([answer.text], tokens=answer.usage.output_tokens)

    async def open(self) -> tuple[str, Any]:
        from pydantic_ai.direct import model_request_stream

        context = model_request_stream(self.model, self.messages())
        events = await context.__aenter__()
        iterator = aiter(events)
        got = Delivery()
        while not any(got.text):
            self.take(got, await anext(iterator))
        return "".join(got.text), (context, events, iterator)


class LM15(Subject):
    """lm15's model for OpenAI-compatible servers, which has no dependencies."""

    import_statement = "from lm15 import AsyncOpenAIChatLM"

    def build(self) -> Any:
        from lm15 import AsyncOpenAIChatLM

        return AsyncOpenAIChatLM(api_key=KEY, base_url=f"{self.address}/v1")

    def request(self) -> Any:
        from lm15 import Message, Request

        return Request(model=MODEL, messages=(Message.user(PROMPT),))

    async def astream(self) -> Delivery:
        got = Delivery()
        async for event in self.model.stream(self.request()):
            if event.type == "end":
                got.tokens = event.usage.output_tokens
            elif event.type == "delta":
                kind = event.delta.type
                if kind == "text":
                    got.text.append(event.delta.text)
                elif kind == "thinking":
                    got.reasoning.append(event.delta.text)
                elif kind == "tool_call":
                    got.arguments.append(event.delta.input)
        return got

    async def ainvoke(self) -> Delivery:
        answer = await self.model.complete(self.request())
        return Delivery([answer.text], tokens=answer.usage.output_tokens)


SUBJECT_CLASSES: dict[str, type[Subject]] = {
    "raw": Raw,
    "floor": Floor,
    "ours-exact": Ours,
    "ours-coalesced": OursCoalesced,
    "cerebras-cloud-sdk": CerebrasSDK,
    "langchain-cerebras": LangChainCerebras,
    "langchain-openai": LangChainOpenAI,
    "pydantic-ai": PydanticAI,
    "lm15": LM15,
}
