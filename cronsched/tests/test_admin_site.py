from __future__ import annotations

from ipaddress import ip_network

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.test import Client
from django.urls import reverse
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from accounts.models import User
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.throttle import ACCOUNT_LIMIT, ADDRESS_LIMIT
from cronsched import admin_config
from cronsched.core.admin import BaseAdmin

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


def sign_in(client: Client, username: str, password: str = PASSWORD):
    return client.post(LOGIN, {"username": username, "password": password})


def link_to(model: str) -> str:
    return f'href="{reverse(f"admin:{model}_changelist")}"'


@pytest.mark.parametrize("role", ["admin", "user", "viewer"])
@pytest.mark.parametrize("identifier", ["Ada@Example.com", "ADA"])
def test_every_active_user_signs_in_by_name_or_address(client, role, identifier):
    UserFactory(username="ada", email="ada@example.com", role=role)

    response = sign_in(client, identifier)

    assert (response.status_code, response.url) == (302, reverse("admin:index"))
    assert client.get(reverse("admin:index")).status_code == 200


def test_an_inactive_user_does_not_sign_in_and_is_put_out(client):
    user = UserFactory()
    sign_in(client, user.username)
    User.objects.update(is_active=False)

    assert client.get(reverse("admin:index")).status_code == 302
    assert sign_in(Client(), user.username).status_code == 200


def test_an_address_longer_than_a_username_can_be_typed(client):
    address = f"{'a' * 64}@{'b' * 40}.example"
    UserFactory(email=address)

    assert 'maxlength="120"' in client.get(LOGIN).content.decode()
    assert sign_in(client, address).status_code == 302


def test_too_many_failures_are_refused_however_the_name_is_spelled(client):
    UserFactory(username="administrator")
    spellings = ["administrator", " Administrator", "ADMINISTRATOR", "aDmInIsTrAtOr "] * 3

    answers = [sign_in(client, name, "wrong") for name in spellings]

    assert [answer.status_code for answer in answers] == [200] * ACCOUNT_LIMIT + [429] * 2
    assert "Try again in 15 minutes" in answers[-1].content.decode()
    assert int(answers[-1].headers["Retry-After"]) > 800
    assert sign_in(client, "administrator").status_code == 429, "the right password does not help now"


def test_an_address_is_counted_for_itself_behind_a_proxy(client, settings):
    settings.TRUSTED_PROXIES = (ip_network("127.0.0.1"),)
    for number in range(ADDRESS_LIMIT + 1):
        last = client.post(
            LOGIN, {"username": f"nobody{number}", "password": "x"}, headers={"X-Forwarded-For": "192.0.2.7"}
        )

    assert last.status_code == 429
    assert sign_in(client, UserFactory().username).status_code == 302, "another address"


def test_only_our_own_pages_are_registered():
    """What a package registers for itself would show every role what it likes."""
    assert all(isinstance(page, BaseAdmin) for page in admin.site._registry.values())
    assert not admin.site.is_registered(OutstandingToken)


@pytest.mark.parametrize(
    ("role", "sees_administration"), [("admin", True), ("user", False), ("viewer", False)]
)
def test_the_navigation_is_the_roles(request, role, sees_administration):
    page = request.getfixturevalue(f"{role}_site").open("index").content.decode()

    for model in ("jobs_job", "jobs_jobexecution", "taxonomy_picteam", "notifications_notification"):
        assert link_to(model) in page
    for model in ("accounts_user", "notifications_slacksettings", "jobs_schedulerlease"):
        assert (link_to(model) in page) == sees_administration


@pytest.mark.parametrize(
    "path", [LOGIN, "/admin/", "/admin/jobs/job/", "/admin/accounts/user/", "/admin/nothing/"]
)
def test_every_answer_below_the_site_carries_the_policy(viewer_site, path):
    policy = viewer_site.get(path).headers["Content-Security-Policy"]

    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "default-src 'self'" in policy


def test_the_api_is_left_alone(client):
    assert "Content-Security-Policy" not in client.get("/api/v2/health").headers


@pytest.mark.parametrize(
    "page",
    ["index", "jobs_job_changelist", "jobs_job_add", "jobs_jobexecution_changelist", "accounts_user_add"],
)
def test_no_page_holds_an_inline_script_or_another_host(admin_site, page):
    html = admin_site.open(page).content.decode()

    assert "<script>" not in html
    assert "javascript:" not in html
    assert not [line for line in html.splitlines() if 'src="http' in line or "src='http" in line]


def test_the_search_of_pages_finds_those_of_the_role(admin_site, user_site):
    assert "Users" in admin_site.open("search", s="users").content.decode()
    assert "Users" not in user_site.open("search", s="users").content.decode()
    assert admin_site.open("search", s="users", page="junk").status_code == 400


def test_a_change_of_role_counts_at_the_next_click(admin_site):
    assert admin_site.open("accounts_user_changelist").status_code == 200
    User.objects.update(role="viewer")

    assert admin_site.open("accounts_user_changelist").status_code == 403


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/admin/accounts/user/", 403, "Your role does not allow it"),
        ("/admin/nothing/", 404, "There is nothing here"),
        ("/nothing", 404, "There is nothing here"),
    ],
)
def test_a_refused_or_missing_page_says_so_in_words(viewer_site, path, status, words):
    response = viewer_site.get(path)

    assert response.status_code == status
    assert words in response.content.decode()


def test_the_checks_of_pages_look_at_all_of_them(monkeypatch):
    """Pages are looked for when their paths are: a check that came before would have nothing to look at."""
    looked_for = []
    monkeypatch.setattr(admin_config, "import_module", looked_for.append)
    monkeypatch.setattr(admin_config, "check_admin_app", lambda app_configs, **options: looked_for)

    assert run_checks(tags=["admin"]) == ["cronsched.urls"]
