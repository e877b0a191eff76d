"""The transport and its process: proxies from the environment, exits and forks."""

from __future__ import annotations

import base64
import socket
import sys

import pytest

from langchain_cerebras_demo.errors import APIConnectionError, APIStatusError
from langchain_cerebras_demo.keys.secret import HiddenKey
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.net.transport import HttpRequest
from langchain_cerebras_demo.testing import LoopbackCerebras
from tests.support.leaks import all_that_shows
from tests.support.processes import STRICT, run_python
from tests.support.rude_servers import RudeServer, read_head
from tests.support.tiny import TinyProxy
from tests.support.tls import LoopbackTLS

SENTINEL = "csk-never-shown"
PASSWORD = "never-shown-either"
MODELS = "/public/v1/models"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
async def transport(tls, server):
    """Leads ``other.example`` to the loopback server."""
    mine = AiohttpTransport(resolver=tls.resolver(server.port), ssl_context=tls.client_context())
    yield mine
    await mine.aclose()


@pytest.fixture
async def proxy(server):
    async with TinyProxy(server.port) as running:
        yield running


async def ask(transport, url, **more):
    """One request with a key; gives its status and reads it to its end."""
    key = {"Authorization": f"Bearer {SENTINEL}"}
    response = await transport.send(HttpRequest("GET", url, secret_headers=lambda: key, **more))
    while await response.read():
        pass
    response.close()
    return response.status


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used(transport, proxy, server, monkeypatch, variable):
    """As every HTTP client does: that of the scheme, else the one for all."""
    monkeypatch.setenv(variable, proxy.url)
    assert await ask(transport, f"http://other.example{MODELS}") == 404  # the loopback server is asked for a whole URL
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"GET http://other.example{MODELS} HTTP/1.1"]
    assert len(server.requests) == 1


async def test_a_proxy_for_https_is_a_tunnel_that_sees_no_header(tls, monkeypatch):
    """It learns the host's name; the key goes through it encrypted to the host itself."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as site:
        async with TinyProxy(site.port) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            transport = AiohttpTransport(resolver=tls.resolver(1), ssl_context=tls.client_context())
            assert await ask(transport, f"https://other.example{MODELS}") == 200
            await transport.aclose()
        assert site.requests[0].bearer == SENTINEL
        assert [head.split("\r\n")[0] for head in proxy.heads] == ["CONNECT other.example:443 HTTP/1.1"]
        assert SENTINEL not in "".join(proxy.heads)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_is_never_asked_for_through_a_proxy_of_the_environment(server, proxy, monkeypatch, host):
    """The embedded model and tests work behind a company's proxy, too."""
    transport = AiohttpTransport()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, proxy.url)
    assert await ask(transport, f"http://{host}:{server.port}{MODELS}") == 200
    assert proxy.heads == []
    await transport.aclose()


async def test_no_proxy_names_the_hosts_that_need_none(transport, proxy, monkeypatch):
    """As every HTTP client does."""
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "somewhere.example,.example")
    assert await ask(transport, f"http://other.example{MODELS}") == 200
    assert proxy.heads == []


async def test_a_request_may_refuse_the_proxies_of_the_environment(transport, proxy, monkeypatch):
    """Cookies do."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, proxy.url)
    assert await ask(transport, f"http://other.example{MODELS}", environment_proxy=False) == 200
    assert proxy.heads == []


@pytest.mark.parametrize("environment_proxy", [True, False])
async def test_an_explicit_proxy_goes_before_the_environment(transport, proxy, monkeypatch, environment_proxy):
    """Also where those of the environment are refused; its password goes to it alone."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    given = proxy.url.replace("://", "://user:password@")
    await ask(transport, f"http://other.example{MODELS}", proxy=given, environment_proxy=environment_proxy)
    (head,) = proxy.heads
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:password').decode()}" in head
    assert "Authorization: Bearer" in head


# -- proxies that cannot be used


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("source", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "the argument proxy"])
async def test_a_socks_proxy_is_refused_by_the_name_of_where_it_came_from(transport, monkeypatch, source, scheme):
    """No byte goes to its port, nothing is tried again, and its password is shown nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = HiddenKey(f"{scheme}://user:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}")
        given = {"proxy": address} if " " in source else {}
        if not given:
            monkeypatch.setenv(source, address)
        with pytest.raises(
            APIConnectionError, match=f"^{source} names a SOCKS proxy, which is not supported"
        ) as caught:
            await ask(transport, f"http://other.example{MODELS}", **given)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "http://host:port" in str(caught.value)
    assert not caught.value.is_retryable
    assert PASSWORD not in all_that_shows(caught.value)


@pytest.mark.parametrize("source", ["http_proxy", "ALL_PROXY", "the argument proxy"])
async def test_a_proxy_without_a_scheme_is_an_http_proxy(transport, proxy, server, monkeypatch, source):
    """As for curl: ``host:port``, with a user and a password if need be."""
    address = proxy.url.replace("http://", "user:password@")
    given = {"proxy": address} if " " in source else {}
    if not given:
        monkeypatch.setenv(source, address)
    assert await ask(transport, f"http://other.example{MODELS}", **given) == 404
    assert len(proxy.heads) == len(server.requests) == 1
    assert "Proxy-Authorization: Basic " in proxy.heads[0]


async def test_loopback_is_reached_whatever_the_proxies_of_the_environment_are(server, monkeypatch):
    """One that cannot be used is no hindrance to what does not use it; nor is it to a host of NO_PROXY."""
    transport = AiohttpTransport()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "socks5://127.0.0.1:9")
    assert await ask(transport, f"http://127.0.0.1:{server.port}{MODELS}") == 200
    await transport.aclose()


async def test_a_host_of_no_proxy_needs_no_proxy_that_works(transport, monkeypatch):
    """The variable in either case."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "other.example")
    assert await ask(transport, f"http://other.example{MODELS}") == 200


async def test_a_variable_that_changes_counts_from_the_next_request_on(transport, proxy, monkeypatch):
    """In a notebook it is set, mended and taken away while the same loop runs."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(APIConnectionError, match="http_proxy"):
        await ask(transport, f"http://other.example{MODELS}")
    monkeypatch.setenv("http_proxy", proxy.url)
    assert await ask(transport, f"http://other.example{MODELS}") == 404
    assert len(proxy.heads) == 1
    monkeypatch.delenv("http_proxy")
    assert await ask(transport, f"http://other.example{MODELS}") == 200
    assert len(proxy.heads) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio speaks TLS within TLS from Python 3.11 on")
async def test_a_proxy_may_be_spoken_to_by_tls(tls, monkeypatch):
    """The tunnel goes through it as through any other."""
    with LoopbackCerebras(ssl_context=tls.server_context()) as site:
        async with TinyProxy(site.port, tls.server_context()) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            transport = AiohttpTransport(resolver=tls.resolver(1), ssl_context=tls.client_context())
            assert await ask(transport, f"https://other.example{MODELS}") == 200
            await transport.aclose()
        assert len(proxy.heads) == 1


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="there it works")
async def test_a_proxy_that_is_spoken_to_by_tls_needs_a_newer_python(transport, monkeypatch):
    """The error is raised before anything is sent."""
    monkeypatch.setenv("https_proxy", "https://127.0.0.1:9")
    with pytest.raises(APIConnectionError, match=r"https_proxy names an https proxy, which needs Python 3\.11"):
        await ask(transport, f"https://other.example{MODELS}")


@pytest.mark.parametrize("user", ["", "user:password@"])
async def test_a_proxy_that_wants_a_password_is_named(monkeypatch, user):
    """Not the service: it has seen nothing. Nor is it asked again."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"

    def refuse(connection):
        read_head(connection)
        connection.sendall(refusal)

    transport = AiohttpTransport()
    with RudeServer(refuse) as rude:
        for scheme, kind in (("http", APIStatusError), ("https", APIConnectionError)):
            address = rude.url.replace("://", f"://{user}")
            monkeypatch.setenv(f"{scheme}_proxy", address)
            with pytest.raises(kind) as caught:
                await ask(transport, f"{scheme}://other.example/v1")
            assert f"the proxy 127.0.0.1:{rude.port} from {scheme}_proxy refused" in str(caught.value)
            assert ("does not accept" if user else "requires a user and a password") in str(caught.value)
            assert "407" in str(caught.value)
            assert not caught.value.is_retryable
            assert "user:password@127" not in str(caught.value)
        assert rude.accepted == 2
    await transport.aclose()


async def test_a_host_that_cannot_be_a_name_is_a_name_that_could_not_be_resolved():
    """Said as such, and nothing of the request is blamed."""
    transport = AiohttpTransport()
    for host in ("x" * 70 + ".example", "a..example"):
        with pytest.raises(
            APIConnectionError, match=f"^the name {host} could not be resolved .*more than 63 characters"
        ):
            await ask(transport, f"http://{host}/v1")
    await transport.aclose()


# -- exits and forks

# What the scripts below have in common: a server in a process of its own kind, and one request that keeps its connection.
PRELUDE = f"""
import asyncio, gc, logging, os, sys, threading
from langchain_cerebras_demo.keys.secret import HiddenKey
from langchain_cerebras_demo.testing import LoopbackCerebras
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport
from langchain_cerebras_demo.net.transport import HttpRequest, default_transport
import warnings
from langchain_cerebras_demo.net.portal import portal

warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)  # that threads and forks go badly together is known
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))  # a slow machine's callbacks
server = LoopbackCerebras().start()

async def ask(transport=None):
    response = await (transport or default_transport()).send(HttpRequest("GET", f"http://127.0.0.1:{{server.port}}{MODELS}"))
    while await response.read():
        pass
    response.close()
    return response.status
"""


def assert_silent(code, *lines, flags=STRICT, forked=True):
    done = run_python(PRELUDE + code, flags=flags, forked=forked)
    assert (done.stderr, done.stdout.splitlines(), done.returncode) == ("", list(lines), 0)


def test_asyncio_run_closes_the_session_without_a_warning():
    """Again and again, with a connection that was kept for the next request; nothing stays open."""
    assert_silent(
        """
for _ in range(3):
    print(asyncio.run(ask()), server.wait_for_connections(0))
server.stop()
""",
        *["200 True"] * 3,
    )


def test_the_portal_closes_the_session_at_the_end_of_the_process():
    """With a connection that was kept, and without a warning."""
    assert_silent("print(portal.run(ask))", "200", forked=False)


@pytest.mark.parametrize("end", ["loop.close()", "pass"])
def test_a_loop_that_is_closed_or_left_without_its_generators_being_shut_down_is_forgotten(end):
    """Old scripts end so. No log, no leak: what belongs to a loop goes with it, closed or not.

    asyncio itself warns of sockets it finds open, where such warnings are switched on; they are off by default.
    """
    assert_silent(
        f"""
for _ in range(3):
    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(ask()))
    {end}
    del loop
gc.collect()
print(server.wait_for_connections(0), len(default_transport()._sessions))
mine = AiohttpTransport()
loop = asyncio.new_event_loop()
print(loop.run_until_complete(ask(mine)))
{end}
""",
        *["200"] * 3,
        "True 0",
        "200",
        flags=(),
    )


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_opens_connections_of_its_own_and_leaves_its_parents_alone(leave):
    """The parent's kept connection is not used in the child, not closed by its end, and still good in the parent."""
    assert_silent(
        f"""
print(portal.run(ask), flush=True)
pid = os.fork()
if pid == 0:
    print("child", portal.run(ask), asyncio.run(ask()), flush=True)
    {leave}
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), portal.run(ask))
print([request.connection for request in server.requests])
""",
        "200",
        "child 200 200",
        "0 200",
        "[1, 2, 3, 1]",
    )


@pytest.mark.parametrize(("leave", "flags"), [("os._exit(0)", STRICT), ("sys.exit(0)", ())])
def test_a_child_forked_inside_a_running_loop_leaves_in_silence(leave, flags):
    """multiprocessing leaves by ``os._exit``. By ``sys.exit`` asyncio closes its copy of the loop, with a warning of its own."""
    assert_silent(
        f"""
async def main():
    print(await ask(), flush=True)
    pid = os.fork()
    if pid == 0:
        {leave}
    os.waitpid(pid, 0)
    print(await ask())

asyncio.run(main())
print([request.connection for request in server.requests])
""",
        "200",
        "200",
        "[1, 1]",
        flags=flags,
    )
