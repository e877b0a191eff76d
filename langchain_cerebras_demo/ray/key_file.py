"""A key in a file. Only its path is sent to the workers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from langchain_cerebras_demo.errors import KeyFormatError, MissingKeyError
from langchain_cerebras_demo.keys.secret import Secret, to_key


class KeyFile:
    """Key resolver for a secret that is mounted on every node: ``key_resolver=KeyFile("/run/secrets/cerebras")``.

    The file is read again when it has changed, so keys can be rotated. White space around the key is ignored. A pickle
    contains only the path.

    Args:
        path: the file. On POSIX, it must not be accessible to others or writable by its group: mode 0600, 0400 or 0640.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = f"the file {os.fspath(path)!r}"
        self._path = Path(path)
        self._kept: tuple[tuple[int, int, int], Secret] | None = None

    async def resolve(self) -> str:
        """Return the key that is in the file now.

        Raises:
            MissingKeyError: there is no such file, or it cannot be read.
            KeyFormatError: others may access it, or its content is not a valid key.
        """
        try:
            found = self._path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._kept is None or self._kept[0] != state:
                self._check_mode(found.st_mode)
                self._kept = (state, to_key(self._path.read_text("utf-8").strip(), self.name))
        except OSError as error:
            why = error.strerror or type(error).__name__
            remedy = f"Put the key into {str(self._path)!r} on every node, mode 0600, owned by the user that runs Ray."
            raise MissingKeyError(f"{self.name}: {why}. {remedy}", tried=[(self.name, why)], remedy=remedy) from None
        except UnicodeDecodeError:
            raise KeyFormatError(f"{self.name} is not a text file: it must contain only the key") from None
        return self._kept[1].reveal()

    async def refresh(self, stale: str) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the key that is in the file now; it is the same one unless the file was changed."""
        return await self.resolve()

    def _check_mode(self, mode: int) -> None:
        if os.name == "posix" and mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise KeyFormatError(f"{self.name} has mode {stat.S_IMODE(mode):04o}: others may access it. Run: chmod 600")

    def __reduce__(self) -> tuple[object, ...]:
        return (KeyFile, (str(self._path),))

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"
