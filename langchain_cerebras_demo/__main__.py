"""``python -m langchain_cerebras_demo`` and the command ``cerebras-demo``."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Runs the command line; where its extra is missing, says how to get it."""
    try:
        run()
    except KeyboardInterrupt:  # while modules are being loaded: the commands see to their own
        sys.exit(EXIT_INTERRUPTED)
    finally:
        import signal  # noqa: PLC0415 - here, since Ctrl-C while it is being loaded up there would be a traceback

        # From here on Ctrl-C ends the process at once: in the interpreter's own last steps it would be a traceback, too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run() -> None:
    """The command line itself. It ends by ``SystemExit``."""
    try:
        import typer  # noqa: F401, PLC0415 - only to see whether it is there
    except ImportError:
        sys.exit('The command line needs the "cli" extra: pip install "langchain-cerebras-demo[cli]"')
    from langchain_cerebras_demo.cli import app  # noqa: PLC0415 - the extra is there now

    app(prog_name="cerebras-demo")


if __name__ == "__main__":
    main()
