"""``python -m langchain_cerebras_demo`` and the command ``cerebras-demo``."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; where its extra is missing, says how to get it."""
    try:
        import typer  # noqa: F401, PLC0415 - only to see whether it is there
    except ImportError:
        sys.exit('The command line needs the "cli" extra: pip install "langchain-cerebras-demo[cli]"')
    from langchain_cerebras_demo.cli import app  # noqa: PLC0415 - the extra is there now

    app()


if __name__ == "__main__":
    main()
