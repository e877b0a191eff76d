"""Checks whether a model supports a request before it is sent.

The client applies these rules to every request, so the chat model, the provider and the command line behave the same. The
catalogue may be out of date, so ``check_requests=False`` skips them. A model without a row, such as that of a dedicated
endpoint, is assumed to support everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_cerebras_demo.catalog import ModelSpec
from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.thinking import Replay

ESCAPE = "If the catalogue is out of date: check_requests=False."


def fit(parameters: dict[str, Any], spec: ModelSpec | None, *, check: bool) -> dict[str, Any]:
    """Return the parameters in the form that this model accepts.

    Args:
        parameters: What ``to_parameters`` returned.
        spec: The model's catalogue row; ``None`` if there is none.
        check: Whether to refuse what the model does not support.

    Raises:
        InvalidRequestError: The model does not support a parameter, or two parameters contradict each other; the message
            names them and the remedy.
    """
    fitted = dict(parameters)
    if not fitted.get("tools"):
        fitted.pop("tools", None)  # some servers refuse an empty list
        fitted.pop("parallel_tool_calls", None)
    if check:
        _check_pairs(fitted)
    if spec is None:
        return fitted
    if check and fitted.get("tools") and spec.tool_calling is False:
        raise InvalidRequestError(f"{spec.id} does not support tools: choose another model. {ESCAPE}")
    _fit_reasoning(fitted, spec, check=check)
    return fitted


def check_images(messages: Sequence[Mapping[str, Any]], spec: ModelSpec | None) -> None:
    """Refuse messages with an image if the model is known to read text only.

    Args:
        messages: The messages in the API's form.
        spec: The model's catalogue row; ``None`` if there is none.

    Raises:
        InvalidRequestError: There is an image; the error names its place.
    """
    if spec is None or not spec.inputs or "image" in spec.inputs:
        return
    for position, message in enumerate(messages):
        content = message.get("content")
        for number, part in enumerate(content if isinstance(content, list | tuple) else ()):
            if isinstance(part, Mapping) and part.get("type") in ("image_url", "image"):
                raise InvalidRequestError(
                    f"messages[{position}].content[{number}] is an image, but {spec.id} reads text only: use a model that "
                    f"reads images, such as qwen-3.8-27b. {ESCAPE}"
                )


def answers_by_call(parameters: Mapping[str, Any], spec: ModelSpec | None) -> bool:
    """Return whether a request has tools and a response format, and its model is not known to accept both."""
    kind = (parameters.get("response_format") or {}).get("type")
    has_both = bool(parameters.get("tools")) and kind in ("json_object", "json_schema")
    return has_both and spec is not None and spec.response_format_with_tools is not True


def _check_pairs(parameters: dict[str, Any]) -> None:
    """Refuse combinations that no model accepts (the service's versions page and its reasoning page)."""
    if "tool_choice" in parameters and "tools" not in parameters:
        raise InvalidRequestError(f"tool_choice={parameters['tool_choice']!r} needs tools: give tools, or leave it out")
    if parameters.get("top_logprobs") is not None and not parameters.get("logprobs"):
        raise InvalidRequestError(
            f"top_logprobs={parameters['top_logprobs']!r} needs logprobs=True: set it, or leave top_logprobs out"
        )
    effort = parameters.get("reasoning_effort")
    if parameters.get("disable_reasoning") and effort not in (None, "none"):
        raise InvalidRequestError(
            f"disable_reasoning=True contradicts reasoning_effort={effort!r}: leave one of them out"
        )
    strict = {bool(tool.get("function", {}).get("strict")) for tool in parameters.get("tools", ())}
    if len(strict) > 1:  # Roo-Code#10334; the service's documentation says so of kimi-k2.7-code
        raise InvalidRequestError(
            f"some tools are strict and others are not: give all tools of a request the same 'strict'. {ESCAPE}"
        )
    kind = (parameters.get("response_format") or {}).get("type")
    if parameters.get("reasoning_format") == "raw" and kind in ("json_object", "json_schema"):
        raise InvalidRequestError(
            f"reasoning_format='raw' cannot be combined with response_format {kind!r}: use 'parsed' or 'hidden'"
        )


def _fit_reasoning(parameters: dict[str, Any], spec: ModelSpec, *, check: bool) -> None:
    reasoning = spec.reasoning
    if parameters.get("disable_reasoning") and reasoning and "none" in reasoning.efforts:
        # The service's own replacement since 2026-07-21 (its deprecation page).
        del parameters["disable_reasoning"]
        parameters["reasoning_effort"] = "none"
    if not check:
        return
    form, effort = parameters.get("reasoning_format"), parameters.get("reasoning_effort")
    if reasoning and form in reasoning.refused_formats:
        raise InvalidRequestError(f"reasoning_format={form!r} is not supported by {spec.id}: leave it out. {ESCAPE}")
    if effort is None:
        return
    if reasoning is None:
        if effort != "none":
            raise InvalidRequestError(f"reasoning_effort={effort!r}: {spec.id} does not reason; leave it out. {ESCAPE}")
        del parameters["reasoning_effort"]  # the model never reasons
    elif reasoning.efforts:
        accepted = reasoning.efforts if len(reasoning.efforts) > 1 else _EFFORTS
        if effort not in accepted:
            words = ", ".join(map(repr, accepted))
            raise InvalidRequestError(
                f"reasoning_effort={effort!r} is not supported by {spec.id}: use {words}. {ESCAPE}"
            )


# GLM accepts all of them, and only "none" has an effect.
_EFFORTS = ("none", "low", "medium", "high")


def replay_of(spec: ModelSpec | None, wanted: bool | Replay = True) -> Replay | None:
    """Return the form in which earlier reasoning is sent to this model; ``None`` if it is left out.

    Args:
        spec: The model's catalogue row; ``None`` if there is none.
        wanted: A form for any model; or whether to use the model's own form, if the catalogue has one.
    """
    if isinstance(wanted, str):
        return wanted
    return spec.reasoning.replay if wanted and spec and spec.reasoning else None


def keep_reasoning(
    parameters: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    replay: Replay | None,
) -> dict[str, Any]:
    """Return the parameters with ``clear_thinking=False`` if earlier reasoning is sent as think tags: the service would drop it.

    Args:
        parameters: The parameters of a request; their own ``clear_thinking`` is kept.
        messages: The messages in the API's form.
        replay: The form in which earlier reasoning is sent, from ``replay_of``.
    """
    is_dropped = replay == "think_tags" and parameters.get("clear_thinking") is None
    if is_dropped and any(message["role"] == "assistant" for message in messages):
        return {**parameters, "clear_thinking": False}
    return dict(parameters)


def takes_images(spec: ModelSpec | None) -> bool:
    """Return whether the model is known to read images."""
    return spec is not None and "image" in spec.inputs
