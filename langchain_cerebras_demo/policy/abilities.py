"""What a model can do, held against what a request asks of it, before it is sent.

The catalogue may be out of date, so whatever is refused here goes out with ``check_requests=False``; a model that it does not
know, such as a dedicated endpoint's, can do everything.
"""

from __future__ import annotations

from typing import Any, Literal

from langchain_cerebras_demo.catalog import ModelSpec

ESCAPE = "If the catalogue is out of date: check_requests=False."


def fit(parameters: dict[str, Any], spec: ModelSpec | None, *, check: bool) -> dict[str, Any]:
    """The parameters as this model takes them.

    Args:
        parameters: what ``to_parameters`` returned.
        spec: the catalogue's row, ``None`` where there is none.
        check: whether what the model cannot do is refused.

    Raises:
        ValueError: the model cannot do it, or two parameters contradict each other; names them and the remedy.
    """
    fitted = dict(parameters)
    if not fitted.get("tools"):
        fitted.pop("tools", None)  # an empty list is refused by some servers and says nothing
        fitted.pop("parallel_tool_calls", None)
    if check:
        _check_pairs(fitted)
    if spec is None:
        return fitted
    if check and fitted.get("tools") and spec.tool_calling is False:
        raise ValueError(f"{spec.id} cannot call tools: choose another model. {ESCAPE}")
    _fit_reasoning(fitted, spec, check=check)
    return fitted


def _check_pairs(parameters: dict[str, Any]) -> None:
    """What no model takes together (the service's versions page and its reasoning page)."""
    if "tool_choice" in parameters and "tools" not in parameters:
        raise ValueError(f"tool_choice={parameters['tool_choice']!r} without tools: give tools, or leave it out")
    if parameters.get("top_logprobs") is not None and not parameters.get("logprobs"):
        raise ValueError("top_logprobs needs logprobs=True")
    kind = (parameters.get("response_format") or {}).get("type")
    if parameters.get("reasoning_format") == "raw" and kind in {"json_object", "json_schema"}:
        raise ValueError(
            f"reasoning_format='raw' and response_format {kind!r} exclude each other: use 'parsed' or 'hidden'"
        )


def _fit_reasoning(parameters: dict[str, Any], spec: ModelSpec, *, check: bool) -> None:
    reasoning = spec.reasoning
    if parameters.get("disable_reasoning") and reasoning and "none" in reasoning.efforts:
        # The service's own replacement since 2026-07-21 (its deprecation page).
        del parameters["disable_reasoning"]
        parameters.setdefault("reasoning_effort", "none")
    effort = parameters.get("reasoning_effort")
    if effort is None or not check:
        return
    if reasoning is None:
        if effort != "none":
            raise ValueError(f"reasoning_effort={effort!r}: {spec.id} does not reason; leave it out. {ESCAPE}")
        del parameters["reasoning_effort"]  # it is what the model does anyway
    elif len(reasoning.efforts) > 1 and effort not in reasoning.efforts:  # GLM takes all words, and only "none" tells
        taken = ", ".join(map(repr, reasoning.efforts))
        raise ValueError(f"reasoning_effort={effort!r} is nothing that {spec.id} takes: give one of {taken}. {ESCAPE}")


def replay_of(spec: ModelSpec | None) -> Literal["reasoning", "think_tags"] | None:
    """How the reasoning of earlier turns goes back to this model; ``None`` where nobody knows, and then it is left out."""
    return spec.reasoning.replay if spec and spec.reasoning else None


def takes_images(spec: ModelSpec | None) -> bool:
    """Return whether the model is known to read images."""
    return spec is not None and "image" in spec.inputs
