"""Input of the commands: standard input, files, images, schemas, parameters. Invalid input raises ``InputError``."""

from __future__ import annotations

import base64
import codecs
import errno
import json
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.terminal import is_terminal, note

MAX_TEXT_BYTES = 10_000_000
"""Far above any context window (131,072 tokens are about half a megabyte), and low enough to stop at a /dev/zero."""

MAX_IMAGE_BYTES = 10_000_000
"""The service's limit per request (https://inference-docs.cerebras.ai/capabilities/image-inputs)."""

STDIN = "-"

SILENT_SECONDS = 3.0
"""Seconds without the end of standard input after which a note says that the command is waiting for it."""

# The service accepts only these two (same page); a file begins with its format's signature.
_IMAGE_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


class InputError(ValueError):
    """The user's input cannot be used; the message says why and what to do. The exit code is 2."""


def read_text(place: str, option: str) -> str:
    """Return the text of a file, or of standard input if ``place`` is ``-``.

    Args:
        place: a path.
        option: the option's name for messages: ``--file``; empty if there is none.

    Raises:
        InputError: it cannot be read, is too large, or is not UTF-8 text.
    """
    data = _read(place, option, MAX_TEXT_BYTES)
    name = _name(place)
    if b"\0" in data:
        raise InputError(f"{_of(option)}{name} is binary, not text{_image_hint(place, data)}")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{_of(option)}{name} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}): convert it"
            f"{_image_hint(place, data)}"
        ) from None


def to_image_part(place: str) -> dict[str, Any]:
    """Return the part of a message that holds the image in a file, in the API's form.

    Raises:
        InputError: it cannot be read, is too large, or is neither PNG nor JPEG.
    """
    data = _read(place, "--image", MAX_IMAGE_BYTES)
    kind = _image_kind(data)
    if kind is None:
        raise InputError(f"--image: {_name(place)} is neither PNG nor JPEG, the service's two formats: convert it")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def to_content(question: str, files: Sequence[str], images: Sequence[str]) -> str | list[dict[str, Any]]:
    """Return the content of a user's message: piped text, then the question, the files and the images.

    Raises:
        InputError: an input is invalid, or there is no text.
    """
    places = [question, *files, *images]
    if places.count(STDIN) > 1:
        raise InputError("standard input (-) was given twice, but can be read only once")
    piped = "" if STDIN in places else read_pipe()
    if question == STDIN:
        question = read_text(STDIN, "QUESTION")
    texts = [text for text in (piped.rstrip("\r\n"), question) if text.strip()]
    texts += [f'<file name="{_file_name(place)}">\n{_read_file(place)}\n</file>' for place in files]
    text = "\n\n".join(texts)
    parts = [to_image_part(place) for place in images]
    if not text:
        raise InputError("the question is empty: pass it as an argument, or pipe it into the command")
    return [{"type": "text", "text": text}, *parts] if parts else text


def copy_stdin(file: BinaryIO) -> None:
    """Copy standard input to a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with _noting_silence():
            shutil.copyfileobj(_stdin(), file)
    except OSError as error:
        raise InputError(f"INPUT: standard input cannot be copied: {error.strerror or error}") from error


def read_pipe() -> str:
    """Return the text that is piped or redirected into the command; empty if standard input is a terminal or closed.

    Raises:
        InputError: it is too large, or is not UTF-8 text.
    """
    if sys.stdin is None or is_terminal(sys.stdin):
        return ""
    try:
        return read_text(STDIN, "")
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EBADF:  # nohup opens it for writing
            return ""
        raise


def check_model_name(name: str) -> None:
    """Refuse the value of ``--model`` if it cannot be a model's name, before anything is opened, read or started.

    Raises:
        InputError: it is empty, has white space around it, or contains a control character.
    """
    try:
        catalog.check_name(name, "model")
    except ValueError as error:
        raise InputError(str(error)) from None


def read_schema(given: str) -> dict[str, Any]:
    """Return a JSON schema, given as a JSON object or as the path of a file with one.

    Raises:
        InputError: it cannot be read, or is not a JSON object.
    """
    text = given if given.lstrip().startswith("{") else read_text(given, "--schema")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--schema is not valid JSON ({error})") from None
    if not isinstance(schema, dict):
        raise InputError(f"--schema is a JSON {type(schema).__name__}: use an object, such as a JSON schema")
    return schema


def to_answer_type(schema: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the ``AnswerType`` of a schema (``None`` for any JSON object) and the response format that asks for it.

    Raises:
        InputError: the schema is invalid, or strict mode does not support it.
    """
    from langchain_cerebras_demo.wire.schemas.answer_type import (  # noqa: PLC0415 - orjson: --help must not wait for it
        from_mapping,
        in_object,
        to_response_format,
    )

    if schema.get("type") == "json_object":
        return None, schema
    try:
        answer_type = in_object(from_mapping(schema))
        return answer_type, to_response_format(answer_type)
    except ValueError as error:
        remedy = str(error).replace(
            "pass strict=False", 'put "strict": false into it'
        )  # the remedy in Python, and here
        raise InputError(f"--schema: {remedy}") from None


def to_parameters(options: Sequence[str] = (), **given: Any) -> dict[str, Any]:
    """Return the parameters of a request under this package's names, checked like the arguments of the chat model.

    Args:
        options: values of ``-o``: ``name=value``.
        given: values of the named options, such as ``--temperature``. A ``str`` is read like a value of ``-o``.
            ``None`` and empty lists are left out.

    Raises:
        InputError: an unknown name, an invalid value, or one parameter given twice.
    """
    from langchain_cerebras_demo.wire import request  # noqa: PLC0415 - --help must not load it

    parameters = {name: value for name, value in given.items() if value not in (None, [])}
    places = {name: option_of(name) for name in parameters}
    try:
        for option in options:
            name, value = _to_parameter(option)
            if name in parameters:
                raise InputError(f"{name} was given twice: use only one")
            parameters[name], places[name] = value, f"-o {name}="
        plain = {
            name: request.from_text(name, value) if isinstance(value, str) else value
            for name, value in parameters.items()
        }
        for name, value in plain.items():
            _check(name, value, places[name], parameters[name])
        return request.to_parameters(plain)
    except ValueError as error:
        raise InputError(str(error)) from None


def option_of(name: str) -> str:
    """Return the option that sets a parameter of that name, as it is typed: ``--max-tokens``, ``-o top_p``."""
    return _OPTIONS.get(name, f"-o {name}")


_OPTIONS = {
    "temperature": "--temperature",
    "max_tokens": "--max-tokens",
    "seed": "--seed",
    "stop": "--stop",
    "reasoning_effort": "--reasoning",
}

_COUNT_OF_TOKENS = "give a whole number, 1 or more (-1: no limit)"
_REMEDIES = {"max_tokens": _COUNT_OF_TOKENS, "seed": "give a whole number"}
"""Remedies that are clearer here than the exact ranges."""


def _check(name: str, value: Any, place: str, text: Any) -> None:
    from langchain_cerebras_demo.wire import request  # noqa: PLC0415 - as above

    remedy = request.PARAMETERS[name](request.to_plain_value(name, value))
    if remedy:
        shown = " ".join(text) if isinstance(text, list) else f"{text}"
        gap = "" if place.endswith("=") else " "
        raise InputError(f"{place}{gap}{shown[:_SHOWN_CHARACTERS]}: {_REMEDIES.get(name, remedy)}")


_SHOWN_CHARACTERS = 100


def to_count(text: str, option: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        InputError: it is not one; the message names the option.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"{option} {text}: give a whole number, 1 or more")
    return number


def to_positive(text: str, option: str) -> float:
    """Return a number above 0.

    Raises:
        InputError: it is not one; the message names the option.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise InputError(f"{option} {text}: give a number above 0")
    return number


_NOT_HERE = {
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls"), "the command line runs no tools"),
    **dict.fromkeys(("logprobs", "top_logprobs"), "the command line does not show log probabilities"),
    "n": "the command line shows one answer",
}
"""Parameters that have no effect or no output here, with the reason."""


def parameter_names() -> list[str]:
    """Return the names that ``-o`` accepts."""
    from langchain_cerebras_demo.wire import request  # noqa: PLC0415 - as above

    return [name for name in request.PARAMETERS if name not in _NOT_HERE]


def _to_parameter(option: str) -> tuple[str, str]:
    """Return this package's name of the parameter in ``name=value``, and the text of the value."""
    from langchain_cerebras_demo.wire import request  # noqa: PLC0415 - as above

    name, equals, text = option.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name:
        raise InputError(f"-o {option!r} is not of the form name=value, such as -o top_p=0.9")
    (name,) = request.to_our_names({name: None})
    if name in _NOT_HERE:
        raise InputError(f"-o {name} is not supported: {_NOT_HERE[name]}")
    known = parameter_names()
    if name not in known:
        hint = request.nearest(name, known) or f"; known are {', '.join(known)}"
        raise InputError(f"-o {name}: unknown parameter{hint}")
    return name, text


def _read_file(place: str) -> str:
    text = read_text(place, "--file")
    if place == STDIN and not text.strip():  # the command before the pipe wrote nothing, and a model would invent it
        raise InputError("--file: standard input is empty, so nothing was sent")
    return text


def _read(place: str, option: str, limit: int) -> bytes:
    try:
        if place == STDIN:
            with _noting_silence():
                data = _stdin().read(limit + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{_of(option)}{_name(place)} cannot be read: {reason}") from error
    if len(data) > limit:
        raise InputError(f"{_of(option)}{_name(place)} is larger than {limit / 1e6:g} MB: use a smaller one")
    return data


@contextmanager
def _noting_silence() -> Iterator[None]:
    """Note that the command waits for standard input: at once on a terminal, otherwise if it does not end soon."""
    if is_terminal(sys.stdin):
        note("reading standard input; Ctrl-D at the beginning of a line ends it")
        yield
        return
    waiting = "waiting for the end of standard input; Ctrl-C stops, and < /dev/null sends the request without it"
    timer = threading.Timer(SILENT_SECONDS, note, [waiting])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _of(option: str) -> str:
    return f"{option}: " if option else ""


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise OSError("it is closed")
    return sys.stdin.buffer


def _name(place: str) -> str:
    return "standard input" if place == STDIN else repr(place)


def _file_name(place: str) -> str:
    return "stdin" if place == STDIN else Path(place).name.replace('"', "'")


def _image_kind(data: bytes) -> str | None:
    return next((kind for beginning, kind in _IMAGE_KINDS if data.startswith(beginning)), None)


def _image_hint(place: str, data: bytes) -> str:
    return f": use --image {place}" if _image_kind(data) else ""
