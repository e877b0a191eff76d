"""The request that llama.cpp's server needs instead of a Cerebras request. Pure: a mapping in, a new dict out.

The server silently ignores unknown keys and has its own defaults, tool rules and context. All differences are handled here
and nowhere else. Measured with xllamacpp 2026.10.11549.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LOCAL_HEADERS", "LOCAL_MODEL", "to_local"]

#: The embedded model's name, in requests and in answers.
LOCAL_MODEL = "smollm2-135m"

#: Headers of every request. After a stream, the server often closes a connection that it announced to keep: 5 of 30
#: streams over one client failed because of that ("Server disconnected without sending a response").
LOCAL_HEADERS = {"Connection": "close"}

#: Without a limit, the model may write until its context is full.
DEFAULT_COMPLETION_TOKENS = 512

#: Temperature and top_p are what SmolLM2's model card recommends; with llama.cpp's default temperature of 0.8, a model this
#: small rambles. DRY penalizes sequences that repeat, so that an answer does not repeat itself until its limit. With
#: ``repeat_penalty``, which penalizes single words, the model could not repeat a sentence of the question.
DEFAULT_SAMPLING = {"temperature": 0.2, "top_p": 0.9, "dry_multiplier": 0.8, "dry_allowed_length": 4}

#: Parameters of Cerebras that llama.cpp would accept and ignore.
CEREBRAS_ONLY = frozenset(
    {
        "clear_thinking",
        "disable_reasoning",
        "min_completion_tokens",
        "min_tokens",
        "model_parameters",
        "prediction",
        "prompt_cache_key",
        "reasoning_effort",
        "reasoning_format",
        "service_tier",
    }
)


def to_local(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the embedded server's form of a Cerebras chat-completions body.

    Args:
        body: a body in Cerebras' form. It is not changed. A key whose value is ``None`` counts as absent.

    Returns:
        The body to send. It may share parts with ``body``.

    Raises:
        ValueError: a message contains anything but text, or ``tool_choice`` names a tool that is not in ``tools``.
    """
    given = {key: value for key, value in body.items() if key not in CEREBRAS_ONLY and value is not None}
    local = {**DEFAULT_SAMPLING, **given, "model": LOCAL_MODEL}
    local["messages"] = [to_local_message(index, message) for index, message in enumerate(body.get("messages") or ())]
    limit = local.pop("max_tokens", None)
    limit = local.get("max_completion_tokens", limit)
    local["max_completion_tokens"] = DEFAULT_COMPLETION_TOKENS if limit in (None, -1) else limit
    if local.get("stream"):  # Cerebras always sends the usage, llama.cpp only on request
        local["stream_options"] = {**local.get("stream_options", {}), "include_usage": True}
    if local["temperature"] == 0 or "seed" in local:
        # The answer should be repeatable. A cached prefix changes the batch size, and with it the rounding, which can change
        # the selected tokens: the same prompt returned two texts, depending on what the slot had answered before.
        local.setdefault("cache_prompt", False)
    set_tools(local)
    return local


def to_local_message(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message without the reasoning of earlier turns, which this model does not support.

    Raises:
        ValueError: a part of the content is not text; llama.cpp would answer 500. ``index`` is used in the error's text.
    """
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind != "text":
            raise ValueError(
                f"messages[{index}] has a part of type {kind!r}, but the embedded model {LOCAL_MODEL} reads text only: "
                "leave the part out, or use a model of Cerebras that reads images"
            )
    return {key: value for key, value in message.items() if key not in {"reasoning", "reasoning_content"}}


def set_tools(local: dict[str, Any]) -> None:
    """Change the tool choice, in place, to one of the two that work: one forced call, or none.

    Measured: a forced call was correct in 40 of 40 tries. "auto" never called (0 of 20), and failed with a 500 once the
    template opened the call; a named choice is handled like "auto"; parallel calls repeat until the tokens run out (8 of 10).
    """
    choice = local.pop("tool_choice", None)
    local.pop("parallel_tool_calls", None)
    tools = local.pop("tools", None)
    if not tools:
        return
    if isinstance(choice, dict):
        function = choice.get("function")
        tools = [named_tool(tools, function.get("name") if isinstance(function, dict) else function)]
        choice = "required"
    local["tools"] = tools
    local["tool_choice"] = "none"
    if choice == "required":
        local["tool_choice"] = "required"
        local["parallel_tool_calls"] = False
        local["chat_template_kwargs"] = {**local.get("chat_template_kwargs", {}), "force_tool": True}
        local.pop("response_format", None)  # its grammar would prevent the call


def named_tool(tools: Sequence[Any], name: Any) -> Any:
    """Return the tool of that name.

    Raises:
        ValueError: there is no such tool; llama.cpp would answer with plain text.
    """
    names = [tool.get("function", {}).get("name") for tool in tools]
    if name not in names:
        raise ValueError(f"tool_choice names {name!r}, which is not among tools: {', '.join(map(repr, names))}")
    return tools[names.index(name)]
