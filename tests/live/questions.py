"""What nobody has confirmed of the real service, as requests and what to read of their answers.

The answers settle guesses in the code and its documentation; whoever has a key runs

    CEREBRAS_API_KEY=… python -m pytest tests/live --live -s

and gets a table. Costs some thousand tokens. The same questions are asked of the loopback Cerebras in every test run, so
that they work on the day that they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.net.transport import HttpRequest

GPT_OSS, QWEN = "gpt-oss-120b", "qwen-3.8-27b"
HI = [{"role": "user", "content": "Say hi."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower case) and body of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}

    @property
    def chunks(self) -> list[dict[str, Any]]:
        events = (line[6:] for line in self.body.splitlines() if line.startswith(b"data: {"))
        return [orjson.loads(event) for event in events]

    def refusal(self) -> str:
        """The status, and for an error the words that tell its kind."""
        if self.status == 200:
            return "200"
        words = self.json.get("error", self.json) if isinstance(self.json, dict) else {}
        told = (
            {key: words.get(key) for key in ("type", "param", "code", "message")} if isinstance(words, dict) else words
        )
        return f"{self.status} {orjson.dumps(told).decode()[:160]}"


@dataclass(frozen=True)
class Question:
    """One request, and how its answer is read."""

    text: str
    body: dict[str, Any] | None = None
    path: str = "/v1/chat/completions"
    read: Callable[[Answer], str] = Answer.refusal
    key: bool = True
    headers: dict[str, str] = field(default_factory=dict)


def chat(model: str = GPT_OSS, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HI, "max_completion_tokens": 300, **more}


def replay(model: str, **assistant: Any) -> dict[str, Any]:
    history = [*HI, {"role": "assistant", **assistant}, {"role": "user", "content": "Again."}]
    return chat(model, messages=history)


def read_usage_chunks(answer: Answer) -> str:
    if answer.status != 200:
        return answer.refusal()
    places = [
        ("with choices" if chunk.get("choices") else "choices empty") for chunk in answer.chunks if chunk.get("usage")
    ]
    return f"usage on {len(places)} chunk(s): {', '.join(places) or 'none'}"


def read_headers(answer: Answer) -> str:
    names = [name for name in answer.headers if "ratelimit" in name or "retry" in name or name.endswith("-id")]
    return ", ".join(sorted(names)) or "none of them"


def read_message(answer: Answer) -> str:
    if answer.status != 200:
        return answer.refusal()
    choices = answer.json.get("choices", [])
    message = choices[0].get("message", {}) if choices else {}
    calls = len(message.get("tool_calls") or [])
    return f"{len(choices)} choice(s), keys {sorted(message)}, {calls} call(s), {choices[0].get('finish_reason')}"


def read_logprobs(answer: Answer) -> str:
    if answer.status != 200:
        return answer.refusal()
    choice = answer.json["choices"][0]
    return (
        ", ".join(name for name in ("logprobs", "reasoning_logprobs") if choice.get(name)) or "accepted, none returned"
    )


def read_model(answer: Answer) -> str:
    if answer.status != 200:
        return answer.refusal()
    keys = ("limits", "capabilities", "pricing", "deprecated", "preview")
    return orjson.dumps({key: answer.json[key] for key in keys if key in answer.json}).decode()[:300]


def public(model: str) -> str:
    return f"/public/v1/models/{model}"


QUESTIONS = [
    Question("body of a 401", chat(), key=False, headers={"Authorization": "Bearer csk-not-a-key"}),
    Question("body of a 404 for a model", chat("no-such-model")),
    Question("rate-limit, retry and id headers of a 200", chat(), read=read_headers),
    Question("queue refusal (queue_threshold=50)", chat(service_tier="flex"), headers={"queue_threshold": "50"}),
    Question("usage in a stream, not asked for", chat(stream=True), read=read_usage_chunks),
    Question(
        "usage in a stream, include_usage",
        chat(stream=True, stream_options={"include_usage": True}),
        read=read_usage_chunks,
    ),
    Question("logprobs on gpt-oss", chat(logprobs=True, top_logprobs=1), read=read_logprobs),
    Question("logprobs on qwen", chat(QWEN, logprobs=True, top_logprobs=1), read=read_logprobs),
    Question("n=2", chat(n=2), read=read_message),
    Question("model_parameters={}", chat(model_parameters={})),
    Question("reasoning_format=null", chat(reasoning_format=None)),
    Question("temperature=null", chat(temperature=None)),
    Question("max_completion_tokens=-1", chat(max_completion_tokens=-1), read=read_message),
    Question("qwen in the public catalogue", path=public(QWEN), read=read_model, key=False),
    Question("gpt-oss in the public catalogue", path=public(GPT_OSS), read=read_model, key=False),
    Question("where qwen's reasoning stands by default", chat(QWEN), read=read_message),
    Question("qwen: reasoning replayed as `reasoning`", replay(QWEN, content="Hi.", reasoning="Greet.")),
    Question("qwen: reasoning replayed as <think>", replay(QWEN, content="<think>Greet.</think>Hi.")),
    Question("gpt-oss: reasoning replayed as `reasoning`", replay(GPT_OSS, content="Hi.", reasoning="Greet.")),
    Question(
        "assistant without content, with a call and its result",
        chat(
            messages=[
                *HI,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            ],
            tools=[TOOL],
        ),
    ),
    Question("tools and response_format on gpt-oss", chat(tools=[TOOL], response_format=SCHEMA), read=read_message),
    Question("tools and response_format on qwen", chat(QWEN, tools=[TOOL], response_format=SCHEMA), read=read_message),
    Question("parallel_tool_calls=true on gpt-oss", chat(tools=[TOOL], parallel_tool_calls=True), read=read_message),
    Question("tool_choice without tools (version 2 refuses)", chat(tool_choice="auto")),
    Question("the same under version 1", chat(tool_choice="auto"), headers={"X-Cerebras-Version-Patch": "1"}),
    Question("the same under version 2", chat(tool_choice="auto"), headers={"X-Cerebras-Version-Patch": "2"}),
    *[
        Question(f"{model} in the public catalogue", path=public(model), read=read_model, key=False)
        for model in ("deepseek-r1-distill-llama-70b", "llama3.1-70b", "gemma-4-31b", "zai-glm-4.7")
    ],
]


async def ask(question: Question, origin: str, key: str) -> str:
    """What the service at ``origin`` says to one question."""
    transport = AiohttpTransport()
    request = HttpRequest(
        "GET" if question.body is None else "POST",
        f"{origin}{question.path}",
        headers={"Content-Type": "application/json", **question.headers},
        secret_headers=(lambda: {"Authorization": f"Bearer {key}"}) if question.key else None,
        body=None if question.body is None else orjson.dumps(question.body),
    )
    response = await transport.send(request)
    pieces = []
    try:
        while piece := await response.read():
            pieces.append(piece)
    finally:
        response.close()
        await transport.aclose()
    return question.read(Answer(response.status, dict(response.headers), b"".join(pieces)))


def to_table(rows: list[tuple[str, str]]) -> str:
    width = max(len(text) for text, _ in rows)
    return "\n".join(f"{text:<{width}}  {answer}" for text, answer in rows)
