"""Reads the text of an answer as a value of its type, or explains why there is no such value."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_cerebras_demo.wire.repair import mend_all
from langchain_cerebras_demo.wire.schemas.answer_type import AnswerType

DECODER = json.JSONDecoder(strict=False)
"""Accepts line breaks within strings."""

_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})(?:[A-Za-z][\w.+-]*)?\s*")
_SHOWN_CHARACTERS = 200


class UnfitAnswerError(ValueError):
    """An answer has no value of its type. The message says why, as a predicate of "the answer"."""


def read_text(text: str, answer_type: AnswerType | None) -> Any:
    """Return the value of an answer's text.

    Args:
        text: The whole text: JSON, or text with JSON in a code fence.
        answer_type: The type of the answer; ``None`` for any JSON object.

    Raises:
        UnfitAnswerError: The text is not JSON, or does not fit the type.
    """
    try:
        decoded = read_json(text)
    except UnfitAnswerError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnfitAnswerError(f"is {'text' if text.strip() else 'empty'} instead of JSON") from error
    return fit(decoded, answer_type)


def read_json(text: str) -> Any:
    """Return the JSON value of a text, or the one in a code fence within it; half of a surrogate pair becomes U+FFFD.

    Raises:
        ValueError: There is no value. ``UnfitAnswerError``: There are fences with different values.
        RecursionError: It is nested too deeply.
    """
    try:
        return mended(DECODER.decode(text.strip(" \n\r\t`")), text)
    except ValueError:
        values = _fenced_values(text)
        if not values:
            raise
    if any(value != values[0] for value in values):
        raise UnfitAnswerError(f"is text with {len(values)} JSON values in code fences, which differ")
    return mended(values[0], text)


def mended(value: Any, text: str) -> Any:
    """Return ``value`` without halves of surrogate pairs, which only an escape in ``text``, its source, can produce."""
    return mend_all(value) if "\\u" in text else value


def fit(decoded: Any, answer_type: AnswerType | None) -> Any:
    """Return the value of decoded JSON.

    Args:
        decoded: Any JSON value.
        answer_type: The type of the answer; ``None`` for any JSON object.

    Raises:
        UnfitAnswerError: It does not fit the type.
    """
    if not isinstance(decoded, dict) and (answer_type is None or not answer_type.key):
        raise UnfitAnswerError("is JSON, but not an object")
    if answer_type is None:
        return decoded
    try:
        return answer_type.from_json(decoded)
    except RecursionError as error:
        raise UnfitAnswerError("is nested too deeply to be checked") from error
    except ValueError as error:
        raise UnfitAnswerError(f"does not fit {answer_type.title!r}: {error}") from error


def explain(problem: str, text: str, finish_reason: str | None, remedy: str) -> str:
    """Return the sentences that describe a bad answer: the problem, how the answer begins, and why it ended.

    Args:
        problem: A predicate of "the answer".
        text: The answer.
        finish_reason: The service's reason for its end.
        remedy: What to do if the answer was cut off.
    """
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    begins = f" It begins: {shown!r}." if shown.strip() else ""
    if finish_reason == "length":
        cut = f"the answer was cut off at its limit of tokens (finish_reason 'length') before its JSON was complete: {remedy}"
        return f"{cut}. The answer {problem}.{begins}"
    why = " The service withheld it (finish_reason 'content_filter')." if finish_reason == "content_filter" else ""
    return f"the answer {problem}.{begins}{why}"


def _fenced_values(text: str) -> list[Any]:
    """Return the JSON values that fill a code fence, decoding as it goes: a string may contain a fence itself."""
    values, place = [], 0
    while opening := _FENCE.search(text, place):
        place = opening.end()
        try:
            value, end = DECODER.raw_decode(text, place)
        except ValueError:
            continue
        rest = text[end:].lstrip()
        if not rest or rest.startswith(opening["fence"]):
            values.append(value)
            place = len(text) - len(rest) + len(opening["fence"])
    return values
