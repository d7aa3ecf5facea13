"""/settings/slack: the contract's answers, for admins."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from cronsched.core import crypto
from notifications.models import SlackSettings

pytestmark = pytest.mark.django_db
PATH = "/settings/slack"
URL = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"


def shown(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.json()
    settings: dict[str, Any] = response.json()["slack_settings"]
    return {key: settings[key] for key in ("is_enabled", "webhook_url", "channel")}


@pytest.mark.parametrize(
    ("role", "status"), [("anonymous", 401), ("viewer", 403), ("user", 403), ("admin", 200)]
)
def test_who_may(request: pytest.FixtureRequest, role: str, status: int) -> None:
    client = request.getfixturevalue(f"{role}_api")

    assert client.get(PATH).status_code == status
    assert client.put(PATH, {"channel": "#ops"}).status_code == status
    assert client.post(PATH, {}).status_code == 405


def test_the_first_read_makes_the_defaults(admin_api: Any) -> None:
    answer = admin_api.get(PATH).json()

    settings = answer["slack_settings"]
    assert set(answer) == {"slack_settings"}
    assert set(settings) == {"id", "is_enabled", "webhook_url", "channel", "created_at", "updated_at"}
    assert shown(admin_api.get(PATH)) == {"is_enabled": False, "webhook_url": None, "channel": None}
    assert uuid.UUID(settings["id"])
    assert settings["created_at"].endswith("Z")
    assert admin_api.get(PATH).json() == answer


def test_an_update_is_partial_and_trimmed(admin_api: Any) -> None:
    answer = admin_api.put(PATH, {"is_enabled": True, "webhook_url": f"  {URL} ", "channel": " #ops "})

    assert answer.json()["message"] == "Slack settings updated"
    assert shown(answer) == {"is_enabled": True, "webhook_url": URL, "channel": "#ops"}
    assert shown(admin_api.put(PATH, {"channel": "", "unknown": 1})) == {
        "is_enabled": True,
        "webhook_url": URL,
        "channel": None,
    }
    assert shown(admin_api.put(PATH, {"is_enabled": False, "webhook_url": None}))["webhook_url"] is None


def test_the_url_is_stored_encrypted(admin_api: Any) -> None:
    admin_api.put(PATH, {"webhook_url": URL})

    stored = SlackSettings.objects.get().webhook_url
    assert "hooks" not in stored
    assert crypto.decrypt(stored) == URL


@pytest.mark.parametrize(
    "body", [{}, {"unknown": 1}, {"is_enabled": None}, {"is_enabled": "true"}, {"channel": 5}]
)
def test_bodies_that_mean_nothing(admin_api: Any, body: dict[str, Any]) -> None:
    admin_api.put(PATH, {"channel": "#ops"})

    assert admin_api.put(PATH, body).status_code == 400
    assert shown(admin_api.get(PATH))["channel"] == "#ops"


@pytest.mark.parametrize("raw", ["null", "[]", '"x"', "{", ""])
def test_bodies_that_are_no_object(admin_api: Any, raw: str) -> None:
    assert admin_api.put(PATH, raw, content_type="application/json").status_code == 400


@pytest.mark.parametrize("body", [{"is_enabled": True}, {"is_enabled": True, "webhook_url": "  "}])
def test_enabled_needs_a_url(admin_api: Any, body: dict[str, Any]) -> None:
    answer = admin_api.put(PATH, body)

    assert answer.status_code == 400
    assert {key: answer.json()[key] for key in ("error", "message")} == {
        "error": "Invalid settings",
        "message": "webhook_url is required when Slack is enabled.",
    }
    assert shown(admin_api.get(PATH))["is_enabled"] is False


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://hooks.slack.com/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/x",
        "https://[::1]/x",
        "https://10.1.2.3/x",
        "https://me:pw@hooks.slack.com/x",
        "https://hooks.slack.com/" + "x" * 500,
        7,
        ["https://hooks.slack.com/x"],
    ],
)
def test_a_url_that_no_webhook_may_have(admin_api: Any, url: Any) -> None:
    answer = admin_api.put(PATH, {"webhook_url": url})

    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid settings")
    assert list(answer.json()["details"]) == ["webhook_url"]
    assert shown(admin_api.get(PATH))["webhook_url"] is None


def test_the_operator_opens_http_and_private_networks(admin_api: Any, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True

    url = "http://127.0.0.1:8099/slack"
    assert shown(admin_api.put(PATH, {"webhook_url": url}))["webhook_url"] == url


def test_a_url_of_lost_keys_reads_as_none(admin_api: Any) -> None:
    admin_api.get(PATH)
    SlackSettings.objects.update(webhook_url="written under another key")

    assert shown(admin_api.get(PATH))["webhook_url"] is None
