"""Run the notebooks in a real Jupyter kernel and save their outputs, without the parts that differ between machines.

    python scripts/run_notebooks.py              all notebooks
    python scripts/run_notebooks.py 02 05        those whose names begin with these texts

They share a kernel, and so the embedded model; each starts with an empty namespace and with cell number 1.
A notebook that fails, or whose outputs are not fit for publication, is not saved, and the exit code is 1. This needs the dependency group
``test`` and the extras ``cli`` and ``local``.
"""  # noqa: INP001 - a folder of scripts, not a package

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

try:
    import nbformat
    from matplotlib import font_manager  # noqa: F401 - writes its cache; otherwise the kernel would mention that on stderr
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat import NotebookNode
    from nbformat.v4 import new_code_cell, new_notebook
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"the package {error.name} is missing: pip install --group test -e '.[cli,local]' (pip 25.1 or newer)")

if TYPE_CHECKING:
    from typing_extensions import Self

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
"""The folder of the notebooks."""

CELL_SECONDS = 120
"""The timeout of one cell."""

MOST_PICTURE_BYTES = 60_000
"""The largest allowed picture, because every clone contains all of them."""

_HOUSE = re.compile(r"(CEREBRAS|OPENAI|LANGCHAIN|LANGSMITH)_|(HTTPS?|ALL|NO)_PROXY$", re.IGNORECASE)
_MACHINE_PATH = re.compile(r"/(home|root|tmp|work|Users|var|opt)/|\b[A-Z]:\\\\?\w|site-packages|ipykernel_\d")
_SECRET = re.compile(r"\bc?sk-[\w-]{6,}|\bBearer \S{6,}|\beyJ[\w-]{10,}|session-token[.\d]*=\S{6,}")


_NEW_SESSION = """
import os
os.chdir({folder!r})
get_ipython().extension_manager.unload_extension("langchain_cerebras_demo.notebook")
get_ipython().reset(new_session=True)
"""


class Kernel:
    """A context manager with one Jupyter kernel for several notebooks; the first notebook starts it.

    After a notebook has failed, the kernel is ended, and the next notebook gets a new one.

    Args:
        first: Python source that a new kernel runs before all notebooks.
    """

    def __init__(self, first: str = "") -> None:
        self._first = first
        self._open = ExitStack()
        self._client: NotebookClient | None = None
        self._home = ""

    def execute(self, notebook: NotebookNode, folder: Path) -> None:
        """Runs every cell, in order; outputs are put into ``notebook``.

        Args:
            notebook: changed in place.
            folder: the working directory meanwhile.

        Raises:
            CellExecutionError: a cell raised; what had run keeps its outputs.
        """
        try:
            client = self._client = self._client or self._start()
            _run_unseen(client, _NEW_SESSION.format(folder=str(folder)))
            client.nb = notebook
            client.reset_execution_trackers()
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
            _run_unseen(client, _NEW_SESSION.format(folder=self._home))  # ``folder`` may be removed now, on Windows too
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the kernel, if there is one."""
        self._client = None
        self._open.close()

    def _start(self) -> NotebookClient:
        self._home = self._open.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        # No key, account or proxy, so that the outputs are those of a machine without them.
        environment = {name: value for name, value in os.environ.items() if not _HOUSE.match(name)}
        client = NotebookClient(
            new_notebook(),
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": self._home}},
            record_timing=False,
            coalesce_streams=True,
        )
        self._open.enter_context(client.setup_kernel(env=environment))
        _run_unseen(client, self._first)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run_unseen(client: NotebookClient, source: str) -> None:
    """Run code that belongs to no notebook and does not change the cell numbers."""
    client.nb = new_notebook(cells=[new_code_cell(source)])
    client.execute_cell(client.nb.cells[0], 0, store_history=False)


def clean(notebook: NotebookNode) -> None:
    """Remove data that readers do not need and that changes with every run: times, versions, random cell names."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = {}


def problems_of(notebook: NotebookNode) -> list[str]:
    """Yield a sentence for each problem that makes a notebook unfit for publication."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    problems = []
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        problems.append("the cells were not run once, in order")
    if not any(cell.outputs for cell in cells):
        problems.append("no cell has an output")
    for number, cell in enumerate(cells, start=1):
        problems += [f"cell [{number}] {problem}" for problem in _cell_problems(cell)]
    return problems


def _cell_problems(cell: NotebookNode) -> Iterator[str]:
    if "execution" in cell.metadata:
        yield "holds the times of a run"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"ended in {output.ename}"
        if output.get("name") == "stderr":
            yield f"wrote to stderr: {output.text[:200]!r}"
    pictures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    if "plt.show()" in cell.source and not pictures:
        yield "promises a picture and has none"
    for picture in pictures:
        if len(b64decode(picture)) > MOST_PICTURE_BYTES:
            yield f"has a picture of {len(b64decode(picture)):,} bytes; make it smaller than {MOST_PICTURE_BYTES:,}"
    for text in (cell.source, *_texts(cell)):
        if found := _MACHINE_PATH.search(text):
            yield f"shows a path of a machine, near {found[0]!r}"
        if _SECRET.search(text):
            yield "shows what looks like a key or a cookie"


def _texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error":
            yield "\n".join(output.traceback)
        yield output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/png"):
                yield value if isinstance(value, str) else repr(value)


def refresh(path: Path, kernel: Kernel) -> list[str]:
    """Run a notebook, and save it if it has no problems.

    Args:
        path: the file.
        kernel: runs it.

    Returns:
        its problems; if there are any, nothing was saved.
    """
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        try:
            kernel.execute(notebook, Path(folder))
        except CellExecutionError as error:
            return [str(error)]
    clean(notebook)
    problems = problems_of(notebook)
    if not problems:
        nbformat.write(notebook, path)
    return problems


def main(arguments: Sequence[str]) -> int:
    """Run the notebooks named, or all.

    Args:
        arguments: the beginnings of their names.

    Returns:
        the exit code: 1 if a notebook has a problem, 2 if no notebook has such a name.
    """
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(tuple(arguments) or "")]
    if not paths:
        sys.stderr.write(f"no notebook's name begins with {' or '.join(arguments)}\n")
        return 2
    are_good = True
    with Kernel() as kernel:
        for path in paths:
            began = time.monotonic()
            problems = refresh(path, kernel)
            are_good = are_good and not problems
            sys.stdout.write(f"{path.name}: {time.monotonic() - began:.0f} s, {'not ' if problems else ''}saved\n")
            for problem in problems:
                sys.stderr.write(f"  {problem}\n")
    return 0 if are_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
