"""The code in an answer, for ``ask --extract``."""

from __future__ import annotations

import re
import textwrap

# A fence of CommonMark (spec 0.31, 4.5), at any indentation: models put blocks into lists. One that is not closed reaches
# to the end, as in an answer that was cut off.
_BLOCK = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<code>.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)


def first_code_block(text: str) -> str | None:
    """Return the code of the first fenced block, without the fences; ``None`` if there is no block."""
    found = _BLOCK.search(text)
    return textwrap.dedent(found["code"]) if found else None
