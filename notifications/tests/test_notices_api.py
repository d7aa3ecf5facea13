"""/notifications: the contract's answers, for the caller's own."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cronsched.core.api.fields import utc_text
from jobs.tests.factories import NOON, ExecutionFactory
from notifications.models import Notification
from notifications.tests.factories import NotificationFactory

pytestmark = pytest.mark.django_db
NOWHERE = str(uuid.UUID(int=1))
NO_RANGE = {"from": None, "to": None}
ROLES = ("anonymous", "viewer", "user", "admin")


def titles(response: Any) -> list[str]:
    assert response.status_code == 200, response.json()
    return [notice["title"] for notice in response.json()["notifications"]]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "", (401, 200, 200, 200)),
        ("get", "/", (401, 200, 200, 200)),
        ("get", "/unread-count", (401, 200, 200, 200)),
        ("put", "/read-all", (401, 200, 200, 200)),
        ("put", "/{id}/read", (401, 403, 200, 403)),
        ("put", f"/{NOWHERE}/read", (401, 404, 404, 404)),
        ("put", "/no-id/read", (401, 404, 404, 404)),
        ("delete", "/delete-read", (401, 200, 200, 200)),
        ("delete", f"/{NOWHERE}", (401, 404, 404, 404)),
        ("delete", "/no-id", (401, 404, 404, 404)),
        ("get", "/{id}", (405, 405, 405, 405)),
        ("post", "", (405, 405, 405, 405)),
    ],
)
def test_who_may_do_what(
    request: pytest.FixtureRequest, a_user: Any, method: str, path: str, statuses: tuple[int, ...]
) -> None:
    where = "/notifications" + path.format(id=NotificationFactory(user=a_user).pk)

    assert (
        tuple(getattr(request.getfixturevalue(f"{role}_api"), method)(where).status_code for role in ROLES)
        == statuses
    )


def test_an_empty_list_says_where_it_is(user_api: Any) -> None:
    assert user_api.get("/notifications").json() == {
        "notifications": [],
        "total": 0,
        "page": 1,
        "per_page": 20,
        "total_pages": 0,
        "range": NO_RANGE,
    }


def test_a_notice_shows_all_that_the_contract_names(user_api: Any, a_user: Any) -> None:
    run = ExecutionFactory()
    notice = NotificationFactory(user=a_user, read=True, related_job=run.job, related_execution=run)

    assert user_api.get("/notifications").json()["notifications"] == [
        {
            "id": str(notice.pk),
            "user_id": str(a_user.pk),
            "title": "Job failed",
            "message": "why",
            "type": "error",
            "related_job_id": str(run.job_id),
            "related_execution_id": str(run.pk),
            "is_read": True,
            "read_at": utc_text(NOON),
            "created_at": utc_text(NOON),
            "count": 1,
        }
    ]


def test_the_list_is_ones_own_newest_first_in_pages(user_api: Any, a_user: Any) -> None:
    for number in range(5):
        NotificationFactory(user=a_user, title=str(number), created_at=NOON + timedelta(minutes=number))
    NotificationFactory(title="another's")

    first = user_api.get("/notifications?per_page=2")
    assert titles(first) == ["4", "3"]
    assert {key: first.json()[key] for key in ("total", "page", "per_page", "total_pages")} == {
        "total": 5,
        "page": 1,
        "per_page": 2,
        "total_pages": 3,
    }
    assert titles(user_api.get("/notifications?per_page=2&page=3")) == ["0"]
    assert titles(user_api.get("/notifications?per_page=2&page=4")) == []
    assert user_api.get("/notifications?per_page=1000").json()["per_page"] == 100


@pytest.mark.parametrize("word", ["true", "1", "YES", "on"])
def test_unread_only(user_api: Any, a_user: Any, word: str) -> None:
    NotificationFactory(user=a_user, title="new")
    NotificationFactory(user=a_user, title="old", read=True)

    assert titles(user_api.get(f"/notifications?unread_only={word}")) == ["new"]
    assert len(titles(user_api.get("/notifications?unread_only=false"))) == 2


@pytest.mark.parametrize(
    ("query", "shown", "echo"),
    [
        ("from=2025-12-01", ["1", "2", "3"], ("2025-12-01T00:00:00", None)),
        ("to=2025-12-01", ["0", "1", "2"], (None, "2025-12-02T00:00:00")),
        ("from=2025-12-01&to=2025-12-01", ["1", "2"], ("2025-12-01T00:00:00", "2025-12-02T00:00:00")),
        ("from=2025-12-01T00:00:01", ["2", "3"], ("2025-12-01T00:00:01", None)),
        ("to=2025-12-01T23:59:59", ["0", "1"], (None, "2025-12-01T23:59:59")),
        ("from=2025-12-01T09:00:01%2B09:00", ["2", "3"], ("2025-12-01T00:00:01", None)),
        ("from=2025-12-01T00:00:00.500Z", ["2", "3"], ("2025-12-01T00:00:00.500000", None)),
    ],
)
def test_a_range_in_naive_utc(user_api: Any, a_user: Any, query: str, shown: list[str], echo: Any) -> None:
    moments = (
        datetime(2025, 11, 30, 23, 59, 59, tzinfo=UTC),
        datetime(2025, 12, 1, tzinfo=UTC),
        datetime(2025, 12, 1, 23, 59, 59, tzinfo=UTC),
        datetime(2025, 12, 2, tzinfo=UTC),
    )
    for number, moment in enumerate(moments):
        NotificationFactory(user=a_user, title=str(number), created_at=moment)
    bounds = dict(zip(("from", "to"), echo, strict=True))

    listed = user_api.get(f"/notifications?{query}")

    assert titles(listed) == shown[::-1]
    assert listed.json()["range"] == bounds
    assert user_api.get(f"/notifications/unread-count?{query}").json() == {
        "unread_count": len(shown),
        "range": bounds,
    }
    Notification.objects.update(is_read=True)
    assert user_api.delete(f"/notifications/delete-read?{query}").json() == {"deleted_count": len(shown)}
    assert Notification.objects.count() == 4 - len(shown)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("from=yesterday", "Invalid date"),
        ("from=2025-12-02&to=2025-12-01", "Invalid date range"),
        ("page=0", "Validation error"),
        ("per_page=x", "Validation error"),
        ("unread_only=maybe", "Validation error"),
    ],
)
def test_what_cannot_be_understood_is_refused(user_api: Any, query: str, error: str) -> None:
    response = user_api.get(f"/notifications?{query}")

    assert (response.status_code, response.json()["error"]) == (400, error)


@pytest.mark.parametrize("query", ["from=x", "to=", "from=2025-12-02&to=2025-12-01"])
def test_nothing_is_deleted_by_a_range_that_means_nothing(user_api: Any, a_user: Any, query: str) -> None:
    NotificationFactory(user=a_user, read=True)

    assert user_api.delete(f"/notifications/delete-read?{query}").status_code == 400
    assert Notification.objects.count() == 1


def test_the_unread_count_counts_ones_own(user_api: Any, a_user: Any) -> None:
    NotificationFactory.create_batch(3, user=a_user)
    NotificationFactory(user=a_user, read=True)
    NotificationFactory()

    assert user_api.get("/notifications/unread-count").json() == {"unread_count": 3, "range": NO_RANGE}


def test_reading_one_keeps_when_it_was_first_read(user_api: Any, a_user: Any) -> None:
    notice = NotificationFactory(user=a_user)

    answer = user_api.put(f"/notifications/{notice.pk}/read").json()
    again = user_api.put(f"/notifications/{notice.pk}/read").json()

    assert answer["message"] == "Notification marked as read"
    assert (answer["notification"]["id"], answer["notification"]["is_read"]) == (str(notice.pk), True)
    assert answer["notification"]["read_at"] is not None
    assert again == answer


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("put", "/read", "Forbidden: Cannot access other users notifications"),
        ("delete", "", "Forbidden: Cannot delete other users notifications"),
    ],
)
def test_anothers_is_refused_to_admins_too(admin_api: Any, method: str, path: str, error: str) -> None:
    notice = NotificationFactory()

    response = getattr(admin_api, method)(f"/notifications/{notice.pk}{path}")

    assert (response.status_code, response.json()["error"]) == (403, error)
    assert Notification.objects.filter(is_read=False).count() == 1


@pytest.mark.parametrize(("method", "path"), [("put", f"/{NOWHERE}/read"), ("delete", f"/{NOWHERE}")])
def test_one_that_is_not_there(user_api: Any, method: str, path: str) -> None:
    response = getattr(user_api, method)(f"/notifications{path}")

    assert (response.status_code, response.json()["error"]) == (404, "Notification not found")


def test_read_all_reads_ones_own(user_api: Any, a_user: Any) -> None:
    NotificationFactory.create_batch(3, user=a_user)
    old = NotificationFactory(user=a_user, read=True, created_at=NOON - timedelta(days=1))
    theirs = NotificationFactory()

    assert user_api.put("/notifications/read-all").json() == {
        "message": "All notifications marked as read",
        "updated_count": 3,
    }
    assert user_api.put("/notifications/read-all").json()["updated_count"] == 0
    theirs.refresh_from_db()
    old.refresh_from_db()
    assert (theirs.is_read, old.read_at) == (False, NOON - timedelta(days=1))


def test_one_is_deleted_read_or_not(user_api: Any, a_user: Any) -> None:
    for notice in (NotificationFactory(user=a_user), NotificationFactory(user=a_user, read=True)):
        assert user_api.delete(f"/notifications/{notice.pk}").json() == {
            "message": "Notification deleted successfully"
        }
    assert Notification.objects.count() == 0


def test_delete_read_leaves_the_unread_and_the_others(user_api: Any, a_user: Any) -> None:
    NotificationFactory.create_batch(3, user=a_user, read=True)
    kept = {NotificationFactory(user=a_user).pk, NotificationFactory(read=True).pk}

    assert user_api.delete("/notifications/delete-read").json() == {"deleted_count": 3}
    assert set(Notification.objects.values_list("pk", flat=True)) == kept


def test_statements_do_not_grow_with_the_list(user_api: Any, a_user: Any) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            user_api.get("/notifications?per_page=100")
        return len(queries)

    NotificationFactory(user=a_user)
    few = statements()
    NotificationFactory.create_batch(30, user=a_user)

    assert statements() == few
