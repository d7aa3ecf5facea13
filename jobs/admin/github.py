"""GitHub tokens, for admins: set, tried, never shown again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin import AuditedAdmin, actor
from accounts.choices import AuditKind
from cronsched.core import clock
from cronsched.core.admin import AdminsOnly, LinesField, ServiceForm
from cronsched.core.admin_display import badge, moment, preformatted
from jobs.models import GitHubToken
from jobs.services import github_tokens
from jobs.services.github_check import check_github_token


class GitHubTokenForm(ServiceForm):
    aliases: ClassVar[Mapping[str, str]] = {"secret": "new_secret"}
    never_shown = frozenset({"new_secret"})
    # Never a field of the model: that one holds what is encrypted.
    new_secret = LinesField(
        label=_("Token, or the App's private key"),
        required=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false", "class": "cs-mono"}
        ),
        help_text=_("Kept encrypted and never shown again. On one that is there: leave it empty to keep it."),
    )

    class Meta:
        model = GitHubToken
        fields: ClassVar[list[str]] = ["owner", "repo", "kind", "app_id", "installation_id"]
        help_texts: ClassVar[dict[str, Any]] = {
            "owner": _("The account or organization that owns the repositories."),
            "repo": _("Empty: for all of this owner's that have no token of their own."),
            "app_id": _("Of a GitHub App: the number on its page."),
            "installation_id": _("Of a GitHub App: the number at the end of the installation's address."),
        }


@admin.register(GitHubToken)
class GitHubTokenAdmin(AdminsOnly, AuditedAdmin):
    form = GitHubTokenForm
    list_display = ("scope", "kind", "checked", "health", "expires")
    search_fields = ("scope_key",)
    change_form_outer_before_template = "admin/jobs/github_token_toolbar.html"
    audit_kind = AuditKind.GITHUB_TOKEN.value
    what = (None, {"fields": (("owner", "repo"), "kind", ("app_id", "installation_id"), "new_secret")})
    add_fieldsets = (what,)
    fieldsets = (what, (_("Check"), {"fields": (("checked", "expires"), "check_text")}))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("checked", "expires", "check_text")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def create(self, request: HttpRequest, data: dict[str, Any]) -> GitHubToken:
        return github_tokens.create_github_token(data=data, by=actor(request), now=clock.now())

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> GitHubToken:
        return github_tokens.update_github_token(obj, data=data, by=actor(request), now=clock.now())

    def remove(self, request: HttpRequest, obj: Any) -> None:
        github_tokens.delete_github_token(obj, by=actor(request), now=clock.now())

    def get_urls(self) -> list[Any]:
        check = require_POST(self.admin_site.admin_view(self.check_view))
        return [path("<uuid:token_id>/check/", check, name="jobs_githubtoken_check"), *super().get_urls()]

    def check_view(self, request: HttpRequest, token_id: UUID) -> HttpResponse:
        """Tries the token and shows which permission is missing."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        row = GitHubToken.objects.filter(pk=token_id).first()
        if row is None:
            raise Http404
        done = check_github_token(row, now=clock.now())
        for line in done.lines:
            text = f"{line.what}: {line.text}" if line.text else line.what
            self.message_user(request, text, messages.SUCCESS if line.ok else messages.ERROR)
        return HttpResponseRedirect(self.url("change", row.pk))

    @display(description=_("for"), ordering="scope_key")
    def scope(self, obj: GitHubToken) -> str:
        return str(obj)

    @display(description=_("checked"), ordering="checked_at")
    def checked(self, obj: GitHubToken) -> str:
        return moment(obj.checked_at, now=clock.now())

    @display(description=_("expires"), ordering="expires_at")
    def expires(self, obj: GitHubToken) -> str:
        return moment(obj.expires_at, now=clock.now())

    @display(description=_("result"))
    def health(self, obj: GitHubToken) -> str:
        if not obj.check_result:
            return badge("never", _("not yet checked"))
        is_ok = "MISSING" not in obj.check_result
        return badge("success" if is_ok else "failed", _("ok") if is_ok else _("something is missing"))

    @display(description=_("result of the check"))
    def check_text(self, obj: GitHubToken) -> str:
        return preformatted(obj.check_result)
