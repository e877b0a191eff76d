"""A chat request: checks messages and parameters and converts them to the API's body.

The API refuses unknown keys (``additionalProperties: false`` in its OpenAPI file), so all parameters are in a table here,
with the ranges of the same file. ``None`` means "not given" and is never sent, because some parameters are not nullable.
"""

from __future__ import annotations

import difflib
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Rational, Real
from typing import Any

import orjson

from langchain_cerebras_demo.errors import InvalidRequestError, InvalidRequestTypeError
from langchain_cerebras_demo.wire.history import settle
from langchain_cerebras_demo.wire.parts import says_something, to_content

Check = Callable[[Any], str | None]


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return None  # NaN and infinities are not in any range
        return f"give a number from {low:g} to {high:g}"

    return check


def _integer(low: int, high: int | None = None) -> Check:
    def check(value: Any) -> str | None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and low <= value and (high is None or value <= high):
            return None
        return f"give a whole number from {low}" + ("" if high is None else f" to {high}")

    return check


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"give one of {', '.join(map(repr, words))}"


def _kind(kind: type | tuple[type, ...], advice: str) -> Check:
    return lambda value: None if isinstance(value, kind) else advice


def _stop(value: Any) -> str | None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, Sequence) or not all(isinstance(stop, str) and stop for stop in stops):
        return "give a string that is not empty, or a list of up to four"
    return None if len(stops) <= 4 else "give four at most"


def _logit_bias(value: Any) -> str | None:
    in_range = _number(-100, 100)
    if isinstance(value, Mapping) and all(
        isinstance(key, str) and in_range(bias) is None for key, bias in value.items()
    ):
        return None
    return "give a mapping of token ids, as str, to numbers from -100 to 100"


def _stream_options(value: Any) -> str | None:
    if isinstance(value, Mapping) and all(
        key == "include_usage" and _BOOLEAN(flag) is None for key, flag in value.items()
    ):
        return None
    return "give {'include_usage': True}; the API has no other key"


def _tools(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not all(isinstance(tool, Mapping) for tool in value):
        return "give a list of tools, each of them a mapping"
    if not all(isinstance(tool.get("function", {}), Mapping) for tool in value):
        return "each tool's 'function' must be a mapping with a name, a description and parameters"
    return None


def _tool_choice(value: Any) -> str | None:
    if isinstance(value, Mapping) or value in ("none", "auto", "required"):
        return None
    return "give 'none', 'auto', 'required' or a named function as a mapping"


def _effort(value: Any) -> str | None:
    # Each model's own values are checked against the catalogue (policy.abilities); unknown models may have others.
    return None if isinstance(value, str) and value else "give a string such as 'low', 'medium' or 'high'"


def _cache_key(value: Any) -> str | None:
    return None if isinstance(value, str) and len(value) <= 1024 else "give a string of up to 1024 characters"


# -- values of other types that can be converted to JSON's


def _to_number(value: Any) -> Any:
    """Return numbers of other libraries (NumPy's, ``Decimal``, ``Fraction``) as Python's own, and other values unchanged."""
    if type(value) in {bool, int, float} or not isinstance(value, Real | Decimal):
        return value
    try:
        return operator.index(value) if isinstance(value, Integral) else float(value)
    except (OverflowError, ValueError):  # too large, or a signalling NaN: it is not in any range
        return value


def _to_integer(value: Any) -> Any:
    if isinstance(value, Decimal):  # DynamoDB returns 100 as a Decimal
        is_sized = value.is_finite() and value.adjusted() < _MOST_DIGITS
        return int(value) if is_sized and value == value.to_integral_value() else value
    if isinstance(value, Rational) and not isinstance(value, Integral) and value.denominator == 1:
        return value.numerator
    return _to_number(value)


_MOST_DIGITS = 20  # no parameter has more; converting a large exponent would write out all its digits


def _to_bool(value: Any) -> Any:
    """Return NumPy's booleans as Python's. They are recognized by name, because NumPy is not a dependency."""
    kind = type(value)
    return bool(value) if kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"} else value


def _to_biases(value: Any) -> Any:
    if not isinstance(value, Mapping) or all(_to_number(bias) is bias for bias in value.values()):
        return value
    return {key: _to_number(bias) for key, bias in value.items()}


def to_nested(given: Any) -> Any:
    """Return a tool or tool choice in the Responses API's flat form as in Chat Completions; others unchanged."""
    if not isinstance(given, Mapping) or given.get("type") != "function" or "function" in given or "name" not in given:
        return given
    inner = {key: value for key, value in given.items() if key != "type" and value is not None}
    return {"type": "function", "function": inner}


def _to_tools(value: Any) -> Any:
    if not isinstance(value, list | tuple) or all(to_nested(tool) is tool for tool in value):
        return value
    return [to_nested(tool) for tool in value]


_TOKENS = _integer(-1, 2**31 - 1)
_BOOLEAN = _kind(bool, "give True or False")
_MAPPING = _kind(Mapping, "give a mapping")

PARAMETERS: dict[str, Check] = {
    "max_tokens": _TOKENS,
    "min_tokens": _TOKENS,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": _logit_bias,
    "logprobs": _BOOLEAN,
    "top_logprobs": _integer(0, 20),
    "n": _integer(1),
    "seed": _integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "stream_options": _stream_options,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _BOOLEAN,
    "response_format": _MAPPING,
    "reasoning_effort": _effort,
    "reasoning_format": _one_of("none", "parsed", "text_parsed", "raw", "hidden"),
    "disable_reasoning": _BOOLEAN,
    "clear_thinking": _BOOLEAN,
    "prediction": _MAPPING,
    "prompt_cache_key": _cache_key,
    "service_tier": _one_of("auto", "default", "flex", "priority"),
    "model_parameters": _MAPPING,
    "user": _kind(str, "give a string"),
    "queue_threshold": _integer(50, 20_000),
}
"""Every parameter of the API and the check of its value, which returns ``None`` if it is valid, else the remedy.

Source: the API's OpenAPI file ("Cerebras Cloud API" 0.2.0, 2026-08-22) and cerebras-cloud-sdk 1.91.0. ``max_tokens`` and
``min_tokens`` are our names for ``max_completion_tokens`` and ``min_completion_tokens``; ``queue_threshold``
(milliseconds) is sent as a header.
"""

_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("max_tokens", "min_tokens", "top_logprobs", "n", "seed", "queue_threshold"), _to_integer),
    **dict.fromkeys(("temperature", "top_p", "frequency_penalty", "presence_penalty"), _to_number),
    **dict.fromkeys(("logprobs", "parallel_tool_calls", "disable_reasoning", "clear_thinking"), _to_bool),
    "logit_bias": _to_biases,
    "tools": _to_tools,
    "tool_choice": to_nested,
}

_WIRE_NAMES = {"max_tokens": "max_completion_tokens", "min_tokens": "min_completion_tokens"}
_OUR_NAMES = {wire: ours for ours, wire in _WIRE_NAMES.items()}
_HEADERS = frozenset({"queue_threshold"})

ROLES = ("system", "developer", "user", "assistant", "tool")


def to_plain_value(name: str, value: Any) -> Any:
    """Return ``value`` in JSON's own types, if it is a number or boolean of another library, or a flat tool.

    Args:
        name: our name of the parameter.
        value: the given value.
    """
    convert = _CONVERSIONS.get(name)
    return value if convert is None else convert(value)


def check_parameter(name: str, value: Any) -> Any:
    """Return ``to_plain_value`` if the API accepts it for the parameter ``name``; ``None`` (not given) is always valid.

    Raises:
        InvalidRequestError: the API does not accept it; the message names the parameter, the value and the remedy.
    """
    plain = to_plain_value(name, value)
    remedy = None if plain is None else PARAMETERS[name](plain)
    if remedy:
        raise InvalidRequestError(f"{name}={_short(value)} is not valid: {remedy}")
    return plain


def from_text(name: str, text: str) -> Any:
    """Return the value that ``text``, from a command line, stands for; it is not checked.

    JSON where the parameter is a number, a truth value, a list or an object; otherwise the text itself, so that
    ``stop=5`` and ``user=12`` need no quotes.

    Args:
        name: The parameter, by our own name.
        text: Such as ``0.2``, ``true``, ``low`` or ``["a", "b"]``.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    accepts = PARAMETERS[name]
    is_plain = not isinstance(value, list | dict)
    return text if accepts(text) is None and (is_plain or accepts(value) is not None) else value


# Arguments of other vendors' chat models, and what to do instead.
_FOREIGN_NAMES = {
    "stream_usage": "leave it out: usage is always included",
    "extra_body": "use model_kwargs",
    "http_client": "use transport=",
    "http_async_client": "use transport=",
    "http_socket_options": "use transport=",
    "stream_chunk_timeout": "use timeout=Timeout(idle=…)",
    "reasoning": "use reasoning_effort",
    "include_response_headers": "leave it out: answers have the request's id, and llm.limits the rate limits",
    "tiktoken_model_name": "leave it out: tokens are estimated without a tokenizer",
    "disabled_params": "leave it out: parameters that are None are not sent",
    "organization": "leave it out: a key belongs to one organization",
    "openai_organization": "leave it out: a key belongs to one organization",
    "use_responses_api": "leave it out: the service has Chat Completions only",
    "use_previous_response_id": "leave it out: the service has Chat Completions only",
    **dict.fromkeys(
        ("verbosity", "include", "store", "truncation", "context_management", "prompt_cache_options"),
        "leave it out: only OpenAI's service has it",
    ),
    "default_query": "leave it out: the API has no query parameters",
    "openai_api_key": "use api_key",
    "openai_api_base": "use base_url",
    "openai_proxy": "use proxy",
    "cerebras_proxy": "use proxy",
}


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a clause that suggests the known name nearest to ``name``, or an empty string."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def unknown_name_hint(name: str, known: Sequence[str]) -> str:
    """Return what to use instead of an unknown argument: the equivalent of another vendor's argument, or the nearest name."""
    if remedy := _FOREIGN_NAMES.get(name):
        return f": {remedy}"
    return f"{nearest(name, known)} (for other API parameters use model_kwargs)"


def to_our_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the API's names replaced by ours.

    Raises:
        InvalidRequestError: a parameter was given different values under its two names.
    """
    renamed: dict[str, Any] = {}
    for given_name, value in given.items():
        name = _OUR_NAMES.get(given_name, given_name)
        other = renamed.get(name)
        if other is not None and value is not None and other != value:
            raise InvalidRequestError(
                f"{name}={_short(other)} and {_WIRE_NAMES[name]}={_short(value)} are two values for the same parameter: "
                "leave one out"
            )
        renamed[name] = other if value is None else value
    return renamed


def to_parameters(given: Mapping[str, Any], *, check: bool = True) -> dict[str, Any]:
    """Return the parameters of a request under our own names, without those that are ``None``.

    Args:
        given: parameters by our names or the API's.
        check: whether values are checked; names always are.

    Raises:
        InvalidRequestTypeError: the API does not have a parameter of that name; the message suggests the nearest one.
        InvalidRequestError: the API does not accept a value, or a parameter has different values under its two names.
    """
    parameters: dict[str, Any] = {}
    for name, value in to_our_names(given).items():
        if name not in PARAMETERS:
            raise InvalidRequestTypeError(f"unknown parameter {name!r}{unknown_name_hint(name, tuple(PARAMETERS))}")
        if value is not None:
            parameters[name] = check_parameter(name, value) if check else to_plain_value(name, value)
    for name in ("stop", "tools"):
        if parameters.get(name) in ([], ()):
            del parameters[name]  # an empty list means none, which is the default
    return parameters


def to_messages(messages: Sequence[Mapping[str, Any]], *, check: bool = True) -> list[dict[str, Any]]:
    """Return messages in the API's own form as they are sent; the given ones are not changed.

    Args:
        messages: Mappings with ``role`` and ``content``.
        check: Whether the service's rules for images and for tool calls (``history.settle``) are applied.

    Raises:
        InvalidRequestError: No messages, an unknown role, or a message that breaks a rule.
        InvalidRequestTypeError: Something that is not a message, or a value of a wrong type.
    """
    if not messages:
        raise InvalidRequestError("messages is empty: give at least one message")
    wires: list[dict[str, Any]] = []
    for position, message in enumerate(messages):
        place = f"messages[{position}]"
        if not isinstance(message, Mapping):
            raise InvalidRequestTypeError(
                f"{place} is a {type(message).__name__}: give a mapping with role and content"
            )
        wire = dict(message)
        role = wire.get("role")
        if role not in ROLES:
            raise InvalidRequestError(f"{place} has role {role!r}: give one of {', '.join(ROLES)}")
        content = wire.get("content")
        if content is not None:
            content = list(content) if isinstance(content, tuple) else content
            wire["content"] = to_content(content, place, role=role, check=check)
        if calls := wire.get("tool_calls"):
            wire["tool_calls"] = [_to_call(call, place) for call in calls]
            if not says_something(wire.get("content") or ""):  # empty content beside calls used to be a 400
                wire.pop("content", None)
        if role == "tool":
            wire.setdefault("tool_call_id", "")
        wires.append(wire)
    return settle(list(enumerate(wires))) if check else wires


def _to_call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequestTypeError(f"{place} has a tool call that is not a mapping with a function and its name")
    return {"id": None, **call, "function": {"arguments": "", **function}}


@dataclass(frozen=True)
class ChatRequest:
    """One request, independent of how and where it is sent.

    Args:
        model: The model's id or an alias.
        messages: The messages in the API's own form.
        parameters: The parameters by our names or the API's. The call checks them and adapts them to the model.
        extra: Keys that are added to the body unchecked and override all others (``model_kwargs``).
        check: Whether the call refuses what the API or the model does not support (``check_requests``).
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    check: bool = True

    def to_body(self, *, stream: bool) -> dict[str, Any]:
        """Return the body as a dict of the API's keys."""
        body: dict[str, Any] = {"model": self.model, "messages": list(self.messages)}
        for name, value in self.parameters.items():
            if name not in _HEADERS:
                body[_WIRE_NAMES.get(name, name)] = value
        if stream:
            body["stream"] = True
        else:
            body.pop("stream_options", None)  # refused without stream
        body.update(self.extra)
        return body

    def to_headers(self) -> dict[str, str]:
        """Return the parameters that are sent as headers."""
        return {name: str(self.parameters[name]) for name in _HEADERS if name in self.parameters}


def to_json(body: Mapping[str, Any]) -> bytes:
    """Return the body as JSON bytes.

    Raises:
        InvalidRequestError: a value cannot be written as JSON; the message names the first message or key with such a value.
    """
    try:
        return orjson.dumps(body, default=_to_dict)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise InvalidRequestError(f"{_culprit(body)} cannot be written as JSON: {error}") from None


def _culprit(body: Mapping[str, Any]) -> str:
    for position, message in enumerate(body.get("messages", ())):
        if not _is_json(message):
            return f"messages[{position}]"
    return next((key for key, value in body.items() if not _is_json(value)), "the request")


def _is_json(value: Any) -> bool:
    try:
        orjson.dumps(value, default=_to_dict)
    except TypeError:
        return False
    return True


def _to_dict(value: Any) -> Any:
    if isinstance(value, Mapping):  # orjson only supports dict
        return dict(value)
    raise TypeError


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
