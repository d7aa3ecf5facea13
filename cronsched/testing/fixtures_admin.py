"""Visitors of the admin site, one for each role: they open pages and submit forms as a browser does."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.contrib.messages import get_messages
from django.forms import Form
from django.test import Client
from django.urls import reverse

from accounts.models import User

_HIDDEN = re.compile(r'<input type="hidden" name="(initial-[^"]+)"(?: value="([^"]*)")?')
BACKEND = "accounts.backends.IdentifierBackend"


class Visitor(Client):
    """A signed-in user of the admin site. Pages are named as Django does: "jobs_job_changelist"."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user
        self.force_login(user, backend=BACKEND)

    def open(self, page: str, /, *args: Any, **query: Any) -> Any:
        return self.get(reverse(f"admin:{page}", args=args), query)

    def send(self, page: str, *args: Any, **data: Any) -> Any:
        """Post exactly this."""
        return self.post(reverse(f"admin:{page}", args=args), data)

    def submit(self, page: str, *args: Any, **changes: Any) -> Any:
        """Open the form, change these fields and press Save."""
        return self.send(page, *args, **{**self.filled_in(page, *args), **changes})

    def filled_in(self, page: str, *args: Any) -> dict[str, Any]:
        """The form as it is shown now, to be sent later."""
        return sent_by(self.open(page, *args).context["adminform"].form)

    def act(self, action: str, page: str, *ids: UUID | int, **more: Any) -> Any:
        """Choose rows of a list and an action; with `post="yes"`, also confirm it."""
        return self.send(page, action=action, _selected_action=[str(key) for key in ids], index=0, **more)


def errors_of(response: Any) -> dict[str, list[str]]:
    """What the form that came back says, by field; "__all__" for what belongs to none."""
    assert response.status_code == 200, response.status_code
    return {name: list(texts) for name, texts in response.context["adminform"].form.errors.items()}


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def sent_by(form: Form) -> dict[str, Any]:
    """What a browser would send of the form as it was shown: no unchecked boxes, no nulls."""
    values = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in values.items() if value is not None and value is not False}
    found = _HIDDEN.findall("".join(str(form[name]) for name in form.fields))
    return sent | {name: unescape(value).replace("\n", "\r\n") for name, value in found}


@pytest.fixture
def admin_site(an_admin: User) -> Visitor:
    return Visitor(an_admin)


@pytest.fixture
def user_site(a_user: User) -> Visitor:
    return Visitor(a_user)


@pytest.fixture
def viewer_site(a_viewer: User) -> Visitor:
    return Visitor(a_viewer)
