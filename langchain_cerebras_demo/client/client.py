"""What a caller has of a service: its settings, and the calls that are made with them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cache_folder import save_models
from langchain_cerebras_demo.catalog import AliasTable
from langchain_cerebras_demo.client.attempt import Attempt, now
from langchain_cerebras_demo.client.call import Call, Settings, today
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

catalog.model_specs()  # it reads files for the first question: here, and in nobody's event loop

_WARM_SECONDS = 5.0

_AUTO = RateLimit()

USER_AGENT = f"langchain-cerebras-demo/{__version__}"


class Client:
    """Sends chat requests and gives back typed events.

    Args:
        base_url: ends in ``/v1``; ``"local"`` is the embedded server; ``None`` asks ``CEREBRAS_BASE_URL``, else it is Cerebras.
        keys: where the key comes from; by default the environment.
        transport: what carries the bytes; by default the one that the process shares.
        timeout: the bounds of one call.
        retry: when a failed attempt is made again.
        aliases: names for models.
        headers: sent with every request.
        user_agent: instead of our own.
        proxy: instead of the environment's.
        max_concurrency: requests of this client that may run at once in one loop; the others wait their turn, and their
            time-outs start then. A stream holds its place until it is read to its end or closed, or not read for
            ``timeout.idle`` seconds. Or the slots that it shares with other clients.
        rate_limit: what the account allows besides what the service announces; ``None`` sends at once, whatever it says.
        max_wait: seconds that a call may wait for a slot and for rate limits; ``None`` for as long as it takes.
        max_queue: calls that may wait for a slot or for a rate limit; one more raises ``QueueFullError``. ``None`` for no bound.
            With ``Slots`` as ``max_concurrency`` it is theirs.
        compress: whether large bodies are zipped; by default for cerebras.ai, which takes it.
        on_start: told when a call begins (see ``CallStart``).
        on_call: given a record of every call when it ends. Both must be quick; what they raise is logged and ignored.

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
        self._last_call: Call | None = None

    @property
    def is_local(self) -> bool:
        """Whether the embedded model answers, and not Cerebras."""
        return local.is_local(self.base_url)

    def stream(self, request: ChatRequest, *, run_id: object = None) -> AsyncGenerator[list[Event | CallRecord], None]:
        """The answer as it comes: a list of events a network read, the last list being how it ended.

        An attempt that fails before its first event is made again as the retry policy says. Enter it with ``aclosing``:
        leaving early closes the connection.

        Args:
            request: what is asked.
            run_id: LangChain's id of the run that asks, for the call's record.

        Raises:
            APIError: after the first event it carries ``partial``, the text that had come.
            MissingKeyError, KeyFormatError, KeyHostError, LocalServerError: before anything was sent.
        """
        return self._call(run_id).events(request)

    async def complete(self, request: ChatRequest, *, run_id: object = None) -> list[Event | CallRecord]:
        """The whole answer's events, asked for without streaming: the body counts as one event.

        Args, Raises:
            As ``stream``.
        """
        return with_whole_calls(await self._call(run_id).answer(request))

    async def list_models(self, *, public: bool = False) -> list[dict[str, Any]]:
        """The rows of the model list: of the key's own, or of the public catalogue, which needs no key.

        Raises:
            APIError, MissingKeyError: as ``complete``.
            APIResponseValidationError: the answer is not a list of models.
        """
        return await Call(self._settings, "list_models").models(is_public=public)

    async def refresh_catalog(self, *, save: bool = False) -> None:
        """Lay the service's public list over the catalogue: limits, abilities, prices, and which models are served.

        Args:
            save: Whether later processes use it too: it is kept in the cache folder. Otherwise it counts for this process.

        Raises:
            APIError: The list could not be read.
            OSError, RuntimeError: It could not be kept.
        """
        rows, day = await self.list_models(public=True), today()
        catalog.refresh(rows, day)
        if save:
            await in_thread(save_models, rows, day)

    async def warm(self) -> None:
        """Opens the connection ahead of the first request, without a key. Errors are ignored here; the first request raises them."""
        if self.is_local:
            return
        settings = self._settings
        request = settings.request(
            "GET", f"{self.base_url}/tcp_warming"
        )  # as Cerebras' own SDK does, which sends the key too
        bounds = replace(settings.timeout, total=_WARM_SECONDS)
        deadline = now() + _WARM_SECONDS
        with contextlib.suppress(APIError):
            await Attempt(settings.transport, request, is_stream=False, bounds=bounds, deadline=deadline).body()

    async def aclose(self) -> None:
        """Closes this loop's connections, except those that other clients are using, where the transport can.

        A transport of the user's own that has ``aclose`` but not ``aclose_of`` is closed whole.
        """
        transport = self._settings.transport
        if (close_own := getattr(transport, "aclose_of", None)) is not None:
            await close_own(self._settings)
        elif (close := getattr(transport, "aclose", None)) is not None:
            await close()

    def resolve_model(self, name: str) -> str:
        """The id that ``name`` stands for. A retired one goes through with one warning that names its replacement."""
        return self._settings.resolve_model(name)

    @property
    def limits(self) -> RateLimitSnapshot | None:
        """What the service last said of the account's limits for the model asked last; ``None`` before it has."""
        last = self._last_call
        return process_limiter().snapshot(last.account, last.model) if last else None

    @property
    def load(self) -> Load:
        """How many calls of this client are in flight and how many wait; from any thread. For those who shed load."""
        return self._settings.slots.load

    def refuse(self, problem: Exception, model: str, *, is_stream: bool, run_id: object = None) -> None:
        """Make the record of a call whose request could not be made: it was refused before the client saw it.

        Args:
            problem: why.
            model: the model that was to be asked.
            is_stream: whether a stream was asked for.
            run_id: as for ``stream``.
        """
        settings = self._settings
        report = Report("chat", settings.address, settings.listeners, run_id)
        report.begin(settings.name_of(model), is_stream=is_stream).end(problem)

    def _call(self, run_id: object) -> Call:
        self._last_call = Call(self._settings, "chat", run_id)
        return self._last_call
