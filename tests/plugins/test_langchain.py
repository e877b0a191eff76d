"""The row in LangChain's table of providers."""

from __future__ import annotations

import langchain.chat_models.base as table
import pytest
from langchain.chat_models import init_chat_model

from langchain_cerebras_demo import ChatCerebrasDemo, register_with_init_chat_model


def test_init_chat_model_finds_us_when_asked_to(server, monkeypatch):
    """Before, the name is unknown (unless deepagents has asked)."""
    rows = {name: row for name, row in table._BUILTIN_PROVIDERS.items() if name != "cerebras"}
    monkeypatch.setattr(table, "_BUILTIN_PROVIDERS", rows)
    with pytest.raises(ValueError, match="cerebras:gpt-oss-120b"):
        init_chat_model("cerebras:gpt-oss-120b")
    register_with_init_chat_model()
    register_with_init_chat_model()
    model = init_chat_model("cerebras:gpt-oss-120b", base_url=server.base_url, api_key=server.key)
    assert isinstance(model, ChatCerebrasDemo)
    assert model.invoke("hello").content


def test_a_table_that_is_elsewhere_is_an_error_with_a_remedy(monkeypatch):
    """In versions of LangChain that are not out yet."""
    monkeypatch.delattr(table, "_BUILTIN_PROVIDERS")
    with pytest.raises(RuntimeError, match="pass a ChatCerebrasDemo instance"):
        register_with_init_chat_model()
