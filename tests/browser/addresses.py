"""Every page of the admin site that a user may open, found by asking the site itself.

So a new page is looked at without anybody listing it here. What is asked for: an address without
arguments, or one with an object's id. What counts: a whole page of HTML that answers 200.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import URLPattern, reverse

from accounts.models import User
from cronsched.testing.fixtures_admin import BACKEND

OBJECT_ARGUMENTS = ("object_id", "pk", "id", "job_id", "user_id", "execution_id")


def pages_of(user: User, only: Collection[str] = ()) -> dict[str, str]:
    """The pages that `user` may open: the name of each, and its address."""
    client = Client()
    client.force_login(user, backend=BACKEND)
    found = dict(_all(user))
    return {name: found[name] for name in only or found if _is_page(client, found[name])}


def models_without_rows() -> list[str]:
    """Registered models of which the world holds nothing, so that some of their pages go unseen."""
    return [model._meta.label for model in admin.site._registry if not model._default_manager.exists()]


def _all(user: User) -> Iterator[tuple[str, str]]:
    for pattern in admin.site.get_urls():
        if isinstance(pattern, URLPattern) and pattern.name:
            yield from _address(pattern, None)
    for model_admin in admin.site._registry.values():
        shown = _first_row(model_admin, user)
        for pattern in model_admin.get_urls():
            if pattern.name:
                yield from _address(pattern, shown)


def _first_row(model_admin: Any, user: User) -> Any:
    request = RequestFactory().get("/")
    request.user = user
    return model_admin.get_queryset(request).order_by("pk").first()


def _address(pattern: URLPattern, shown: Any) -> Iterator[tuple[str, str]]:
    """The pattern with the object's id, if it needs nothing else."""
    needed = list(pattern.pattern.converters)
    if not needed and not pattern.pattern.regex.groups:
        yield str(pattern.name), reverse(f"admin:{pattern.name}")
    elif shown is not None and len(needed) == 1 and needed[0] in OBJECT_ARGUMENTS:
        yield str(pattern.name), reverse(f"admin:{pattern.name}", kwargs={needed[0]: shown.pk})


def _is_page(client: Client, path: str) -> bool:
    answer = client.get(path)
    is_html = answer.headers.get("Content-Type", "").startswith("text/html")
    return answer.status_code == 200 and is_html and b"</html>" in answer.content
