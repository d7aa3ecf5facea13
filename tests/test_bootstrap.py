"""What ./start.sh and ./test.sh do before any package is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import environ as django_environ
import pytest
from cryptography.fernet import Fernet

from cronsched import bootstrap
from cronsched.bootstrap import Stop

ROOT = Path(__file__).resolve().parent.parent


# ---- .env ---------------------------------------------------------------------------------------


def test_a_missing_env_file_is_written_with_every_secret_for_its_owner_only(tmp_path):
    path = tmp_path / ".env"

    added = bootstrap.complete_env(path, {})

    values = bootstrap.read_env(path)
    assert added == list(values) == ["SECRET_KEY", "JWT_SECRET_KEY", "ENCRYPTION_KEYS"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len({*values.values()}) == 3
    assert min(map(len, values.values())) >= 44
    assert Fernet(values["ENCRYPTION_KEYS"])


def test_a_complete_env_file_is_not_touched(tmp_path):
    path = tmp_path / ".env"
    bootstrap.complete_env(path, {})
    before = path.stat()

    assert bootstrap.complete_env(path, {}) == []
    assert path.stat() == before


@pytest.mark.parametrize(
    ("text", "environ", "added"),
    [
        ("PORT=5002\n", {}, ["SECRET_KEY", "JWT_SECRET_KEY", "ENCRYPTION_KEYS"]),
        ("ENCRYPTION_KEYS=mine\n", {}, ["SECRET_KEY", "JWT_SECRET_KEY"]),
        # One's own SECRET_KEY signs the tokens that are out; a new key beside it would void them.
        ("SECRET_KEY=mine\n", {}, ["ENCRYPTION_KEYS"]),
        ("", {"SECRET_KEY": "mine"}, ["ENCRYPTION_KEYS"]),
        ("", {"ENCRYPTION_KEYS": "mine"}, ["SECRET_KEY", "JWT_SECRET_KEY"]),
        ("", {"ENCRYPTION_KEYS": ""}, ["SECRET_KEY", "JWT_SECRET_KEY", "ENCRYPTION_KEYS"]),
        ("SECRET_KEY=a\nJWT_SECRET_KEY=b\nENCRYPTION_KEYS=c", {}, []),
    ],
)
def test_only_what_nobody_set_is_generated(tmp_path, text, environ, added):
    path = tmp_path / ".env"
    path.write_text(text)

    assert bootstrap.complete_env(path, environ) == added
    assert path.read_text().startswith(text)


@pytest.mark.parametrize("empty", ["SECRET_KEY=", "SECRET_KEY=''", 'export SECRET_KEY=""', "SECRET_KEY=\r"])
def test_an_empty_assignment_is_filled_and_stands_once(tmp_path, empty):
    path = tmp_path / ".env"
    path.write_text(f"# mine\n{empty}\nPORT=5002")

    bootstrap.complete_env(path, {})

    text = path.read_text()
    assert len(re.findall(r"^(?:export )?SECRET_KEY=", text, re.MULTILINE)) == 1
    assert bootstrap.read_env(path)["SECRET_KEY"]
    assert text.startswith("# mine\nPORT=5002\n")


def test_a_linked_env_file_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "env", tmp_path / ".env"
    target.write_text("PORT=5002\n")
    link.symlink_to(target)

    bootstrap.complete_env(link, {})

    assert link.is_symlink()
    assert "SECRET_KEY=" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == ["env"]


def test_an_env_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / ".env").write_bytes(b"NAME=\xff\n")

    with pytest.raises(Stop, match=r"cannot read .*\.env"):
        bootstrap.complete_env(tmp_path / ".env", {})


def test_env_files_are_read_as_the_settings_read_them(tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text(
        "# note\nX_A=1\nexport X_B=two words\nX_C='quoted'\nX_D=\"double\"\nX_E=\nX_F = spaced\n"
        "X_A=2\n X_G=1\nX_H=a=b#c\nX_I='\n\nnonsense\n"
    )
    seen: dict[str, str] = {}
    monkeypatch.setattr(django_environ.Env, "ENVIRON", seen)
    django_environ.Env.read_env(path)

    assert bootstrap.read_env(path) == seen


# ---- one at a time ------------------------------------------------------------------------------


def test_a_second_start_in_the_folder_is_refused_and_told_who_is_there(tmp_path):
    lock = bootstrap.lock_folder(tmp_path)
    bootstrap.note_holder(lock, "process 12, http://127.0.0.1:5001/")

    with pytest.raises(Stop, match=r"another \./start\.sh .*process 12, http://127\.0\.0\.1:5001/"):
        bootstrap.lock_folder(tmp_path)

    os.close(lock)
    os.close(bootstrap.lock_folder(tmp_path))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "instance").write_text("in the way")

    with pytest.raises(Stop, match=f"cannot write in {tmp_path}: File exists"):
        bootstrap.lock_folder(tmp_path)


# ---- what is installed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "drivers"),
    [
        ("", []),
        ("sqlite:///instance/cron_jobs.db", []),
        ("mysql://root@db/cron", ["requirements-mysql.txt"]),
        ("mysql+pymysql://root@db/cron", ["requirements-mysql.txt"]),
        ("mariadb://root@db/cron", ["requirements-mysql.txt"]),
        ("postgres://u:p@db/cron", ["requirements-postgres.txt"]),
        ("postgresql+psycopg2://u:p@db/cron", ["requirements-postgres.txt"]),
    ],
)
def test_the_driver_comes_with_the_database_url(url, drivers):
    assert bootstrap.requirement_files({"DATABASE_URL": url}) == ["requirements.txt", *drivers]


def test_the_environment_wins_over_env_and_an_empty_variable_does_not(tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=mysql://db/a\nHOST=::1\n")

    assert bootstrap.effective({"DATABASE_URL": "", "HOST": "192.0.2.1"}, tmp_path) == {
        "DATABASE_URL": "mysql://db/a",
        "HOST": "192.0.2.1",
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with requirements and a `.venv` whose Python writes down what it is asked."""
    for name in ("requirements", "requirements-dev", "requirements-mysql", "constraints"):
        (tmp_path / f"{name}.txt").write_text(f"# {name}\n")
    fake_pip(tmp_path, "")
    return tmp_path


def fake_pip(project: Path, answer: str, code: int = 0) -> None:
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    note = f"echo \"$*\" >> '{project}/calls'"
    python.write_text(f"#!/bin/sh\ncase $* in *install*) {note}; echo '{answer}'; exit {code};; esac\n")
    python.chmod(0o755)


def installs(project: Path) -> list[str]:
    calls = project / "calls"
    return re.findall(r"-r (\S+)", calls.read_text()) if calls.exists() else []


def test_packages_are_installed_once_and_again_after_a_change(project):
    for _ in range(2):
        bootstrap.ensure_environment(project, ["requirements.txt"])
    assert installs(project) == ["requirements.txt"]

    (project / "constraints.txt").write_text("Django==5.2.99\n")
    bootstrap.ensure_environment(project, ["requirements.txt"])
    assert installs(project) == ["requirements.txt"] * 2


def test_the_dev_packages_follow_a_change_of_what_they_include(project):
    bootstrap.ensure_environment(project, ["requirements-dev.txt"])
    (project / "requirements.txt").write_text("Django\n")
    bootstrap.ensure_environment(project, ["requirements-dev.txt"])

    assert installs(project) == ["requirements-dev.txt"] * 2


def test_a_failed_installation_is_tried_again_at_the_next_start(project):
    fake_pip(project, "ERROR: no space left", code=1)
    with pytest.raises(Stop):
        bootstrap.ensure_environment(project, ["requirements.txt"])
    fake_pip(project, "")
    bootstrap.ensure_environment(project, ["requirements.txt"])

    assert installs(project) == ["requirements.txt"] * 2


@pytest.mark.parametrize(
    ("name", "output", "words"),
    [
        (
            "requirements.txt",
            "ERROR: No space left on device",
            "could not be installed: No space left on device",
        ),
        ("requirements.txt", "Killed", "pip ended with exit code 1"),
        ("requirements.txt", "Failed to establish a new connection: x", "no package index could be reached"),
        (
            "requirements-mysql.txt",
            "ERROR: mysql_config not found",
            "apt-get install libmariadb-dev pkg-config gcc",
        ),
    ],
)
def test_a_failed_installation_is_one_line_with_the_way_out(project, name, output, words):
    fake_pip(project, output, code=1)

    with pytest.raises(Stop, match=words) as stop:
        bootstrap.ensure_environment(project, [name])

    assert "\n" not in str(stop.value)
    assert str(project / ".venv" / f"{name}.log") in str(stop.value)


def test_a_broken_environment_is_made_anew(project, monkeypatch):
    shutil.rmtree(project / ".venv")
    monkeypatch.setattr(bootstrap, "_make_venv", lambda root, python: fake_pip(root, ""))

    assert bootstrap.ensure_environment(project, ["requirements.txt"]).exists()
    assert installs(project) == ["requirements.txt"]


def test_a_python_without_venv_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    with pytest.raises(Stop, match=r"apt-get install python3\.\d+-venv"):
        bootstrap._make_venv(tmp_path, tmp_path / ".venv" / "bin" / "python")


# ---- start.sh -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """start.sh in a folder whose name has spaces, and a PATH that holds only what it names."""
    folder = tmp_path / "a folder"
    (folder / "cronsched").mkdir(parents=True)
    for name in ("start.sh", "cronsched/find_python.sh", "cronsched/bootstrap.py"):
        shutil.copy2(ROOT / name, folder / name)
    (tmp_path / "bin").mkdir()
    for tool in ("dirname", "readlink"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    return folder


def run_start(folder: Path, *arguments: str, script: Path | None = None, **environ: str):
    return subprocess.run(
        ["/bin/sh", script or folder / "start.sh", *arguments],
        cwd="/",
        env={"PATH": str(folder.parent / "bin"), **environ},
        capture_output=True,
        text=True,
    )


def refusal(run: subprocess.CompletedProcess[str]) -> str:
    """The one line of a start that was refused."""
    assert run.returncode == 1, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert run.stderr.startswith("cronsched: ")
    return run.stderr


def install_python(folder: Path, name: str, script: str) -> None:
    path = folder.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_machine_without_python_is_told_what_to_install(folder):
    assert "needs Python 3.11 or newer (found: none)" in refusal(run_start(folder))


def test_an_old_python_is_named(folder):
    install_python(folder, "python3", "case $* in *version_info\\ \\<*) exit 1;; esac; echo Python 3.9")

    assert "(found: Python 3.9)" in refusal(run_start(folder))


def test_a_newer_python_beside_an_old_one_is_taken(folder):
    install_python(folder, "python3", "exit 1")
    install_python(folder, "python3.12", f'exec {sys.executable} "$@"')

    # It came as far as reading its arguments.
    assert "takes no arguments" in refusal(run_start(folder, "--help"))


def test_a_python_that_was_named_and_does_not_serve_is_not_passed_over(folder):
    install_python(folder, "python3", f'exec {sys.executable} "$@"')

    assert "/nowhere/python" in refusal(run_start(folder, PYTHON="/nowhere/python"))


def test_a_link_to_start_sh_finds_its_folder(folder, tmp_path):
    (tmp_path / "link").symlink_to("a folder/start.sh")
    install_python(folder, "python3", f'exec {sys.executable} "$@"')

    assert "takes no arguments" in refusal(run_start(folder, "x", script=tmp_path / "link"))


def test_an_unwritable_folder_is_one_line(folder):
    (folder / "instance").write_text("in the way")
    install_python(folder, "python3", f'exec {sys.executable} "$@"')

    assert f"cannot write in {folder}" in refusal(run_start(folder))
