"""Makes the answers of the loopback Cerebras by rules, from the request's own words and schemas.

No answer is written for a particular test. Text quotes the last user message; "Write 200 words" returns 200 words; a tool is
called if ``tool_choice`` requires it or the message mentions it; arguments and JSON answers fit their schema and are filled
from the message (see ``invention.py``). The same request always gets the same text, streamed or not.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from langchain_cerebras_demo.testing.completions import Choice, Completion, ToolCall, merged
from langchain_cerebras_demo.testing.invention import Facts, invent, invent_object
from langchain_cerebras_demo.testing.models import IMAGE_TOKENS, count, image_parts, pieces, prompt_tokens, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_cerebras_demo.testing.models import LoopbackModel
    from langchain_cerebras_demo.testing.scenarios import Reply


CACHE_BLOCK = 128
TOKENS_A_SECOND = 2_000.0
MAX_QUOTE = 2_000
FILLER = "the quick brown fox jumps over the lazy dog while the loopback counts its words "
_WORDS_WANTED = re.compile(r"\b(\d{1,6}) (?:words|tokens)\b", re.IGNORECASE)


def answer(body: Mapping[str, Any], model: LoopbackModel) -> Completion:
    """Return the rule-based answer to a checked chat request."""
    choices: list[Choice] = []
    spent = thought = 0
    for number in range(body.get("n") or 1):
        choice, tokens, reasoning_tokens = make_choice(body, model, number)
        choices.append(choice)
        spent += tokens
        thought += reasoning_tokens
    return finished(body, model, tuple(choices), spent, thought)


def scripted_answer(reply: Reply, body: Mapping[str, Any], model: LoopbackModel) -> Completion:
    """Return the answer that a ``Reply`` describes."""
    calls = tuple(
        ToolCall(
            call.id or call_id(body, f"{number}"),
            call.name,
            call.arguments if isinstance(call.arguments, str) else orjson.dumps(call.arguments).decode(),
        )
        for number, call in enumerate(reply.tool_calls)
    )
    choice = Choice(reply.text, reply.reasoning, calls)
    if reply.deltas is not None:
        choice = replace(merged(tuple(reply.deltas)), deltas=tuple(reply.deltas))
    reason = reply.finish_reason or ("tool_calls" if choice.calls else "stop")
    thought = count(choice.reasoning or "")
    spent = thought + count(choice.content or "") + sum(call_cost(call) for call in choice.calls)
    whole = finished(body, model, (replace(choice, finish_reason=reason),), spent, thought)
    return whole if reply.usage is None else replace(whole, usage=reply.usage)


def finished(
    body: Mapping[str, Any], model: LoopbackModel, choices: tuple[Choice, ...], spent: int, thought: int
) -> Completion:
    """Return the answer with its choices, usage, timing and ids."""
    prompt = prompt_tokens(body, model)
    details: dict[str, int] = {"cached_tokens": prompt // CACHE_BLOCK * CACHE_BLOCK}
    if image_parts(body["messages"]):
        details["image_tokens"] = IMAGE_TOKENS * len(image_parts(body["messages"]))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": spent,
        "total_tokens": prompt + spent,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    times = {"queue_time": 0.0004, "prompt_time": prompt * 1e-5, "completion_time": spent / TOKENS_A_SECOND}
    now = time.time()
    return Completion(
        id=f"chatcmpl-{uuid.uuid4()}",
        model=model.id,
        created=int(now),
        choices=choices,
        usage=usage,
        time_info={"created": now, **times, "total_time": sum(times.values())},
        sends_whole_calls=model.sends_whole_calls,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def make_choice(body: Mapping[str, Any], model: LoopbackModel, number: int) -> tuple[Choice, int, int]:
    """Return one choice, its tokens, and how many of them are reasoning."""
    budget = token_budget(body, model)
    question = last_question(body["messages"])
    tools = chosen_tools(body, model, question)
    thoughts = pieces(reasoning_text(body, model, question, tools))
    thought, left = min(len(thoughts), budget), budget - len(thoughts)
    calls: tuple[ToolCall, ...] = ()
    content: str | None = None
    spent, reason = 0, "length"
    if left > 0 and tools:
        calls, spent, reason = make_calls(body, question, tools, left)
    elif left > 0:
        words = pieces(cut_at_stop(visible_text(body, question, number), body.get("stop")))
        content, spent = "".join(words[:left]), min(len(words), left)
        reason = "length" if len(words) > left else "stop"
    # If left <= 0, the reasoning has used up the budget: "length", and there is no content key.
    content, reasoning = placed("".join(thoughts[:budget]), content, body, model, whole=left >= 0)
    return Choice(content, reasoning, calls, reason), thought + spent, thought


def token_budget(body: Mapping[str, Any], model: LoopbackModel) -> int:
    """Return how many tokens the answer may have, including reasoning; without a limit or with -1, the most possible."""
    limit = body.get("max_completion_tokens")
    limit = body.get("max_tokens") if limit is None else limit
    most = min(model.max_output_tokens, model.context_window - prompt_tokens(body, model))
    return most if limit is None or limit < 0 else min(limit, most)


def last_question(messages: list[Mapping[str, Any]]) -> str:
    """Return the text of the last user message; without one, of the last message."""
    users = [message for message in messages if message["role"] == "user"]
    return text_of((users or messages)[-1].get("content"))


def reasoning_text(body: Mapping[str, Any], model: LoopbackModel, question: str, tools: list[dict[str, Any]]) -> str:
    """Return the reasoning: more with more effort, nothing if reasoning is off."""
    effort = body.get("reasoning_effort") or ("medium" if model.reasons_by_default else "none")
    if effort == "none" or not model.reasoning_efforts or body.get("disable_reasoning"):
        return ""
    plan = f"I should call {' and '.join(tool['name'] for tool in tools)}." if tools else "I should answer that."
    thoughts = [f'The user says: "{question[:80]}".', plan, "Let me check that once more.", "Yes, that is right."]
    return " ".join(thoughts[: {"low": 2, "medium": 3}.get(effort, 4)])


def placed(
    shown: str, content: str | None, body: Mapping[str, Any], model: LoopbackModel, *, whole: bool
) -> tuple[str | None, str | None]:
    """Return content and reasoning, each placed as ``reasoning_format`` demands."""
    form = body.get("reasoning_format", "none")
    if not shown or form == "hidden":
        return content, None
    if form != "raw":
        return content, shown
    if not model.raw_think_tags:
        return shown + (content or ""), None
    return f"<think>{shown}{'</think>' if whole else ''}{content or ''}", None


def visible_text(body: Mapping[str, Any], question: str, number: int) -> str:
    """Return the visible text: JSON if a format is requested, else a sentence."""
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        schema = wanted["json_schema"].get("schema") or {"type": "object"}
        return orjson.dumps(invent(schema, wanted["json_schema"]["name"], Facts(question))).decode()
    if wanted["type"] == "json_object":
        return orjson.dumps(invent_object(Facts(question))).decode()
    return sentence(body["messages"], question, number)


def sentence(messages: list[Mapping[str, Any]], question: str, number: int) -> str:
    """Return plain text from the last tool results or the question, equal for equal conversations."""
    if found := _WORDS_WANTED.search(question):
        amount = int(found[1])
        return " ".join((FILLER * (amount // 15 + 1)).split()[:amount])
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, text_of(message["content"])[:MAX_QUOTE])
    opening = f"({number + 1}) " if number else ""
    if results:
        return f'{opening}The tool says: {"; ".join(results)}. You had asked: "{question[:MAX_QUOTE]}".'
    return f'{opening}You said: "{question[:MAX_QUOTE]}". This is what I have to say to that, and no more.'


def cut_at_stop(text: str, stop: Any) -> str:
    """Return the text before the first stop sequence."""
    for sequence in [stop] if isinstance(stop, str) else stop or ():
        text = text.partition(sequence)[0]
    return text


def make_calls(
    body: Mapping[str, Any], question: str, tools: list[dict[str, Any]], budget: int
) -> tuple[tuple[ToolCall, ...], int, str]:
    """Return the calls, their tokens and the finish reason; a budget that ends inside a call cuts its JSON."""
    calls: list[ToolCall] = []
    spent = 0
    for number, tool in enumerate(tools):
        arguments = orjson.dumps(invent(tool.get("parameters") or {"type": "object"}, tool["name"], Facts(question)))
        call = ToolCall(call_id(body, f"{number}{tool['name']}"), tool["name"], arguments.decode())
        room = budget - spent - count(call.name)
        if room < count(call.arguments):
            if room > 0:
                calls.append(replace(call, arguments="".join(pieces(call.arguments)[:room])))
            return tuple(calls), budget, "length"
        calls.append(call)
        spent += call_cost(call)
    return tuple(calls), spent, "tool_calls"


def call_cost(call: ToolCall) -> int:
    """The tokens of a call."""
    return count(call.name) + count(call.arguments)


def call_id(body: Mapping[str, Any], salt: str) -> str:
    """Return nine hex characters, as the service does; equal for equal conversations, and new with each turn."""
    return hashlib.sha256(orjson.dumps(body["messages"]) + salt.encode()).hexdigest()[:9]


# Words of a tool's name that do not describe its subject.
EMPTY_WORDS = """
    a an and by call do find for from function get in is it lookup make my new of on or query run search set the to tool
    use with
"""
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def chosen_tools(body: Mapping[str, Any], model: LoopbackModel, question: str) -> list[dict[str, Any]]:
    """Return the functions to call, in order.

    ``auto`` calls what the question asks for and this turn has not called yet; ``required`` calls something in any
    case; a named choice calls that one. Several at once only if the model supports it and the request does not forbid it.
    """
    tools = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice") or "auto"
    if not tools or choice == "none":
        return []
    if isinstance(choice, dict):
        return [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    called = called_names(body["messages"])
    fresh = [tool for tool in tools if tool["name"] not in called]
    asked = [tool for tool in fresh if is_asked_for(tool["name"], question)]
    if not asked and choice == "required":
        asked = (fresh or tools)[:1]
    parallel = model.parallel_tool_calls and body.get("parallel_tool_calls") is not False
    return asked if parallel else asked[:1]


def called_names(messages: list[Mapping[str, Any]]) -> set[str]:
    """Return the tools called since the last user message."""
    names: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "user":
            break
        names |= {call["function"]["name"] for call in message.get("tool_calls") or ()}
    return names


def is_asked_for(name: str, question: str) -> bool:
    """Return whether the question contains the tool's name, or every descriptive word of it."""
    if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", question, re.IGNORECASE):
        return True
    descriptive = words_of(name) - words_of(EMPTY_WORDS)
    spoken = words_of(question)
    return bool(descriptive) and all(
        word in spoken or (len(word) > 3 and any(other.startswith(word) for other in spoken)) for word in descriptive
    )


def words_of(text: str) -> set[str]:
    """Return the words of a sentence, or of a ``snake_case`` or ``camelCase`` name, in lower case."""
    return {word.lower() for word in _BETWEEN_WORDS.split(text) if word}
