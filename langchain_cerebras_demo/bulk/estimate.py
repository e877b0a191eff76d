"""An estimate of a run before it begins: rows, tokens, dollars, and the time at the account's limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_cerebras_demo.bulk.output import read_answered
from langchain_cerebras_demo.bulk.progress import Estimate, model_within
from langchain_cerebras_demo.bulk.rows import IdIndex, Item
from langchain_cerebras_demo.bulk.tables import read_objects
from langchain_cerebras_demo.chat_models.bulk_support import spec_of
from langchain_cerebras_demo.policy import RateLimit
from langchain_cerebras_demo.records import Limit
from langchain_cerebras_demo.wire.cost import estimate_cost

_ASSUMED_OUTPUT_TOKENS = 500
_LEARNT_FROM = 1000


def estimate_run(
    model: Any,
    items: Iterable[Item],
    *,
    records: Path | None,
    schema: Mapping[str, Any] | None = None,
    dedupe: bool = True,
    concurrency: int = 64,
) -> Estimate:
    """Estimate a run; nothing is sent.

    Args:
        model: a chat model, or a chain with one.
        items: all rows.
        records: the records of the output that is resumed; their rows are not sent again.
        schema: the schema of the answers.
        dedupe: whether equal rows are sent once.
        concurrency: rows in flight at once.
    """
    chat = model_within(model)
    rows = requests = 0
    prompt_tokens = 0.0
    with closing(read_answered(records or Path())) as answered, closing(IdIndex()) as seen:
        for item in items:
            rows += 1
            if item.problem:
                continue
            known = answered.find_row(item.id)
            if known is not None and known.prompt_hash in {"", item.prompt_hash}:
                continue
            is_known = answered.find_prompt(item.prompt_hash) is not None or seen.add(item.prompt_hash, 1) is not None
            if dedupe and is_known:
                continue
            requests += 1
            prompt_tokens += _prompt_tokens(item.prompt, schema)
    answer_tokens, seconds, why = _answer(chat, records)
    input_tokens, output_tokens = math.ceil(prompt_tokens), math.ceil(requests * answer_tokens)
    spec = spec_of(chat)
    limits = _limits(chat)
    slowest = _seconds(limits, requests, input_tokens + output_tokens)
    if seconds is not None:
        slowest = max(slowest or 0.0, math.ceil(requests / concurrency) * seconds)
    known_limits = ", ".join(f"{number:,.10g} {limit}" for limit, number in limits.items())
    return Estimate(
        rows=rows,
        requests=requests,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=None if spec is None else spec.cost_usd(input_tokens, output_tokens),
        seconds=slowest,
        basis=f"{why}; {f'limits: {known_limits}' if limits else 'the limits of the account are unknown'}",
    )


def _prompt_tokens(prompt: Any, schema: Mapping[str, Any] | None) -> float:
    if isinstance(prompt, str):
        messages: list[Any] = [{"role": "user", "content": prompt}]
    else:
        given = prompt.to_messages() if hasattr(prompt, "to_messages") else prompt
        messages = [_to_wire(message) for message in (given if isinstance(given, list | tuple) else [given])]
    body = {"messages": messages, "response_format": schema, "max_completion_tokens": 1}
    return estimate_cost(body, None) - 1


def _to_wire(message: Any) -> Mapping[str, Any]:
    if isinstance(message, Mapping):
        return message
    content = message[1] if isinstance(message, tuple) else getattr(message, "content", str(message))
    return {"content": content}


def _answer(chat: Any, records: Path | None) -> tuple[float, float | None, str]:
    """Return the tokens of an answer, its seconds if earlier answers show them, and the source of these figures."""
    found = []
    for _, record in read_objects(records) if records is not None else ():
        if (record.get("usage") or {}).get("output_tokens"):
            found.append((record["usage"]["output_tokens"], (record.get("timing") or {}).get("seconds") or 0.0))
        if len(found) == _LEARNT_FROM:
            break
    if found:
        tokens, seconds = (sum(one) / len(found) for one in zip(*found, strict=True))
        return tokens, seconds, f"answers of {tokens:,.0f} tokens, as in this output so far"
    most = getattr(chat, "max_tokens", None)
    if most:
        return most, None, f"answers of {most:,} tokens, as max_tokens allows"
    return _ASSUMED_OUTPUT_TOKENS, None, f"answers of {_ASSUMED_OUTPUT_TOKENS} tokens (assumed)"


def _limits(chat: Any) -> dict[Limit, float]:
    """Return the user's and the announced limits; the lower number if both have one."""
    limits: dict[Limit, float] = {}
    for window in getattr(getattr(chat, "limits", None), "windows", ()):
        if window.limit and window.name.unit:
            limits[window.name] = window.limit
    given = RateLimit.from_value(getattr(chat, "rate_limit", None)) or RateLimit()
    for limit, number in given.numbers().items():
        limits[limit] = min(number, limits.get(limit, number))
    return limits


def _seconds(limits: Mapping[Limit, float], requests: int, tokens: int) -> float | None:
    """Return the time that the tightest limit requires. Limits per hour and day may be used up at once; shorter ones are spread."""
    needed = []
    for limit, number in limits.items():
        periods = (requests if limit.unit == "requests" else tokens) / number
        is_long = limit.period in {"hour", "day"}
        needed.append(max(0, math.ceil(periods) - 1) * limit.seconds if is_long else periods * limit.seconds)
    return max(needed) if needed else None
