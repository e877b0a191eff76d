"""The child process that holds the llama.cpp server: ``python -m langchain_cerebras_demo.local.child``.

The engine runs in its own process because in the parent it would crash at exit while a request runs, hang after a fork and
hold the GIL while it loads. The parent writes one JSON line of settings to stdin and keeps that pipe open; the
answer is one JSON line on stdout, ``{"url": …}`` or ``{"error": …}``. This process ends when the pipe is closed, which the
system does when the parent ends, even after SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any

__all__ = ["KEY_VARIABLE", "main"]

#: The environment variable with the server's key: a command line can be read by every user of the machine.
KEY_VARIABLE = "CEREBRAS_DEMO_LOCAL_KEY"


def start_engine(settings: dict[str, Any], key: str) -> Any:
    """Start llama.cpp's own HTTP server on a free loopback port and return it once the model is loaded.

    Raises:
        ImportError: xllamacpp is missing or does not fit the platform.
        RuntimeError: llama.cpp does not accept the settings or the weights; it does not say why.
    """
    import xllamacpp  # noqa: PLC0415 - only the child may load the engine

    params = xllamacpp.CommonParams()
    params.model.path = settings["weights"]
    params.model_alias = {settings["alias"]}
    params.chat_template = settings["template"]
    params.n_ctx = settings["n_ctx"]
    params.prefill_assistant = (
        False  # otherwise it continues and echoes a last assistant message, and refuses a forced call
    )
    params.cache_ram_mib = 0  # by default it keeps up to 8 GiB of past prompts: 20 MB for each of 800 tokens
    params.n_parallel = settings["n_parallel"]
    params.cpuparams.n_threads = settings["n_threads"]
    params.verbosity = 0  # nothing on stderr; the default, 3, writes there from C
    params.hostnames = ["127.0.0.1"]
    params.ui = False
    params.api_keys = [key]
    params.cors_origins = "http://localhost"  # the default "*" lets any page in the user's browser use the port
    return xllamacpp.Server(params)


def main() -> int:
    """Serve until stdin ends; return the exit code: 0, or 1 if the server did not start."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to the whole group; only the parent handles it
    # Only the answer may go to the parent's pipe: nothing reads it afterwards, and a full pipe would block the engine.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        settings = json.loads(sys.stdin.readline())
        engine = start_engine(settings, os.environ.pop(KEY_VARIABLE))
        answer, code = {"url": engine.listening_address}, 0
    except Exception as error:  # noqa: BLE001 - the parent raises it
        answer, code = {"error": f"{type(error).__name__}: {error}"}, 1
    with contextlib.suppress(OSError):  # the parent has died meanwhile
        print(json.dumps(answer), file=answers, flush=True)
        if code == 0:
            sys.stdin.read()
    # Not sys.exit: the engine's destructor waits for running requests while it holds the GIL, so it never returns.
    os._exit(code)


if __name__ == "__main__":
    main()
