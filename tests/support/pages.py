"""A page in headless Chromium, driven by Chromium's own protocol (CDP) over aiohttp's WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from contextlib import asynccontextmanager

import aiohttp

__all__ = ["CHROMIUM", "Page", "open_page"]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """One tab: JavaScript is evaluated in it, and pictures are taken of it."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0

    async def send(self, method, **parameters):
        """Sends a command and returns its result; events are left out."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = json.loads((await self._socket.receive(timeout=60)).data)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def evaluate(self, source):
        """The value of an expression; of a promise, what it comes to."""
        found = await self.send("Runtime.evaluate", expression=source, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait_for(self, source, *, seconds=60):
        """Returns the first value of an expression that is true; what cannot be evaluated yet is not."""
        for _ in range(seconds * 10):
            found = await self.send("Runtime.evaluate", expression=source, awaitPromise=True, returnByValue=True)
            if "exceptionDetails" not in found and found["result"].get("value"):
                return found["result"]["value"]
            await asyncio.sleep(0.1)
        raise TimeoutError(source)

    async def resize(self, width, height=1000):
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def save(self, path):
        """Takes a picture of what is visible."""
        path.write_bytes(base64.b64decode((await self.send("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def open_page(address, profile):
    """Starts a browser that reaches loopback alone, and opens one page."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--disable-background-networking"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--window-size=1400,1000"]
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM, *options, address, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        while b"DevTools listening" not in (line := await asyncio.wait_for(browser.stderr.readline(), 60)):
            assert line, "the browser ended"
        port = line.decode().partition("127.0.0.1:")[2].partition("/")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                [tab] = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        browser.kill()
        await browser.communicate()
