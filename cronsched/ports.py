"""Where the web server listens, and who sits there already."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cronsched.bootstrap import Stop

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5001
ANY_HOST = {"0.0.0.0", "::", "*"}  # noqa: S104, compared, not bound
_LISTENING = "0A"  # /proc/net/tcp's state


@dataclass(frozen=True, kw_only=True)
class Address:
    host: str
    port: int

    @property
    def bind(self) -> str:
        """As gunicorn writes it."""
        host = "0.0.0.0" if self.host == "*" else self.host  # noqa: S104
        return f"{_bracketed(host)}:{self.port}"

    @property
    def own_host(self) -> str:
        """A host at which this machine reaches the server."""
        return "127.0.0.1" if self.host in ANY_HOST else self.host

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self.own_host)}:{self.port}/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def from_environ(environ: Mapping[str, str]) -> Address:
    text = environ.get("PORT", "").strip() or str(DEFAULT_PORT)
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise Stop(f"PORT={text} is not a port: write a number from 1 to 65535.")
    host = environ.get("HOST", "").strip().strip("[]") or DEFAULT_HOST
    return Address(host=host, port=int(text))


def check_free(address: Address) -> None:
    """Stop, with a way out, where the web server could not listen at `address`."""
    host = None if address.host in ANY_HOST else address.host
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Stop(f"HOST={address.host} is not an address of this machine ({error}).") from None
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As gunicorn binds: a port that only lingers from an earlier run is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen(1)
        except OSError as error:
            raise Stop(_refusal(address, error)) from None


def _refusal(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        who = listener(address.port)
        return (
            f"port {address.port} is taken{f' by {who}' if who else ''}. "
            f"Take another: PORT={address.port % 65535 + 1} ./start.sh"
        )
    if error.errno == errno.EACCES:
        return f"port {address.port} is for root only. Take one above 1023: PORT={DEFAULT_PORT} ./start.sh"
    return f"HOST={address.host} is not an address of this machine ({error.strerror})."


def listener(port: int) -> str:
    """Who listens at `port`: "command (process 123)"; empty where that cannot be told."""
    try:
        pid = _listener_by_proc(port) if sys.platform == "linux" else _listener_by_lsof(port)
        if not pid:
            return ""
        command = Path(f"/proc/{pid}/cmdline")
        words = command.read_text().split("\0")[:4] if command.exists() else []
    except (OSError, ValueError):
        return ""
    return f"{' '.join(words).strip()[:80]} (process {pid})".strip()


def _listener_by_proc(port: int) -> int | None:
    inodes = set(_listening_inodes(port))
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue  # another user's, or gone
        if target.startswith("socket:[") and target[8:-1] in inodes:
            return int(link.parts[2])
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _listener_by_lsof(port: int) -> int | None:
    tool = shutil.which("lsof")
    if not tool:
        return None
    argv = [tool, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=5)  # noqa: S603
    return int(found.stdout.split()[0]) if found.stdout.strip() else None
