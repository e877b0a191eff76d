"""Content encodings: supported ones are decoded in whatever pieces they arrive, others are named in an error."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from aiohttp import compression_utils

from langchain_cerebras_demo.net.encodings import BrokenBodyError, UnreadableEncodingError, find_decoder

BODY = random.Random(1).randbytes(1000) + b"a" * 3_000_000


def deflated(bits):
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(BODY) + packer.flush()


def unpacked(encoding, packed, size):
    decoder = find_decoder(encoding)
    pieces = []
    for start in range(0, len(packed), size):
        piece = decoder.feed(packed[start : start + size])
        while piece:
            pieces.append(piece)
            piece = decoder.feed(b"")
    assert max(map(len, pieces)) <= 2**20  # a bomb goes off in parts
    return b"".join(pieces)


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        (" GZIP, identity", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:10], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(BODY[10:], mtime=0)),
        ("gzip", gzip.compress(BODY, mtime=0) + b"\0\0\0"),
        ("deflate", deflated(15)),
        ("deflate", deflated(-15)),
    ],
)
def test_gzip_and_deflate_are_read_however_they_are_cut(encoding, packed, size):
    """In members, with padding, and deflate without the head that the standard wants."""
    assert unpacked(encoding, packed, size) == BODY


@pytest.mark.parametrize("encoding", ["", "identity", " , Identity"])
def test_a_body_as_it_is_needs_no_decoder(encoding):
    """Most bodies."""
    assert find_decoder(encoding) is None


@pytest.mark.parametrize(
    ("encoding", "remedy"),
    [("br", ", or install Brotli"), ("zstd", ", or install backports.zstd"), ("compress", ""), ("gzip, br", "")],
)
def test_an_encoding_that_cannot_be_read_is_named_with_the_remedy(monkeypatch, encoding, remedy):
    """Without the library that it needs, or where there is none."""
    monkeypatch.setattr(compression_utils, "HAS_BROTLI", False)
    monkeypatch.setattr(compression_utils, "HAS_ZSTD", False)
    with pytest.raises(UnreadableEncodingError) as caught:
        find_decoder(encoding)
    assert str(caught.value) == (
        f"the body is encoded as {encoding!r}, which cannot be read (gzip and deflate can): "
        f"turn this compression off in the server or proxy that adds it{remedy}"
    )


def test_where_the_library_is_installed_it_reads(monkeypatch):
    """As aiohttp, which tells servers that it does."""

    class Unpacker:
        def decompress_sync(self, data, max_length):
            if data == b"broken":
                raise RuntimeError
            return data.upper()[:max_length]

    monkeypatch.setattr(compression_utils, "BrotliDecompressor", Unpacker)
    decoder = find_decoder("br")
    assert decoder.feed(b"a") == b"A"
    with pytest.raises(BrokenBodyError):
        decoder.feed(b"broken")


@pytest.mark.parametrize("body", [b"this is no gzip, as anyone sees", gzip.compress(b"a", mtime=0) + b"\x1f\x8bno"])
def test_what_is_not_what_it_says_is_broken(body):
    """From its first byte, or behind a good member."""
    decoder = find_decoder("gzip")
    with pytest.raises(BrokenBodyError):
        while decoder.feed(body):
            body = b""


def test_members_without_end_are_refused():
    """Each member requires a copy of the bytes after it."""
    decoder = find_decoder("gzip")
    with pytest.raises(BrokenBodyError):
        decoder.feed(gzip.compress(b"", mtime=0) * 10_000)
