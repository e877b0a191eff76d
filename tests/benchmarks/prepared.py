"""What the server sends and what a client must receive. Both sides derive it from one ``Plan``.

The chunks have the fields that recordings of the real service have (2026-04 to 2026-08).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

MODEL = "gpt-oss-120b"
PROMPT_TOKENS = 11

_FRAME = {
    "created": 1_780_000_000,
    "model": MODEL,
    "system_fingerprint": "fp_44e7a6d0d9c1b1e0a3b2",
}
_ID = "chatcmpl-3f2a8f6e-1c9b-4d53-9e0f-6f0a6f0b7a11"
_TIME_INFO = {"queue_time": 0.0001, "prompt_time": 0.0012, "completion_time": 0.35, "total_time": 0.36, "created": 1.0}


@dataclass(frozen=True)
class Plan:
    """One answer.

    Args:
        kind: What the deltas contain: text, text that is one JSON object, text after reasoning (nine tenths of the deltas), or
            the arguments of one tool call.
        deltas: How many there are.
        pace: Deltas a second; 0 is full speed.
        hold: The number of deltas after which the stream stops without ending; 0 sends all.
    """

    kind: Literal["text", "json", "reasoning", "tools"] = "text"
    deltas: int = 1_000
    pace: int = 0
    hold: int = 0

    @property
    def path(self) -> str:
        """The beginning of the URL path, which tells the server the plan."""
        return f"/{self.kind}/{self.deltas}/{self.pace}/{self.hold}"

    @classmethod
    def from_path(cls, path: str) -> Plan:
        """The plan that a request's path begins with."""
        kind, deltas, pace, hold = path.split("/")[1:5]
        return cls(kind, int(deltas), int(pace), int(hold))  # type: ignore[arg-type]  # the server's own clients ask


@dataclass(frozen=True)
class Expected:
    """The pieces of an answer, as they are sent."""

    text: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def expected(plan: Plan) -> Expected:
    """Return the pieces of a plan's deltas. They all differ, so a lost, repeated or moved piece is detected."""
    pieces = tuple(f"piece {number:05d} of it " for number in range(plan.deltas))
    if plan.kind == "tools":
        return Expected(arguments=('{"text": "', *pieces[2:], '"}'))
    if plan.kind == "json":
        return Expected(text=('{"text": "', *pieces[2:], '"}'))
    if plan.kind == "reasoning":
        thoughts = plan.deltas * 9 // 10
        return Expected(reasoning=pieces[:thoughts], text=pieces[thoughts:])
    return Expected(text=pieces)


def usage(plan: Plan) -> dict[str, Any]:
    """Return the usage: one token a delta."""
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": plan.deltas,
        "total_tokens": PROMPT_TOKENS + plan.deltas,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": len(expected(plan).reasoning)},
    }


@lru_cache(maxsize=16)
def events(plan: Plan) -> list[bytes]:
    """Return the server-sent events of a stream: the role, the deltas, the finish reason, ``[DONE]``."""
    wanted = expected(plan)
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{"reasoning": piece} for piece in wanted.reasoning]
    deltas += [{"content": piece} for piece in wanted.text]
    if plan.kind == "tools":
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
        deltas.append({"tool_calls": [call]})
        for piece in wanted.arguments:
            deltas.append({"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": piece}}]})
    sent = [_event({"delta": delta, "index": 0}) for delta in deltas]
    reason = "tool_calls" if plan.kind == "tools" else "stop"
    last = {"delta": {}, "finish_reason": reason, "index": 0}
    return [*sent, _event(last, usage=usage(plan), time_info=_TIME_INFO), b"data: [DONE]\n\n"]


def whole(plan: Plan) -> bytes:
    """Return the same answer as one body; only text answers are requested that way."""
    message = {"role": "assistant", "content": "".join(expected(plan).text)}
    choice = {"finish_reason": "stop", "index": 0, "message": message}
    return _json(_frame("chat.completion", choice, usage=usage(plan), time_info=_TIME_INFO))


def _event(choice: dict[str, Any], **more: Any) -> bytes:
    return b"data: " + _json(_frame("chat.completion.chunk", choice, **more)) + b"\n\n"


def _frame(kind: str, choice: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": _ID, "choices": [choice], **_FRAME, "object": kind, **more}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
