"""Plain key sources: a given key, a callable, or the environment."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_cerebras_demo.errors import MissingKeyError
from langchain_cerebras_demo.keys.blocking import start_in_thread
from langchain_cerebras_demo.keys.secret import MARK, Secret, to_key
from langchain_cerebras_demo.keys.single_flight import SingleFlight
from langchain_cerebras_demo.net.loop_local import LoopLocal
from langchain_cerebras_demo.net.shutdown import is_ending

API_KEY_VARIABLE = "CEREBRAS_API_KEY"

# More calls of one function wait for those: if it hangs, threads must not pile up.
_MOST_THREADS = 64


class SecretSource:
    """A source with a secret: copies in the process keep it, pickles and ``repr`` never contain it."""

    name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MARK})"

    def __copy__(self) -> SecretSource:
        return self

    def __deepcopy__(self, memo: object) -> SecretSource:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (DroppedKey, (self.name,))


class StaticKey(SecretSource):
    """A given key.

    Args:
        key: a str, or an object with ``get_secret_value`` (pydantic's ``SecretStr``).
        name: its name in messages.

    Raises:
        KeyFormatError: it cannot be a header value.

    Copies keep the key; a pickle drops it, and then ``resolve`` says so.
    """

    def __init__(self, key: Any, *, name: str = "api_key") -> None:
        self.name = name
        try:
            self._secret = to_key(key, name)
        finally:
            del key  # tracebacks that show locals must not show it

    def peek(self) -> Secret:
        """Return the key."""
        return self._secret

    async def resolve(self) -> str:
        """Return the key."""
        return self._secret.reveal()

    async def refresh(self, stale: str) -> str:
        """Return the same key: there is no other, and a refused explicit key is an error."""
        return stale


class DroppedKey:
    """A placeholder for a secret in a pickle or a checkpoint, which never contain one: it reports that there was one."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def resolve(self) -> str:
        """Raise an error.

        Raises:
            MissingKeyError: always; it says that the key was dropped.
        """
        why = "it was dropped when the object was pickled or saved: keys and cookies never are. Set it again in this process"
        raise MissingKeyError(f"{self.name}: {why}", tried=[(self.name, why)])

    def __repr__(self) -> str:
        return f"DroppedKey({self.name!r})"


class AbsentKey:
    """A source that is skipped for a reason. It keeps its place in the order, so that messages can name it.

    Args:
        name: the source's name.
        why: why it is not asked.
        remedy: what to do to have it asked.
    """

    def __init__(self, name: str, why: str, remedy: str = "") -> None:
        self.name = name
        self._why = why
        self._remedy = remedy

    async def resolve(self) -> str:
        """Raise an error.

        Raises:
            MissingKeyError: always; it says why the source is skipped.
        """
        raise MissingKeyError(
            f"{self.name}: {self._why}. {self._remedy}", tried=[(self.name, self._why)], remedy=self._remedy
        )

    def __repr__(self) -> str:
        return f"AbsentKey({self.name!r})"


class CallableKey:
    """A key that a callable returns. The callable is called for every request, unless ``keep_for`` is set.

    Args:
        function: returns a str or a ``SecretStr``, or an awaitable of one. An async function runs on the event loop. Any other
            may block, so it is called in a thread: concurrent calls have a thread each, with their own context variables.
        name: its name in messages.
        keep_for: seconds for which a key is kept in memory. Concurrent callers share one call of ``function``; a key that
            the service refuses is replaced at once.
        quick: whether ``function`` never blocks, or needs the running loop: it is then called on the event loop.

    Raises:
        TypeError: it is not callable.
        ValueError: ``keep_for`` is not a positive number of seconds.
    """

    def __init__(
        self,
        function: Callable[[], Any | Awaitable[Any]],
        *,
        name: str = "api_key",
        keep_for: float | None = None,
        quick: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(f"{name} is a {type(function).__name__}: give a callable that returns a key")
        if keep_for is not None and not 0 < keep_for <= sys.float_info.max:
            raise ValueError(f"keep_for={keep_for!r}: give a positive number of seconds, or None to ask every time")
        self.name = name
        self._function = function
        self._keep_for = keep_for
        self._quick = quick
        self._threads = LoopLocal[asyncio.Semaphore]()
        self._kept: tuple[Secret, float] | None = None
        self._flight: SingleFlight[Secret] = SingleFlight()

    async def resolve(self) -> str:
        """Return the callable's current key, or the kept one. The callable's exceptions are raised unchanged."""
        if self._keep_for is None:
            return to_key(await self._call(), self.name).reveal()
        if self._kept and time.monotonic() < self._kept[1]:
            return self._kept[0].reveal()
        return (await self._flight.run(self._ask)).reveal()

    async def refresh(self, stale: str) -> str:
        """Return a key to replace ``stale``: one that another call has fetched meanwhile, else a new one."""
        if self._kept and self._kept[0].reveal() == stale:
            self._kept = None
        return await self.resolve()

    async def _ask(self) -> Secret:
        secret = to_key(await self._call(), self.name)
        self._kept = (secret, time.monotonic() + (self._keep_for or 0.0))
        return secret

    async def _call(self) -> Any:
        result = self._function() if self._quick or _is_async(self._function) else await self._call_in_thread()
        return await result if inspect.isawaitable(result) else result

    async def _call_in_thread(self) -> Any:
        threads = self._threads.get()
        if threads is None:
            threads = asyncio.Semaphore(_MOST_THREADS)
            self._threads.set(threads)
        loop = asyncio.get_running_loop()

        def call() -> Any:
            try:
                return self._function()
            finally:  # also if the caller has left, and the function has blocked until now
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    loop.call_soon_threadsafe(threads.release)

        await threads.acquire()
        try:
            answer = start_in_thread(call, self.name)
        except RuntimeError:
            threads.release()
            if not is_ending():
                raise
            return self._function()
        return (await answer).get()

    def __copy__(self) -> CallableKey:
        return self  # all copies share the key and the call

    def __deepcopy__(self, memo: object) -> CallableKey:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (_callable_key, (self._function, self.name, self._keep_for, self._quick))

    def __repr__(self) -> str:
        return f"CallableKey({getattr(self._function, '__qualname__', type(self._function).__name__)})"


class EnvKey:
    """A key in an environment variable, read again for every request. White space around it is dropped.

    Args:
        variable: the variable's name.
    """

    def __init__(self, variable: str = API_KEY_VARIABLE) -> None:
        self.name = variable
        self._checked: Secret | None = None  # the last value that was found to be a key

    def peek(self) -> Secret | None:
        """Return the variable's value of now as a key; ``None`` if it is not set, or empty.

        Raises:
            KeyFormatError: it cannot be a header value.
        """
        if not os.environ.get(self.name, "").strip():  # not in a variable: see `resolve`
            return None
        if self._checked is None or self._checked.reveal() != os.environ[self.name].strip():
            self._checked = to_key(os.environ[self.name].strip(), self.name)
        return self._checked

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_checked": None}

    async def resolve(self) -> str:
        """Return the variable's value.

        Raises:
            MissingKeyError: it is not set, or empty.
            KeyFormatError: it cannot be a header value.
        """
        if not os.environ.get(
            self.name, ""
        ).strip():  # never in a variable: a traceback that shows locals would show it
            why = "set, but empty" if self.name in os.environ else "not set"
            raise MissingKeyError(
                f"{self.name} is {why}", tried=[(self.name, why)], remedy=f"Set it: export {self.name}=…"
            )
        return to_key(os.environ[self.name].strip(), self.name).reveal()

    async def refresh(self, stale: str) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the variable's current value: the same key, unless it has been changed.

        Raises:
            MissingKeyError: it is not set, so the refused key came from another source.
        """
        return await self.resolve()

    def __repr__(self) -> str:
        return f"EnvKey({self.name!r})"


def _callable_key(function: Callable[[], Any], name: str, keep_for: float | None, quick: bool = False) -> CallableKey:
    return CallableKey(function, name=name, keep_for=keep_for, quick=quick)


def _is_async(function: Callable[[], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - of its class
