"""The embedded model, told to be brief: pages and notebooks let it write on, and their tests need not wait for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_cerebras_demo import local
from langchain_cerebras_demo.local import dialect

__all__ = ["MOST_TOKENS", "be_brief", "to_brief"]

MOST_TOKENS = 16


def to_brief(body: Mapping[str, Any]) -> dict[str, Any]:
    """As ``to_local``, with at most ``MOST_TOKENS`` of text. A forced call and an answer by a schema keep what they were given."""
    request = dialect.to_local(body)
    if request.get("tool_choice") != "required" and "response_format" not in request:
        request["max_completion_tokens"] = min(request["max_completion_tokens"], MOST_TOKENS)
    return request


def be_brief() -> None:
    """From now on, in this process; a kernel of the notebooks' tests runs it first."""
    local.to_local = to_brief
