"""The ways in which LangChain's users call a chat model."""

from __future__ import annotations

import asyncio


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def collected(chunks):
    return [chunk async for chunk in chunks]


async def v2_output(model, **kwargs):
    events = [event async for event in model.astream_events("hello", version="v2", **kwargs)]
    return next(event["data"]["output"] for event in events if event["event"] == "on_chat_model_end")


async def v3_output(model, **kwargs):
    stream = await model.astream_events("hello", version="v3", **kwargs)
    return await stream.output


WAYS = {
    "invoke": lambda model, **kwargs: model.invoke("hello", **kwargs),
    "ainvoke": lambda model, **kwargs: asyncio.run(model.ainvoke("hello", **kwargs)),
    "stream": lambda model, **kwargs: merged(model.stream("hello", **kwargs)),
    "astream": lambda model, **kwargs: merged(asyncio.run(collected(model.astream("hello", **kwargs)))),
    "astream_events v2": lambda model, **kwargs: asyncio.run(v2_output(model, **kwargs)),
    "stream_events v3": lambda model, **kwargs: model.stream_events("hello", version="v3", **kwargs).output,
    "astream_events v3": lambda model, **kwargs: asyncio.run(v3_output(model, **kwargs)),
}


def in_four_ways(model, prompt, **kwargs):
    """The answer through invoke, ainvoke, stream and astream, each asked for by calling it."""
    return {
        "invoke": lambda: model.invoke(prompt, **kwargs),
        "ainvoke": lambda: asyncio.run(model.ainvoke(prompt, **kwargs)),
        "stream": lambda: merged(model.stream(prompt, **kwargs)),
        "astream": lambda: merged(asyncio.run(collected(model.astream(prompt, **kwargs)))),
    }
