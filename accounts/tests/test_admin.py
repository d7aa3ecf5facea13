from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import LoginFailure, User
from accounts.roles import Role
from accounts.tests.factories import PASSWORD, UserFactory
from cronsched.core import clock
from cronsched.testing.fixtures_admin import errors_of, messages_of
from jobs.tests.factories import JobFactory

pytestmark = pytest.mark.django_db

LIST, ADD, CHANGE, DELETE = (f"accounts_user_{view}" for view in ("changelist", "add", "change", "delete"))


def sign_in(**credentials):
    return Client().post("/admin/login/", credentials)


# ---- for admins ------------------------------------------------------------------------------------


def test_an_admin_adds_a_user_who_can_sign_in(admin_site):
    admin_site.submit(ADD, username="New_one", email="New@example.com", new_password="secret6", role="user")

    user = User.objects.get(username="New_one")
    assert user.role == Role.USER
    assert sign_in(username="new@EXAMPLE.com", password="secret6").status_code == 302


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"username": "x"}, "username", "3 to 80 letters"),
        ({"email": "nobody"}, "email", "Enter a valid e-mail address."),
        ({"new_password": "short"}, "new_password", "at least 6"),
        ({"new_password": ""}, "new_password", "at least 6"),
        ({"role": "king"}, "role", "Role must be one of: admin, user, viewer"),
    ],
)
def test_a_refusal_stands_on_its_field(admin_site, values, field, words):
    given = {"username": "somebody", "email": "s@example.com", "new_password": "secret6", **values}

    errors = errors_of(admin_site.submit(ADD, **given))

    assert list(errors) == [field]
    assert words in errors[field][0]
    assert not User.objects.filter(email="s@example.com").exists()


@pytest.mark.parametrize(("field", "value"), [("username", "TAKEN"), ("email", "Taken@Example.com")])
def test_a_taken_name_or_address_is_refused(admin_site, field, value):
    UserFactory(username="taken", email="taken@example.com")
    given = {"username": "somebody", "email": "s@example.com", "new_password": "secret6", field: value}

    errors = errors_of(admin_site.submit(ADD, **given))

    assert list(errors) == [field]
    assert User.objects.count() == 2


def test_role_activation_and_password_are_changed_by_the_service(admin_site):
    user = UserFactory()

    admin_site.submit(CHANGE, user.pk, role="viewer", new_password="another-one")
    admin_site.act("deactivate", LIST, user.pk)

    user.refresh_from_db()
    assert (user.role, user.is_active) == (Role.VIEWER, False)
    assert user.check_password("another-one")
    assert user.token_version == 3, "a new password and a deactivation end earlier tokens"


def test_an_empty_password_keeps_the_old_one(admin_site):
    user = UserFactory()

    admin_site.submit(CHANGE, user.pk, email="other@example.com", new_password="")

    user.refresh_from_db()
    assert user.email == "other@example.com"
    assert user.check_password(PASSWORD)


def test_the_last_admin_stays_by_form_by_action_and_by_deletion(admin_site):
    admin = admin_site.user
    other = UserFactory(admin=True, is_active=False)

    demoted = admin_site.submit(CHANGE, admin.pk, role="user")
    disabled = admin_site.act("deactivate", LIST, admin.pk)
    deleted = admin_site.send(DELETE, admin.pk, post="yes")

    last = "This is the last active admin: make somebody else an admin first."
    assert errors_of(demoted) == {"__all__": [f"Last admin. {last}"]}
    assert messages_of(disabled) == [f"{admin.username}: Last admin. {last}"]
    assert messages_of(deleted)[-1].startswith("Cannot delete your own account.")
    admin.refresh_from_db()
    assert (admin.role, admin.is_active) == (Role.ADMIN, True)
    assert other.role == Role.ADMIN


def test_deleting_a_user_leaves_their_jobs(admin_site):
    job = JobFactory()

    admin_site.act("delete_selected", LIST, job.created_by.pk, admin_site.user.pk, post="yes")

    job.refresh_from_db()
    assert job.created_by is None
    assert User.objects.get() == admin_site.user


def test_no_page_shows_a_hash(admin_site):
    user = UserFactory()
    digest = user.password.rsplit("$", 1)[-1]

    for page in (admin_site.open(LIST), admin_site.open(CHANGE, user.pk), admin_site.open(DELETE, user.pk)):
        assert digest not in page.content.decode()


def test_the_list_costs_the_same_for_few_and_many(admin_site):
    admin_site.open(LIST)

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            admin_site.open(LIST)
        return len(caught)

    few = queries()
    UserFactory.create_batch(10)
    assert queries() == few <= 7


# ---- for everybody else ----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["user", "viewer"])
def test_others_see_and_change_nobody_but_themselves(request, role):
    site = request.getfixturevalue(f"{role}_site")
    other = UserFactory()

    assert site.open(LIST).status_code == 403
    assert site.open(ADD).status_code == 403
    for page in (site.open(CHANGE, other.pk), site.send(CHANGE, other.pk, email="mine@example.com")):
        assert page.status_code == 403
    assert site.send(DELETE, site.user.pk, post="yes").status_code == 403
    site.act("deactivate", LIST, other.pk)
    other.refresh_from_db()
    assert other.is_active
    assert other.email != "mine@example.com"


def test_ones_own_profile_takes_a_new_address_and_nothing_else(viewer_site):
    me = viewer_site.user

    viewer_site.submit(
        CHANGE, me.pk, email="new@example.com", role="admin", is_active="", new_password="changed!"
    )

    me.refresh_from_db()
    assert me.email == "new@example.com"
    assert (me.role, me.is_active) == (Role.VIEWER, True)
    assert me.check_password(PASSWORD)


def test_ones_own_password_needs_the_old_one_and_ends_tokens(viewer_site):
    me = viewer_site.user

    wrong = {"old_password": "wrong", "new_password1": "brand-new", "new_password2": "brand-new"}
    assert viewer_site.send("password_change", **wrong).status_code == 200
    right = viewer_site.send("password_change", **{**wrong, "old_password": PASSWORD})

    me.refresh_from_db()
    assert right.status_code == 302
    assert me.check_password("brand-new")
    assert me.token_version == 2
    assert viewer_site.open("index").status_code == 200, "this session goes on"


def test_failed_sign_ins_are_for_admins(admin_site, user_site):
    failure = LoginFailure.objects.create(key="address:192.0.2.1", count=10, resets_at=clock.now())

    assert user_site.open("accounts_loginfailure_changelist").status_code == 403
    assert "192.0.2.1" in admin_site.open("accounts_loginfailure_changelist").content.decode()
    admin_site.act("unlock", "accounts_loginfailure_changelist", failure.pk)
    assert not LoginFailure.objects.exists()


def test_an_admin_unlocks_an_account_by_both_its_names(admin_site, client):
    user = UserFactory()
    for name in (user.username, user.email, "somebody"):
        client.post("/admin/login/", {"username": name, "password": "wrong"})

    admin_site.act("unlock", "accounts_user_changelist", user.pk)

    left = set(LoginFailure.objects.values_list("key", flat=True))
    assert len(left) == 2, "the address's and somebody's"


def test_what_becomes_of_somebodys_jobs_is_said(admin_site):
    uma = UserFactory(username="uma")
    JobFactory.create_batch(2, created_by=uma)

    page = admin_site.open("accounts_user_change", uma.pk).content.decode()
    assert "Owns 2 jobs." in page
    question = admin_site.open("accounts_user_delete", uma.pk).content.decode()
    assert "whose 2 jobs stay without an owner" in question
    answer = admin_site.act("deactivate", "accounts_user_changelist", uma.pk)
    assert any("still owns 2 jobs" in text and f"?owner={uma.pk}" in text for text in messages_of(answer))
