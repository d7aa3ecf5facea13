"""Reads the environment strictly: a value that cannot be understood stops the start, by name.

django-environ reads `.env` and database URLs; the small readers here add what it leaves open:
words for booleans, bounds for numbers, and a message that says what to write instead.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
from pathlib import Path
from typing import Any

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from cronsched.bootstrap import read_env

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", ""})
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Read elsewhere: by gunicorn's settings, ports and start.
_READ_ELSEWHERE = ("HOST", "PORT", "WEB_CONCURRENCY", "WEB_THREADS", "CRONSCHED_LOCK_FD")
# First words that other programs' variables do not begin with (GITHUB_ and SEND_ do).
_OUR_WORDS = frozenset(
    {"CORS", "CSRF", "ENCRYPTION", "EXECUTION", "JWT", "NOTIFICATION", "SCHEDULER", "UPLOAD", "WEBHOOK"}
)
# How alike two names must be for one to be a slip of the other; 0.85 is one or two letters of ten.
_ALIKE = 0.85
# Every name that was asked for: what the product knows, without a list to keep.
_known: set[str] = set()
_in_dotenv: set[str] = set()
RETIRED = ("SCHEDULER_LOCK_PATH", "FASTAPI_DATABASE_URL", "FASTAPI_LOG_FILE", "FASTAPI_LOG_TO_FILE")

# Seconds: a server that falls silent without a word must not hold a thread for ever. PostgreSQL's driver
# knows no limit for an answer, only for a peer that is gone.
CONNECT_S = 10
SILENCE_S = 30
KEEPALIVE_S = 10
STATEMENT_LIMITS = ("read_timeout", "write_timeout")


def load_dotenv(path: Path) -> None:
    """Add `path`'s settings to the environment; what is already set stays."""
    if path.is_file():
        _in_dotenv.update(read_env(path))
        environ.Env.read_env(path, overwrite=False)


def text(name: str, default: str = "") -> str:
    _known.add(name)
    return os.environ.get(name, default).strip()


def flag(name: str, default: bool) -> bool:
    _known.add(name)
    raw = os.environ.get(name)
    if raw is None or not raw.strip():
        return default
    word = raw.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ImproperlyConfigured(f"{name}={raw!r} is not a yes or no: write true or false.")


def number(name: str, default: float, *, low: float, high: float, clamp: bool = False) -> float:
    """A number within [low, high]; with `clamp`, one outside is moved to the nearer bound."""
    raw = text(name)
    try:
        value = float(raw) if raw else default
    except ValueError:
        raise ImproperlyConfigured(f"{name}={raw!r} is not a number.") from None
    if math.isnan(value):
        raise ImproperlyConfigured(f"{name}={raw!r} is not a number.")
    if clamp:
        return min(max(value, low), high)
    if not low <= value <= high:
        raise ImproperlyConfigured(f"{name}={raw} is out of range: {low:g} to {high:g}.")
    return value


def integer(name: str, default: int, *, low: int, high: int, clamp: bool = False) -> int:
    value = number(name, default, low=low, high=high, clamp=clamp)
    if value != int(value):
        raise ImproperlyConfigured(f"{name}={text(name)} must be a whole number.")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, without its empty entries."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str) -> tuple[Network, ...]:
    """Addresses and networks: `10.1.0.5,10.2.0.0/16,fd12::/32`."""
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in words(name))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}; write 10.1.0.5,10.2.0.0/16.") from None


def fernet_keys(name: str) -> list[str]:
    keys = words(name)
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name}: each key is 32 bytes in URL-safe base64; `manage.py generate_key` makes one."
        ) from None
    return keys


def log_file(name: str) -> str:
    """A path that can be written; relative to the working directory."""
    path = text(name)
    if path:
        try:
            Path(path).open("a").close()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}={path} cannot be written: {error.strerror}.") from None
    return path


def database(url: str, base_dir: Path, *, make_folder: bool = True) -> dict[str, Any]:
    """Django's DATABASES entry for `url`; SQLAlchemy's spellings (`mysql+pymysql://`) are understood.

    A relative SQLite path is relative to the project, not to the working directory, so that every
    process of an installation opens the same file. `make_folder`: make the one that it lies in.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ImproperlyConfigured(
            "DATABASE_URL must look like sqlite:///file.db or mysql://user:pass@host/db."
        )
    scheme = scheme.split("+", 1)[0]
    if scheme == "mariadb":
        scheme = "mysql"
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(f"{scheme}://{rest}"))
    except ValueError:
        # The error's own text would show a part of the password.
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read: in a user name or password write %2F for /, %40 for @, %3A for : "
            "and %23 for #."
        ) from None
    options: dict[str, Any] = config.setdefault("OPTIONS", {})
    engine = str(config.get("ENGINE", ""))
    if engine.endswith("sqlite3"):
        _tune_sqlite(config, options, base_dir, make_folder=make_folder)
    elif engine.endswith("mysql"):
        # READ COMMITTED: engine transactions read what is committed now, not a snapshot.
        options.setdefault("charset", "utf8mb4")
        options.setdefault("isolation_level", "read committed")
        options.setdefault("connect_timeout", CONNECT_S)
        for name in STATEMENT_LIMITS:
            options.setdefault(name, SILENCE_S)
    elif engine.endswith("postgresql"):
        options.setdefault("connect_timeout", CONNECT_S)
        options.setdefault("keepalives_idle", KEEPALIVE_S)
        options.setdefault("keepalives_interval", KEEPALIVE_S)
        options.setdefault("keepalives_count", SILENCE_S // KEEPALIVE_S - 1)
        options.setdefault("tcp_user_timeout", SILENCE_S * 1000)
    else:
        raise ImproperlyConfigured(
            f"DATABASE_URL: {scheme}:// is not supported; use sqlite, mysql or postgres."
        )
    config["CONN_MAX_AGE"] = 60
    config["CONN_HEALTH_CHECKS"] = True
    return config


def _tune_sqlite(
    config: dict[str, Any], options: dict[str, Any], base_dir: Path, *, make_folder: bool
) -> None:
    """WAL with IMMEDIATE transactions: readers never block, writers queue instead of failing."""
    if config["NAME"] != ":memory:":
        path = Path(config["NAME"])
        config["NAME"] = str(path if path.is_absolute() else base_dir / path)
        if make_folder:
            Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    options.setdefault("timeout", 20)
    options.setdefault("transaction_mode", "IMMEDIATE")
    options.setdefault("init_command", "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;")


def warnings() -> list[str]:
    """What is set, but read by nobody: retired names, and such as look like a slip of one that is known.

    To be asked once the settings are loaded: what they asked for is what is known.
    """
    known = _known | {*_READ_ELSEWHERE}
    lines = [f"{name} is set, but has no effect any more: take it away." for name in retired_in_use()]
    for name in sorted({*os.environ} - known - {*RETIRED}):
        if meant := difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE):
            lines.append(f"{name} is set, but nobody reads it: did you mean {meant[0]}?")
        elif name in _in_dotenv or name.partition("_")[0] in _OUR_WORDS:
            lines.append(f"{name} is set, but nobody reads it: see docs/operations.md for the names.")
    return lines


def retired_in_use() -> list[str]:
    return [name for name in RETIRED if name in os.environ]
