"""Who may do what on the admin site: one row for each registered model, each role, each verb.

A model without its row fails, and so does a row that allows more or less than the site does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import models
from django.test import override_settings
from django.urls import NoReverseMatch, reverse
from django_apscheduler.models import DjangoJob, DjangoJobExecution

from accounts.models import ApiKey, AuditEntry, LoginFailure, User
from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import Visitor
from jobs.engine.tell import tell_finished
from jobs.models import ChoreState, GitHubToken, SchedulerLease
from jobs.tests.factories import NOON, ExecutionFactory, JobFactory
from notifications.models import Channel, EmailOptOut, Message, NotificationPreferences, SlackSettings
from notifications.tests.factories import NotificationFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

pytestmark = pytest.mark.django_db
ROLES = ("admin", "user", "viewer")
# A converter of Django's, or a group of a regular expression.
_PARAMETER = re.compile(r"<[^>]+>|\(\?P<[^>]+>[^)]*\)")
# For whoever has not signed in: the door itself, and the words of its calendar.
OPEN = {"login", "logout", "jsi18n"}


OBJECTS: dict[str, Callable[[User], models.Model]] = {
    "accounts.User": lambda owner: owner,
    "accounts.LoginFailure": lambda owner: made(LoginFailure, key="a" * 64, count=3, resets_at=NOON),
    "accounts.ApiKey": lambda owner: made(
        ApiKey, owner=owner, name="k", prefix="ck_x", secret_hash=str(owner.pk), created_at=NOON
    ),
    "accounts.AuditEntry": lambda owner: entry_about("user"),
    "taxonomy.JobCategory": lambda owner: CategoryFactory(),
    "taxonomy.PicTeam": lambda owner: TeamFactory(),
    "jobs.Job": lambda owner: JobFactory(created_by=owner),
    "jobs.JobExecution": lambda owner: ExecutionFactory(job=JobFactory(created_by=owner)),
    "jobs.SchedulerLease": lambda owner: made(SchedulerLease, pk=1),
    "jobs.GitHubToken": lambda owner: made(
        GitHubToken, owner="acme", scope_key="acme/", created_at=NOON, updated_at=NOON
    ),
    "jobs.ChoreState": lambda owner: made(ChoreState, name="prune"),
    "django_apscheduler.DjangoJob": lambda owner: timetable(),
    "django_apscheduler.DjangoJobExecution": lambda owner: made(
        DjangoJobExecution, job=timetable(), status="Executed", run_time=NOON
    ),
    "notifications.Notification": lambda owner: NotificationFactory(user=owner),
    "notifications.NotificationPreferences": lambda owner: made(NotificationPreferences, user=owner),
    "notifications.SlackSettings": lambda owner: made(SlackSettings),
    "notifications.Message": lambda owner: mailed(owner),
    "notifications.EmailOptOut": lambda owner: made(
        EmailOptOut, address_key="ops@example.com", topic="email_on_job_failure", created_at=NOON
    ),
}


def made(model: Any, **values: Any) -> models.Model:
    row: models.Model = model.objects.get_or_create(**values)[0]
    return row


def entry_about(kind: str) -> models.Model:
    return made(AuditEntry, at=NOON, actor_name="x", via="api", kind=kind, object_id="x", action="updated")


def mailed(owner: User) -> models.Model:
    job = JobFactory(created_by=owner, enable_email_notifications=True, consecutive_failures=1)
    with override_settings(MAIL_ENABLED=True):
        tell_finished([ExecutionFactory(job=job, failed=True)], now=NOON)
    message: models.Model = Message.objects.filter(channel=Channel.EMAIL).latest("id")
    return message


def timetable() -> models.Model:
    return made(DjangoJob, id="prune", job_state=b"x", next_run_time=NOON)


READ = "list open history"
# Model → what an admin, a user and a viewer may do with a row of their own, and with somebody else's. Where
# nobody owns rows of a model, both are the same.
TABLE: dict[str, dict[str, tuple[str, str]]] = {
    "accounts.User": {
        # Nobody deletes themselves.
        "admin": (f"{READ} add change", f"{READ} add change delete"),
        "user": ("open history change", ""),
        "viewer": ("open history change", ""),
    },
    "accounts.LoginFailure": {"admin": (READ, READ)},
    "accounts.AuditEntry": {"admin": (READ, READ)},
    "accounts.ApiKey": {
        "admin": (f"{READ} add", f"{READ} add"),
        "user": (f"{READ} add", "list add"),
        "viewer": (f"{READ} add", "list add"),
    },
    "taxonomy.JobCategory": {
        "admin": (f"{READ} add change", f"{READ} add change"),
        "user": (READ, READ),
        "viewer": (READ, READ),
    },
    "taxonomy.PicTeam": {
        "admin": (f"{READ} add change", f"{READ} add change"),
        "user": (READ, READ),
        "viewer": (READ, READ),
    },
    "jobs.Job": {
        "admin": (f"{READ} add change delete", f"{READ} add change delete"),
        "user": (f"{READ} add change delete", f"{READ} add"),
        "viewer": (READ, READ),
    },
    "jobs.JobExecution": dict.fromkeys(ROLES, (READ, READ)),
    "jobs.SchedulerLease": {"admin": (READ, READ)},
    "jobs.GitHubToken": {"admin": (f"{READ} add change delete",) * 2},
    "jobs.ChoreState": {"admin": (READ, READ)},
    "django_apscheduler.DjangoJob": {"admin": (READ, READ)},
    "django_apscheduler.DjangoJobExecution": {"admin": (READ, READ)},
    # No role opens another person's.
    "notifications.Notification": dict.fromkeys(ROLES, (f"{READ} delete", "list")),
    "notifications.NotificationPreferences": dict.fromkeys(ROLES, (f"{READ} change", "list")),
    "notifications.SlackSettings": {"admin": (f"{READ} change", f"{READ} change")},
    "notifications.Message": {"admin": (READ, READ)},
    "notifications.EmailOptOut": {"admin": (READ, READ)},
}
# The actions that a list offers; a model that is not named has none for anybody.
ACTIONS: dict[str, dict[str, str]] = {
    "accounts.User": {"admin": "activate deactivate unlock delete_selected"},
    "accounts.LoginFailure": {"admin": "unlock"},
    "accounts.ApiKey": dict.fromkeys(ROLES, "revoke"),
    "taxonomy.JobCategory": {"admin": "enable disable"},
    "taxonomy.PicTeam": {"admin": "enable disable"},
    "jobs.Job": {
        "admin": "enable disable run_now extend_end_date change_team hand_over delete_selected",
        "user": "enable disable run_now extend_end_date change_team delete_selected",
    },
    "jobs.GitHubToken": {"admin": "delete_selected"},
    "jobs.JobExecution": {"admin": "run_again", "user": "run_again"},
    "notifications.Notification": dict.fromkeys(ROLES, "mark_read delete_selected"),
    "notifications.Message": {"admin": "send_again"},
    "notifications.EmailOptOut": {"admin": "subscribe_again"},
}


def test_every_registered_model_has_its_row():
    registered = {model._meta.label for model in admin.site._registry}

    assert set(TABLE) == set(OBJECTS) == registered


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("label", sorted(TABLE))
def test_the_site_allows_what_its_row_says(label, role, request):
    visitor = request.getfixturevalue(f"{role}_site")
    own, others = TABLE[label].get(role, ("", ""))

    assert allowed(visitor, OBJECTS[label](UserFactory())) == others.split()
    assert is_exported(visitor, label) in (None, "list" in others.split())
    assert actions_of(visitor, label) == ACTIONS.get(label, {}).get(role, "").split()
    assert allowed(visitor, OBJECTS[label](visitor.user)) == own.split()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("label", sorted(TABLE))
def test_an_action_that_is_not_offered_does_nothing(label, role, request):
    """A request may name any action and any row, whatever the page has shown."""
    visitor, row = request.getfixturevalue(f"{role}_site"), OBJECTS[label](UserFactory())
    every = {name for actions in ACTIONS.values() for names in actions.values() for name in names.split()}
    rows = type(row)._default_manager.filter(pk=row.pk)
    before = rows.values().get()

    for action in sorted(every - set(ACTIONS.get(label, {}).get(role, "").split())):
        visitor.act(action, f"{page_of(label)}_changelist", row.pk, post="yes")

    assert rows.values().get() == before


@pytest.mark.parametrize("role", ROLES)
def test_what_was_done_to_a_job_is_for_whoever_may_read_jobs(role, request):
    entry = entry_about("job")

    assert (
        request.getfixturevalue(f"{role}_site").open("accounts_auditentry_change", entry.pk).status_code
        == 200
    )


def test_nobody_is_let_in_without_signing_in(client):
    """Every address below /admin/, whoever registered it."""
    for path in addresses(admin.site.get_urls(), "/admin/"):
        for answer in (client.get(path), client.post(path)):
            where = answer.get("Location", "").split("?")[0]
            # What takes no GET says so to anybody.
            is_refused = answer.status_code == 405 and answer.wsgi_request.method == "GET"
            assert is_refused or (answer.status_code, where) == (302, reverse("admin:login")), path


def addresses(patterns: Any, start: str) -> Iterator[str]:
    """Each address, with something that nobody has in the place of its parameters."""
    for one in patterns:
        path = start + _PARAMETER.sub("00000000-0000-4000-8000-000000000000", str(one.pattern))
        if hasattr(one, "url_patterns"):
            yield from addresses(one.url_patterns, path)
        elif one.name not in OPEN:
            yield path.replace("^", "").replace("$", "")


def page_of(label: str) -> str:
    return label.lower().replace(".", "_")


def allowed(visitor: Visitor, row: models.Model) -> list[str]:
    page = page_of(row._meta.label)
    calls = {
        "list": lambda: is_let_in(visitor.open(f"{page}_changelist")),
        "open": lambda: is_let_in(visitor.open(f"{page}_change", row.pk)),
        "history": lambda: is_let_in(visitor.open(f"{page}_history", row.pk)),
        "add": lambda: is_let_in(visitor.send(f"{page}_add")),
        "change": lambda: is_let_in(visitor.send(f"{page}_change", row.pk)),
        "delete": lambda: is_deleted(visitor, page, row),
    }
    return [verb for verb, call in calls.items() if call()]


def is_let_in(answer: Any) -> bool:
    """A row that is not visible is as one that does not exist: the site leads back to its first page."""
    assert answer.status_code in (200, 302, 403), answer.status_code
    return bool(answer.status_code != 403 and answer.get("Location") != reverse("admin:index"))


def is_deleted(visitor: Visitor, page: str, row: models.Model) -> bool:
    visitor.send(f"{page}_delete", row.pk, post="yes")
    return not type(row)._default_manager.filter(pk=row.pk).exists()


def is_exported(visitor: Visitor, label: str) -> bool | None:
    """None for a list that nobody can take away as a file."""
    try:
        return is_let_in(visitor.open(f"{page_of(label)}_export"))
    except NoReverseMatch:
        return None


def actions_of(visitor: Visitor, label: str) -> list[str]:
    answer = visitor.open(f"{page_of(label)}_changelist")
    form = answer.context_data.get("action_form") if answer.status_code == 200 else None
    return [name for name, _ in form.fields["action"].choices if name] if form else []
