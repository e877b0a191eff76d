"""The client: its settings, and the methods that make calls with them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cache_folder import save_models
from langchain_cerebras_demo.catalog import AliasTable
from langchain_cerebras_demo.client.attempt import Attempt, now
from langchain_cerebras_demo.client.call import Account, Call, Settings, today
from langchain_cerebras_demo.client.limiter import process_limiter
from langchain_cerebras_demo.client.observers import CallStart, observe_by_environment, to_listeners
from langchain_cerebras_demo.client.report import Report
from langchain_cerebras_demo.client.slots import Slots
from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.keys import ChainKeyResolver, EnvKey, KeyResolver
from langchain_cerebras_demo.net.endpoint import check_headers, takes_demo_key, to_address, to_base_url
from langchain_cerebras_demo.net.proxies import ARGUMENT, to_proxy
from langchain_cerebras_demo.net.shutdown import in_thread
from langchain_cerebras_demo.net.transport import Transport, default_transport
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout
from langchain_cerebras_demo.records import CallRecord, Load, RateLimitSnapshot
from langchain_cerebras_demo.wire.completion import Event, with_whole_calls
from langchain_cerebras_demo.wire.request import ChatRequest

catalog.model_specs()  # the first use reads files: do it on import, not in an event loop

_log = logging.getLogger("langchain_cerebras_demo")

_WARM_SECONDS = 5.0

_AUTO = RateLimit()

USER_AGENT = f"langchain-cerebras-demo/{__version__}"


class Client:
    """A client that sends chat requests and returns typed events.

    Args:
        base_url: an address that ends in ``/v1``, or ``"local"`` for the embedded server. Default: ``CEREBRAS_BASE_URL``, else
            Cerebras.
        keys: the key source. Default: the environment.
        transport: the transport. Default: the one that the process shares.
        timeout: the timeouts of a call.
        retry: when a failed attempt is retried.
        aliases: aliases for model ids.
        headers: sent with every request.
        user_agent: replaces the default ``User-Agent``.
        proxy: used instead of the environment's proxy.
        max_concurrency: concurrent requests of this client per event loop; the others wait, and their timeouts start when they
            are sent. A stream holds its slot until it is read to its end or closed, or not read for ``timeout.idle`` seconds.
            Pass ``Slots`` to share them with other clients.
        rate_limit: limits to keep besides those that the service announces; ``None`` ignores all limits and sends at once.
        max_wait: seconds that a call may wait for a slot and for rate limits; ``None`` for no bound.
        max_queue: calls that may wait for a slot or for a rate limit; one more raises ``QueueFullError``. ``None`` for no bound.
            Ignored if ``max_concurrency`` is ``Slots``, which have their own.
        compress: whether large bodies are compressed. Default: only for cerebras.ai, which accepts it.
        on_start: called when a call begins (see ``CallStart``).
        on_call: called with the record of each call when it ends. Both must be quick; their exceptions are logged and ignored.

    Raises:
        ValueError: a ``base_url`` without scheme or host, an invalid header, or a proxy that cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        keys: KeyResolver | None = None,
        transport: Transport | None = None,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        aliases: AliasTable | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        proxy: str | None = None,
        max_concurrency: int | Slots | None = None,
        rate_limit: RateLimit | None = _AUTO,
        max_wait: float | None = None,
        max_queue: int | None = None,
        compress: bool | None = None,
        on_start: Callable[[CallStart], None] | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        observe_by_environment()
        self.base_url = to_base_url(base_url)
        self.aliases = aliases if aliases is not None else AliasTable()
        self.keys = keys if isinstance(keys, ChainKeyResolver) else ChainKeyResolver([keys or EnvKey()])
        self._settings = Settings(
            base_url=self.base_url,
            aliases=self.aliases,
            keys=self.keys,
            transport=transport or default_transport(),
            timeout=timeout or Timeout(),
            retry=retry or RetryPolicy(),
            headers={"User-Agent": user_agent or USER_AGENT, **check_headers(headers or {})},
            proxy=proxy,
            slots=max_concurrency if isinstance(max_concurrency, Slots) else Slots(max_concurrency, max_queue),
            rate_limit=rate_limit,
            max_wait=max_wait,
            compresses=takes_demo_key(self.base_url) if compress is None else compress,
            listeners=to_listeners(on_start, on_call),
            address=to_address(self.base_url),
        )
        del proxy  # a traceback that shows locals must not show a password
        to_proxy(self._settings.proxy or "", ARGUMENT)
        self._last_account = Account()  # not the call, which holds its answer

    @property
    def is_local(self) -> bool:
        """Whether the embedded model answers instead of Cerebras."""
        return local.is_local(self.base_url)

    def stream(self, request: ChatRequest, *, run_id: object = None) -> AsyncGenerator[list[Event | CallRecord], None]:
        """Stream the answer: one list of events per network read; the last list says how it ended.

        An attempt that fails before its first event is retried as the retry policy allows. Use it with ``aclosing``, so that
        leaving early closes the connection.

        Args:
            request: the request.
            run_id: the id of the LangChain run, for the call's record.

        Raises:
            APIError: the call failed; after the first event, ``partial`` holds the text received so far.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything is sent.
        """
        return self._call(run_id).events(request)

    async def complete(self, request: ChatRequest, *, run_id: object = None) -> list[Event | CallRecord]:
        """Request an answer without streaming and return its events. For timeouts, the body counts as one event.

        Args, Raises:
            As ``stream``.
        """
        return with_whole_calls(await self._call(run_id).answer(request))

    async def list_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """Return the rows of the model list: the models of the key, or the public list, which needs no key.

        Raises:
            APIError, MissingKeyError: as ``complete``.
            APIResponseValidationError: the answer is not a list of models.
        """
        return await Call(self._settings, "list_models").models(is_public=public)

    async def refresh_catalog(self, *, save: bool = False) -> None:
        """Update the catalogue from the service's public list: limits, abilities, prices, and which models are served.

        Args:
            save: whether to save the list in the cache folder for later processes. Otherwise it only affects this process. Only a
                list of cerebras.ai is saved: another server's would replace the models of Cerebras in all later processes.

        Raises:
            APIError: the list could not be fetched.
            OSError, RuntimeError: the list could not be saved.
        """
        rows, day = await self.list_models(public=True), today()
        catalog.refresh(rows, day)
        if not save:
            return
        if not takes_demo_key(self.base_url):
            host = urlsplit(self.base_url).netloc or self.base_url
            _log.warning("the list of %s was not saved: only that of cerebras.ai is", host)
            return
        path = await in_thread(save_models, rows, day)
        _log.info("saved the list of %s models to %s; delete the file to go back to the built-in list", len(rows), path)

    async def warm(self) -> None:
        """Open the connection before the first request, without a key. Errors are ignored; the first request raises them."""
        if self.is_local:
            return
        settings = self._settings
        request = settings.request("GET", f"{self.base_url}/tcp_warming")  # as Cerebras' SDK does, but without the key
        bounds = replace(settings.timeout, total=_WARM_SECONDS)
        deadline = now() + _WARM_SECONDS
        with contextlib.suppress(APIError):
            await Attempt(settings.transport, request, is_stream=False, bounds=bounds, deadline=deadline).body()

    async def aclose(self) -> None:
        """Close this loop's connections, except those that other clients are using.

        A custom transport that has ``aclose`` but not ``aclose_of`` is closed entirely; one with neither stays open.
        """
        transport = self._settings.transport
        if (close_own := getattr(transport, "aclose_of", None)) is not None:
            await close_own(self._settings)
        elif (close := getattr(transport, "aclose", None)) is not None:
            await close()

    def resolve_model(self, name: str) -> str:
        """Return the model id for ``name``, which may be an alias. Warn once about a retired model; the warning names its replacement.

        Raises:
            InvalidRequestError: no model can have this name.
        """
        return self._settings.resolve_model(name)

    @property
    def limits(self) -> RateLimitSnapshot | None:
        """The limits that the service last announced for the account and the model of the last call; ``None`` before the first."""
        last = self._last_account
        return process_limiter().snapshot(last.name, last.model) if last.name else None

    @property
    def load(self) -> Load:
        """The number of this client's calls in flight and of those that wait, for load shedding; readable from any thread."""
        return self._settings.slots.load

    def refuse(self, problem: Exception, model: str, *, is_stream: bool, run_id: object = None) -> None:
        """Report a call to the observers whose request could not be built.

        Args:
            problem: the reason.
            model: the model that was requested.
            is_stream: whether a stream was requested.
            run_id: as for ``stream``.
        """
        settings = self._settings
        report = Report("chat", settings.address, settings.listeners, run_id)
        report.begin(settings.name_of(model), is_stream=is_stream).end(problem)

    def _call(self, run_id: object) -> Call:
        call = Call(self._settings, "chat", run_id)
        self._last_account = call.account
        return call
