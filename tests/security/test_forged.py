"""Posts that no page offers: to every address of the admin site, with the rows of somebody else.

One body holds what any of the forms takes. Who may do nothing changes nothing by it; and an admin changes a
lot, so that the silence of the others says something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import models

from accounts.models import AuditEntry, User
from accounts.tests.factories import UserFactory
from cronsched.core import clock
from cronsched.testing.fixtures_admin import Visitor
from jobs.models import Job, JobExecution, JobUpload
from jobs.services.bulk_upload.staged import begin_upload
from jobs.services.lifecycle import update_job
from taxonomy.tests.factories import TeamFactory
from tests.security.test_admin_rights import ACTIONS, OBJECTS

pytestmark = pytest.mark.django_db

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
OURS = ("accounts", "taxonomy", "jobs", "notifications")
# Begins and ends the session; calls the world, and is tried by itself.
LEFT_OUT = {"login", "logout", "jobs_job_trial", "jobs_job_test", "notifications_slacksettings_test"}
CSV = b"Job Name,Cron Schedule,Target URL,PIC Team,End Date\nForged,0 1 * * *,https://a.example.com/,x,2030-01-01\n"
# A column of whose it is, by model: what is one's own may change.
OWNERS = {
    "accounts.user": "pk",
    "accounts.apikey": "owner_id",
    "accounts.auditentry": "actor_id",
    "jobs.jobupload": "user_id",
    "notifications.notification": "user_id",
    "notifications.notificationpreferences": "user_id",
}


class World:
    """A row of each model, of somebody else; and the addresses of all pages with their ids."""

    def __init__(self) -> None:
        self.owner: User = UserFactory(username="somebody", role="user")
        self.rows = {label.lower(): make(self.owner) for label, make in OBJECTS.items()}
        self.job: Any = self.rows["jobs.job"]
        update_job(self.job, data={"max_retries": 1}, by=self.owner, now=clock.now())
        self.team = TeamFactory()
        file = SimpleUploadedFile("jobs.csv", CSV)
        upload = begin_upload(
            file=file.file, size=len(CSV), filename="jobs.csv", default_github_owner="", by=self.owner,
            now=clock.now(),
        )  # fmt: skip
        self.ids = {
            "job_id": self.job.pk,
            "entry_id": AuditEntry.objects.filter(object_id=str(self.job.pk)).latest("at").pk,
            "token_id": self.rows["jobs.githubtoken"].pk,
            "upload_id": upload.pk,
            "app_label": "jobs",
            "content_type_id": "1",
            "url": "x",
        }

    def addresses(self) -> Iterator[tuple[str, str]]:
        """The name and the path of each."""
        yield from self._below(admin.site.get_urls(), "/admin/", None)

    def _below(self, patterns: Any, start: str, row: models.Model | None) -> Iterator[tuple[str, str]]:
        for one in patterns:
            text = str(one.pattern).replace("^", "").replace("$", "")
            here = self.rows.get(text.strip("/").replace("/", "."), row)
            ids = {**self.ids, "object_id": here.pk if here else "x"}
            path = start + _PARAMETER.sub(lambda found, ids=ids: str(ids[found[1] or found[2]]), text)
            if hasattr(one, "url_patterns"):
                yield from self._below(one.url_patterns, path, here)
            elif one.name not in LEFT_OUT:
                yield one.name or "", path

    def body(self, row: models.Model | None) -> dict[str, Any]:
        return {
            "name": "Forged", "username": "forged", "email": "forged@example.com", "role": "admin",
            "password": "forged-password", "new_password": "forged-password", "slug": "forged",
            "is_active": "on", "cron_expression": "1 1 1 1 *", "timezone": "", "catch_up": "all",
            "end_date": "2031-01-01", "target_kind": "webhook", "target_url": "https://forged.example.com/",
            "metadata": '{"forged": true}', "max_retries": "7", "alert_after": "7",
            "category": str(self.job.category_id), "pic_team": str(self.team.pk),
            "created_by": str(self.owner.pk), "slack_handle": "@forged", "channel": "#forged",
            "webhook_url": "", "owner": "forged", "repo": "forged", "kind": "token", "new_secret": "ghp_x",
            "field": ["max_retries"], "post": "yes", "answered": "1", "days": "9", "to": str(self.owner.pk),
            "team": str(self.team.pk), "index": "0", "daily_digest": "on",
            "_selected_action": [str(row.pk)] if row else [],
        }  # fmt: skip

    def attack(self, visitor: Visitor) -> None:
        """Lists with each action, as ticked and as all of them; the other pages once, deleting last."""
        every = sorted({name for by in ACTIONS.values() for names in by.values() for name in names.split()})
        # Last what ends a session.
        found = sorted(self.addresses(), key=lambda item: ("delete" in item[0], "user" in item[0], item))
        for name, path in found:
            row = self.rows.get(name.removesuffix("_changelist").replace("_", ".", 1))
            actions = every if name.endswith("_changelist") else [""]
            for action in sorted(actions, key=lambda one: "delete" in one):
                for across in ("0", "1") if action else ("0",):
                    body = {**self.body(row), "action": action, "select_across": across}
                    file = {"file": SimpleUploadedFile("jobs.csv", CSV)} if name == "jobs_job_upload" else {}
                    answer = visitor.post(path, {**body, **file})
                    assert answer.status_code < 500, (path, action)


def snapshot(visitor: User) -> dict[str, list[str]]:
    """All rows of ours but the visitor's own."""
    found = {}
    for model in (model for name in OURS for model in apps.get_app_config(name).get_models()):
        rows = model._base_manager.all()
        if column := OWNERS.get(model._meta.label_lower):
            # In Python: to SQL, nobody is not another.
            rows = [row for row in rows if getattr(row, column) != visitor.pk]
        columns = [field.attname for field in model._meta.concrete_fields]
        found[model._meta.label] = sorted(str([getattr(row, name) for name in columns]) for row in rows)
    return found


def test_a_viewer_changes_nothing_by_any_page(viewer_site):
    world = World()
    before = snapshot(viewer_site.user)

    world.attack(viewer_site)

    assert snapshot(viewer_site.user) == before


def test_a_user_changes_nothing_of_anybody_elses_by_any_page(user_site):
    world = World()
    before = snapshot(user_site.user)

    world.attack(user_site)

    after = snapshot(user_site.user)
    theirs = set(Job.objects.filter(created_by=user_site.user).values_list("pk", flat=True))
    # What they made is their own: jobs, and runs of these.
    own = {str(pk) for pk in theirs} | set(
        map(str, JobExecution.objects.filter(job__in=theirs).values_list("pk", flat=True))
    )
    for label, rows in after.items():
        left = [row for row in rows if not any(key in row for key in own)]
        # Everybody is told of a new job; nothing else is new.
        if label != "notifications.Notification":
            assert left == before[label], label
    assert theirs, "the body is one that makes a job"


def test_an_admin_changes_what_there_is_by_the_same_posts(admin_site):
    """Else the silence of the others would say nothing."""
    world = World()
    before = snapshot(admin_site.user)

    world.attack(admin_site)

    after = snapshot(admin_site.user)
    changed = {label for label, rows in after.items() if rows != before[label]}
    assert changed >= {
        "accounts.User", "taxonomy.PicTeam", "taxonomy.JobCategory", "jobs.Job", "jobs.JobExecution",
        "jobs.GitHubToken", "notifications.SlackSettings",
    }  # fmt: skip


@pytest.mark.parametrize("role", ["user", "viewer"])
def test_an_upload_of_somebody_else_is_not_there(role, request):
    world = World()
    site = request.getfixturevalue(f"{role}_site")

    for name in ("page", "step", "confirm", "refused"):
        page, ids = f"jobs_job_upload_{name}", (world.ids["upload_id"],)
        answers = {site.open(page, *ids).status_code, site.send(page, *ids).status_code}
        assert answers <= {403, 404, 405}, page
    upload = JobUpload.objects.get()
    assert (upload.user, upload.position) == (world.owner, 0)
