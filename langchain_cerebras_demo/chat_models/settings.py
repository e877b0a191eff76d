"""The fields of the chat model that are no parameters of the API: checked, and made into a client."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr

from langchain_cerebras_demo.catalog import AliasTable
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.keys import ChainKeyResolver, KeyResolver
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.net.endpoint import to_base_url
from langchain_cerebras_demo.net.transport import Transport
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout
from langchain_cerebras_demo.wire.request import nearest

# Names that other LangChain integrations use for the same thing.
_OTHER_NAMES = {
    "model_name": "model",
    "max_completion_tokens": "max_tokens",
    "min_completion_tokens": "min_tokens",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "cerebras_api_key": "api_key",
    "cerebras_api_base": "base_url",
}


class ClientSettings(NamedTuple):
    """The chat model's fields that its client depends on."""

    base_url: str | None
    api_key: Any
    key_resolver: KeyResolver | None
    cookies: Any
    aliases: Mapping[str, str] | None
    timeout: Timeout | float | None
    max_retries: int
    max_concurrency: int | None
    rate_limit: Any
    compress_requests: bool | None
    on_call: Any
    default_headers: Mapping[str, str] | None
    user_agent: str | None
    proxy: str | None
    transport: Transport | None

    def to_keys(self) -> ChainKeyResolver:
        """Where the key comes from."""
        return to_key_chain(
            to_base_url(self.base_url),
            key_resolver=self.key_resolver,
            api_key=self.api_key,
            cookies=self.cookies,
            transport=self.transport,
        )

    def to_client(self) -> Client:
        """A client for these settings."""
        return Client(
            base_url=self.base_url,
            keys=self.to_keys(),
            transport=self.transport,
            timeout=Timeout.from_value(self.timeout),
            retry=RetryPolicy(max_retries=self.max_retries),
            aliases=AliasTable(self.aliases),
            headers=self.default_headers,
            user_agent=self.user_agent,
            proxy=self.proxy,
            max_concurrency=self.max_concurrency,
            rate_limit=RateLimit.from_value(self.rate_limit),
            compress=self.compress_requests,
            on_call=self.on_call,
        )


class ClientMemo:
    """Keeps the client of one model until a field that it depends on is changed.

    Compared by identity: a dozen pointers a call. A copy or a pickle of the model starts with an empty one.
    """

    def __init__(self) -> None:
        self._kept: tuple[ClientSettings, Client] | None = None
        self._lock = threading.Lock()  # two threads must not get two clients, each with slots of its own

    def client(self, settings: ClientSettings) -> Client:
        """The client for these settings."""
        with self._lock:
            kept = self._kept
            if kept is not None and all(map(operator.is_, kept[0], settings)):
                return kept[1]
            client = settings.to_client()
            self._kept = (settings, client)
            return client

    def __deepcopy__(self, memo: object) -> ClientMemo:
        return ClientMemo()

    def __reduce__(self) -> tuple[object, ...]:
        return (ClientMemo, ())


def check_names(values: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The constructor's arguments under our own names.

    Raises:
        TypeError: a name that the model does not have; the message offers the nearest.
    """
    names = tuple(known)
    renamed = {_OTHER_NAMES.get(name, name): value for name, value in values.items()}
    if len(renamed) < len(values):
        twice = next(name for name in values if _OTHER_NAMES.get(name, name) in values and name in _OTHER_NAMES)
        del values, renamed
        raise TypeError(f"{twice!r} and {_OTHER_NAMES[twice]!r} are one argument: leave one out")
    for name in renamed:
        if name not in names:
            del values, renamed  # a traceback that shows locals must not show a key
            raise TypeError(
                f"ChatCerebrasDemo has no argument {name!r}; a key that the API knows and we do not goes into model_kwargs"
                f"{nearest(name, (*names, *_OTHER_NAMES))}"
            )
    return renamed


def to_wire_tools(tools: Any) -> Any:
    """Tools as they go out: those in the API's form as they are, functions, classes and others' dicts made into it."""
    if not isinstance(tools, list | tuple) or all(_is_function(tool) for tool in tools):
        return tools
    from langchain_cerebras_demo.chat_models.tools import to_tools  # noqa: PLC0415 - schemas, which few calls need

    return to_tools(tools)


def _is_function(tool: Any) -> bool:
    return isinstance(tool, Mapping) and tool.get("type") == "function"


def is_secret(value: Any) -> bool:
    """Whether a field's value is a key as it is, which no pickle may hold."""
    return isinstance(value, str | SecretStr)
