"""Nothing blocks the event loop: no file, sleep, socket or lock of a kind that stops all other tasks."""

from __future__ import annotations

import asyncio
import gzip
import re
import threading
import time
from contextlib import aclosing
from datetime import date
from pathlib import Path

import pytest

from langchain_cerebras_demo import (
    Cerebras,
    ChatCerebrasDemo,
    catalog,
    run_bulk,
)
from langchain_cerebras_demo.cache_folder import save_models
from langchain_cerebras_demo.errors import CerebrasError
from langchain_cerebras_demo.testing import Status
from tests.support.blocking import watching
from tests.support.faults import KEY

blockbuster = pytest.importorskip("blockbuster", reason="blockbuster is not installed: pip install blockbuster")

BULK = Path(run_bulk.__code__.co_filename).parent


@pytest.fixture
def model(server):
    server.key = KEY
    return ChatCerebrasDemo(base_url=server.base_url, api_key=KEY, rate_limit=None)


async def read(stream):
    async with aclosing(stream) as chunks:
        return [chunk async for chunk in chunks]


@pytest.fixture(autouse=True)
def _loaded():
    """As importing the client does; other tests may have had it forget."""
    catalog.model_specs()


def test_what_blocks_a_loop_is_seen(tmp_path, monkeypatch):
    """Else all of the below say nothing."""
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path))

    async def blocks():
        save_models([], date(2026, 1, 1))

    with watching(), pytest.raises(blockbuster.BlockingError):
        asyncio.run(blocks())


async def test_no_way_of_calling_blocks_the_loop(server, model):
    """Retries, lists of models, a saved catalogue and a new model among them."""
    server.script(Status(503, headers={"retry-after-ms": "1"}))
    with watching():
        assert (await model.ainvoke("hi")).content
        assert await read(model.astream("hi"))
        assert len(await model.abatch(["hi", "there"])) == 2
        assert await model.alist_models()
        assert await model.alist_models(public=True)
        await model.awarm()
        await ChatCerebrasDemo(base_url=server.base_url, api_key=KEY).ainvoke("hi")
        call = Cerebras.create_async_generator(
            "gpt-oss-120b", [{"role": "user", "content": "hi"}], KEY, api_base=server.base_url
        )
        assert await read(call)
        await model.aclose()


@pytest.mark.parametrize(("size", "is_on_the_loop"), [(10_000, True), (1_000_000, False)])
async def test_large_bodies_are_compressed_in_a_thread(server, model, monkeypatch, size, is_on_the_loop):
    """Such as images, which take a third of a second for 10 MB. Small ones take less time than a thread would."""
    threads, compress = [], gzip.compress

    def watched(*args, **options):
        threads.append(threading.get_ident())
        return compress(*args, **options)

    monkeypatch.setattr(gzip, "compress", watched)
    await model.model_copy(update={"compress_requests": True}).ainvoke("hi", user="x" * size)
    assert [thread == threading.get_ident() for thread in threads] == [is_on_the_loop]
    assert server.requests[0].json["user"] == "x" * size


async def test_refreshing_and_saving_the_catalogue_does_not_block_the_loop(model, tmp_path, monkeypatch):
    """The file is written in a thread."""
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "langchain_cerebras_demo.client.client.takes_demo_key", lambda _url: True
    )  # only a list of cerebras.ai is saved
    with watching():
        await model.arefresh_catalog(save=True)
    assert list(tmp_path.iterdir())


async def test_a_bulk_run_blocks_the_loop_for_its_own_files_alone(model, tmp_path):
    """A line that is appended, a row that is looked up: microseconds each, in this order. Whole files are read in threads."""
    rows, output = tmp_path / "rows.txt", tmp_path / "out.jsonl"
    rows.write_text("one\ntwo\n", encoding="utf-8")
    with watching() as watched:
        for name in ("answered.py", "journal.py", "output.py"):
            functions = set(re.findall(r"def (\w+)", (BULK / name).read_text(encoding="utf-8")))
            for function in watched.functions.values():
                function.can_block_in(f"bulk/{name}", functions)
        progress = await run_bulk(model, rows, output=output).arun()
    assert progress.done == 2
    assert output.exists()


async def test_keys_from_files_and_functions_do_not_block_the_loop(server, tmp_path):
    """A cookie file is read and a plain function is called in a thread."""
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(
        "# Netscape HTTP Cookie File\ninference.cerebras.ai\tFALSE\t/\tTRUE\t0\tname\tvalue\n", encoding="utf-8"
    )

    def slow():
        time.sleep(0.001)
        return KEY

    server.key = KEY
    from_file = ChatCerebrasDemo(base_url="https://cerebras.invalid/v1", cookies=str(cookies))  # looks for the file
    with watching():
        with pytest.raises(CerebrasError):
            await from_file.ainvoke("hi")
        await ChatCerebrasDemo(base_url=server.base_url, api_key=slow).ainvoke("hi")
