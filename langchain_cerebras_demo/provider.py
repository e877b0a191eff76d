"""The ``Cerebras`` provider with gpt4free's interface. It uses the same client, without LangChain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timezone
from typing import Any, ClassVar

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import InvalidRequestTypeError
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.net.endpoint import API_BASE, to_base_url
from langchain_cerebras_demo.net.transport import Transport
from langchain_cerebras_demo.policy import Timeout
from langchain_cerebras_demo.wire.completion import RefusalDelta, TextDelta
from langchain_cerebras_demo.wire.request import ChatRequest, to_messages

# The models that gpt4free listed, which old scripts still name. The service has retired all of them.
_SEED_MODELS = ("llama3.1-70b", "llama3.1-8b", "llama-3.3-70b", "deepseek-r1-distill-llama-70b")


class _Facts(type):
    """The class attributes that depend on the current date."""

    @property
    def models(cls) -> list[str]:
        """The ids of the models that are served, then gpt4free's four."""
        live = [spec.id for spec in catalog.model_specs().values() if catalog.is_served(spec, _today())]
        return [*live, *(model for model in _SEED_MODELS if model not in live)]

    @property
    def working(cls) -> bool:
        """Whether the default model is not retired, according to the catalogue."""
        spec = catalog.find_spec(catalog.DEFAULT_MODEL)
        return spec is not None and spec.life(_today()) != "retired"


class Cerebras(metaclass=_Facts):
    """gpt4free's Cerebras provider: the same class attributes, the same async generator of text.

        async for text in Cerebras.create_async_generator("gpt-oss-120b", [{"role": "user", "content": "Hi"}]):
            print(text, end="")

    The key is ``api_key``, else the demo key of the session behind ``cookies``, else the variable ``CEREBRAS_API_KEY``, else
    the demo key of the session in the user's own browser (extra ``browser``; see ``BrowserSessionKey``).

    Differences from gpt4free: the User-Agent names this package instead of a browser; there are timeouts; cookies are sent
    only to the session endpoint and the demo key only to cerebras.ai; the session endpoint is asked once, not before every
    call; errors are typed; a stream that is cut off raises an error.
    """

    label: ClassVar[str] = "Cerebras Inference"
    """The provider's display name."""
    url: ClassVar[str] = "https://inference.cerebras.ai/"
    """The site whose sessions have a demo key."""
    login_url: ClassVar[str] = "https://cloud.cerebras.ai"
    """The site for creating keys."""
    api_base: ClassVar[str] = API_BASE
    """The API's address, including ``/v1``."""
    default_model: ClassVar[str] = catalog.DEFAULT_MODEL
    """The id that is used for an empty model name."""
    model_aliases: ClassVar[Mapping[str, str]] = catalog.BUILT_IN_ALIASES
    """The built-in aliases and their ids."""

    @classmethod
    def get_models(cls) -> list[str]:
        """Return the ids in ``models``."""
        return cls.models

    @classmethod
    def get_model(cls, name: str = "") -> str:
        """Return the id of an alias, an unknown id unchanged, or the default model for an empty name."""
        return catalog.AliasTable().resolve(name) if name else cls.default_model

    @classmethod
    async def create_async_generator(
        cls,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        api_key: str | None = None,
        cookies: Mapping[str, str] | str | None = None,
        *,
        proxy: str | None = None,
        timeout: Timeout | float | None = 60.0,
        headers: Mapping[str, str] | None = None,
        api_base: str | None = None,
        transport: Transport | None = None,
        check_requests: bool = True,
        **kwargs: Any,
    ) -> AsyncGenerator[str, None]:
        """Yield the text of the answer, piece by piece.

        Args:
            model: An id or an alias; empty for the default.
            messages: Mappings with ``role`` and ``content``.
            api_key: The key.
            cookies: Names and values of a signed-in session's cookies, a cookie file's path, or ``"browser"``.
            proxy: Used instead of the environment's.
            timeout: Seconds to connect, until the first event and between two events, or a ``Timeout``.
            headers: Sent with the request.
            api_base: Used instead of Cerebras; ``"local"`` is the embedded model.
            transport: The transport for all requests; by default the shared one.
            check_requests: Whether to refuse what the API or the model does not support; ``False`` sends it unchecked.
            **kwargs: The API's parameters, such as ``temperature`` or ``max_tokens``.

        Raises:
            InvalidRequestError: The API or the model does not support the messages or a parameter.
            CerebrasError: There is no key, or the call failed; ``partial`` is the text that had arrived.
        """
        if kwargs.pop("impersonate", None):
            raise InvalidRequestTypeError(
                "impersonate is not supported: this provider names itself in its User-Agent and imitates no browser. "
                "Leave it out."
            )
        base_url = to_base_url(api_base)
        client = Client(
            base_url=base_url,
            keys=to_key_chain(base_url, api_key=api_key, cookies=cookies, transport=transport, is_automatic=True),
            transport=transport,
            timeout=Timeout.from_value(timeout),
            headers=headers,
            proxy=proxy,
        )
        del api_key, cookies  # a traceback that shows locals must not show them
        kwargs.pop("stream", None)  # gpt4free's switch; this generator always streams
        try:
            wires = to_messages(messages, check=check_requests)
        except Exception as problem:
            client.refuse(problem, model or cls.default_model, is_stream=True)
            raise
        request = ChatRequest(model or cls.default_model, wires, kwargs, check=check_requests)
        async with aclosing(client.stream(request)) as batches:
            async for events in batches:
                for event in events:
                    if isinstance(event, TextDelta | RefusalDelta):  # a refusal is the whole answer
                        yield event.text


def _today() -> Any:
    return datetime.now(tz=timezone.utc).date()
