from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
import threading
import time
import zlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cronsched.core.http.body import MAX_BODY_BYTES
from cronsched.core.http.client import AddressPolicy, Fault, HttpClient, HttpRequest, HttpResult
from cronsched.core.http.resolver import LookupPool
from cronsched.testing.http_sink import HttpSink, Reply

LOCAL = AddressPolicy(allow_private=True)
# Each test runs on each kind of loop: see conftest.py.
pytestmark = pytest.mark.usefixtures("run_on")
run_loop = asyncio.run


def post(url: str, **changes: Any) -> HttpRequest:
    made = HttpRequest(method="POST", url=url, body=b"{}", timeout_s=5.0)
    return dataclasses.replace(made, **changes)


def send(*requests: HttpRequest, gate=None, policy=LOCAL, **options) -> list[HttpResult]:
    """Send one after the other through one client."""

    async def run() -> list[HttpResult]:
        async with HttpClient(policy=policy, **{"allow_http": True} | options) as client:
            return [await client.send(request, gate=gate) for request in requests]

    return run_loop(run())


def names(**hosts: list[str]):
    """A resolver that knows these names and counts what it is asked."""
    asked: list[str] = []

    def lookup(host, port, **_):
        asked.append(host)
        if host not in hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_info(address, port) for address in hosts[host]]

    lookup.asked = asked  # type: ignore[attr-defined]
    return lookup


def _info(address: str, port: int):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockaddr = (address, port, 0, 0) if ":" in address else (address, port)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)


# What is sent


def test_request_arrives_as_given(http_sink):
    [result] = send(post(http_sink.url("/a/b%2Fc?x=%2F&y=1+2"), body=b'{"k":1}', headers={"x-test": "1"}))

    [call] = http_sink.calls
    assert (result.status, result.body, result.error, result.was_sent) == (200, "ok", None, True)
    assert (call.method, call.path, call.body) == ("POST", "/a/b%2Fc?x=%2F&y=1+2", b'{"k":1}')
    assert call.headers["x-test"] == "1"
    assert call.headers["host"] == http_sink.host_port
    assert call.headers["accept-encoding"] == "identity"


def test_a_url_that_needs_quoting_is_quoted(http_sink):
    send(post(http_sink.url("/フック?q=a b")))

    assert http_sink.calls[0].path == "/%E3%83%95%E3%83%83%E3%82%AF?q=a+b"


def test_large_body_is_sent_whole(http_sink):
    send(post(http_sink.url(), body=b"x" * 3_000_000))

    assert len(http_sink.calls[0].body) == 3_000_000


def test_cookies_are_not_kept(http_sink):
    http_sink.by_default(Reply(headers={"Set-Cookie": "session=1"}))

    send(post(http_sink.url()), post(http_sink.url()))

    assert "cookie" not in http_sink.calls[1].headers


def test_proxies_and_netrc_of_the_environment_are_ignored(http_sink, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    [result] = send(post(http_sink.url()))

    assert result.status == 200
    assert "authorization" not in http_sink.calls[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(http_sink, status):
    http_sink.on("/from", Reply.redirect(http_sink.url("/to"), status=status))

    [result] = send(post(http_sink.url("/from")))

    assert (result.status, result.headers["location"]) == (status, http_sink.url("/to"))
    assert [call.path for call in http_sink.calls] == ["/from"]


def test_connections_are_shared_within_a_burst(http_sink):
    send(*[post(http_sink.url())] * 3)

    assert {call.connection for call in http_sink.calls} == {1}


def test_a_post_on_a_stale_connection_is_not_sent_again(http_sink):
    http_sink.on("/", Reply(), Reply(drop=True), Reply())

    first, second, third = send(*[post(http_sink.url())] * 3)

    assert (first.status, third.status) == (200, 200)
    assert (second.status, second.error, second.was_sent) == (None, Fault.CONNECTION, True)
    assert second.message == f"The connection was closed by {http_sink.host_port} before an answer."
    assert [call.connection for call in http_sink.calls] == [1, 1, 2]


def test_no_method_is_sent_again_on_a_stale_connection(http_sink):
    http_sink.on("/", Reply(), Reply(drop=True), Reply())

    _, second = send(post(http_sink.url()), post(http_sink.url(), method="PUT"))

    assert second.error is Fault.CONNECTION
    assert len(http_sink.calls) == 2


# The answer


def test_answer_is_cut_at_the_limit_and_the_connection_closed(http_sink):
    http_sink.on("/", Reply.big(1_000_000), Reply())

    first, _ = send(*[post(http_sink.url())] * 2)

    assert (len(first.body), first.is_truncated, first.error) == (MAX_BODY_BYTES, True, None)
    assert [call.connection for call in http_sink.calls] == [1, 2]


def test_answer_of_exactly_the_limit_is_whole(http_sink):
    http_sink.by_default(Reply.big(MAX_BODY_BYTES))

    [result] = send(post(http_sink.url()))

    assert (len(result.body), result.is_truncated) == (MAX_BODY_BYTES, False)


def test_endless_answer_is_cut_long_before_the_deadline(http_sink):
    http_sink.by_default(Reply.big(50_000_000))

    [result] = send(post(http_sink.url(), timeout_s=30))

    assert result.is_truncated
    assert result.status == 200


def test_gzip_bomb_stays_within_the_limit(http_sink):
    http_sink.by_default(Reply.gzip_bomb(100_000_000))

    [result] = send(post(http_sink.url()))

    # Zero bytes are NUL characters, which no database takes.
    assert (result.status, result.body, result.is_truncated) == (200, "", True)


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("gzip", zlib.compress(b"plain", wbits=31), "plain"),
        ("deflate", zlib.compress(b"plain"), "plain"),
        ("GZIP", b"not gzip at all", "[the answer is compressed in a way that could not be read]"),
        ("br", b"\x8b\x02\x80", "[the answer is encoded as br, which was not asked for and is not shown]"),
        ("identity", b"plain", "plain"),
    ],
)
def test_compressed_answers(http_sink, encoding, body, text):
    http_sink.by_default(Reply(body=body, headers={"Content-Encoding": encoding}))

    [result] = send(post(http_sink.url()))

    assert (result.status, result.error, result.body) == (200, None, text)


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", "é".encode(), "é"),
        ("text/plain; charset=latin-1", "é".encode("latin-1"), "é"),
        ('text/plain; charset="Shift_JIS"', "日本".encode("shift_jis"), "日本"),
        ("text/plain; charset=utf-16", "日本".encode("utf-16"), "日本"),
        ("text/plain; charset=nonsense", "é".encode(), "é"),
        ("text/plain; charset=hex", b"6162", "6162"),
        ("text/plain; charset=idna", b"xn--a", "xn--a"),
        ("text/plain; charset=utf-7", b"+2AA-", "+2AA-"),
        ("text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        ("text/plain", b"\xff\xfe", "��"),
        ("text/plain", b"a\x00b", "ab"),
        ("not a type", b"a", "a"),
    ],
)
def test_answer_becomes_storable_text(http_sink, content_type, body, text):
    http_sink.by_default(Reply(body=body, headers={"Content-Type": content_type}))

    [result] = send(post(http_sink.url()))

    assert result.body == text


def test_a_character_split_by_the_limit_is_left_out(http_sink):
    http_sink.by_default(Reply(body=b"x" * (MAX_BODY_BYTES - 1) + "é".encode()))

    [result] = send(post(http_sink.url()))

    assert result.body == "x" * (MAX_BODY_BYTES - 1)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(drop=True), "The connection was closed by {peer} before an answer."),
        (Reply(reset=True), "Connection reset by {peer} before an answer."),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "{peer} did not answer with valid HTTP."),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"), "{peer} did not answer with"),
        (Reply(raw=b""), "The connection was closed by {peer} before an answer."),
    ],
)
def test_no_answer_is_told_in_words(http_sink, reply, message):
    http_sink.by_default(reply)

    [result] = send(post(http_sink.url()))

    assert (result.status, result.error, result.was_sent) == (None, Fault.CONNECTION, True)
    assert result.message.startswith(message.format(peer=http_sink.host_port))


def test_half_an_answer_keeps_its_status_and_what_came(http_sink):
    http_sink.by_default(Reply(body=b"half", cut_short=True))

    [result] = send(post(http_sink.url()))

    assert (result.status, result.body, result.error) == (200, "half", Fault.CONNECTION)
    assert result.message.endswith("was closed before the answer ended.")


def test_an_early_answer_to_an_unread_body_is_taken(http_sink):
    """A server may refuse a body by answering before reading it, and never read the rest."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answered = threading.Thread(target=_answer_unread, args=(server,))
        answered.start()
        port = server.getsockname()[1]
        [result] = send(post(f"http://127.0.0.1:{port}/", body=b"x" * 20_000_000, timeout_s=5))
        answered.join(5)

    assert (result.status, result.error) == (413, None)


def _answer_unread(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass


# Time


def test_timeout_without_an_answer(http_sink):
    http_sink.by_default(Reply(hold=True))

    [result] = send(post(http_sink.url(), timeout_s=0.1))

    assert (result.error, result.was_sent, result.message) == (Fault.TIMEOUT, True, "No answer within 0.1 s.")


def test_a_dripping_server_cannot_exceed_the_deadline(http_sink):
    http_sink.by_default(Reply(drip_s=0.01))
    started = time.monotonic()

    [result] = send(post(http_sink.url(), timeout_s=0.2))

    assert time.monotonic() - started < 2
    assert (result.status, result.error) == (200, Fault.TIMEOUT)
    assert result.message == "The answer (status 200) did not end within 0.2 s."
    assert result.body.startswith(".")


def test_a_connection_that_never_stands_was_not_sent():
    with _full_backlog() as port:
        [result] = send(post(f"http://127.0.0.1:{port}/", timeout_s=0.2))

    assert (result.error, result.was_sent) == (Fault.TIMEOUT, False)
    assert result.message == f"No connection to 127.0.0.1:{port} within 0.2 s."


@contextlib.contextmanager
def _full_backlog():
    """A port whose queue of connections is full: the kernel ignores further attempts."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_a_hanging_name_server_delays_no_other_name(http_sink):
    may_answer = threading.Event()

    def lookup(host, port, **_):
        if host.endswith(".hang.test"):
            may_answer.wait(10)
        return [_info("127.0.0.1", port)]

    async def run() -> tuple[list[HttpResult], HttpResult, float]:
        async with HttpClient(policy=LOCAL, allow_http=True, lookup=lookup) as client:
            hanging = [
                asyncio.ensure_future(client.send(post(f"http://{n}.hang.test/", timeout_s=1.0)))
                for n in range(60)
            ]
            await asyncio.sleep(0)
            started = time.monotonic()
            good = await client.send(post(f"http://ok.test:{http_sink.port}/"))
            took_s = time.monotonic() - started
            return await asyncio.gather(*hanging), good, took_s

    hanging, good, took_s = run_loop(run())
    may_answer.set()

    assert (good.status, took_s < 0.8) == (200, True)
    assert {(result.error, result.was_sent) for result in hanging} == {(Fault.DNS, False)}
    assert hanging[0].message == "The name 0.hang.test could not be resolved within 1 s."


def test_a_cancelled_call_raises_and_closes_its_connection(http_sink):
    http_sink.by_default(Reply(hold=True))

    async def run() -> None:
        async with HttpClient(policy=LOCAL, allow_http=True) as client:
            task = asyncio.ensure_future(client.send(post(http_sink.url())))
            await asyncio.to_thread(http_sink.wait_for, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_loop(run())


# Connections that fail


def test_refused_connection_was_not_sent():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        [result] = send(post(f"http://127.0.0.1:{port}/"))

    assert (result.error, result.was_sent) == (Fault.CONNECTION, False)
    assert result.message == f"Connection refused by 127.0.0.1:{port}."


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (socket.EAI_NONAME, "there is no such name"),
        (socket.EAI_AGAIN, "the name server did not answer"),
        (socket.EAI_FAIL, "broken"),
    ],
)
def test_unknown_name_was_not_sent(code, told):
    def lookup(*_, **__):
        raise socket.gaierror(code, "broken")

    [result] = send(post("http://nowhere.test/"), lookup=lookup)

    assert (result.error, result.was_sent) == (Fault.DNS, False)
    assert result.message == f"The name nowhere.test could not be resolved: {told}."


def test_a_name_that_dns_cannot_spell_is_a_name_that_is_not_there():
    def lookup(*_, **__):
        raise UnicodeError("label too long")

    [result] = send(post("http://nowhere.test/"), lookup=lookup)

    assert result.error is Fault.DNS


def test_many_calls_of_one_dead_name_ask_once():
    lookup = names()

    async def run() -> list[HttpResult]:
        async with HttpClient(policy=LOCAL, allow_http=True, lookup=lookup) as client:
            return await asyncio.gather(*(client.send(post("http://dead.test/")) for _ in range(50)))

    results = run_loop(run())

    assert {result.error for result in results} == {Fault.DNS}
    assert len(lookup.asked) == 1


# Reach

INNER = {
    "metadata": ["169.254.169.254"],
    "mapped": ["::ffff:127.0.0.1"],
    "loop": ["127.0.0.1"],
    "six": ["::1"],
}


@pytest.mark.parametrize("host", INNER)
def test_a_name_that_resolves_to_an_inner_address_is_blocked(host):
    lookup = names(**{f"{host}.test": INNER[host]})

    [result] = send(post(f"http://{host}.test/"), policy=AddressPolicy(), lookup=lookup)

    assert (result.error, result.was_sent) == (Fault.BLOCKED_ADDRESS, False)
    assert f"The address {INNER[host][0]} of {host}.test is not public" in result.message


def test_one_inner_address_among_public_ones_blocks_the_name():
    lookup = names(**{"mixed.test": ["93.184.216.34", "10.0.0.1"]})

    [result] = send(post("http://mixed.test/"), policy=AddressPolicy(), lookup=lookup)

    assert result.error is Fault.BLOCKED_ADDRESS
    assert "10.0.0.1 of mixed.test" in result.message
    assert "WEBHOOK_ALLOW_PRIVATE_NETWORKS can let it through." in result.message


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost"])
def test_literal_inner_addresses_are_blocked(http_sink, host):
    [result] = send(post(f"http://{host}:{http_sink.port}/"), policy=AddressPolicy())

    assert (result.error, result.was_sent) == (Fault.BLOCKED_ADDRESS, False)
    assert http_sink.connections == 0


def test_the_socket_is_checked_even_when_url_and_resolver_let_an_address_through(http_sink):
    """A literal address passes no resolver: the last check stands at the socket itself."""

    async def run() -> HttpResult:
        async with HttpClient(policy=AddressPolicy(), allow_http=True) as client:
            # What a hole in the check of URLs would come to.
            client._policy = LOCAL
            return await client.send(post(http_sink.url()))

    result = run_loop(run())

    assert (result.error, result.was_sent) == (Fault.BLOCKED_ADDRESS, False)
    assert http_sink.connections == 0


def test_a_rebinding_name_is_looked_up_once_and_called_where_it_was_checked(http_sink):
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked = []

    def lookup(host, port, **_):
        asked.append(host)
        return [_info(address, port) for address in answers[min(len(asked), 2) - 1]]

    [result] = send(post(f"http://rebind.test:{http_sink.port}/"), lookup=lookup)

    assert (result.status, len(asked)) == (200, 1)


def test_a_trusted_host_may_be_private_and_shares_no_connection(http_sink):
    trusted = post(http_sink.url(), is_trusted=True)

    first, second, third = send(
        trusted, post(http_sink.url()), trusted, policy=AddressPolicy(), allow_http=False
    )

    assert (first.status, third.status) == (200, 200)
    assert second.error is Fault.CONFIGURATION
    assert [call.connection for call in http_sink.calls] == [1, 1]


def test_an_open_trusted_connection_does_not_serve_an_untrusted_call(http_sink):
    first, second = send(
        post(http_sink.url(), is_trusted=True), post(http_sink.url()), policy=AddressPolicy()
    )

    assert (first.status, second.error) == (200, Fault.BLOCKED_ADDRESS)
    assert len(http_sink.calls) == 1


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "https://u:secret@example.com", "", "http://[::1", "https:"]
)
@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_url_that_cannot_be_called_is_a_configuration_fault(url, is_trusted):
    [result] = send(post(url, is_trusted=is_trusted))

    assert (result.error, result.was_sent) == (Fault.CONFIGURATION, False)
    assert "secret" not in result.message


def test_a_header_that_would_break_the_request_is_a_configuration_fault(http_sink):
    [result] = send(post(http_sink.url(), headers={"x-a": "1\r\nx-b: 2"}))

    assert result.error is Fault.CONFIGURATION
    assert http_sink.calls == []


# The gate


def test_the_gate_is_asked_with_the_connection_open_and_nothing_sent(http_sink):
    asked = []

    def gate() -> bool:
        asked.append(len(http_sink.calls))
        return False

    [result] = send(post(http_sink.url()), gate=gate)

    assert (result.error, result.was_sent, asked) == (Fault.WITHHELD, False, [0])
    assert http_sink.calls == []


# TLS


def certificate(*, host: str = "127.0.0.1", days: int = 30) -> tuple[ssl.SSLContext, str]:
    """A server context with a self-signed certificate, and that certificate to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(until - dt.timedelta(days=60))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM).decode()
    return _server_context(key, pem), pem


def _server_context(key: ec.EllipticCurvePrivateKey, pem: str) -> ssl.SSLContext:
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem.encode() + key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def test_a_trusted_certificate_is_accepted():
    server, pem = certificate()

    with HttpSink(tls=server) as sink:
        [result] = send(post(sink.url()), tls=ssl.create_default_context(cadata=pem))

    assert (result.status, result.error) == (200, None)


@pytest.mark.parametrize(
    ("made", "is_known", "told"),
    [
        ({}, False, "self-signed certificate"),
        ({"days": -1}, True, "certificate has expired"),
        ({"host": "other.test"}, True, "certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_bad_certificate_was_not_sent(made, is_known, told):
    server, pem = certificate(**made)

    with HttpSink(tls=server) as sink:
        [result] = send(post(sink.url()), tls=ssl.create_default_context(cadata=pem if is_known else None))
        peer = sink.host_port

    assert (result.error, result.was_sent) == (Fault.TLS, False)
    assert result.message.startswith(f"TLS certificate of {peer} not valid: ")
    assert told in result.message


def test_tls_to_a_plain_server_is_a_tls_fault(http_sink):
    http_sink.by_default(Reply(raw=b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        talking = threading.Thread(target=_talk_plain, args=(server,))
        talking.start()
        [result] = send(post(f"https://127.0.0.1:{port}/"))
        talking.join(5)

    assert (result.error, result.was_sent) == (Fault.TLS, False)
    assert result.message == f"TLS connection to 127.0.0.1:{port} failed: wrong version number."


def _talk_plain(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.recv(1024)


# The pool of look-ups


def test_the_pool_uses_no_more_threads_than_it_may():
    may_end = threading.Event()
    running: list[int] = []

    def lookup():
        running.append(threading.active_count())
        may_end.wait(5)
        return []

    async def run() -> int:
        pool = LookupPool(max_threads=3)
        before = set(threading.enumerate())
        tasks = [asyncio.ensure_future(pool.run(lookup)) for _ in range(10)]
        await asyncio.sleep(0)
        extra = len(set(threading.enumerate()) - before)
        may_end.set()
        await asyncio.gather(*tasks)
        pool.close()
        return extra

    assert run_loop(run()) == 3
    assert len(running) == 10
