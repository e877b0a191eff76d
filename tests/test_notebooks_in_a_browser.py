"""The notebooks run in a real JupyterLab and a real Notebook, in headless Chromium."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.run_notebooks import NOTEBOOKS
from tests.support.pages import CHROMIUM, open_page

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1_200),
    pytest.mark.xdist_group("notebooks"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]

STEMS = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
PICTURES = os.environ.get("NOTEBOOK_PICTURES")  # a folder for pictures of the pages

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")

APPS = {
    "lab": ("jupyterlab", "lab/tree", "--LabApp.expose_app_in_browser=True"),
    "notebook": ("notebook", "notebooks", "--JupyterNotebookApp.expose_app_in_browser=True"),
}

# What is left of a notebook after a run: the cells that were not run, and those with an error or a text on stderr.
PANEL = "(jupyterapp.shell.currentWidget)"
STATE = f"""(() => {{
    const cells = {PANEL}.content.model.sharedModel.cells.filter(cell => cell.cell_type === 'code');
    const outputs = cells.map(cell => cell.toJSON()).flatMap(cell => cell.outputs);
    return {{
        cells: cells.length,
        run: cells.filter(cell => cell.execution_count !== null).length,
        bad: outputs.filter(output => output.output_type === 'error' || output.name === 'stderr'),
        running: {PANEL}.sessionContext.session.kernel.status !== 'idle',
    }};
}})()"""


@asynccontextmanager
async def jupyter(app, folder):
    """A server with a copy of the notebooks; yields its address."""
    module, _, option = APPS[app]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: pip install {module}")
    for path in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(path, folder)
    root = str(Path(__file__).parent.parent)
    home = {name: str(folder / "home") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    command = [
        sys.executable,
        "-m",
        module,
        "--no-browser",
        "--allow-root",
        "--port=0",
        "--IdentityProvider.token=",
        option,
    ]
    log = folder / "log"
    with log.open("wb") as writing:
        server = await asyncio.create_subprocess_exec(
            *command,
            f"--ServerApp.root_dir={folder}",
            cwd=folder,
            env={**os.environ, **home, "PYTHONPATH": root},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=writing,
        )
    try:
        while not (found := ADDRESS.search(log.read_text(encoding="utf-8"))):
            assert server.returncode is None, log.read_text(encoding="utf-8")
            await asyncio.sleep(0.1)
        yield found[0]
        server.terminate()  # ends the kernels
        await server.wait()
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


@asynccontextmanager
async def opened(app, stem, address, folder):
    """The page of a notebook whose kernel is ready."""
    async with open_page(f"{address}/{APPS[app][1]}/{stem}.ipynb?reset", folder / f"profile-{stem}") as page:
        await page.wait_for(f"{PANEL}.sessionContext.session.kernel.status === 'idle'", seconds=120)
        yield page


async def run_all(page):
    """Runs all cells as the menu does, and returns what is left."""
    await page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    for _ in range(3_000):
        await asyncio.sleep(0.2)
        state = await page.evaluate(STATE)
        if state["bad"] or (state["run"] == state["cells"] and not state["running"]):
            return state
    raise TimeoutError(state)


async def take_pictures(page, name):
    """At two widths, from the top to the bottom, if somebody wants to look at them."""
    if PICTURES is None:
        return
    for width in (800, 1400):
        await page.resize(width, 3_000)
        await page.evaluate(f"{PANEL}.content.scrollToItem(0)")
        await asyncio.sleep(2)
        await page.save(Path(PICTURES) / f"{name}-{width}.png")


@pytest.mark.parametrize("app", APPS)
async def test_every_notebook_runs_twice_without_a_restart(app, tmp_path):
    """No cell ends in an error or a warning, the second time either."""
    async with jupyter(app, tmp_path) as address:
        for stem in STEMS:
            async with opened(app, stem, address, tmp_path) as page:
                for _ in range(2):
                    state = await run_all(page)
                    assert (stem, state["bad"]) == (stem, [])
                    assert state["run"] == state["cells"] > 4
                await take_pictures(page, f"{app}-{stem}")
                await page.evaluate(f"{PANEL}.sessionContext.shutdown()")


@pytest.mark.parametrize("app", APPS)
async def test_the_stop_button_ends_a_stream_with_one_line(app, tmp_path):
    """In the middle of `show`, by the command of the button: what had come stays, without a traceback."""
    async with jupyter(app, tmp_path) as address, opened(app, "02_streaming", address, tmp_path) as page:
        cells = f"{PANEL}.content.model.sharedModel.cells"
        await page.evaluate(f"{PANEL}.content.activeCellIndex = 1; void 0")
        await page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        await page.evaluate(f"{PANEL}.content.activeCellIndex = 3; void 0")
        await page.evaluate(
            f"{cells}[3].clearOutputs ? 0 : 0; jupyterapp.commands.execute('notebook:clear-cell-output')"
        )
        await page.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")
        await page.wait_for(f"{cells}[3].toJSON().outputs.length > 1")
        await page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
        await page.wait_for(f"{PANEL}.sessionContext.session.kernel.status === 'idle'")
        outputs = json.loads(await page.wait_for(f"JSON.stringify({cells}[3].toJSON().outputs)"))
        shown = ["".join(output["data"]["text/plain"]) for output in outputs]
        assert shown[0].startswith("Reasoning (")
        assert shown[1].startswith("A sailing boat")
        assert "is_possible" not in shown[1]
        assert shown[2:] == ["Stopped."]
        await take_pictures(page, f"{app}-stopped")


HOSTILE = """
from langchain_cerebras_demo.notebook import show

show(iter(['<img src="/x" onerror="window.hit = 1">\\n\\n![p](/x)\\n\\n[l](javascript:window.hit=1)\\n\\n'
           '```html\\n<script>window.hit = 1</script>\\n```\\n\\n1. a\\n   ```\\n   b\\n<img src="/x" onerror="window.hit = 1">']));
"""


async def test_html_in_an_answer_is_not_run(tmp_path):
    """In the trusted output of a running kernel: no tag, image or script of the answer becomes an element of the page."""
    async with jupyter("lab", tmp_path) as address, opened("lab", "02_streaming", address, tmp_path) as page:
        cells = f"{PANEL}.content.model.sharedModel.cells"
        await page.evaluate(f"{cells}[1].setSource({json.dumps(HOSTILE)}); {PANEL}.content.activeCellIndex = 1; void 0")
        await page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        area = f"{PANEL}.content.widgets[1].node.querySelector('.jp-RenderedMarkdown')"
        assert "<img src" in (await page.wait_for(f"{area} && {area}.textContent")).replace("\u200b", "")
        assert await page.evaluate(f"{area}.querySelectorAll('img, script, a[href^=javascript]').length") == 0
        assert await page.evaluate("window.hit === undefined")
