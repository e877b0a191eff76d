"""The notebooks run from top to bottom in a real Jupyter kernel, and what is saved in them is fit to be read."""

from __future__ import annotations

import gc
import re
import warnings
from base64 import b64encode
from contextlib import contextmanager

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output

from scripts.run_notebooks import MOST_PICTURE_BYTES, NOTEBOOKS, Kernel, clean, main, problems_of, refresh
from tests.support import brief

pytestmark = pytest.mark.xdist_group("notebooks")  # they share a kernel

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
TOPICS = {
    "01_first_answer",
    "02_streaming",
    "03_chains",
    "04_tools_and_agents",
    "05_structured_output",
    "06_reasoning",
    "07_keys",
    "08_limits_and_bulk",
    "09_coming_from",
}
WITH_PICTURES = {"02_streaming", "03_chains", "06_reasoning", "08_limits_and_bulk"}

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


# A kernel's client leaves sockets to the collector, and ipykernel gives notice of its transport.
starts_a_kernel = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def kernel():
    """The one kernel of these tests, in which the embedded model is brief."""
    with (
        swept(),
        Kernel(f"import runpy\nrunpy.run_path({brief.__file__!r})['be_brief']()") as running,
    ):
        yield running


@contextmanager
def swept():
    """What a kernel's client leaves is collected here, and not in the middle of somebody else's test."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


def ran(source, *outputs):
    """A notebook of one cell as it is after a run."""
    return new_notebook(cells=[new_code_cell(source, execution_count=1, outputs=list(outputs))])


def shown(**data):
    return new_output("display_data", {key.replace("_", "/"): value for key, value in data.items()})


def test_every_topic_has_its_notebook():
    """An empty folder would pass all other tests."""
    assert {path.stem for path in PATHS} == TOPICS


@each_notebook
@starts_a_kernel
def test_a_notebook_runs_in_a_real_kernel(path, kernel, tmp_path):
    """No cell fails or warns, on the embedded model and the loopback, and every picture that is promised comes."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    kernel.execute(notebook, tmp_path)
    assert problems_of(notebook) == []


@each_notebook
def test_a_notebook_is_saved_with_clean_outputs(path):
    """Every code cell was run, in order; no error, warning, path of a machine or key is in what was saved, nor when it was."""
    notebook = nbformat.read(path, as_version=4)
    assert problems_of(notebook) == []
    as_saved = nbformat.writes(notebook)
    clean(notebook)
    assert nbformat.writes(notebook) == as_saved


@each_notebook
def test_a_notebook_says_first_where_it_runs_and_how_to_ask_cerebras(path):
    """The first cell names what answers here, and the variable that the real service takes."""
    first = nbformat.read(path, as_version=4).cells[0].source
    assert first.startswith("# ")
    assert re.search(r"\*\*(embedded model|loopback (Cerebras|servers))\*\*", first)
    assert "CEREBRAS_API_KEY" in first


@each_notebook
def test_links_between_notebooks_lead_somewhere(path):
    """A link to another file of the repository names one that is there."""
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [target for target in targets if not (path.parent / target).is_file()] == []


def test_pictures_are_where_a_picture_says_more():
    """Streaming, batches, reasoning and pacing are drawn."""
    drawn = {path.stem for path in PATHS if '"image/png"' in path.read_text(encoding="utf-8")}
    assert drawn == WITH_PICTURES


@pytest.mark.parametrize(
    ("notebook", "problem"),
    [
        (ran("1 / 0", new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])), "ZeroDivisionError"),
        (ran("warn()", new_output("stream", name="stderr", text="UserWarning: …")), "stderr"),
        (ran("print(file)", new_output("stream", name="stdout", text="in /home/ann/x.py")), "path of a machine"),
        (ran("print(key)", new_output("stream", name="stdout", text="csk-0123456789")), "key or a cookie"),
        (ran("llm", shown(text_html="<p>Bearer abcdefgh</p>")), "key or a cookie"),
        (ran("key = 'csk-0123456789'", shown(text_plain="1")), "key or a cookie"),
        (ran("plt.show()", shown(text_plain="<Figure>")), "promises a picture"),
        (ran("plot()", shown(image_png=b64encode(bytes(MOST_PICTURE_BYTES + 1)).decode())), "smaller"),
        (ran("1"), "no cell has an output"),
        (new_notebook(cells=[new_code_cell("1", outputs=[shown(text_plain="1")])]), "not run once"),
    ],
)
def test_what_strangers_should_not_see_is_found(notebook, problem):
    """Each kind of blemish is named."""
    assert any(problem in found for found in problems_of(notebook)), problems_of(notebook)


def test_a_good_notebook_has_no_problem():
    """Else the other way round would prove nothing."""
    assert problems_of(ran("plt.show()", shown(image_png="aGVsbG8=", text_plain="<Figure>"))) == []


def test_a_cleaned_notebook_does_not_tell_when_and_where_it_ran():
    """Times, versions and random names are gone; sources and outputs stay."""
    notebook = ran("1", shown(text_plain="1"))
    notebook.cells[0].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    clean(notebook)
    saved = nbformat.writes(notebook)
    assert "2026" not in saved
    assert "3.11" not in saved
    assert notebook.cells[0].outputs[0].data["text/plain"] == "1"


# -- show() in a real kernel

SHOW = """
import os, signal, threading, time
from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.notebook import show
from langchain_cerebras_demo.testing import Gate, LoopbackCerebras, Reply, Slow

server = LoopbackCerebras().start()
llm = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
vars(get_ipython().display_pub).pop("publish", None)
publish, published = get_ipython().display_pub.publish, []

def note(data, *args, **kwargs):
    published.append(time.monotonic())
    publish(data, *args, **kwargs)

get_ipython().display_pub.publish = note

def stop_in_the_middle():
    gate = Gate(after=3, reply=Reply("The harbour was quiet, and the boats lay still."))
    server.script(gate)

    def stop():
        gate.wait_reached()
        while not published:  # what had come is drawn
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)  # as the stop button does

    published.clear()
    threading.Thread(target=stop).start()
"""


def run_cells(kernel, folder, *sources):
    """Their outputs: for each cell a list of the text or the types of what it shows."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in (SHOW, *sources)])
    kernel.execute(notebook, folder)
    return [cell.outputs for cell in notebook.cells[1:]]


@starts_a_kernel
def test_an_answer_is_drawn_in_a_kernel_at_most_twenty_times_a_second(kernel, tmp_path):
    """Reasoning folded, Markdown, facts; each part is updated in place, and the value of the last line is not repeated."""
    drawn, (count,), asked, kept = run_cells(
        kernel,
        tmp_path,
        "server.script(Slow(0.005, Reply('*So* <b>it</b> is. ' * 40, reasoning='<i>Hm.</i>')))\n"
        "began = time.monotonic()\nawait show(llm.astream('Hi'))",
        "len(published) <= 20 * (time.monotonic() - began) + 3, len(published) > 4",
        "%load_ext langchain_cerebras_demo.notebook",
        "get_ipython().run_cell_magic('ask', 'llm --into answer', 'Hi')\nanswer.content[:14]",
    )
    reasoning, text, facts = (output.data for output in drawn)
    assert "&lt;i&gt;Hm.&lt;/i&gt;" in reasoning["text/html"]
    assert reasoning["text/plain"] == "Reasoning (1 word)"
    assert text["text/plain"] == "*So* <b>it</b> is. " * 40
    assert "<b>" not in text["text/markdown"]
    assert "tokens/s" in facts["text/plain"]
    assert count.data["text/plain"] == "(True, True)"
    assert asked == []
    assert kept[-1].data["text/plain"] == "'You said: \"Hi\"'"


@starts_a_kernel
def test_the_stop_button_ends_a_stream_in_a_kernel_with_one_line(kernel, tmp_path):
    """Awaited or not, also where other code of the cell is awaited: the cell goes on with what had come."""
    for outputs in run_cells(
        kernel,
        tmp_path,
        "stop_in_the_middle()\nanswer = await show(llm.astream('Hi'))\nanswer.text",
        "stop_in_the_middle()\nanswer = show(llm.stream('Hi'))\nanswer.text",
        "import asyncio\nawait asyncio.sleep(0)\nstop_in_the_middle()\nanswer = show(llm.stream('Hi'))\nanswer.text",
    ):
        shown = [output.data["text/plain"] for output in outputs]
        assert shown == ["The harbour was quiet, and the boats", "Stopped.", "'The harbour was quiet, and the boats'"]


@starts_a_kernel
def test_a_notebook_that_fails_is_left_as_it_was(kernel, tmp_path):
    """What is saved is the last good run; what went wrong is told."""
    path = tmp_path / "bad.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_text(encoding="utf-8")
    [problem] = refresh(path, kernel)
    assert "ZeroDivisionError" in problem
    assert path.read_text(encoding="utf-8") == before


@starts_a_kernel
def test_a_kernel_holds_nobodys_key_and_nothing_of_an_earlier_notebook(tmp_path, monkeypatch):
    """The outputs depend neither on the account of whoever runs them nor on what ran before, well or not."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "made-up")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")

    def shown(folder, *sources):
        notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
        kernel.execute(notebook, folder)
        assert problems_of(notebook) == []
        return [(cell.outputs[0].execution_count, cell.outputs[0].data["text/plain"]) for cell in notebook.cells]

    variables = "import os\n[name for name in ('CEREBRAS_API_KEY', 'HTTPS_PROXY', 'LEFT') if name in os.environ]"
    (tmp_path / "other").mkdir()
    with swept(), Kernel() as kernel:
        shown_keys, _ = shown(tmp_path, variables, "here = os.getpid()\nhere")
        assert shown_keys == (1, "[]")
        assert shown(tmp_path / "other", "'here' in globals(), 'os' in globals()", "import os\nos.listdir()") == [
            (1, "(False, False)"),
            (2, "[]"),
        ]
        failing = new_notebook(cells=[new_code_cell("import os\nos.environ['LEFT'] = 'here'\n1 / 0")])
        with pytest.raises(CellExecutionError):
            kernel.execute(failing, tmp_path)
        assert shown(tmp_path, variables) == [(1, "[]")]


def test_a_name_that_no_notebook_has_is_an_error(capsys):
    """A typing error does not pass for success."""
    assert main(["99"]) == 2
    assert "99" in capsys.readouterr().err
