"""A small installation that the contract is asked of: five callers, and one of each thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test.client import MULTIPART_CONTENT

from accounts.tests.factories import ApiKeyFactory, UserFactory
from accounts.tokens import issue_tokens
from cronsched.core import clock
from cronsched.testing.fixtures_api import JSON, ApiClient
from jobs.engine.messages import DeliveryResult, Outcome, Reason
from jobs.services import trial
from jobs.tests.factories import ExecutionFactory, JobFactory
from notifications.tests.factories import NotificationFactory
from taxonomy.tests.factories import CategoryFactory, TeamFactory

CALLERS = ("anonymous", "viewer", "other", "owner", "admin")
FORM = "application/x-www-form-urlencoded"
NOWHERE = "00000000-0000-4000-8000-000000000000"


@dataclass
class World:
    """`ids` are what `{names}` in a path or a body stand for; `{me}` is whoever calls."""

    ids: dict[str, str] = field(default_factory=dict)
    clients: dict[str, ApiClient] = field(default_factory=dict)

    def send(self, caller: str, call: str, body: Any = None, *, form: Any = None, **extra: Any) -> Any:
        """`send("owner", "PUT /jobs/{job}", {...})`, and whatever it writes is undone.

        A `form` is text, or for multipart a dictionary, of which bytes are a file.
        """
        method, _, path = call.partition(" ")
        client = self.clients[caller]
        ids = {**self.ids, "me": str(client.user.pk if client.user else NOWHERE)}
        data = self._filled(body, ids)
        with transaction.atomic():
            if form is not None:
                kind = MULTIPART_CONTENT if isinstance(form, dict) else FORM
                response = client.post(path.format(**ids), _files(form), content_type=kind, **extra)
            else:
                response = client.generic(
                    method,
                    path.format(**ids),
                    "" if data is None else client._encode_json(data, JSON),
                    content_type=JSON,
                    **extra,
                )
            transaction.set_rollback(True)
        return response

    def _filled(self, value: Any, ids: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(inner, ids) for key, inner in value.items()}
        is_name = isinstance(value, str) and value.startswith("{") and value.endswith("}")
        return ids[value[1:-1]] if is_name else value


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """No call of it leaves the machine: what a test-run sends is answered here."""
    monkeypatch.setattr(trial, "send_now", lambda delivery, config: _answered(delivery))
    owner = UserFactory(username="uma", email="uma@example.com")
    people = {
        "admin": UserFactory(admin=True, username="ada"),
        "owner": owner,
        "other": UserFactory(username="otto", email="otto@example.com"),
        "viewer": UserFactory(viewer=True, username="vera"),
    }
    clients = {"anonymous": ApiClient(), **{name: ApiClient(user) for name, user in people.items()}}
    clients = {name: clients[name] for name in CALLERS}
    return World(ids=_things(owner), clients=clients)


def _things(owner: Any) -> dict[str, str]:
    general = CategoryFactory(slug="general", name="General")
    category = CategoryFactory(slug="maintenance", name="Maintenance")
    team = TeamFactory(slug="devops", name="DevOps", slack_handle="@devops")
    job = JobFactory(
        name="Daily backup",
        created_by=owner,
        category=category,
        pic_team=team,
        notification_emails=["ops@example.com"],
        next_run_at=clock.now().replace(second=0, microsecond=0) + timedelta(hours=1),
    )
    rows = {
        "uma": owner,
        "general": general,
        "category": category,
        "team": team,
        "job": job,
        "run": ExecutionFactory(job=job, response_status=200, output="done"),
        "run_of_another": ExecutionFactory(),
        "api_key": ApiKeyFactory(owner=owner),
        "notification": NotificationFactory(user=owner, related_job=job),
        "read_notification": NotificationFactory(user=owner, read=True),
        "ended_job": JobFactory(
            name="Ended", created_by=owner, end_date=clock.now().date() - timedelta(days=9)
        ),
    }
    refresh = issue_tokens(owner, now=clock.now()).refresh
    return {**{name: str(row.pk) for name, row in rows.items()}, "nowhere": NOWHERE, "refresh": refresh}


def _files(form: Any) -> Any:
    if not isinstance(form, dict):
        return form
    return {
        name: SimpleUploadedFile("jobs.csv", value, "text/csv") if isinstance(value, bytes) else value
        for name, value in form.items()
    }


def _answered(delivery: Any) -> DeliveryResult:
    now = clock.now()
    return DeliveryResult(
        execution_id=delivery.execution_id,
        claim_token=delivery.claim_token,
        outcome=Outcome.SUCCESS,
        started_at=now,
        completed_at=now,
        duration_s=0.1,
        response_status=200,
        reason=Reason.NONE,
    )
