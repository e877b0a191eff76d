"""The client returns a complete answer or raises an error."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.client import call as client_module
from langchain_cerebras_demo.client.call import today
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    InvalidRequestError,
    MissingKeyError,
    NotFoundError,
    RateLimitError,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from langchain_cerebras_demo.keys import CallableKey, ChainKeyResolver, EnvKey, StaticKey
from langchain_cerebras_demo.policy import RetryPolicy, Timeout
from langchain_cerebras_demo.testing import (
    CutAfter,
    Disconnect,
    ErrorEvent,
    Gate,
    HtmlPage,
    LoopbackCerebras,
    RawAnswer,
    RawStream,
    Redirect,
    Reply,
    Silence,
    Status,
    sse,
)
from langchain_cerebras_demo.testing.models import MODELS
from langchain_cerebras_demo.wire.completion import TextDelta, Usage
from langchain_cerebras_demo.wire.request import ChatRequest

HELLO = ChatRequest("gpt-oss-120b", [{"role": "user", "content": "hello"}])
ONCE = RetryPolicy(max_retries=0)
AT_ONCE = RetryPolicy(max_retries=2, first_wait=0.0)
CHUNK = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
FINISH = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def client_for(server, **settings):
    settings = {"keys": StaticKey(server.key), "retry": ONCE, "base_url": server.base_url, **settings}
    return Client(**settings)


async def text_of(client, request=HELLO, *, stream=True):
    if not stream:
        return "".join(e.text for e in await client.complete(request) if isinstance(e, TextDelta))
    pieces = []
    async with aclosing(client.stream(request)) as batches:
        async for events in batches:
            pieces += [event.text for event in events if isinstance(event, TextDelta)]
    return "".join(pieces)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_ends_with_its_finish_identity_usage_and_timing(server, stream):
    """The last events tell how the answer ended, each once, streamed or not."""
    server.script(Reply(text="Hi there"))
    client = client_for(server)
    if stream:
        async with aclosing(client.stream(HELLO)) as batches:
            events = [event async for batch in batches for event in batch]
    else:
        events = await client.complete(HELLO)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hi there"
    assert [type(event).__name__ for event in events[-5:]] == ["Finish", "Identity", "Usage", "Timing", "CallRecord"]
    assert sum(isinstance(event, Usage) for event in events) == 1


async def test_the_request_carries_the_key_our_name_and_nothing_of_aiohttp(server):
    """Headers are ours: bearer key, User-Agent, JSON; the model id is the alias resolved."""
    request = ChatRequest("gpt-oss", HELLO.messages, {"max_tokens": 7, "queue_threshold": 100})
    await text_of(client_for(server, headers={"X-Title": "t"}), request)
    (received,) = server.requests
    assert received.header("authorization") == f"Bearer {server.key}"
    assert received.header("user-agent").startswith("langchain-cerebras-demo/")
    assert received.header("x-title") == "t"
    assert received.header("queue_threshold") == "100"
    assert received.header("cookie") is None
    assert received.json["model"] == "gpt-oss-120b"
    assert received.json["max_completion_tokens"] == 7
    assert received.json["stream"] is True


async def test_user_agent_can_be_set(server):
    """A service of one's own may say who it is."""
    await text_of(client_for(server, user_agent="my-app/1"))
    assert server.requests[0].header("user-agent") == "my-app/1"


# -- an answer is whole or an error


BROKEN = [
    (CutAfter(events=3, how="eof"), StreamInterruptedError),
    (CutAfter(events=3, how="reset"), StreamInterruptedError),
    (CutAfter(events=3, how="no_chunk_end"), StreamInterruptedError),
    (ErrorEvent(after=2, shape="flat"), InternalServerError),
    (ErrorEvent(after=2, shape="enveloped", status=429), RateLimitError),
    (ErrorEvent(after=2, shape="named"), InternalServerError),
    (RawStream([sse(CHUNK), b"data: {broken\n\n"]), APIResponseValidationError),
    (RawStream([sse(CHUNK), b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n']), APIResponseValidationError),
    (RawStream([sse(CHUNK)], end="eof"), StreamInterruptedError),
    (
        RawStream([sse(CHUNK, FINISH), sse({"message": "late", "type": "t", "code": "c"})], end="eof"),
        InternalServerError,
    ),
    (HtmlPage(), APIResponseValidationError),
    (HtmlPage(status=502), InternalServerError),
    (RawStream([], end="eof"), StreamInterruptedError),
    (Disconnect(), APIConnectionError),
    (Status(400), Exception),
    (Status(401), AuthenticationError),
    (Status(404), NotFoundError),
    (Status(500), InternalServerError),
    (RawAnswer(200, {"content-type": "application/json"}, b"[]"), APIResponseValidationError),
    (RawAnswer(200, {"content-type": "application/json"}, b'{"choices": []}'), APIResponseValidationError),
    (RawAnswer(200, {"content-type": "application/json"}, b'{"id": '), APIResponseValidationError),
    (Redirect("https://elsewhere.example/v1"), Exception),
]


@pytest.mark.parametrize(("step", "kind"), BROKEN, ids=lambda value: repr(value)[:60])
async def test_a_broken_stream_is_a_typed_error(server, step, kind):
    """For any failure at any place: never a partial answer that looks complete."""
    server.script(step)
    with pytest.raises(kind):
        await text_of(client_for(server))


@pytest.mark.parametrize("how", ["eof", "reset", "no_chunk_end"])
async def test_an_interrupted_stream_carries_the_text_that_had_come(server, how):
    """`partial` is exactly what was handed out before."""
    server.script(CutAfter(events=3, how=how, reply=Reply(text="one two three four five six seven eight nine ten")))
    got = []
    with pytest.raises(StreamInterruptedError) as caught:
        async with aclosing(client_for(server).stream(HELLO)) as batches:
            async for events in batches:
                got += [event.text for event in events if isinstance(event, TextDelta)]
    assert caught.value.partial == "".join(got)


async def test_events_that_came_in_one_read_with_an_error_are_handed_out_first(server):
    """The text before the failure is not lost."""
    server.script(RawStream([sse(CHUNK, CHUNK, {"error": {"message": "boom"}, "status_code": 503})], pieces=[]))
    got = []
    with pytest.raises(InternalServerError, match="boom") as caught:
        async with aclosing(client_for(server).stream(HELLO)) as batches:
            async for events in batches:
                got += [event.text for event in events if isinstance(event, TextDelta)]
    assert got == ["Hi", "Hi"]
    assert caught.value.partial == "HiHi"
    assert caught.value.status_code == 503


async def test_a_finished_answer_without_done_is_whole(server):
    """A finish_reason ends an answer as well as [DONE] does; a reset behind it takes nothing away."""
    for end in ("eof", "reset"):
        server.script(RawStream([sse(CHUNK, FINISH)], end=end))
        assert await text_of(client_for(server)) == "Hi"


async def test_silence_behind_a_finish_reason_takes_nothing_away(server):
    """The answer is whole; only the connection is not used again."""
    server.script(RawStream([sse(CHUNK, FINISH)], end="hang"))
    assert await text_of(client_for(server, timeout=Timeout(idle=0.2))) == "Hi"


async def test_json_to_a_stream_request_is_the_answer_it_is(server):
    """A gateway that cannot stream answers whole; nothing is missing then."""
    body = b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"content":"whole"}}]}'
    server.script(RawAnswer(200, {"content-type": "application/json"}, body))
    assert await text_of(client_for(server)) == "whole"


async def test_a_redirect_is_not_followed_with_a_key_on_board(server):
    """The other host never hears of the request; the error names it."""
    with LoopbackCerebras() as other:
        server.script(Redirect(f"{other.base_url}/chat/completions", status=307))
        with pytest.raises(Exception, match=f"127.0.0.1:{other.port}"):
            await text_of(client_for(server))
        assert other.requests == []


async def test_a_killed_server_is_a_typed_error_with_what_had_come(server):
    """The process on the other side dies in the middle of an answer."""
    gate = Gate(after=2, reply=Reply(text="one two three four five six seven eight nine ten"))
    server.script(gate)
    got = []
    with pytest.raises(StreamInterruptedError) as caught:
        async with aclosing(client_for(server).stream(HELLO)) as batches:
            async for events in batches:
                got += [event.text for event in events if isinstance(event, TextDelta)]
                server.kill()
    assert caught.value.partial == "".join(got) != ""


# -- retries


async def test_failures_before_the_first_event_are_tried_again(server):
    """Two failures and a success are one answer; the third request is the one that counts."""
    server.script(Status(429), Disconnect(), Reply(text="third"))
    assert await text_of(client_for(server, retry=AT_ONCE)) == "third"
    assert len(server.requests) == 3


async def test_an_error_that_is_itself_the_first_event_is_tried_again(server):
    """No event has been returned before."""
    server.script(ErrorEvent(after=0), Reply(text="second"))
    assert await text_of(client_for(server, retry=AT_ONCE)) == "second"


async def test_nothing_is_tried_again_once_an_event_has_left(server):
    """A second attempt would say the beginning twice."""
    server.script(CutAfter(events=2, reply=Reply(text="a b c d e f g h i j")))
    with pytest.raises(StreamInterruptedError):
        await text_of(client_for(server, retry=AT_ONCE))
    assert len(server.requests) == 1


async def test_a_whole_answer_is_tried_again_until_its_body_is_complete(server):
    """For a whole answer the whole body counts as one event."""
    server.script(RawAnswer(200, {"content-type": "application/json"}, b'{"id"', content_length=500), Reply(text="ok"))
    assert await text_of(client_for(server, retry=AT_ONCE), stream=False) == "ok"


@pytest.mark.parametrize("stream", [True, False])
async def test_max_retries_bounds_the_sends_and_the_error_counts_them(server, stream):
    """max_retries=2 means three sends at most."""
    server.script(*[Status(503)] * 5)
    with pytest.raises(InternalServerError) as caught:
        await text_of(client_for(server, retry=AT_ONCE), stream=stream)
    assert len(server.requests) == caught.value.attempts == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
async def test_refusals_are_not_tried_again(server, status):
    """A second attempt would be refused the same."""
    server.script(Status(status))
    with pytest.raises(Exception, match=str(status)):
        await text_of(client_for(server, retry=AT_ONCE))
    assert len(server.requests) == 1


# -- keys


async def test_a_refused_key_is_asked_for_again_once(server):
    """A callable may know a newer key; it is not counted as a retry."""
    keys = iter(["csk-stale-0000", server.key])
    answer = await text_of(client_for(server, keys=CallableKey(lambda: next(keys))))
    assert answer
    assert [r.header("authorization") for r in server.requests] == ["Bearer csk-stale-0000", f"Bearer {server.key}"]


async def test_a_key_refused_twice_is_an_error(server):
    """One refresh, then the refusal stands: no loop."""
    keys = (f"csk-stale-{number:04}" for number in range(100))
    with pytest.raises(AuthenticationError):
        await text_of(client_for(server, keys=CallableKey(lambda: next(keys))))
    assert len(server.requests) == 2


async def test_a_refused_explicit_key_never_falls_through_to_another_source(server, monkeypatch):
    """A wrong key is an error, even where the environment knows a right one."""
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    chain = ChainKeyResolver([StaticKey("csk-wrong"), EnvKey()])
    with pytest.raises(AuthenticationError):
        await text_of(client_for(server, keys=chain))
    assert len(server.requests) == 1


async def test_no_key_is_needed_on_this_machine():
    """A loopback base_url is asked without a key where no source has one."""
    with LoopbackCerebras() as server:
        with pytest.raises(AuthenticationError):  # this one wants a key all the same
            await text_of(Client(base_url=server.base_url, retry=ONCE))
        assert server.requests[0].header("authorization") is None


async def test_without_a_key_nothing_leaves_for_elsewhere():
    """The error says what was tried and what to do."""
    with pytest.raises(MissingKeyError, match=r"CEREBRAS_API_KEY: not set.*cloud\.cerebras\.ai.*local"):
        await text_of(Client())


# -- time


async def test_a_silent_server_is_a_timeout_that_names_the_bound(server):
    """No answer at all: timeout.first_event."""
    server.script(Silence(before_headers=True))
    with pytest.raises(APITimeoutError, match=r"timeout\.first_event"):
        await text_of(client_for(server, timeout=Timeout(first_event=0.1)))


async def test_keep_alives_are_no_progress(server):
    """Comments keep the connection busy and the answer as silent as before: timeout.idle."""
    server.script(Silence(keepalives=True, after=2, reply=Reply(text="one two three four five six")))
    with pytest.raises(APITimeoutError, match=r"timeout\.idle") as caught:
        await text_of(client_for(server, timeout=Timeout(first_event=5, idle=0.2)))
    assert caught.value.partial.startswith("one")


async def test_the_total_bound_covers_retries(server):
    """A deadline is a deadline."""
    server.script(*[Status(503)] * 50)
    patient = RetryPolicy(max_retries=1000, first_wait=0.05, longest_wait=0.05)
    with pytest.raises((InternalServerError, APITimeoutError)):
        await asyncio.wait_for(text_of(client_for(server, retry=patient, timeout=Timeout(total=0.3))), 10)
    assert len(server.requests) < 51


# -- leaving


@pytest.mark.parametrize("way", ["break", "cancel", "close"])
async def test_leaving_early_closes_the_connection(server, way):
    """The server stops generating at once, whichever way one leaves."""
    server.script(Gate(after=3))
    batches = client_for(server).stream(HELLO)
    if way == "cancel":
        reached = asyncio.Event()

        async def consume():
            async with aclosing(batches):
                async for _ in batches:
                    reached.set()

        task = asyncio.create_task(consume())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "break":
        async with aclosing(batches):
            async for _ in batches:
                break
    else:
        await anext(batches)
        await batches.aclose()
    assert await asyncio.to_thread(server.wait_for_disconnect, 5)


async def test_one_connection_serves_one_call_after_the_other(server):
    """A stream that was read to its end gives its connection back."""
    client = client_for(server)
    for _ in range(5):
        await text_of(client)
        await text_of(client, stream=False)
    assert server.open_connections == 1


async def test_max_concurrency_bounds_the_requests_at_once(server):
    """Two at a time; the others wait their turn and all are answered."""
    gates = [Gate(), Gate()]
    server.script(*gates)
    client = client_for(server, max_concurrency=2)
    tasks = [asyncio.create_task(text_of(client)) for _ in range(8)]
    for gate in gates:
        assert await asyncio.to_thread(gate.wait_reached, 5)
    assert len(server.requests) == server.open_connections == 2
    for gate in gates:
        gate.open()
    assert len(await asyncio.gather(*tasks)) == 8


def test_one_client_serves_many_loops_and_threads(server):
    """Each loop has its own connections: eight threads, and loops one after the other."""
    client = client_for(server)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(asyncio.run(text_of(client)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers += [asyncio.run(text_of(client)) for _ in range(3)]
    assert len(answers) == 11
    assert len(set(answers)) == 1


async def test_a_long_stream_leaves_no_more_behind_than_its_text(server):
    """After 20,000 deltas nothing of them is held: no events, no pieces."""
    server.script(RawStream([sse(*[CHUNK] * 20_000, FINISH)]))
    text = await text_of(client_for(server))
    assert text == "Hi" * 20_000
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is TextDelta and thing.text == "Hi"]


# -- models


async def test_an_unknown_model_is_refused_with_the_nearest_ids(server):
    """A 404 offers what the user may have meant."""
    with pytest.raises(NotFoundError, match=r"gpt-oss-120b"):
        await text_of(client_for(server), ChatRequest("gpt-oss-120", HELLO.messages))


@pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.RetiredModelWarning")
@pytest.mark.parametrize("code", ["model_not_found", "model_archived"])
async def test_a_model_that_is_gone_is_refused_with_its_successor(server, code):
    """Also if the catalogue has it as served, because it was archived later."""
    server.script(*[RawAnswer(404, {}, json.dumps({"message": "Gone.", "code": code}).encode())] * 2)
    for model, hint in {
        "zai-glm-4.7": "Use 'qwen-3.8-27b' instead",
        "gpt-oss-120b": "Served are qwen-3.8-27b, ",
    }.items():
        with pytest.raises(NotFoundError, match=rf"^404: Gone\. {hint}"):
            await text_of(client_for(server), ChatRequest(model, HELLO.messages))


async def test_the_public_list_refreshes_the_catalogue_for_the_process_or_for_good(
    server, monkeypatch, tmp_path, caplog
):
    """It needs no key; a 404 then names what is listed, here the four models of the loopback."""
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path / "cache"))
    client = client_for(server, keys=StaticKey("csk-wrong"))
    await client.refresh_catalog()
    assert not (tmp_path / "cache").exists()
    assert catalog.find_spec("gemma-4-31b").life(today()) == "live"
    with pytest.raises(NotFoundError, match=r"Known ids near 'gemma-4-3b': gemma-4-31b"):
        await text_of(client_for(server), ChatRequest("gemma-4-3b", HELLO.messages))
    await client.refresh_catalog(save=True)
    assert not (tmp_path / "cache").exists()
    assert f"the list of {urlsplit(server.base_url).netloc} was not saved: only that of cerebras.ai is" in caplog.text
    monkeypatch.setattr(
        "langchain_cerebras_demo.client.client.takes_demo_key", lambda _url: True
    )  # as if it were cerebras.ai
    caplog.set_level("INFO")
    await client.refresh_catalog(save=True)
    (saved,) = (tmp_path / "cache").iterdir()
    assert [row["id"] for row in json.loads(saved.read_bytes())["rows"]] == [model.id for model in MODELS]
    assert f"saved the list of {len(MODELS)} models to {saved}; delete the file to go back" in caplog.text


def test_a_retired_model_goes_through_with_one_warning(monkeypatch):
    """The date and the replacement are named once a process, and the id is what was asked for."""
    monkeypatch.setattr(client_module, "_warned", set())
    client = Client(keys=StaticKey("csk-x"))
    with pytest.warns(catalog.RetiredModelWarning, match=r"2025-01-17.*gpt-oss-120b"):
        assert client.resolve_model("llama-3.1-70b") == "llama3.1-70b"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.resolve_model("llama3.1-70b") == "llama3.1-70b"
        assert client.resolve_model("my-own-endpoint") == "my-own-endpoint"


# -- what a fresh reader found


@pytest.mark.parametrize("first_event", [60, None])
async def test_a_transports_own_time_out_is_told_as_it_is(first_event):
    """ "Could not connect in time" is not "no answer"."""

    class Slow:
        async def send(self, request):
            raise APITimeoutError("could not connect in time")

    with pytest.raises(APITimeoutError, match="could not connect in time"):
        await text_of(
            Client(keys=StaticKey("csk-x"), transport=Slow(), retry=ONCE, timeout=Timeout(first_event=first_event))
        )


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (
            RawAnswer(401, {"content-type": "application/json"}, b'{"message": "wr', content_length=500),
            AuthenticationError,
        ),
        (RawAnswer(429, {"retry-after": "7"}, b"x" * 1_200_000), RateLimitError),
        (RawAnswer(500, {"content-type": "text/html"}, b"<html>" + b"x" * 1_200_000), InternalServerError),
    ],
    ids=["cut", "large", "a large page"],
)
async def test_an_errors_status_counts_whatever_becomes_of_its_body(server, step, kind):
    """The status is believed before the words."""
    server.script(step)
    with pytest.raises(kind) as caught:
        await text_of(client_for(server))
    if kind is RateLimitError:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize("events", [[], [{"id": "c", "choices": []}]])
async def test_a_stream_without_choices_is_no_answer(server, events):
    """[DONE] alone says nothing."""
    server.script(RawStream([sse(*events)]))
    with pytest.raises(APIResponseValidationError, match="no choices"):
        await text_of(client_for(server))


async def test_an_empty_event_is_passed_over(server):
    """`data:` and nothing behind it."""
    server.script(RawStream([b"data:\n\n", sse(CHUNK), b"data: \n\n", sse(FINISH)]))
    assert await text_of(client_for(server)) == "Hi"


async def test_a_slow_key_source_is_bound_by_the_deadline(server):
    """timeout.total covers finding the key."""

    async def key():
        await asyncio.Event().wait()

    with pytest.raises(APITimeoutError, match=r"no key within 0\.1 s"):
        await text_of(client_for(server, keys=CallableKey(key), timeout=Timeout(total=0.1)))


@pytest.mark.parametrize("n", [None, 1, "2", [2]])
async def test_an_unchecked_n_is_sent_as_it_is_and_the_server_decides(server, n):
    """`model_kwargs` is not checked: only a number of several answers is refused here, because it cannot be streamed."""
    request = replace(HELLO, extra={"n": n})
    if n in (None, 1):
        assert await text_of(client_for(server), request)
    else:
        with pytest.raises((BadRequestError, UnprocessableEntityError)):
            await text_of(client_for(server), request)
    assert server.requests[-1].json["n"] == n
    with pytest.raises(InvalidRequestError, match="n=2 cannot be streamed"):
        await text_of(client_for(server), replace(HELLO, extra={"n": 2}))


async def test_an_accept_header_of_ones_own_does_not_break_streams(server):
    """The request decides, not a header."""
    assert await text_of(client_for(server, headers={"Accept": "*/*"}))


async def test_a_key_that_the_service_repeats_is_in_no_exception(server):
    """Message, body and response for tracers."""
    server.script(Status(400, {"message": f"Incorrect API key provided: {server.key}", "code": "x"}))
    with pytest.raises(Exception, match="Incorrect API key") as caught:
        await text_of(client_for(server))
    error = caught.value
    assert server.key not in str(error) + repr(error.body) + error.response.text + repr(vars(error))


async def test_an_error_after_a_retry_counts_all_sends(server):
    """A 500, then a cut stream: two attempts."""
    server.script(Status(500), CutAfter(events=2, reply=Reply(text="a b c d e f g h i j")))
    with pytest.raises(StreamInterruptedError) as caught:
        await text_of(client_for(server, retry=AT_ONCE))
    assert caught.value.attempts == 2


async def test_partial_holds_what_could_have_become_a_tag(server):
    """No received text is lost."""
    server.script(RawStream([sse({"id": "c", "choices": [{"index": 0, "delta": {"content": "<thi"}}]})], end="eof"))
    with pytest.raises(StreamInterruptedError) as caught:
        await text_of(client_for(server))
    assert caught.value.partial == "<thi"


async def test_a_source_that_has_answered_is_the_only_one_asked_again(server, monkeypatch):
    """A refused key of one source is never replaced by another's."""
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)

    class Once:
        asked = 0

        async def resolve(self):
            self.asked += 1
            if self.asked > 1:
                raise MissingKeyError("no more")
            return "csk-wrong"

    with pytest.raises(AuthenticationError):
        await text_of(client_for(server, keys=ChainKeyResolver([Once(), EnvKey()])))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_date_to_wait_for_counts_from_our_own_clock_where_the_server_names_no_time(server, stream):
    """Half a minute from now is half a minute."""
    at = format_datetime(datetime.now(tz=timezone.utc) + timedelta(seconds=30), usegmt=True)
    server.script(RawAnswer(429, {"retry-after": at}, b"{}"))
    with pytest.raises(RateLimitError) as caught:
        await text_of(client_for(server), stream=stream)
    assert 15 < caught.value.retry_after <= 30


async def test_closing_a_client_closes_its_transport_where_that_can_be_closed():
    """A transport of a user's own needs no more than `send`."""

    class Closable:
        is_closed = False

        async def aclose(self):
            self.is_closed = True

    transport = Closable()
    await Client(base_url="http://127.0.0.1:1/v1", transport=transport).aclose()
    assert transport.is_closed
    await Client(base_url="http://127.0.0.1:1/v1", transport=object()).aclose()
