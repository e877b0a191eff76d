"""Input beside options: standard input, files, images and schemas. Input that cannot be used raises ``InputError``."""

from __future__ import annotations

import base64
import codecs
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

MAX_TEXT_BYTES = 10_000_000
"""Far above any context window (131,072 tokens are about half a megabyte), and low enough to stop at a /dev/zero."""

MAX_IMAGE_BYTES = 10_000_000
"""The service's limit per request (https://inference-docs.cerebras.ai/capabilities/image-inputs)."""

STDIN = "-"

# The service accepts these two alone (same page); a file begins with its format's mark.
_IMAGE_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


class InputError(ValueError):
    """The user's input cannot be used; the message says why and what to do. The exit code is 2."""


def read_text(place: str, option: str) -> str:
    """Return the text of a file, or of standard input if ``place`` is ``-``.

    Args:
        place: a path.
        option: the option's name for messages: ``--file``.

    Raises:
        InputError: it cannot be read, is too large, or is not UTF-8 text.
    """
    data = _read(place, option, MAX_TEXT_BYTES)
    name = _name(place)
    if b"\0" in data:
        raise InputError(f"{option}: {name} is a binary file, not text{_image_hint(data)}")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{option}: {name} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}): convert it"
            f"{_image_hint(data)}"
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
    """Return the content of a user's message: the question, then the files, then the images.

    Raises:
        InputError: a file or an image cannot be used, or there is nothing at all.
    """
    if [*files, question].count(STDIN) > 1:
        raise InputError("standard input (-) was given twice, but can be read only once")
    if question == STDIN:
        question = read_text(STDIN, "QUESTION")
    texts = [question] if question.strip() else []
    texts += [f'<file name="{_file_name(place)}">\n{_read_file(place)}\n</file>' for place in files]
    text = "\n\n".join(texts)
    parts = [to_image_part(place) for place in images]
    if not text:
        raise InputError("the question is empty: give one, or - to read it from standard input")
    return [{"type": "text", "text": text}, *parts] if parts else text


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
        raise InputError(f"--schema is a JSON {type(schema).__name__}: give an object, such as a JSON schema")
    return schema


def to_parameters(**given: Any) -> dict[str, Any]:
    """Return the parameters of a request, in the API's form, without those that are ``None``.

    Raises:
        InputError: a value that the API does not accept.
    """
    from langchain_cerebras_demo.wire import request  # noqa: PLC0415 - --help must not load it

    try:
        return request.to_parameters(given)
    except ValueError as error:
        raise InputError(str(error)) from None


def _read_file(place: str) -> str:
    text = read_text(place, "--file")
    if place == STDIN and not text.strip():  # the command before the pipe wrote nothing: a model would invent it
        raise InputError("--file: standard input is empty, so nothing was sent")
    return text


def _read(place: str, option: str, limit: int) -> bytes:
    try:
        if place == STDIN:
            data = _stdin().read(limit + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{option}: {_name(place)} cannot be read: {reason}") from None
    if len(data) > limit:
        raise InputError(f"{option}: {_name(place)} is larger than {limit / 1e6:g} MB: give a smaller one")
    return data


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


def _image_hint(data: bytes) -> str:
    return ": give it as --image" if _image_kind(data) else ""
