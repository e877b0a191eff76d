"""The result of one row, as it is returned and as it is written to the output file."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.client.call import Sends
from langchain_cerebras_demo.errors import MAX_MESSAGE_CHARACTERS

# The client hides the key in answers of the service; the user's resolver or tools may still show it.
_KEY = re.compile(r"csk-[\w-]{4,}")
_RAW_KEYS = frozenset({"raw", "parsed", "parsing_error"})  # of with_structured_output(..., include_raw=True)


@dataclass(frozen=True, slots=True)
class BulkRecord:
    """The result of one row: the answer or the error.

    Args:
        id: the row's id, given or derived.
        content: the answer's text; ``None`` without an answer, a list if the model answers in content blocks.
        reasoning: the reasoning.
        tool_calls: the tool calls of the answer, each ``{"name", "args", "id"}``; ``None`` if there are none.
        parsed: the value, if a schema was given; JSON in the output file.
        finish_reason: the service's reason; ``"length"`` means that the answer was cut off.
        usage: LangChain's ``usage_metadata``: ``input_tokens``, ``output_tokens``, ``total_tokens`` and details. If the result is not
            a message but a text, a value or an error: the sums of all requests of the row, without details.
        timing: ``seconds`` from the request to the answer, including waits, and the service's ``time_info`` of the last call.
        attempts: requests sent for the row; 0 for an answer that was reused.
        refusals: the part of ``attempts`` that a rate limit refused (429); they do not count as failures of the row.
        error: ``None``, or ``{"type": class, "message": text}``.
        row: the row's number in the input, from 1.
        input: the row's columns; ``None`` if they are not kept, or the row could not be read.
        prompt_hash: a hash of the prompt, so that a resumed run can detect that the row has changed.
        reused: ``"duplicate"`` for the answer to an equal prompt of this output, ``"cache"`` for one from the cache, both without
            ``usage``; ``None`` if the row was sent.
    """

    id: str | int
    content: str | list[Any] | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    parsed: Any = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    timing: Mapping[str, Any] | None = None
    attempts: int = 0
    refusals: int = 0
    error: Mapping[str, str] | None = None
    row: int | None = None
    input: Mapping[str, Any] | None = None
    prompt_hash: str | None = None
    reused: Literal["duplicate", "cache"] | None = None

    @property
    def is_good(self) -> bool:
        """Whether the row was answered."""
        return self.error is None

    @property
    def error_text(self) -> str:
        """The error as text, such as ``"RateLimitError: …"``; ``""`` if there is none."""
        return f"{self.error['type']}: {self.error['message']}" if self.error else ""

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer as counted by the service; 0 if it sent no usage."""
        return int((self.usage or {}).get("total_tokens") or 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, with their values unchanged."""
        return dict(zip(_NAMES, _values_of(self), strict=True))

    def to_json(self) -> bytes:
        """Return one line of the output file in UTF-8, without a line break."""
        return to_line(self.to_dict())

    @classmethod
    def from_json(cls, line: bytes | str) -> BulkRecord:
        """Return the record of a line, with ``parsed`` as plain JSON, not as an instance of the schema.

        Raises:
            ValueError: the line is not a JSON object, or has no ``id``.
        """
        try:
            decoded = exact_json.loads(line)
        except ValueError:
            decoded = json.loads(line)  # half a surrogate pair, which orjson cannot read
        if not isinstance(decoded, dict) or not isinstance(decoded.get("id"), str | int):
            raise ValueError("the line is not a record: it is not a JSON object with an id")  # noqa: TRY004 - of a text, not of a type
        return cls(**{name: decoded[name] for name in _NAMES if name in decoded})

    def reuse(self, how: Literal["duplicate", "cache"]) -> BulkRecord:
        """Return this answer for an equal row, without usage, because nothing was sent."""
        return replace(self, reused=how, attempts=0, refusals=0, usage=None, timing=None)


class Stored(NamedTuple):
    """The result of storing records.

    Args:
        records: the records that are stored.
        problem: why the others are not; ``None`` if there are none.
    """

    records: Sequence[BulkRecord]
    problem: Exception | None = None


_NAMES = tuple(field.name for field in fields(BulkRecord))
_values_of = attrgetter(*_NAMES)


def to_line(fields: Mapping[str, Any]) -> bytes:
    """Return the fields of a record as one line of JSON in UTF-8, without a line break."""
    return exact_json.dumps(fields, default=to_plain)


def to_plain(value: Any) -> Any:
    """Return JSON for values that orjson does not support: pydantic models by ``model_dump``, bytes in base64, others as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    dump = getattr(value, "model_dump", None)
    return str(value) if dump is None else dump(mode="json")


def text_of(content: str | list[Any] | None) -> str | None:
    """Return the text of an answer's content, which some models give in blocks."""
    if content is None or isinstance(content, str):
        return content
    return "".join(block if isinstance(block, str) else str(block.get("text") or "") for block in content)


def to_record(row: Mapping[str, Any], answer: Any, seconds: float, sends: Sends) -> BulkRecord:
    """Return the record of an answer.

    Args:
        row: the fields that do not depend on the answer: ``id``, and ``row``, ``input`` and ``prompt_hash`` if there are any.
        answer: the value that the runnable returned.
        seconds: from the request to the answer.
        sends: the requests that our models sent for the row.
    """
    if isinstance(answer, dict) and answer.keys() == _RAW_KEYS:
        message, parsed, problem = answer["raw"], answer["parsed"], answer["parsing_error"]
    elif hasattr(answer, "response_metadata"):
        message, parsed, problem = answer, None, None
    else:
        said = {"content" if isinstance(answer, str) else "parsed": answer}
        return BulkRecord(**row, **said, timing={"seconds": seconds}, **_counted(sends, 1))
    metadata = message.response_metadata
    calls, usage = metadata.get("calls") or [], message.usage_metadata
    is_cached = not calls and (usage or {}).get("total_cost") == 0  # LangChain's mark for answers from its cache
    tool_calls = [{key: call[key] for key in ("name", "args", "id")} for call in message.tool_calls]
    return BulkRecord(
        **row,
        content=message.content or message.additional_kwargs.get("refusal", ""),
        reasoning=message.additional_kwargs.get("reasoning_content"),
        tool_calls=tool_calls or None,
        parsed=parsed,
        finish_reason=metadata.get("finish_reason"),
        timing={"seconds": seconds, **(calls[-1].get("time_info", {}) if calls else {})},
        error=_to_error(problem) if problem is not None else _invalid_tool_call(message.invalid_tool_calls),
        **_counted(sends, sum(call["attempts"] for call in calls) if calls else int(not is_cached), usage),
    )


def to_failure(row: Mapping[str, Any], problem: Exception, seconds: float, sends: Sends) -> BulkRecord:
    """Return the record of a row that failed with ``problem``; the other arguments are those of ``to_record``."""
    attempts = getattr(problem, "attempts", 0)  # errors without a count are raised before sending
    return BulkRecord(**row, timing={"seconds": seconds}, error=_to_error(problem), **_counted(sends, attempts))


def _counted(sends: Sends, attempts: int, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the requests and the usage of a row, by the requests of our models if they sent any.

    Without them, the answer is from a cache, or from a model of another package.

    Args:
        sends: the requests of our models.
        attempts: the number of requests as the answer or the error states it.
        usage: the usage of the answer; ``None`` if it is not a message.
    """
    if not sends.total:
        return {"attempts": attempts, "usage": usage}
    if usage is None and sends.total_tokens:
        usage = {
            "input_tokens": sends.prompt_tokens,
            "output_tokens": sends.completion_tokens,
            "total_tokens": sends.total_tokens,
        }
    return {"attempts": sends.total, "refusals": sends.refused, "usage": usage}


def _to_error(problem: BaseException) -> Mapping[str, str]:
    """Return ``{"type", "message"}``, with a limited length and without anything that looks like a Cerebras key."""
    message = _KEY.sub("**********", str(problem))
    return {"type": type(problem).__name__, "message": message[:MAX_MESSAGE_CHARACTERS]}


def _invalid_tool_call(calls: list[Any]) -> Mapping[str, str] | None:
    """Return the error of an answer with a tool call that cannot be used."""
    if not calls:
        return None
    first = calls[0]
    return {
        "type": "InvalidToolCall",
        "message": f"the arguments of the call of {first.get('name')!r} are not a JSON object: {first.get('error')}",
    }
