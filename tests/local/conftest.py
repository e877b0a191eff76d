"""Fixtures: the embedded server, and a fake engine that fails on demand."""

from __future__ import annotations

import signal
import textwrap

import pytest

from langchain_cerebras_demo.local import shared_server


@pytest.fixture(scope="session")
def embedded():
    """The real embedded server, one for the session."""
    shared = shared_server()
    yield shared
    shared.stop()


@pytest.fixture
def made_up_engine(tmp_path, monkeypatch):
    """Puts a module ``xllamacpp`` in front of the real one whose ``Server(params)`` runs the given lines."""

    def install(lines):
        source = textwrap.dedent("""
            import os, signal, sys, time
            from types import SimpleNamespace

            def CommonParams():
                return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace())

            class Server:
                listening_address = "http://127.0.0.1:9"

                def __init__(self, params):
        """) + textwrap.indent(textwrap.dedent(lines), " " * 8)
        (tmp_path / "xllamacpp.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)  # the child gets the parent's path

    return install


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a terminal's programs know it; a shell starts background jobs with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
