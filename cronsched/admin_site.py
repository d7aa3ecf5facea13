"""The admin site: the product's own pages, sign-in by name or e-mail, own password by the services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.views import PasswordChangeView
from django.core.paginator import InvalidPage
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.forms import AdminOwnPasswordChangeForm, AuthenticationForm
from unfold.sites import UnfoldAdminSite

from accounts import roles
from accounts.login import InvalidCredentials, sign_in
from accounts.services import change_password
from accounts.viewing_page import viewing_page
from cronsched.core import clock
from cronsched.core.admin import BaseAdmin, in_words
from cronsched.core.api.address import client_address
from cronsched.core.errors import DomainError, Throttled
from cronsched.core.said import said
from cronsched.guide import guide, hide_guide

EMAIL_MAX = 120


class SignInForm(AuthenticationForm):  # type: ignore[misc]
    """By username or e-mail address; the backend tells which it is."""

    # Django's own words are of a staff account, and of upper and lower case, which a name here has not.
    error_messages: ClassVar[dict[str, Any]] = {
        **AuthenticationForm.error_messages,
        "invalid_login": _("The name and the password do not belong together, or the account is not active."),
    }

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        field = self.fields["username"]
        field.label = _("Username or e-mail")
        # Django takes the column of the username for the limit, which an address may exceed.
        field.max_length = EMAIL_MAX
        field.widget.attrs["maxlength"] = str(EMAIL_MAX)
        field.widget.attrs["autofocus"] = True
        self.retry_after_s: int | None = None

    def clean(self) -> dict[str, Any]:
        """Sign in by the service, as the API does: one throttle, which no spelling of a name gets around."""
        now, address = clock.now(), client_address(self.request)
        given = {name: self.cleaned_data.get(name) for name in ("username", "password")}
        if given["username"] is None or given["password"] is None:
            return self.cleaned_data
        try:
            user = sign_in(identifier=given["username"], password=given["password"], address=address, now=now)
        except Throttled as refusal:
            self.retry_after_s = refusal.retry_after_s
            raise forms.ValidationError(said(refusal.message)) from None
        except InvalidCredentials:
            raise self.get_invalid_login_error() from None
        self.confirm_login_allowed(user)
        self.user_cache = user
        return self.cleaned_data


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]
    """Django's form for the old and the new password; the service writes it and ends old tokens."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        if not self.errors:
            try:
                change_password(
                    self.user,
                    password=cleaned["new_password1"],
                    by=self.user,
                    now=clock.now(),
                    via="admin",
                )
            except DomainError as refusal:
                raise forms.ValidationError(in_words(refusal)) from None
        return cleaned

    def save(self, commit: bool = True) -> Any:
        self.user.refresh_from_db()
        return self.user


class AdminSite(UnfoldAdminSite):  # type: ignore[misc]
    site_url = None
    index_title = _("Home")
    login_form = SignInForm

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        # Asked for by pages with a bell alone, when they are written.
        return {**super().each_context(request), "unread_count": lambda: _unread(request)}

    def get_urls(self) -> list[Any]:
        own = [
            path("home/", self.admin_view(self.home), name="home"),
            path("language-and-time/", self.admin_view(self.viewing), name="viewing"),
            path("hide-guide/", self.admin_view(require_POST(hide_guide)), name="hide_guide"),
        ]
        return [*own, *super().get_urls()]

    def viewing(self, request: HttpRequest) -> HttpResponse:
        request.current_app = self.name
        return viewing_page(request, self.each_context(request))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {
            "home": _home(request),
            "guide": guide(request),
            "is_fullwidth": "1",
            **(extra_context or {}),
        }
        answer: TemplateResponse = super().index(request, context)
        return answer

    def home(self, request: HttpRequest) -> HttpResponse:
        """The content of the home page alone, which the page fetches to stay up to date."""
        return render(request, "admin/home/content.html", {"home": _home(request)})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, SignInForm) and form.retry_after_s is not None:
            response.status_code = 429
            response.headers["Retry-After"] = str(form.retry_after_s)
        return response

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[admin.ModelAdmin[Any]] | None = None,
        **options: Any,
    ) -> None:
        """Take our own pages only: a package's own would show every role what it likes."""
        if admin_class is not None and issubclass(admin_class, BaseAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Unfold's search of the site's pages, which takes any `page` for a number in range."""
        try:
            answer: HttpResponse = super().search(request, extra_context)
        except (ValueError, InvalidPage):
            return HttpResponseBadRequest(gettext("There is no such page of results."))
        return answer

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        request.current_app = self.name
        view = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse(f"{self.name}:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)


def _home(request: HttpRequest) -> dict[str, Any]:
    # Imported here: pages register themselves at this site, which must be whole before.
    from jobs.admin.home import home_context

    return home_context(request)


def _unread(request: HttpRequest) -> str:
    from notifications.services.notices import UNREAD_SHOWN, count_unread

    count = count_unread(user=request.user) if request.user.is_authenticated else 0
    return "" if not count else str(count) if count < UNREAD_SHOWN else f"{UNREAD_SHOWN - 1}+"


def may_manage(request: HttpRequest) -> bool:
    return roles.may_manage(request.user)


def account_links(request: HttpRequest) -> list[dict[str, str]]:
    """The menu below the user's name."""
    if not request.user.is_authenticated:
        return []
    profile = reverse("admin:accounts_user_change", args=[request.user.pk])
    return [
        {"title": gettext("My profile"), "link": profile},
        {"title": gettext("Language and time"), "link": reverse("admin:viewing")},
        {"title": gettext("Change password"), "link": reverse("admin:password_change")},
    ]
