"""Makes an environment out of a bare Python: what ./start.sh and ./test.sh do first.

Standard library only, for it runs before any package is installed, by path and with `-P`:
`python3 -P cronsched/bootstrap.py start`. It makes `.venv`, installs what the requirements files
ask for (again only when they change), writes `.env` with generated secrets, and becomes
`cronsched.start` or `cronsched.testing.run` in that environment. Whatever can be said in one
line is a `Stop`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
MYSQL_PACKAGES = "apt-get install libmariadb-dev pkg-config gcc python3-dev"
# A variable that start.py reads back: the descriptor that holds the folder's lock.
LOCK_FD = "CRONSCHED_LOCK_FD"
_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stop(Exception):
    """One clear line for the person at the terminal; the exit code is 1."""


def say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"cronsched: {line}", flush=True)  # noqa: T201


# ---- .env ---------------------------------------------------------------------------------------

ENV_HEADER = """\
# Settings of this installation, written by ./start.sh; .env.example lists every variable.
# Keep it: stored secrets are unreadable without ENCRYPTION_KEYS. It is not part of the repository.
"""
GENERATED: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "JWT_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    # A Fernet key.
    "ENCRYPTION_KEYS": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
}
_ASSIGNMENT = re.compile(r"(?:export )?([A-Za-z_0-9]+)=(.*)")


def read_env(path: Path) -> dict[str, str]:
    """The assignments of a .env file, as django-environ reads them (the last one of a name counts)."""
    values = {}
    for line in _read(path).splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match:
            name, value = match.groups()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            values[name] = value[1:-1] if quoted else value
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"cannot read {path}: {_reason(error)}.") from None


def complete_env(path: Path, environ: Mapping[str, str]) -> list[str]:
    """Add the secrets that neither `path` nor `environ` has; returns their names. A value is never changed.

    A SECRET_KEY of the operator's own signs tokens too (JWT_SECRET_KEY falls back to it): a generated
    JWT_SECRET_KEY beside it would void the tokens that are out, so none is added then.
    """
    present = read_env(path)
    missing = [name for name in GENERATED if not (environ.get(name) or present.get(name))]
    if "SECRET_KEY" not in missing and "JWT_SECRET_KEY" in missing:
        missing.remove("JWT_SECRET_KEY")
    if not missing:
        return []
    text = _read(path) or ENV_HEADER
    if not text.endswith("\n"):
        text += "\n"
    for name in missing:
        # An empty assignment is filled where it stands: the file keeps one line a name.
        text = re.sub(rf"(?m)^(?:export )?{name}=(''|\"\")?\s*?\n", "", text)
        text += f"{name}={GENERATED[name]()}\n"
    _write_private(path, text)
    return missing


def _write_private(path: Path, text: str) -> None:
    """Replace `path` whole or not at all; readable by its owner only. A link stays a link."""
    path = path.resolve()
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise Stop(f"cannot write {path}: {_reason(error)}.") from None


def effective(environ: Mapping[str, str], root: Path) -> dict[str, str]:
    """`environ` over `.env`; an empty variable counts as absent, so that the file's value holds."""
    return read_env(root / ".env") | {name: value for name, value in environ.items() if value}


# ---- one at a time ------------------------------------------------------------------------------


def lock_folder(root: Path) -> int:
    """The descriptor of this folder's lock, held while the process lives; Stop where another has it."""
    path = root / "instance" / "start.lock"
    try:
        # The database will lie in here: nobody else's to read.
        path.parent.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.lseek(lock, 0, os.SEEK_SET)
    except OSError as error:
        raise Stop(
            f"cannot write in {root}: {_reason(error)}. Give this user the folder (chown), or use a copy."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 200).decode(errors="replace").strip()
        raise Stop(
            f"another ./start.sh runs in this folder{f' ({holder})' if holder else ''}; stop it first."
        ) from None
    except OSError:
        # A file system without locks: better an unguarded start than none.
        pass
    note_holder(lock, f"process {os.getpid()}")
    os.set_inheritable(lock, True)
    return lock


def note_holder(lock: int, text: str) -> None:
    """What a second start says of this one."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


@contextlib.contextmanager
def _installing(root: Path) -> Iterator[None]:
    """./start.sh and ./test.sh share .venv: one waits for the other's installation."""
    try:
        (root / "instance").mkdir(exist_ok=True)
        file = open(root / "instance" / "install.lock", "w")  # noqa: SIM115, closed by the with below
    except OSError as error:
        raise Stop(f"cannot write in {root}: {_reason(error)}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation runs in this folder; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


# ---- the virtual environment --------------------------------------------------------------------


def requirement_files(
    environ: Mapping[str, str], *, dev: bool = False, every_driver: bool = False
) -> list[str]:
    """The requirements files this start needs; the database's driver comes with its URL."""
    scheme = environ.get("DATABASE_URL", "").partition(":")[0].partition("+")[0].lower()
    files = ["requirements-dev.txt" if dev else "requirements.txt"]
    if every_driver or scheme in {"mysql", "mariadb"}:
        files.append("requirements-mysql.txt")
    if every_driver or scheme in {"postgres", "postgresql", "pgsql", "psql"}:
        files.append("requirements-postgres.txt")
    if environ.get("SEND_BACKEND", "").strip() == "celery":
        files.append("requirements-celery.txt")
    return files


def ensure_environment(root: Path, files: Sequence[str]) -> Path:
    """The Python of `.venv`, with `files` installed; where nothing changed, no process is started for it."""
    python = root / ".venv" / "bin" / "python"
    with _installing(root):
        if not _works(python, root):
            _make_venv(root, python)
        for name in files:
            stamp = root / ".venv" / f".{name}.sha256"
            digest = _digest(root, name)
            if not stamp.exists() or stamp.read_text() != digest:
                _install(root, python, name)
                stamp.write_text(digest)
    return python


def _works(python: Path, root: Path) -> bool:
    if Path(sys.prefix) == root / ".venv":
        return True
    if not python.exists():
        return False
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0  # noqa: S603


def _digest(root: Path, name: str) -> str:
    """What `.venv` was made from; the dev file reads requirements.txt, all of them the constraints."""
    names = dict.fromkeys([name, "requirements.txt", "constraints.txt"])
    content = b"\0".join((root / each).read_bytes() for each in names)
    return hashlib.sha256(content).hexdigest()


def _make_venv(root: Path, python: Path) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    say(f"creating .venv with Python {version}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Stop(
            f"Python {version} has no venv module. Debian, Ubuntu: apt-get install python{version}-venv "
            "(or python3-venv); then ./start.sh again."
        ) from None
    made = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "venv", "--clear", root / ".venv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode or not python.exists():
        last = (made.stdout.strip().splitlines() or ["no message"])[-1]
        raise Stop(f"the virtual environment {root / '.venv'} could not be made: {last}")


def _install(root: Path, python: Path, name: str) -> None:
    say(f"installing {name} (minutes on a first start, then seconds)")
    log = root / ".venv" / f"{name}.log"
    _ensure_pip(python)
    code = _run_pip([str(python), "-m", "pip", "install", "-r", name], cwd=root, log=log)
    if code == 0:
        return
    errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with exit code {code}"
    if name == "requirements-mysql.txt":
        raise Stop(
            "DATABASE_URL asks for MySQL, whose driver must be compiled here. Debian, Ubuntu: "
            f"{MYSQL_PACKAGES}; macOS: brew install mariadb-connector-c pkg-config. Then start again "
            f"(pip's own words: {log})."
        )
    if _no_index(log):
        reason = "no package index could be reached; check the network, or set PIP_INDEX_URL or PIP_PROXY"
    raise Stop(f"{name} could not be installed: {reason}. Log: {log}")


def _ensure_pip(python: Path) -> None:
    """A start that was cut off while it made `.venv` leaves a Python without pip."""
    for arguments in ("pip --version", "ensurepip --upgrade"):
        argv = [str(python), "-m", *arguments.split()]
        if subprocess.run(argv, capture_output=True).returncode == 0:  # noqa: S603
            return
    raise Stop(f"{python} has no pip: remove the .venv folder and start again.")


def _no_index(log: Path) -> bool:
    text = log.read_text(errors="replace")
    marks = (
        "Failed to establish a new connection",
        "NameResolutionError",
        "ConnectTimeoutError",
        "ProxyError",
    )
    return any(mark in text for mark in marks)


def _run_pip(argv: Sequence[str], *, cwd: Path, log: Path) -> int:
    """Run pip into `log`, with a word now and then for whoever waits."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    environ.setdefault("PIP_RETRIES", "2")
    with (
        log.open("w") as file,
        subprocess.Popen(  # noqa: S603
            [*argv, *options],
            cwd=cwd,
            env=environ,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as pip,
    ):
        try:
            progress = _Progress()
            for line in pip.stdout or ():
                file.write(line)
                progress.see(line)
        except BaseException:
            # Ctrl-C and SIGTERM: no installation goes on behind the back of whoever stopped it.
            pip.terminate()
            raise
    return pip.returncode


class _Progress:
    """Every few seconds one line; a package manager's whole output helps nobody."""

    EVERY_S = 4.0

    def __init__(self) -> None:
        self._found = 0
        self._said_at = time.monotonic()

    def see(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._found += 1
            if time.monotonic() - self._said_at > self.EVERY_S:
                self._said_at = time.monotonic()
                say(f"  {self._found} packages found, now {line.split()[1]}")
        elif line.startswith("Installing collected packages"):
            count = line.count(",") + 1
            say(f"  unpacking {count} {'package' if count == 1 else 'packages'}")


# ---- the whole ----------------------------------------------------------------------------------


def start(root: Path, environ: dict[str, str], arguments: Sequence[str]) -> NoReturn:
    if arguments:
        raise Stop(
            "./start.sh takes no arguments: settings come from the environment or .env (see .env.example)."
        )
    lock = lock_folder(root)
    added = complete_env(root / ".env", environ)
    if added:
        say(f"wrote {', '.join(added)} to .env")
    python = ensure_environment(root, requirement_files(effective(environ, root)))
    _become(python, "cronsched.start", [], root, environ | {LOCK_FD: str(lock)})


def test(root: Path, environ: dict[str, str], arguments: Sequence[str]) -> NoReturn:
    every_driver = environ.get("REQUIRE_SERVICES") == "1"
    url = {"DATABASE_URL": environ.get("TEST_DATABASE_URL", "")}
    python = ensure_environment(root, requirement_files(url, dev=True, every_driver=every_driver))
    _become(python, "cronsched.testing.run", arguments, root, environ)


def _become(
    python: Path, module: str, arguments: Sequence[str], root: Path, environ: dict[str, str]
) -> NoReturn:
    os.chdir(root)
    # A Ctrl-C while the next Python still imports waits until it listens (`listen_to_signals`).
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    os.execve(python, [str(python), "-m", module, *arguments], environ)  # noqa: S606


def listen_to_signals() -> None:
    """Ctrl-C raises KeyboardInterrupt from here on, and SIGTERM ends the process as sys.exit does."""
    # A shell's background job starts with SIGINT ignored; it means the same either way.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def main(argv: Sequence[str]) -> int:
    command = {"start": start, "test": test}[argv[0]]
    try:
        listen_to_signals()
        command(ROOT, dict(os.environ), argv[1:])
    except Stop as stop:
        with contextlib.suppress(OSError):
            print(f"cronsched: {stop}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
