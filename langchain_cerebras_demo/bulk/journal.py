"""The journal of an output: the settings that produced it, how each run ended, and a lock while a run uses it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from langchain_cerebras_demo.bulk.errors import BulkOutputError, BulkSettingsError

_VERSION = 1
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_SHOWN_CHARACTERS = 120
_MISSING = object()
_HIDDEN = "**********"
_SECRET_NAME = re.compile(r"api_?key|secret|password|authorization", re.IGNORECASE)


class Journal:
    """``<output>.journal``: one line of JSON with the settings, then one for each run with how it ended.

    It is locked while a run uses it; the operating system releases the lock when the process ends, even if it is killed.

    Args:
        output: the output file.

    Raises:
        BulkOutputError: another run uses the output, or the journal cannot be opened.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.journal")
        self._output = output
        self._file = _open(self.path)
        try:
            _lock(self._file)
        except OSError as error:
            os.close(self._file)
            if isinstance(error, BlockingIOError | PermissionError):
                raise BulkOutputError(
                    f"another run is writing {str(output)!r}: wait until it ends, or use another output"
                ) from None
            raise BulkOutputError(
                f"{str(self.path)!r} cannot be locked: {error.strerror}: use another folder"
            ) from None

    def settings(self) -> dict[str, Any] | None:
        """Return the settings of the output; ``None`` if the journal is new, or its first line is incomplete.

        Raises:
            BulkOutputError: the file is not a journal of this package.
        """
        first, end, _ = self.path.read_bytes().partition(b"\n")
        if not end:
            return None
        try:
            header = orjson.loads(first)
            settings: dict[str, Any] = header["settings"]
            if header["version"] == _VERSION:
                return settings
        except (orjson.JSONDecodeError, TypeError, KeyError):
            pass
        raise BulkOutputError(
            f"{str(self.path)!r} is not a journal that this version can read: use another output, or move the file"
        )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Begin a new output: write the settings as the first line, and sync it.

        Raises:
            BulkOutputError: as ``note``.
        """
        os.ftruncate(self._file, 0)
        self.note({"version": _VERSION, "settings": settings})

    def note(self, fact: Mapping[str, Any]) -> None:
        """Append one line, and sync it.

        Raises:
            BulkOutputError: the disk is full.
        """
        try:
            os.lseek(self._file, 0, os.SEEK_END)
            os.write(self._file, orjson.dumps(fact) + b"\n")
            os.fsync(self._file)
        except OSError as error:
            raise BulkOutputError(f"{str(self.path)!r} cannot be written: {error.strerror}") from None

    def check(self, settings: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Refuse settings that differ from those of the output.

        Raises:
            BulkSettingsError: names every difference.
        """
        changed = differences(before, settings)
        if changed:
            shown = "; ".join(f"{name} was {old} and is {new}" for name, old, new in changed)
            raise BulkSettingsError(
                f"{str(self._output)!r} was made with other settings: {shown}. Use the same settings, or another output",
                changed=changed,
            )

    def close(self) -> None:
        """Release the output. A journal in which nothing was written is deleted."""
        if os.fstat(self._file).st_size == 0:
            with contextlib.suppress(OSError):  # Windows cannot delete an open file
                self.path.unlink()
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise BulkOutputError(f"{str(path)!r} cannot be written: {error.strerror}") from None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # a byte that is never written: a locked one cannot be read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def fingerprint(runnable: Any, template: Any = None, system: str | None = None, schema: Any = None) -> dict[str, Any]:
    """Return the settings that answers depend on, as JSON in clear text and without a key.

    Args:
        runnable: the model or chain. A chat model is described by its identifying parameters, a binding by the bound object and
            arguments, a sequence by its steps, an object that LangChain can serialise by that form, which hides secrets, and
            anything else by the name of its type.
        template: the template that turns rows into prompts.
        system: the system prompt.
        schema: the schema of the answers.
    """
    settings = {
        "model": _describe(runnable),
        "template": template if isinstance(template, str | None) else _describe(template),
        "system": system,
        "schema": _describe_schema(schema),
    }
    decoded: dict[str, Any] = _without_secrets(orjson.loads(orjson.dumps(settings, default=_plain, option=_OPTIONS)))
    return decoded


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the name of each changed setting, its former and its present value: ``("model.temperature", "0.2", "0.7")``."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        (name, _shown(old.get(name, _MISSING)), _shown(new.get(name, _MISSING)))
        for name in {**old, **new}
        if old.get(name, _MISSING) != new.get(name, _MISSING)
    ]


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "not set"
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield pairs of a dotted name and a value that is not an object; ``None`` is omitted."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, value


def _describe(thing: Any) -> Any:
    if hasattr(thing, "bound") and hasattr(
        thing, "kwargs"
    ):  # first, because a binding has the attributes of the bound object
        return {"bound": _describe(thing.bound), "kwargs": thing.kwargs}
    parameters = getattr(thing, "_identifying_params", None)  # LangChain's own name for exactly this
    if isinstance(parameters, Mapping):
        return dict(parameters)
    steps = getattr(thing, "steps", None)
    if isinstance(steps, list):
        return {str(number): _describe(step) for number, step in enumerate(steps)}
    shown = getattr(thing, "pretty_repr", None)  # a prompt template: its text
    if shown is not None:
        return {"type": type(thing).__name__, "text": shown()}
    return _plain(thing)


def _without_secrets(value: Any) -> Any:
    """Return the JSON without secrets, which models of other packages may have among their parameters."""
    if isinstance(value, dict):
        return {
            name: _HIDDEN if _SECRET_NAME.search(name) and isinstance(inner, str) else _without_secrets(inner)
            for name, inner in value.items()
        }
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Return LangChain's serialised form, which hides secrets; else the name of the object's type."""
    to_json = getattr(value, "to_json", None)
    if to_json is not None and not isinstance(value, type):
        return to_json()
    return f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _describe_schema(schema: Any) -> Any:
    if schema is None or isinstance(schema, Mapping):
        return schema
    make = getattr(schema, "model_json_schema", None)
    if make is not None:
        return make()
    annotations = getattr(schema, "__annotations__", {})
    return {
        "title": getattr(schema, "__name__", str(schema)),
        "fields": {name: str(kind) for name, kind in annotations.items()},
    }
