"""create_admin, seed and generate_key, as they are called from a shell."""

from __future__ import annotations

import io
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.tests.factories import UserFactory
from cronsched.management.commands import create_admin
from taxonomy.models import JobCategory

CATEGORIES = {"general", "maintenance", "reports", "backup", "monitoring"}


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def admin(*more: str, username: str = "root", email: str = "root@example.com") -> str:
    return run("create_admin", "--username", username, "--email", email, *more)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a person types these answers."""

    def type_(*answers: str) -> None:
        left = list(answers)

        def answer(prompt: str) -> str:
            if not left:
                raise EOFError
            return left.pop(0)

        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr(create_admin.getpass, "getpass", answer)

    return type_


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


# ---- create_admin -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_admin_is_created_with_the_password_that_is_given() -> None:
    out = admin("--password", "secret1")

    user = User.objects.get()
    assert (user.role, user.is_active, user.check_password("secret1")) == ("admin", True, True)
    assert "root <root@example.com> was created" in out
    assert "secret1" not in out


@pytest.mark.django_db
def test_without_a_terminal_a_password_is_generated_and_shown_once() -> None:
    out = admin()

    password = out.strip().rpartition(" ")[2]
    assert len(password) == 20
    assert User.objects.get().check_password(password)


@pytest.mark.django_db
def test_at_a_terminal_the_password_is_asked_for(terminal: Any) -> None:
    terminal("typed-1", "typed-1")

    out = admin()

    assert User.objects.get().check_password("typed-1")
    assert "typed-1" not in out
    assert "Password" not in out


@pytest.mark.django_db
def test_enter_alone_generates_one(terminal: Any) -> None:
    terminal("")

    assert "Password, shown only this once: " in admin()


@pytest.mark.django_db
@pytest.mark.parametrize("answers", [("typed-1", "typed-2"), (), ("typed-1",)])
def test_a_password_that_was_not_meant_creates_nobody(terminal: Any, answers: tuple[str, ...]) -> None:
    terminal(*answers)

    with pytest.raises(CommandError):
        admin()
    assert not User.objects.exists()


@pytest.mark.django_db
def test_somebody_who_is_there_is_promoted_and_keeps_the_password(terminal: Any) -> None:
    UserFactory(username="Root", email="root@example.com", viewer=True, inactive=True, password="kept-1")
    terminal()

    out = admin()

    user = User.objects.get()
    assert (user.role, user.is_active, user.check_password("kept-1")) == ("admin", True, True)
    assert "is an active admin" in out
    assert "Password" not in out
    assert admin() == out, "safe to repeat"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "more", "words"),
    [
        ({"username": "a b"}, ["--password", "secret1"], "username: "),
        ({"email": "nonsense"}, ["--password", "secret1"], "email: "),
        ({"email": "uma@example.com"}, ["--password", "secret1"], "already has the address"),
        ({}, ["--password", "short"], "password: "),
        ({}, ["--password", ""], "password: "),
    ],
)
def test_bad_input_is_one_clear_line(values: dict[str, str], more: list[str], words: str) -> None:
    UserFactory(username="uma")

    with pytest.raises(CommandError, match=words) as refusal:
        admin(*more, **values)
    assert "\n" not in str(refusal.value)
    assert User.objects.count() == 1


@pytest.mark.parametrize("args", [[], ["--username", "root"], ["--email", "root@example.com"]])
def test_both_names_are_needed(args: list[str]) -> None:
    with pytest.raises(CommandError, match="required"):
        run("create_admin", *args)


# ---- seed -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_seed_creates_the_categories_once(settings: Any) -> None:
    settings.ALLOW_DEFAULT_ADMIN = False
    JobCategory.objects.all().delete()

    assert "general, maintenance, reports, backup, monitoring" in run("seed")
    assert run("seed") == ""
    assert set(JobCategory.objects.values_list("slug", flat=True)) == CATEGORIES
    assert not User.objects.exists()


@pytest.mark.django_db
def test_what_people_did_to_the_categories_stays(settings: Any) -> None:
    settings.ALLOW_DEFAULT_ADMIN = False
    run("seed")
    JobCategory.objects.filter(slug="reports").update(slug="figures", name="Figures", name_key="figures")
    JobCategory.objects.filter(slug="backup").update(is_active=False)

    assert run("seed") == ""
    assert set(JobCategory.objects.values_list("slug", flat=True)) == CATEGORIES - {"reports"} | {"figures"}
    assert JobCategory.objects.get(slug="backup").is_active is False


@pytest.mark.django_db
def test_general_always_comes_back(settings: Any) -> None:
    settings.ALLOW_DEFAULT_ADMIN = False
    run("seed")
    JobCategory.objects.filter(slug="general").delete()

    run("seed")
    assert JobCategory.objects.filter(slug="general", is_active=True).exists()


@pytest.fixture
def default_admin(settings: Any) -> Any:
    settings.ALLOW_DEFAULT_ADMIN = True
    settings.DEFAULT_ADMIN_USERNAME = "first"
    settings.DEFAULT_ADMIN_EMAIL = "first@example.com"
    settings.DEFAULT_ADMIN_PASSWORD = ""
    return settings


@pytest.mark.django_db
def test_seed_creates_the_first_admin_and_shows_the_password_once(default_admin: Any) -> None:
    out = run("seed")

    user = User.objects.get()
    assert (user.username, user.role) == ("first", "admin")
    assert user.check_password(out.strip().rpartition(" ")[2])
    assert "Password" not in run("seed")


@pytest.mark.django_db
def test_a_password_that_is_set_is_used_and_not_shown(default_admin: Any) -> None:
    default_admin.DEFAULT_ADMIN_PASSWORD = "from-the-env"

    out = run("seed")

    assert User.objects.get().check_password("from-the-env")
    assert "from-the-env" not in out


@pytest.mark.django_db
def test_where_an_admin_is_no_default_one_is_made(default_admin: Any) -> None:
    UserFactory(username="boss", admin=True)

    run("seed")
    assert User.objects.get().username == "boss"


@pytest.mark.django_db
def test_a_bad_default_admin_is_one_clear_line(default_admin: Any) -> None:
    default_admin.DEFAULT_ADMIN_PASSWORD = "short"

    with pytest.raises(CommandError, match=r"DEFAULT_ADMIN_\*.*password") as refusal:
        run("seed")
    assert "\n" not in str(refusal.value)


# ---- generate_key -----------------------------------------------------------------------------


def test_a_generated_key_encrypts_and_is_never_the_same() -> None:
    first, second = run("generate_key").strip(), run("generate_key").strip()

    assert first != second
    assert Fernet(first).decrypt(Fernet(first).encrypt(b"x")) == b"x"
