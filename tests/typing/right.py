"""Code that type checkers accept: each line that calls ``assert_type`` or ends in ``# right`` is an example."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict, assert_type

from langchain_cerebras_demo import (
    APIError,
    ChatCerebrasDemo,
    RateLimit,
    RateLimitError,
    StaticKey,
    Timeout,
)
from langchain_cerebras_demo.chat_models.arguments import RawAndParsed
from langchain_cerebras_demo.records import CallRecord


class Person(BaseModel):
    name: str
    age: int


class City(TypedDict):
    name: str


@dataclass
class Port:
    name: str


class Colour(enum.Enum):
    RED = "red"


class OwnKeys:
    async def resolve(self) -> str:
        return "csk-1"


def weather(city: str) -> str:
    return f"sunny in {city}"


async def fetch_key() -> str:
    return "csk-1"


def read_key() -> SecretStr:
    return SecretStr("csk-1")


def note(record: CallRecord) -> None:
    print(record.seconds)


records: list[CallRecord] = []
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}

# -- the constructor

llm = ChatCerebrasDemo()  # right
ChatCerebrasDemo(model="gpt-oss-120b", temperature=0.5, top_p=1, max_tokens=100, stop=["END"], seed=1)  # right
ChatCerebrasDemo(api_key="csk-1")  # right
ChatCerebrasDemo(api_key=SecretStr("csk-1"))  # right
ChatCerebrasDemo(api_key=read_key)  # right
ChatCerebrasDemo(api_key=fetch_key)  # right
ChatCerebrasDemo(key_resolver=OwnKeys())  # right
ChatCerebrasDemo(key_resolver=StaticKey("csk-1"))  # right
ChatCerebrasDemo(cookies={"session": "1"})  # right
ChatCerebrasDemo(cookies=Path("cookies.txt"))  # right
ChatCerebrasDemo(timeout=5)  # right
ChatCerebrasDemo(timeout=Timeout(idle=3.0, total=None), max_retries=0)  # right
ChatCerebrasDemo(timeout=None, rate_limit=None)  # right
ChatCerebrasDemo(rate_limit="auto")  # right
ChatCerebrasDemo(rate_limit=RateLimit(requests_per_minute=30))  # right
ChatCerebrasDemo(rate_limit={"tokens_per_minute": 60_000})  # right
ChatCerebrasDemo(reasoning_effort="high", reasoning_format="parsed", service_tier="flex", tier="paid")  # right
ChatCerebrasDemo(streaming=None)  # right
ChatCerebrasDemo(streaming=False, disable_streaming="tool_calling")  # right
ChatCerebrasDemo(on_call=note)  # right
ChatCerebrasDemo(on_call=records.append)  # right
ChatCerebrasDemo(tools=[weather, Person, {"type": "function"}], tool_choice="required")  # right
assert_type(llm.timeout, Timeout | float | None)

# -- calls


def call() -> Iterator[str]:
    assert_type(llm.invoke("Hello", stop=["END"], temperature=0.1, reasoning_effort="low"), AIMessage)
    for chunk in llm.stream("Hello", max_tokens=5):
        assert_type(chunk, AIMessageChunk)
        yield chunk.text
    assert_type(llm.bind(temperature=0.1, stop="END").invoke("Hello"), AIMessage)
    assert_type(llm.bind_tools([weather], tool_choice="weather", temperature=0.1).invoke("Hello"), AIMessage)


async def call_asynchronously() -> None:
    assert_type(await llm.ainvoke("Hello", tools=[weather], tool_choice="auto"), AIMessage)
    async for chunk in llm.astream("Hello", model="gemma-4-31b"):
        assert_type(chunk, AIMessageChunk)


# -- structured output

assert_type(llm.with_structured_output(Person), Runnable[LanguageModelInput, Person])
assert_type(llm.with_structured_output(Person, method="function_calling", temperature=0.0).invoke("Ann, 41"), Person)
assert_type(llm.with_structured_output(Person, include_raw=True), Runnable[LanguageModelInput, RawAndParsed[Person]])
assert_type(llm.with_structured_output(Person, include_raw=True).invoke("Ann, 41")["parsed"], Person | None)
assert_type(llm.with_structured_output(Person, tools=[weather]).invoke("Ann, 41"), Person | None)
assert_type(llm.with_structured_output(City).invoke("Cork")["name"], str)
assert_type(llm.with_structured_output(Port).invoke("Cork").name, str)
assert_type(llm.with_structured_output(Colour).invoke("A rose"), Colour)
llm.with_structured_output(SCHEMA, strict=True).invoke("Cork")["name"]  # right


def choose(*, include_raw: bool) -> Runnable[LanguageModelInput, Any]:
    return llm.with_structured_output(Person, include_raw=include_raw)  # right


# -- errors

try:
    llm.invoke("Hello")
except RateLimitError as limited:
    assert_type(limited.retry_after, float | None)
except APIError as error:
    assert_type(error.partial, AIMessageChunk | str | None)

observer: Callable[[CallRecord], None] | None = llm.on_call  # right
