"""``python -m langchain_cerebras_demo`` and the command ``cerebras-demo``."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line, or say how to install its extra if that is missing."""
    try:
        run()
    except KeyboardInterrupt:  # while modules are loaded; commands handle it themselves
        sys.exit(EXIT_INTERRUPTED)
    finally:
        import signal  # noqa: PLC0415 - not at the top, where Ctrl-C during the import would show a traceback

        # Ctrl-C now ends the process at once; while the interpreter shuts down, it would show a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run() -> None:
    """Run the command line, which always ends with ``SystemExit``."""
    try:
        import typer  # noqa: F401, PLC0415 - only to check whether it is installed
    except ImportError:
        sys.exit('The command line needs the "cli" extra: pip install "langchain-cerebras-demo[cli]"')
    from langchain_cerebras_demo.cli import app  # noqa: PLC0415 - needs the extra

    app(prog_name="cerebras-demo")


if __name__ == "__main__":
    main()
