"""Each failure of the network becomes one of this package's exceptions, by a table, and none shows a header of the request."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    OriginalError,
)
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport, translate
from langchain_cerebras_demo.net.proxies import Proxy
from langchain_cerebras_demo.net.transport import HttpRequest
from langchain_cerebras_demo.testing import Disconnect, LoopbackCerebras, RawAnswer, RawBytes
from tests.support.leaks import all_that_shows
from tests.support.tls import LoopbackTLS

SENTINEL = "csk-never-shown"
URL_OF_IT = f"https://user:{SENTINEL}@host.example:8443/path?key={SENTINEL}"
CHAT = "/v1/chat/completions"
MODELS = "/public/v1/models"
HELLO = b'{"model": "gpt-oss-120b", "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(scope="module")
def tls():
    return LoopbackTLS()


@pytest.fixture
async def transport(tls, server):
    """Leads ``other.example`` and the Cerebras names to the loopback server, and trusts the tests' authority alone."""
    mine = AiohttpTransport(resolver=tls.resolver(server.port), ssl_context=tls.client_context())
    yield mine
    await mine.aclose()
    # Connections are accepted in turn: with this one answered, the server has seen all that a test opened and dropped.
    (await mine.send(HttpRequest("GET", f"http://127.0.0.1:{server.port}{MODELS}"))).close()
    await mine.aclose()


def secret_headers():
    return {"Authorization": f"Bearer {SENTINEL}", "Cookie": f"session={SENTINEL}"}


def post(url, **more):
    headers = {"Content-Type": "application/json"}
    return HttpRequest("POST", url, headers=headers, body=HELLO, **{"secret_headers": secret_headers, **more})


def get(url):
    return HttpRequest("GET", url, secret_headers=secret_headers)


def scripted(server, step):
    """A chat request that the server lets in and answers with ``step``."""
    server.key = SENTINEL
    server.script(step)
    return post(f"{server.base_url}/chat/completions")


KEY = aiohttp.client_reqrep.ConnectionKey("host.example", 443, True, True, None, None, None)
INFO = aiohttp.RequestInfo(URL(URL_OF_IT), "POST", CIMultiDictProxy(CIMultiDict(secret_headers())), URL(URL_OF_IT))
OS_ERROR = OSError(111, "Connection refused")
CERTIFICATE_ERROR = ssl.SSLCertVerificationError(1, "certificate verify failed")
CERTIFICATE_ERROR.verify_message = "self-signed certificate"

# Each of aiohttp's exceptions: how it is made, what it becomes, and how the sentence goes.
TABLE = {
    "ClientError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "ClientResponseError": (lambda c: c(INFO, ()), APIResponseValidationError, "is not valid HTTP"),
    "ContentTypeError": (lambda c: c(INFO, ()), APIResponseValidationError, "is not valid HTTP"),
    "WSServerHandshakeError": (lambda c: c(INFO, ()), APIResponseValidationError, "is not valid HTTP"),
    "ClientHttpProxyError": (lambda c: c(INFO, (), status=407), APIConnectionError, r"refused to connect to .*\(407\)"),
    "TooManyRedirects": (lambda c: c(INFO, ()), APIResponseValidationError, "is not valid HTTP"),
    "ClientConnectionError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "ClientConnectionResetError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "ClientOSError": (lambda c: c(104, "reset by peer"), APIConnectionError, r"the connection .*\(reset by peer\)"),
    "ClientConnectorError": (lambda c: c(KEY, OS_ERROR), APIConnectionError, r"could not connect .*refused\)"),
    "ClientConnectorDNSError": (lambda c: c(KEY, OSError(-2, "unknown")), APIConnectionError, r"resolved \(unknown\)"),
    "ClientProxyConnectionError": (lambda c: c(KEY, OS_ERROR), APIConnectionError, "could not connect"),
    "UnixClientConnectorError": (lambda c: c("/sock", KEY, OS_ERROR), APIConnectionError, "could not connect"),
    "ServerConnectionError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "ServerDisconnectedError": (lambda c: c(SENTINEL), APIConnectionError, "closed the connection without an answer"),
    "ServerTimeoutError": (lambda c: c(SENTINEL), APITimeoutError, "did not answer in time"),
    "ConnectionTimeoutError": (lambda c: c(SENTINEL), APITimeoutError, "could not connect .* in time"),
    "SocketTimeoutError": (lambda c: c(SENTINEL), APITimeoutError, "did not answer in time"),
    "ServerFingerprintMismatch": (lambda c: c(b"a", b"b", "h", 1), APIConnectionError, "not the expected one"),
    "ClientPayloadError": (lambda c: c(SENTINEL), APIConnectionError, "broke off"),
    "UploadAbortedError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "InvalidURL": (lambda c: c(URL_OF_IT), APIConnectionError, "the address is not valid"),
    "InvalidUrlClientError": (lambda c: c(URL_OF_IT), APIConnectionError, "the address is not valid"),
    "RedirectClientError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "NonHttpUrlClientError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "InvalidUrlRedirectClientError": (lambda c: c(URL_OF_IT), APIConnectionError, "the address is not valid"),
    "NonHttpUrlRedirectClientError": (lambda c: c(SENTINEL), APIConnectionError, "the connection to"),
    "ClientSSLError": (lambda c: c(KEY, OS_ERROR), APIConnectionError, "could not connect"),
    "ClientConnectorSSLError": (lambda c: c(KEY, ssl.SSLError(1, "bad")), APIConnectionError, "no secure connection"),
    "ClientConnectorCertificateError": (
        lambda c: c(KEY, CERTIFICATE_ERROR),
        APIConnectionError,
        r"not trusted \(self-signed certificate\)",
    ),
}


def all_client_errors(kind=aiohttp.ClientError):
    """aiohttp's own exceptions, however deep."""
    found = {kind.__name__: kind} if kind.__module__.startswith("aiohttp") else {}
    for below in kind.__subclasses__():
        found.update(all_client_errors(below))
    return found


@pytest.mark.upstream
def test_the_table_knows_every_exception_of_aiohttp():
    """A new one shows up here, to be given a sentence of its own; one that is gone, too."""
    theirs, known = set(all_client_errors()), set(TABLE)
    assert theirs == known, (
        f"aiohttp has gained {sorted(theirs - known)} and lost {sorted(known - theirs)}: add a row to TABLE in this file, and to "
        "langchain_cerebras_demo/net/aiohttp_transport.py what the new one means to a user"
    )


@pytest.mark.parametrize("name", TABLE)
def test_each_exception_of_aiohttp_becomes_one_of_ours(name):
    """With the host and the system's message, and nothing of the request, such as the URL's password and query."""
    make, kind, words = TABLE[name]
    failure = translate(make(all_client_errors()[name]), URL_OF_IT)
    assert type(failure) is kind
    assert "host.example:8443" in str(failure) or name.startswith("Invalid")
    assert re.search(words, str(failure))
    assert SENTINEL not in all_that_shows(failure)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (asyncio.TimeoutError(), APITimeoutError, "did not answer in time"),
        (TimeoutError(), APITimeoutError, "did not answer in time"),
        (ConnectionResetError(104, "reset by peer"), APIConnectionError, r"the connection .*\(reset by peer\)"),
        (BrokenPipeError(), APIConnectionError, r"the connection .*\(BrokenPipeError\)"),
        (socket.gaierror(-2, "unknown name"), APIConnectionError, "unknown name"),
        (ssl.SSLError(1, "bad record"), APIConnectionError, "bad record"),
        (ValueError(SENTINEL), APIConnectionError, r"could not be sent \(ValueError\)"),
        (UnicodeEncodeError("ascii", SENTINEL, 0, 1, "no"), APIConnectionError, "could not be sent"),
    ],
)
def test_so_does_what_the_system_raises_through_it(error, kind, words):
    """Sockets, TLS and what cannot be written as a header."""
    failure = translate(error, URL_OF_IT)
    assert type(failure) is kind
    assert re.search(words, str(failure))
    assert SENTINEL not in all_that_shows(failure)


PROXY = Proxy(f"http://user:{SENTINEL}@proxy.example:3128", "HTTPS_PROXY")
PROXY_KEY = aiohttp.client_reqrep.ConnectionKey("proxy.example", 3128, True, True, None, None, None)
OF_PROXY = r"the proxy proxy\.example:3128 from HTTPS_PROXY"
BY_PROXY = r"host\.example:8443 through " + OF_PROXY

# What names the proxy, where one was used: alone where it is at fault, beside the service where either of them may be.
THROUGH_A_PROXY = {
    "ClientHttpProxyError": rf"^{OF_PROXY} refused to connect to host\.example:8443 \(407\): it does not accept the user",
    "ClientProxyConnectionError": f"^could not connect to {OF_PROXY} ",
    "ClientConnectorDNSError": r"^the name of the proxy proxy\.example:3128 from HTTPS_PROXY could not be resolved",
    "ClientConnectorCertificateError": f"^the certificate of {BY_PROXY} is not trusted",
    "ClientConnectorSSLError": f"^no secure connection to {BY_PROXY} ",
    "ConnectionTimeoutError": f"^could not connect to {BY_PROXY} in time",
    "ServerDisconnectedError": f"^{BY_PROXY} closed the connection",
    "ClientResponseError": f"^the answer of {BY_PROXY} is not valid HTTP",
    "ClientOSError": f"^the connection to {BY_PROXY} failed",
    "ClientPayloadError": f"^the answer of {BY_PROXY} broke off",
}


@pytest.mark.parametrize("name", THROUGH_A_PROXY)
def test_a_failure_on_the_way_through_a_proxy_names_it_and_where_it_comes_from(name):
    """Without its user and its password."""
    failure = translate(TABLE[name][0](all_client_errors()[name]), URL_OF_IT, PROXY)
    assert re.search(THROUGH_A_PROXY[name], str(failure))
    assert type(failure) is TABLE[name][1]
    assert failure.is_retryable is (name != "ClientHttpProxyError" and TABLE[name][1] is not APIResponseValidationError)
    assert SENTINEL not in all_that_shows(failure)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ClientConnectorCertificateError", f"^the certificate of {OF_PROXY} is not trusted"),
        ("ClientConnectorSSLError", f"^no secure connection to {OF_PROXY} "),
    ],
)
def test_a_proxy_that_is_spoken_to_by_tls_has_a_certificate_of_its_own(name, words):
    """Its fault is not the service's."""
    problem = CERTIFICATE_ERROR if "Certificate" in name else ssl.SSLError(1, "bad")
    assert re.search(words, str(translate(all_client_errors()[name](PROXY_KEY, problem), URL_OF_IT, PROXY)))


@pytest.mark.parametrize(
    ("code", "variables", "hint"),
    [
        (20, {}, "set SSL_CERT_FILE to the certificate of a company's own authority"),
        (19, {"SSL_CERT_FILE": "/no/such.pem"}, "SSL_CERT_FILE='/no/such.pem' does not exist"),
        (18, {"SSL_CERT_FILE": __file__}, f"SSL_CERT_FILE={__file__!r} does not contain its issuer"),
        (20, {"SSL_CERT_DIR": "/no/such"}, "SSL_CERT_DIR='/no/such' does not exist"),
        (10, {}, "check this machine's clock"),
        (9, {}, "check this machine's clock"),
        (62, {}, None),
    ],
)
def test_a_certificate_that_is_not_trusted_comes_with_what_to_look_at(monkeypatch, code, variables, hint):
    """The variable that says whom to believe, or the clock; a transport with certificates of its own has no variable."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    problem = ssl.SSLCertVerificationError(1, "certificate verify failed")
    problem.verify_code, problem.verify_message = code, "why"
    error = aiohttp.ClientConnectorCertificateError(KEY, problem)
    assert str(translate(error, URL_OF_IT)).endswith(
        f"is not trusted (why): {hint}" if hint else "is not trusted (why)"
    )
    own = str(translate(error, URL_OF_IT, None, ssl.create_default_context()))
    assert "SSL_CERT" not in own


@contextlib.contextmanager
def silent_port(*, backlog=8):
    """Return a port where the system opens connections, and nothing is ever sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener.getsockname()[1]


def closed_port():
    with silent_port() as port:
        return port


REAL = {
    "an unknown name": (
        lambda server: post("http://unknown.example/v1"),
        APIConnectionError,
        r"the name unknown\.example could not be resolved",
    ),
    "a refused connection": (
        lambda server: post(f"http://127.0.0.1:{closed_port()}/v1"),
        APIConnectionError,
        r"could not connect to 127\.0\.0\.1",
    ),
    "a reset": (
        lambda server: scripted(server, Disconnect("reset")),
        APIConnectionError,
        r"127\.0\.0\.1",
    ),
    "a server that hangs up": (
        lambda server: scripted(server, Disconnect("eof")),
        APIConnectionError,
        "closed the connection without an answer",
    ),
    "an answer that is no HTTP": (
        lambda server: scripted(server, RawBytes(b"HTTP/9.9 abc\r\n\r\n")),
        APIResponseValidationError,
        "is not valid HTTP",
    ),
    "a header with a line break": (
        lambda server: post(server.base_url, secret_headers=lambda: {"Authorization": f"{SENTINEL}\r\nX: 1"}),
        APIConnectionError,
        "could not be sent",
    ),
    "a body that is no bytes": (
        lambda server: HttpRequest("POST", server.base_url, secret_headers=secret_headers, body=5),
        TypeError,
        None,
    ),
    "an address that is none": (
        lambda server: post("http://127.0.0.1:99999/v1"),
        APIConnectionError,
        "the address is not valid|could not",
    ),
    "a proxy that is not there": (
        lambda server: post(server.base_url, proxy=f"http://user:{SENTINEL}@127.0.0.1:{closed_port()}"),
        APIConnectionError,
        r"could not connect to the proxy 127\.0\.0\.1:\d+ from the argument proxy \(",
    ),
    "a proxy that refuses": (
        lambda server: post("https://api.cerebras.ai/v1", proxy=f"http://user:{SENTINEL}@127.0.0.1:{server.port}"),
        APIConnectionError,
        r"the proxy 127\.0\.0\.1:\d+ from the argument proxy refused to connect to api\.cerebras\.ai \(404\)",
    ),
}


@pytest.mark.parametrize("case", REAL)
async def test_no_failure_shows_a_header_of_the_request(transport, server, case):
    """Neither text, attributes, causes, nor the locals of any frame hold the key, the cookie or a proxy's password.

    The cause names what aiohttp or the system raised.
    """
    make, kind, words = REAL[case]
    with pytest.raises(kind, match=words) as caught:
        await transport.send(make(server))
    shown = all_that_shows(caught.value)
    assert "in send" in shown
    assert SENTINEL not in shown
    if kind is TypeError:  # a bug of the caller's comes out as it is
        return
    assert isinstance(caught.value.__cause__, OriginalError)
    assert re.match(r"(aiohttp\.|[A-Z]\w+Error\b|socket\.gaierror)", str(caught.value.__cause__))
    assert caught.value.__context__ is None


async def test_tls_to_a_server_that_speaks_none_is_no_secure_connection(transport):
    """And nothing of the request is sent in the clear."""
    heard = []

    async def answer(reader, writer):
        heard.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        with pytest.raises(
            APIConnectionError, match=r"no secure connection to 127\.0\.0\.1.*does not use TLS"
        ) as caught:
            await transport.send(post(f"https://127.0.0.1:{port}{CHAT}"))
    assert SENTINEL.encode() not in b"".join(heard)
    assert SENTINEL not in all_that_shows(caught.value)


async def test_an_untrusted_certificate_gets_no_request(tls, server):
    """The message says what is wrong with it."""
    stranger = LoopbackTLS()
    with LoopbackCerebras(ssl_context=stranger.server_context()) as site:
        mine = AiohttpTransport(resolver=tls.resolver(site.port), ssl_context=tls.client_context())
        with pytest.raises(
            APIConnectionError, match=r"certificate of api\.cerebras\.ai is not trusted \(.+\)"
        ) as caught:
            await mine.send(post(f"https://api.cerebras.ai{CHAT}"))
        assert site.requests == []
        await mine.aclose()
    assert SENTINEL not in all_that_shows(caught.value)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_opening_a_connection_is_bounded_tls_included(transport, scheme):
    """Someone who accepts and says nothing, or does not even accept, is an APITimeoutError after ``connect_timeout``."""
    with silent_port(backlog=0) as port, contextlib.ExitStack() as held:
        if scheme == "http":  # a full queue: the system answers no further connection
            for _ in range(3):
                one = held.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
        with pytest.raises(APITimeoutError, match=r"could not connect to 127\.0\.0\.1:\d+ in time") as caught:
            await transport.send(post(f"{scheme}://127.0.0.1:{port}/v1", connect_timeout=0.1))
    assert SENTINEL not in all_that_shows(caught.value)


async def test_an_answer_that_breaks_off_is_an_error_of_read(transport, server):
    """The received bytes are returned first; then an APIConnectionError is raised, without a frame of aiohttp."""
    server.script_path(MODELS, RawAnswer(body=b"half", content_length=8))
    response = await transport.send(get(f"http://other.example{MODELS}"))
    assert await response.read() == b"half"
    with pytest.raises(APIConnectionError, match="broke off") as caught:
        await response.read()
    response.close()
    assert SENTINEL not in all_that_shows(caught.value)


async def test_a_body_that_cannot_be_unpacked_is_an_error_of_read(transport, server):
    """So is any other error of aiohttp about a body."""
    server.script_path(MODELS, RawAnswer(headers={"content-encoding": "gzip"}, body=b"this is no gzip, as anyone sees"))
    response = await transport.send(get(f"http://other.example{MODELS}"))
    with pytest.raises(APIConnectionError, match="broke off"):
        while await response.read():
            pass
    response.close()
