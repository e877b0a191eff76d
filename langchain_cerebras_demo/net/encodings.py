"""Decompresses bodies, or raises an error that says why a body cannot be read.

This is not left to aiohttp, which gives up on an answer with an unknown encoding before its status and headers can be read.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from aiohttp import compression_utils

# If a library is installed, aiohttp reads these, and announces them to servers.
_LIBRARIES = {"br": ("BrotliDecompressor", "Brotli"), "zstd": ("ZSTDDecompressor", "backports.zstd")}

_MOST_BYTES_AT_ONCE = (
    2**20
)  # a decompression bomb is unpacked piece by piece, so that the limits on bodies and events apply
_MOST_MEMBERS = 100
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits


class UnreadableEncodingError(Exception):
    """A body in an encoding that cannot be read; the message says which and what to do."""


class BrokenBodyError(Exception):
    """A body that does not match its encoding."""


class Decoder(Protocol):
    """A decoder of a body, piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """Return a part of the decoded ``data``. Called with ``b""``, return the next part, until nothing is left."""


def find_decoder(content_encoding: str) -> Decoder | None:
    """Return the decoder for this ``content-encoding``; ``None`` if the body is not encoded.

    Raises:
        UnreadableEncodingError: there is no decoder for it.
    """
    names = [name for name in content_encoding.lower().replace(" ", "").split(",") if name not in {"", "identity"}]
    if not names:
        return None
    if names in (["gzip"], ["x-gzip"], ["deflate"]):
        return _ZlibDecoder(is_deflate=names == ["deflate"])
    attribute, package = _LIBRARIES.get(",".join(names), ("", ""))
    try:
        return _LibraryDecoder(getattr(compression_utils, attribute)())
    except (AttributeError, RuntimeError):  # another encoding, or its library is not installed
        pass
    remedy = "turn this compression off in the server or proxy that adds it"
    raise UnreadableEncodingError(
        f"the body is encoded as {content_encoding!r}, which cannot be read (gzip and deflate can): {remedy}"
        + (f", or install {package}" if package else "")
    )


class _ZlibDecoder:
    """Decode gzip, with several members too, and deflate, with zlib's header or, as some servers send it, without."""

    def __init__(self, *, is_deflate: bool) -> None:
        self._bits = _ZLIB if is_deflate else _GZIP
        self._has_begun = False
        self._members = 1
        self._unpacker = zlib.decompressobj(self._bits)
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        self._rest += data
        if self._rest and not self._has_begun:
            self._has_begun = True
            if self._bits == _ZLIB and self._rest[0] & 0xF != zlib.DEFLATED:
                self._unpacker = zlib.decompressobj(_RAW)
        while self._rest:
            try:
                piece = self._unpacker.decompress(self._rest, _MOST_BYTES_AT_ONCE)
            except zlib.error:
                raise BrokenBodyError from None
            self._rest = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                self._begin_member()
            elif not piece:
                break
            if piece:
                return piece
        return b""

    def _begin_member(self) -> None:
        """Continue with the next member; trailing bytes that are not gzip are ignored."""
        self._rest = self._unpacker.unused_data if self._bits == _GZIP else b""
        if not self._rest.startswith(b"\x1f"):
            self._rest = b""
            return
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise BrokenBodyError
        self._unpacker = zlib.decompressobj(self._bits)


class _LibraryDecoder:
    """Decode with one of aiohttp's decompressors."""

    def __init__(self, unpacker: compression_utils.BrotliDecompressor | compression_utils.ZSTDDecompressor) -> None:
        self._unpacker = unpacker

    def feed(self, data: bytes) -> bytes:
        try:
            return self._unpacker.decompress_sync(data, max_length=_MOST_BYTES_AT_ONCE)
        except Exception:  # noqa: BLE001 - each library has an exception of its own
            raise BrokenBodyError from None
