"""A command in a pseudo-terminal of its own, with pexpect as the person before it."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios

import pexpect
from pexpect.fdpexpect import fdspawn

from tests.support.processes import CAN_FORK, COMMAND, Forked

__all__ = ["start_in_terminal"]

LINES = 24
WAITS = {"encoding": "utf-8", "timeout": 60}


def start_in_terminal(
    *arguments: str, variables: dict[str, str], columns: int, forked: bool = True
) -> pexpect.spawn | ForkedTerminal:
    """Starts ``python -m langchain_cerebras_demo``; the arguments are those of ``processes.start_command``."""
    words = [str(one) for one in arguments]
    if forked and CAN_FORK:
        return ForkedTerminal(*words, variables=variables, columns=columns)
    command = ["-m", "langchain_cerebras_demo", *words]
    return pexpect.spawn(sys.executable, command, env=variables, dimensions=(LINES, columns), **WAITS)


class ForkedTerminal(fdspawn):
    """A forked process in a terminal, as ``pexpect.spawn`` shows one."""

    def __init__(self, *arguments: str, variables: dict[str, str], columns: int) -> None:
        mine, theirs = os.openpty()
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
            self._process = Forked(COMMAND, *arguments, standard=(theirs,) * 3, variables=variables, is_terminal=True)
        except BaseException:
            os.close(mine)
            raise
        finally:
            os.close(theirs)
        super().__init__(mine, use_poll=True, **WAITS)

    @property
    def exitstatus(self) -> int | None:
        """The exit code, once there is one."""
        return self._process.returncode

    @exitstatus.setter
    def exitstatus(self, value: object) -> None:
        """pexpect's own code sets it to ``None`` at the beginning."""

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(self.timeout)

    def sendintr(self) -> None:
        """Ctrl-C."""
        os.write(self.child_fd, b"\x03")

    def sendeof(self) -> None:
        """Ctrl-D."""
        os.write(self.child_fd, b"\x04")

    def close(self, *, force: bool = True) -> None:
        """Kills the process and closes the terminal."""
        self._process.kill()
        self._process.wait()
        super().close()
