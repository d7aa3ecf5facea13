"""Network faults in words: what went wrong, as a code for rules and a sentence for people.

Sentences name host and port, never the path or the query: those may hold a receiver's secret.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp

from cronsched.core.http.resolver import BlockedAddressError


class Fault(StrEnum):
    """Why there is no whole answer. The values are those of the engine's `Reason`."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    DNS = "dns"
    BLOCKED_ADDRESS = "blocked_address"
    CONFIGURATION = "configuration"
    # The caller's gate said no at the last moment: nothing was sent, and nothing is wrong.
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Explained:
    fault: Fault
    sentence: str


_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "Connection refused by {peer}",
    errno.ECONNRESET: "Connection reset by {peer}",
    errno.EHOSTUNREACH: "No route to {peer}",
    errno.ENETUNREACH: "No route to {peer}",
    errno.ETIMEDOUT: "No connection to {peer}: it does not answer",
    errno.EMFILE: "No connection to {peer}: this process has too many open files",
    errno.ENFILE: "No connection to {peer}: this machine has too many open files",
    errno.EADDRNOTAVAIL: "No connection to {peer}: this machine has no free local port",
}
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def explain(error: Exception, *, host: str, port: int | None, has_status: bool) -> Explained:
    """Put any error that aiohttp, asyncio or a socket raised during a call into words."""
    peer = f"{f'[{host}]' if ':' in host else host}:{port}"
    if blocked := _blocked(error):
        return Explained(Fault.BLOCKED_ADDRESS, str(blocked))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Explained(Fault.DNS, _dns(error, host))
    if tls := _tls_cause(error):
        return Explained(Fault.TLS, _tls(tls, peer))
    if isinstance(error, (aiohttp.InvalidURL, ValueError)):
        return Explained(Fault.CONFIGURATION, f"The request to {peer} could not be built: {_kind(error)}")
    return Explained(Fault.CONNECTION, _connection(error, peer, has_status))


def _blocked(error: Exception) -> BlockedAddressError | None:
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return inner if isinstance(inner, BlockedAddressError) else None


def _tls_cause(error: Exception) -> ssl.SSLError | None:
    """The TLS error that this is, or that it stands for; aiohttp wraps it in two ways."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner: BaseException = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
    else:
        inner = error
    return inner if isinstance(inner, ssl.SSLError) else None


def _tls(error: ssl.SSLError, peer: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate of {peer} not valid: {error.verify_message.rstrip('.')}"
    reason = (error.reason or "handshake failed").replace("_", " ").lower()
    return f"TLS connection to {peer} failed: {reason}"


def _dns(error: aiohttp.ClientConnectorDNSError, host: str) -> str:
    if error.os_error.errno in _NO_SUCH_NAME:
        return f"The name {host} could not be resolved: there is no such name"
    if error.os_error.errno == socket.EAI_AGAIN:
        return f"The name {host} could not be resolved: the name server did not answer"
    return f"The name {host} could not be resolved: {error.os_error.strerror or 'no address'}"


def _connection(error: Exception, peer: str, has_status: bool) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        template = _BY_ERRNO.get(error.os_error.errno or 0)
        return (
            template.format(peer=peer) if template else f"No connection to {peer}: {error.os_error.strerror}"
        )
    if has_status:
        return f"The connection to {peer} was closed before the answer ended"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return f"The connection was closed by {peer} before an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{peer} did not answer with valid HTTP"
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return f"{_BY_ERRNO[error.errno].format(peer=peer)} before an answer"
    return f"The connection to {peer} failed: {_kind(error)}"


def _kind(error: Exception) -> str:
    return type(error).__name__
