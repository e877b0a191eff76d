"""Content encodings: reading a body that came compressed, or saying that it cannot be read.

Not left to aiohttp: it gives up on an answer whose encoding it cannot read before anybody sees its status and headers.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from aiohttp import compression_utils

# Where a library is installed, aiohttp reads these, and tells servers so.
_LIBRARIES = {"br": ("BrotliDecompressor", "Brotli"), "zstd": ("ZSTDDecompressor", "backports.zstd")}

_MOST_BYTES_AT_ONCE = 2**20  # a bomb is unpacked piece by piece, so the bounds on bodies and events hold for it
_MOST_MEMBERS = 100
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits


class UnreadableEncodingError(Exception):
    """A body in an encoding that cannot be read; the message says which and what to do."""


class BrokenBodyError(Exception):
    """A body that is not what its encoding says."""


class Decoder(Protocol):
    """Takes a body's bytes piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """A part of what ``data`` holds; called with ``b""``, more of it, until nothing is left."""


def find_decoder(content_encoding: str) -> Decoder | None:
    """What reads a body of this ``content-encoding``; ``None`` where it came as it is.

    Raises:
        UnreadableEncodingError: nothing here reads it.
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
    """gzip, of several members too, and deflate, with zlib's head or, as some servers send it, without."""

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
        """Goes on with what stands behind the end; what is no gzip there is passed over."""
        self._rest = self._unpacker.unused_data if self._bits == _GZIP else b""
        if not self._rest.startswith(b"\x1f"):
            self._rest = b""
            return
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise BrokenBodyError
        self._unpacker = zlib.decompressobj(self._bits)


class _LibraryDecoder:
    """One of aiohttp's."""

    def __init__(self, unpacker: compression_utils.BrotliDecompressor | compression_utils.ZSTDDecompressor) -> None:
        self._unpacker = unpacker

    def feed(self, data: bytes) -> bytes:
        try:
            return self._unpacker.decompress_sync(data, max_length=_MOST_BYTES_AT_ONCE)
        except Exception:  # noqa: BLE001 - each library has an exception of its own
            raise BrokenBodyError from None
