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

from cronsched.core.http.connection import HungUp, InvalidAnswer
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


def explain(error: Exception, *, host: str, port: int | None, was_sent: bool, has_status: bool) -> Explained:
    """Put any error that asyncio, a socket or the connection raised during a call into words."""
    peer = f"{f'[{host}]' if ':' in host else host}:{port}"
    if isinstance(error, BlockedAddressError):
        return Explained(Fault.BLOCKED_ADDRESS, str(error))
    if isinstance(error, socket.gaierror):
        return Explained(Fault.DNS, _dns(error, host))
    # A certificate's fault is a ValueError, too.
    if isinstance(error, ssl.SSLError):
        return Explained(Fault.TLS, _tls(error, peer))
    if isinstance(error, ValueError):
        return Explained(Fault.CONFIGURATION, f"The request to {peer} could not be built: {_kind(error)}")
    return Explained(Fault.CONNECTION, _connection(error, peer, was_sent, has_status))


def _tls(error: ssl.SSLError, peer: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate of {peer} not valid: {error.verify_message.rstrip('.')}"
    reason = (error.reason or "handshake failed").replace("_", " ").lower()
    return f"TLS connection to {peer} failed: {reason}"


def _dns(error: socket.gaierror, host: str) -> str:
    if error.errno in _NO_SUCH_NAME:
        return f"The name {host} could not be resolved: there is no such name"
    if error.errno == socket.EAI_AGAIN:
        return f"The name {host} could not be resolved: the name server did not answer"
    return f"The name {host} could not be resolved: {error.strerror or 'no address'}"


def _connection(error: Exception, peer: str, was_sent: bool, has_status: bool) -> str:
    known = _BY_ERRNO.get(getattr(error, "errno", None) or 0, "").format(peer=peer)
    if not was_sent:
        return known or f"No connection to {peer}: {getattr(error, 'strerror', None) or _kind(error)}"
    if has_status:
        return f"The connection to {peer} was closed before the answer ended"
    if isinstance(error, HungUp):
        return f"The connection was closed by {peer} before an answer"
    if isinstance(error, InvalidAnswer):
        return f"{peer} did not answer with valid HTTP"
    return f"{known} before an answer" if known else f"The connection to {peer} failed: {_kind(error)}"


def _kind(error: Exception) -> str:
    return type(error).__name__
