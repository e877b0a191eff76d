"""Finds what blocks an event loop, with blockbuster."""

from __future__ import annotations

import contextlib
import gc

import pytest

OURS = "langchain_cerebras_demo"


@contextlib.contextmanager
def watching():
    """Whatever blocks a loop while a frame of ours is on the stack raises ``blockbuster.BlockingError`` there."""
    blockbuster = pytest.importorskip("blockbuster", reason="blockbuster is not installed: pip install blockbuster")
    gc.collect()  # what earlier tests have left, such as a temporary folder, would be removed in the loop
    gc.disable()
    try:
        with blockbuster.blockbuster_ctx(OURS, excluded_modules=[f"{OURS}.testing"]) as watched:
            yield watched
    finally:
        gc.enable()
