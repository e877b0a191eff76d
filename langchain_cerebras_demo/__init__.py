"""A LangChain chat model for Cerebras Inference.

    from langchain_cerebras_demo import ChatCerebrasDemo

    ChatCerebrasDemo().invoke("Why is the sky blue?")

Nothing is imported until it is used: LangChain and aiohttp load with the first name that needs them. The public names are
listed once, in ``__init__.pyi``: type checkers read that file instead of this one, and this one reads it too.
"""

from __future__ import annotations

from importlib import import_module

from langchain_cerebras_demo._version import __version__ as __version__


def _read_homes() -> dict[str, str]:
    """Return the module of every public name, as the import statements of ``__init__.pyi`` say."""
    homes: dict[str, str] = {}
    stub = __spec__.loader.get_data(__file__.removesuffix("c") + "i").decode()  # the loader also reads zip files
    for statement in stub.split("\nfrom ")[1:]:
        module, _, names = statement.partition(" import ")
        homes.update(dict.fromkeys(names.replace(",", "").strip("()\n").split()[::3], module))
    return homes


_HOMES = _read_homes()

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the stub lists them


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look-up finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
