"""Which addresses an outgoing call may reach: public ones, unless the operator says otherwise.

Pure and without a network: `AddressPolicy` judges one address, `check_url` judges what can be
judged of a URL when it is saved. Neither is enough alone, because a name may resolve to anything
later: the client asks the policy again about each resolved address and about each socket.

WEBHOOK_ALLOW_PRIVATE_NETWORKS opens loopback, RFC 1918 and unique local (fc00::/7) addresses.
It does not open link-local addresses, where clouds keep their credentials, nor carrier-grade NAT,
multicast or unspecified ones; only WEBHOOK_ALLOWED_NETWORKS, which names networks, opens anything.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAMED: Final = "WEBHOOK_ALLOWED_NETWORKS"
_NAMED_OR_PRIVATE: Final = "WEBHOOK_ALLOWED_NETWORKS or WEBHOOK_ALLOW_PRIVATE_NETWORKS"


@dataclass(frozen=True, slots=True)
class _Range:
    network: Network
    kind: str
    # True: WEBHOOK_ALLOW_PRIVATE_NETWORKS is enough to reach it.
    is_private: bool = False


def _ranges(*rows: tuple[str, str] | tuple[str, str, bool]) -> tuple[_Range, ...]:
    return tuple(_Range(ipaddress.ip_network(row[0]), *row[1:]) for row in rows)


# The first match speaks, so the particular stands before the general. From the IANA registries of
# special-purpose addresses, and what clouds use for their metadata.
_IPV4: Final = _ranges(
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private", True),
    ("100.100.100.200/32", "a cloud's metadata service"),
    ("100.64.0.0/10", "shared by carrier-grade NAT"),
    ("127.0.0.0/8", "loopback", True),
    ("168.63.129.16/32", "a cloud's metadata service"),
    ("169.254.169.254/32", "a cloud's metadata service"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private", True),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private", True),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_IPV6: Final = _ranges(
    ("::/128", "unspecified"),
    ("::1/128", "loopback", True),
    ("::/96", "IPv4-compatible"),
    ("64:ff9b:1::/48", "a local translation prefix"),
    ("2001::/32", "a Teredo tunnel"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "a 6to4 tunnel"),
    ("3fff::/20", "for documentation"),
    ("fd00:ec2::254/128", "a cloud's metadata service"),
    ("fd20:ce::254/128", "a cloud's metadata service"),
    ("fc00::/7", "private", True),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressPolicy:
    """What may be reached besides public addresses. The default is: nothing."""

    allow_private: bool = False
    allowed_networks: tuple[Network, ...] = ()

    def check(self, address: str | Address) -> str | None:
        """Say why this address may not be reached, and what would allow it; None when it may."""
        return _judge(self, str(address))


@lru_cache(maxsize=4096)
def _judge(policy: AddressPolicy, text: str) -> str | None:
    try:
        # A scope (`fe80::1%eth0`) says which link, not which address.
        address = _embedded(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return "it is not an IP address"
    if any(address in network for network in policy.allowed_networks):
        return None
    found = _special(address)
    if found is None or (found.is_private and policy.allow_private):
        return None
    return f"it is {found.kind}; {_NAMED_OR_PRIVATE if found.is_private else _NAMED} can let it through"


def _embedded(address: Address) -> Address:
    """The IPv4 address that the kernel (mapped) or the network (NAT64) would really connect to."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _special(address: Address) -> _Range | None:
    """The range that makes this address a non-public one; None for a public one."""
    ranges = _IPV4 if address.version == 4 else _IPV6
    for candidate in ranges:
        if address in candidate.network:
            return candidate
    # Belt and braces: what a newer registry (Python's) or the shape of IPv6 says is not public.
    is_outside = address.version == 6 and address not in _GLOBAL_UNICAST
    if is_outside or not address.is_global:
        return _Range(ipaddress.ip_network(address), "reserved")
    return None


# RFC 3986: unreserved, reserved and whole percent-escapes. Such a URL is sent byte for byte as it
# was saved; quoting it again may break a signature in its query.
_VERBATIM: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_MAX_NAME: Final = 253
_BAD_HOST: Final = "The URL's host is not valid."


def parse_url(text: str) -> URL:
    """Parse a target exactly as the client will call it. Raises ValueError when it is no URL."""
    url = URL(text, encoded=_VERBATIM.fullmatch(text) is not None)
    # yarl reads the host and the port of a verbatim URL, and complains about them, only when asked.
    port = url.explicit_port
    if port is not None and not url.raw_authority.endswith(f":{port}"):
        raise ValueError("the port is not written in digits")
    return url


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlRefusal:
    """What is wrong with a target. `is_blocked`: its address is refused, rather than its form."""

    sentence: str
    is_blocked: bool = False


def check_url(url: str, policy: AddressPolicy, *, allow_http: bool = False) -> str | None:
    """Say what is wrong with a target, in a sentence for the person who typed it; None when nothing is.

    Names are not resolved here: a name that resolves to a private address is refused when it is called.
    """
    refusal = judge_url(url, policy, allow_http=allow_http)
    return None if refusal is None else refusal.sentence


def judge_url(url: str, policy: AddressPolicy, *, allow_http: bool = False) -> UrlRefusal | None:
    """`check_url` for programs."""
    try:
        parsed = parse_url(url)
    except ValueError:
        return UrlRefusal(sentence="The URL is not valid.")
    return judge_parsed(url, parsed, policy, allow_http=allow_http)


def judge_parsed(url: str, parsed: URL, policy: AddressPolicy, *, allow_http: bool) -> UrlRefusal | None:
    """`judge_url` of a text and what `parse_url` made of it."""
    if sentence := _check_shape(url, parsed, allow_http):
        return UrlRefusal(sentence=sentence)
    return _judge_host(parsed.raw_host or "", policy)


def _check_shape(url: str, parsed: URL, allow_http: bool) -> str | None:
    if parsed.scheme == "http" and not allow_http:
        return "The URL must begin with https:// (WEBHOOK_ALLOW_HTTP allows http)."
    if parsed.scheme not in ("https", "http"):
        return f"The URL must begin with {'http:// or ' if allow_http else ''}https://."
    if not parsed.raw_host:
        return "The URL has no host."
    if "@" in parsed.raw_authority:
        return "The URL must not carry a user name or a password."
    if parsed.port == 0:
        return "The URL's port is not valid."
    # Spaces inside a path are quoted; around the URL or in the host they hide something.
    if url != url.strip() or _CONTROL.search(parsed.raw_authority):
        return "The URL holds a space or a control character where none may be."
    if "[" in parsed.raw_authority and ":" not in parsed.raw_host:
        return _BAD_HOST
    return None


def _judge_host(host: str, policy: AddressPolicy) -> UrlRefusal | None:
    if ":" in host:
        return _judge_literal(host, host, policy)
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        return UrlRefusal(sentence=_BAD_HOST)
    if _NUMBER.fullmatch(labels[-1]):
        return _judge_number(host, name, policy)
    if labels[-1].lower() == "localhost":
        return _judge_literal("127.0.0.1", host, policy)
    return None


def _judge_number(host: str, name: str, policy: AddressPolicy) -> UrlRefusal | None:
    """Judge `127.1`, `2130706433`, `0x7f.1`, `017700000001` as what the C library makes of them."""
    try:
        address = socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return UrlRefusal(sentence=_BAD_HOST)
    if refusal := _judge_literal(address, host, policy):
        return refusal
    # Readers and libraries disagree on these forms; one that means the same to all is asked for.
    return None if address == host else UrlRefusal(sentence=f"Write the URL's host as {address}.")


def _judge_literal(address: str, host: str, policy: AddressPolicy) -> UrlRefusal | None:
    reason = policy.check(address)
    if reason is None:
        return None
    return UrlRefusal(sentence=blocked_sentence(address, host, reason), is_blocked=True)


def blocked_sentence(address: str, host: str, reason: str) -> str:
    """One wording for a refused address, when a job is saved and when it runs."""
    whose = "" if host in (address, "") else f" of {host}"
    return f"The address {address}{whose} is not public: {reason}."
