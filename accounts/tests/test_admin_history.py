from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.audit import Change, record_all
from accounts.choices import AuditKind
from accounts.models import AuditEntry
from cronsched.core import clock
from cronsched.core.models import uuid7

pytestmark = pytest.mark.django_db

LIST = "accounts_auditentry_changelist"
PAGE = "accounts_auditentry_change"


def write(count: int = 1, *, kind: AuditKind = AuditKind.TEAM, by=None, name: str = "DevOps", **changes):
    lines = [
        Change(kind=kind, object_id=uuid7(), name=f"{name} {n}", action="updated", changes=changes)
        for n in range(count)
    ]
    record_all(lines, by=by, now=clock.now(), via="admin")
    return AuditEntry.objects.first()


def test_an_admin_reads_the_list_and_an_entry(admin_site, an_admin):
    entry = write(by=an_admin, name="<b>DevOps", slack_handle=("@old", "<b>new"))

    for page in (admin_site.open(LIST), admin_site.open(PAGE, entry.pk)):
        text = page.content.decode()
        assert "ada_admin" in text
        assert "@old" in text
        assert "&lt;b&gt;new" in text
        assert "<b>new" not in text


@pytest.mark.parametrize("role", ["user_site", "viewer_site"])
def test_others_read_what_was_done_to_jobs_and_nothing_else(request, role):
    site = request.getfixturevalue(role)
    team, job = write(kind=AuditKind.TEAM), write(kind=AuditKind.JOB)

    assert site.open(LIST).status_code == 403
    assert site.open("accounts_auditentry_export").status_code == 403
    assert site.open(PAGE, team.pk).status_code == 403
    assert site.open(PAGE, job.pk).status_code == 200


def test_nobody_changes_or_deletes_an_entry(admin_site):
    entry = write()

    assert admin_site.send(PAGE, entry.pk, action="deleted").status_code == 403
    assert admin_site.send("accounts_auditentry_delete", entry.pk, post="yes").status_code == 403
    assert admin_site.open("accounts_auditentry_add").status_code == 403
    admin_site.act("delete_selected", LIST, entry.pk, post="yes")
    assert AuditEntry.objects.get() == entry


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"kind__exact": "job"}, {"job 0"}),
        ({"action__exact": "updated"}, {"job 0", "team 0"}),
        ({"via__exact": "api"}, set()),
        ({"q": "TEAM"}, {"team 0"}),
        ({"at_from_0": "2030-01-01"}, set()),
    ],
)
def test_the_list_is_narrowed(admin_site, query, found):
    write(kind=AuditKind.JOB, name="job")
    write(kind=AuditKind.TEAM, name="team")

    rows = admin_site.open(LIST, **query).context["cl"].result_list
    assert {row.object_name for row in rows} == found


def test_the_lines_of_one_object(admin_site):
    first, _other = write(name="one"), write(name="two")

    rows = admin_site.open(LIST, of=first.object_id).context["cl"].result_list
    assert list(rows) == [first]
    assert admin_site.open(LIST, of="no-uuid").context["cl"].result_count == 0


def test_the_list_costs_the_same_for_any_number(admin_site):
    costs = set()
    for _ in range(2):
        write(20, by=admin_site.user)
        with CaptureQueriesContext(connection) as caught:
            admin_site.open(LIST)
        costs.add(len(caught))

    assert len(costs) == 1


def test_the_export_holds_a_harmless_row_for_each_field(admin_site, an_admin):
    entry = write(by=an_admin, name="=1+1", slack_handle=("@old", "@new"), is_active=(True, False))
    write(kind=AuditKind.JOB, name="left out")

    answer = admin_site.open("accounts_auditentry_export", kind__exact="team")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))

    assert answer.headers["Content-Disposition"].startswith('attachment; filename="history-of-changes-')
    assert [(row["name"], row["field"], row["from"], row["to"]) for row in rows] == [
        ("'=1+1 0", "slack_handle", "'@old", "'@new"),
        ("'=1+1 0", "is_active", "true", "false"),
    ]
    assert {row["id"] for row in rows} == {entry.object_id}


def test_unreadable_filters_of_an_export_are_refused(admin_site):
    assert admin_site.open("accounts_auditentry_export", at_from_0="never").status_code == 400


def test_the_history_of_a_row_is_the_history_of_changes(admin_site, user_site, an_admin):
    answer = admin_site.open("accounts_user_history", an_admin.pk)
    assert answer.headers["Location"].endswith(f"/accounts/auditentry/?kind__exact=user&of={an_admin.pk}")

    own = user_site.user.pk
    assert user_site.open("accounts_user_history", own).headers["Location"].endswith(f"/{own}/change/")
    assert user_site.open("accounts_user_history", an_admin.pk).status_code in {302, 403}


def test_what_came_or_went_shows_one_side(admin_site):
    record_all(
        [
            Change(
                kind=AuditKind.TEAM,
                object_id=uuid7(),
                name="New",
                action="created",
                changes={"name": (None, "X")},
            )
        ],
        by=None,
        now=clock.now(),
        via="api",
    )

    text = admin_site.open(LIST).content.decode()
    assert "<ins>X</ins>" in text
    assert "<del>" not in text
